"""Making the read models anew from the log, all together and each alone, and verifying the chains.

The log is of realistic turns, driven as runs on many threads at once, so that its events are mixed as they would be.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

if not __package__:  # Run as a file, Python looks for modules beside it and not in the repository.
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

from benchmarks.common import (
    engine_without_worker,
    file_bytes,
    files_in,
    floor_figures,
    options,
    report,
    rounded,
    timed,
    warm_up,
)
from benchmarks.turns import RunTurn, Texts, begin, make_texts
from clew.engine.engine import Engine
from clew.log import Log
from clew.log.chain import FIRST, check

_THREADS = 50
_PAGE_EVENTS = 5_000


async def build(engine: Engine, events: int, texts: Texts) -> None:
    """Turns on many threads until the log has so many events."""
    head = 0

    def note(recorded: Sequence[object]) -> None:
        nonlocal head
        head += len(recorded)

    engine.log.listen(note)

    async def talk() -> None:
        thread_id = await begin(engine.desk)
        turn = 0
        while head < events:
            await RunTurn(thread_id, texts, turn).play(engine.desk)
            turn += 1

    await asyncio.gather(*(talk() for _ in range(_THREADS)))


async def rebuild(engine: Engine, names: Sequence[str]) -> float:
    """Seconds."""
    engine.log.cache.clear()
    began = time.perf_counter()
    await engine.keeper.rebuild(engine.log, *names)
    return time.perf_counter() - began


def verify(log: Log) -> int:
    """Check every chain as `clew doctor` does; gives the number of events."""
    heads: dict[str, bytes] = {}
    position = count = 0
    with log.reading() as reader:
        while page := reader.sealed(position, _PAGE_EVENTS):
            for sealed in page:
                stream = str(sealed.originator_id)
                broken = check([sealed], heads.get(stream, FIRST))
                assert broken is None, f"position {sealed.position}: {broken}"
                heads[stream] = sealed.hash
            count += len(page)
            position = page[-1].position
    return count


def decode(log: Log) -> int:
    """Read every event, which is what any rebuilding begins with."""
    log.cache.clear()
    position = count = 0
    with log.reading() as reader:
        while page := reader.follow(position, _PAGE_EVENTS):
            count += len(page)
            position = page[-1].position
    return count


async def run(folder: Path, events: int) -> None:
    texts = make_texts()
    warm_up()
    store = folder / "log.db"
    async with engine_without_worker(store) as engine:
        began = time.perf_counter()
        await build(engine, events, texts)
        built_seconds = time.perf_counter() - began
        with engine.log.reading() as reader:
            head = reader.head()
        names = list(engine.keeper.projections)
        together = await rebuild(engine, names)
        alone = {name: await rebuild(engine, [name]) for name in names}
        [decoding] = timed(lambda: decode(engine.log), 1)
        [verifying] = timed(lambda: verify(engine.log), 1)
    report(
        "rebuild",
        {"events": head, "threads": _THREADS, "file_bytes": file_bytes(store)},
        rebuild_events_per_second={
            "all_together": rounded(head / together),
            **{name: rounded(head / seconds) for name, seconds in alone.items()},
        },
        rebuild_all_seconds=rounded(together),
        decode_events_per_second=rounded(head / decoding),
        verify_events_per_second=rounded(head / verifying),
        built_events_per_second=rounded(head / built_seconds),
        floor=floor_figures(folder / "raw.db", texts.answers),
    )


def main(arguments: Sequence[str] | None = None) -> None:
    chosen = options(__doc__, events=(100_000, "events in the log")).parse_args(arguments)
    with files_in(chosen.folder) as folder:
        asyncio.run(run(folder, chosen.events))


if __name__ == "__main__":
    main()
