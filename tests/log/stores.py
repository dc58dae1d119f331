"""The stores that the log promises the same of. Another store joins by being named in STORES."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clew.events import Event, Recorded
from clew.events.thread import ThreadChanged
from clew.log import Log, open_store
from clew.log.writer import Inline


@dataclass(frozen=True)
class StoreKind:
    """`lasting`: what was closed can be opened again. `snapshots`: readers keep their moment while others write."""

    name: str
    where: Callable[[Path], str]
    lasting: bool
    snapshots: bool


STORES = [
    StoreKind("memory", lambda folder: ":memory:", lasting=False, snapshots=False),
    StoreKind("sqlite", lambda folder: str(folder / "log.db"), lasting=True, snapshots=True),
]


def _nothing(cursor: Any, recorded: Sequence[Recorded[Event]]) -> None:
    return None


@dataclass
class Opening:
    """Opens logs of one kind in one folder, and closes what was left open."""

    kind: StoreKind
    folder: Path
    logs: list[Log]

    def __call__(self, inline: Inline = _nothing) -> Log:
        log = Log(open_store(self.kind.where(self.folder)), inline)
        self.logs.append(log)
        return log

    def close(self, log: Log) -> None:
        self.logs.remove(log)
        log.close()


def said(words: str) -> ThreadChanged:
    """A small event that tells itself from others."""
    return ThreadChanged(metadata={"said": words})


def words_of(recorded: Sequence[Recorded[Event]]) -> list[str]:
    found = []
    for one in recorded:
        assert isinstance(one.event, ThreadChanged)
        assert one.event.metadata is not None
        found.append(one.event.metadata["said"])
    return found


def everything(log: Log) -> list[Recorded[Event]]:
    """The whole log, from its rows and not from what is cached."""
    log.cache.clear()
    with log.reading() as reader:
        return reader.follow(0, 1_000_000)
