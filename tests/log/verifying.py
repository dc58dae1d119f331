"""Looking at a stored log as an auditor does: positions, versions and hashes, from the rows."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

from clew.log import Log, open_store
from clew.log.chain import Sealed, check


def stored(path: Path) -> list[Sealed]:
    """The rows as they are in the file, read beside whoever has it open."""
    log = Log(open_store(str(path), writing=False))
    try:
        with log.reading() as reader:
            return reader.sealed(0, 1_000_000)
    finally:
        log.close()


def fault(events: list[Sealed]) -> tuple[str, int, str] | None:
    """Stream, version and reason of the first event that does not fit, stream by stream."""
    by_stream = sorted(events, key=lambda event: (str(event.originator_id), event.originator_version))
    for stream, group in groupby(by_stream, key=lambda event: str(event.originator_id)):
        chain = list(group)
        found = check(chain)
        if found is not None:
            return stream, chain[found[0]].originator_version, found[1]
    return None


def holds_together(events: list[Sealed]) -> None:
    """Positions and versions without gaps, hashes that follow from one another."""
    assert [event.position for event in events] == list(range(1, len(events) + 1))
    versions: dict[str, int] = {}
    for event in events:
        stream = str(event.originator_id)
        versions[stream] = versions.get(stream, 0) + 1
        assert event.originator_version == versions[stream]
    assert fault(events) is None
