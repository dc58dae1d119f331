"""The stores that the log promises the same of. Another store joins by being named in STORES."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from clew.events import Event, Recorded
from clew.events.thread import ThreadChanged
from clew.log import Log, open_store
from clew.log.tasks import Inline
from tests.rigs.processes import ROOT


@dataclass(frozen=True)
class StoreKind:
    """`lasting`: what was closed can be opened again. `snapshots`: readers keep their moment while others write.

    `shared`: several may write at once.
    """

    name: str
    lasting: bool = True
    snapshots: bool = True
    shared: bool = False


STORES = [
    StoreKind("memory", lasting=False, snapshots=False),
    StoreKind("sqlite"),
    StoreKind("postgres", shared=True),
    StoreKind("postgres_by_stream", shared=True),
]
# How to part the table of events, for whoever has outgrown one: tried here exactly as it is told there.
_PARTING = re.compile(r"^```sql parting\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def place_of(kind: StoreKind, request: pytest.FixtureRequest, folder: Path) -> str:
    """What to call a fresh store of this kind. PostgreSQL is asked for only where it is wanted."""
    match kind.name:
        case "memory":
            return ":memory:"
        case "postgres":
            dsn: str = request.getfixturevalue("postgres_dsn")
            return dsn
        case "postgres_by_stream":
            part_by_stream(dsn := request.getfixturevalue("postgres_dsn"))
            return str(dsn)
        case _:
            return str(folder / "log.db")


def part_by_stream(dsn: str) -> None:
    """The events of an empty store in several tables, by stream, as the README of the benchmarks says."""
    found = _PARTING.search((ROOT / "benchmarks" / "README.md").read_text())
    assert found is not None, "the README says how"
    with psycopg.connect(dsn, autocommit=True) as connection:
        # Without parameters, so several statements are sent as they are.
        connection.execute(found[1].encode())


def _nothing(cursor: Any, recorded: Sequence[Recorded[Event]]) -> None:
    return None


@dataclass
class Opening:
    """Opens logs of one store, and closes what was left open."""

    kind: StoreKind
    place: str
    logs: list[Log]

    def __call__(self, inline: Inline = _nothing) -> Log:
        log = Log(open_store(self.place), inline)
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
