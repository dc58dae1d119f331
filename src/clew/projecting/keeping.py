"""Keeping projections: inline with each append, following behind, and rebuilding from the log."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from clew.events.base import Event, Recorded
from clew.log import Log, Reader
from clew.projecting.projection import Projection
from clew.projecting.rows import Cursor, Memory, Rows

BATCH_EVENTS = 2_000
_FRESH = "__new"
_POLL_SECONDS = 5.0
_GATHER_SECONDS = 0.05

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a projection stands. `behind` counts events of the log that it has not seen."""

    name: str
    lifecycle: str
    version: int
    position: int
    behind: int


class Keeper:
    """Keeps a set of projections on a log. `inline` and `forget` are what the log is made with."""

    def __init__(self, projections: Sequence[Projection]) -> None:
        self.projections = {projection.name: projection for projection in projections}
        self._inline = [p for p in projections if p.lifecycle == "inline"]
        self._memory = Memory()
        self._handled = {event_type for p in self._inline for event_type in p.handlers}

    def inline(self, cursor: Cursor, recorded: Sequence[Recorded[Event]]) -> None:
        """In the transaction that appends. Where inline projections stand is, by that, the end of the log."""
        rows = Rows(cursor, self._memory)
        for one in recorded:
            if type(one.event) in self._handled:
                for projection in self._inline:
                    projection.apply(one, rows)
        rows.flush()

    def forget(self) -> None:
        self._memory.forget()

    async def prepare(self, log: Log, progress: Progress = lambda done, of: None) -> None:
        """Make the tables that are missing, and rebuild what an older version of a projection left."""
        stale = [p for p in self.projections.values() if self._stored_version(log, p) != p.version]
        for projection in stale:
            await self.rebuild(log, projection.name, progress)

    async def rebuild(self, log: Log, name: str, progress: Progress = lambda done, of: None) -> None:
        """Make the rows anew beside the old ones, then swap. Readers see the old ones until then."""
        projection = self.projections[name]
        generation = f"{time.time_ns():x}"
        await log.write(lambda cursor: _make_tables(cursor, projection, generation))
        position = 0
        memory = Memory()
        while True:
            with log.reading() as reader:
                head = reader.head()
                batch = reader.follow(position, BATCH_EVENTS)
            if not batch:
                break
            await log.write(partial(_apply, projection, batch, memory, _FRESH))
            position = batch[-1].position
            progress(position, head)
            if len(batch) < BATCH_EVENTS:
                break
        await log.write(lambda cursor: self._finish(log, cursor, projection, position))

    def _finish(self, log: Log, cursor: Any, projection: Projection, position: int) -> None:
        """In one transaction, while nothing else is written: the rest of the log, then the swap."""
        reader = Reader(cursor, log.cache)
        while batch := reader.follow(position, BATCH_EVENTS):
            _apply(projection, batch, Memory(), _FRESH, cursor)
            position = batch[-1].position
        for table in projection.tables:
            cursor.execute(f"drop table if exists {table.name}")
            cursor.execute(f"alter table {table.name}{_FRESH} rename to {table.name}")
        _stand(cursor, projection, position)
        self._memory.forget()

    async def follow(self, log: Log, name: str) -> int:
        """Bring a following projection to where the log ends now; gives the position it stands at."""
        projection = self.projections[name]
        while True:
            with log.reading() as reader:
                position = _standing(reader, name)
                batch = reader.follow(position, BATCH_EVENTS)
            if batch:
                await log.write(partial(_follow_batch, projection, batch))
                position = batch[-1].position
            if len(batch) < BATCH_EVENTS:
                # What was appended meanwhile can wait: chasing each append would cost each a second write.
                return position

    async def keep_following(self, log: Log, woken: asyncio.Event) -> None:
        """For ever: bring every following projection up whenever `woken`, and now and then unasked."""
        names = [p.name for p in self.projections.values() if p.lifecycle == "follow"]
        while True:
            woken.clear()
            for name in names:
                await self.follow(log, name)
            try:
                await asyncio.wait_for(woken.wait(), _POLL_SECONDS)
            except TimeoutError:
                continue
            # A write of its own for every append would make each append wait for two.
            await asyncio.sleep(_GATHER_SECONDS)

    def standings(self, reader: Reader) -> list[Standing]:
        head = reader.head()
        stored = {row[0]: row for row in reader.rows("select name, version, position from projections")}
        found = []
        for projection in self.projections.values():
            _, version, position = stored.get(projection.name, ("", 0, 0))
            at = head if projection.lifecycle == "inline" and version == projection.version else position
            found.append(Standing(projection.name, projection.lifecycle, version, at, head - at))
        return found

    @staticmethod
    def _stored_version(log: Log, projection: Projection) -> int | None:
        with log.reading() as reader:
            rows = reader.rows("select version from projections where name = ? and partition = 0", (projection.name,))
        return rows[0][0] if rows else None


def _standing(reader: Reader, name: str) -> int:
    rows = reader.rows("select position from projections where name = ? and partition = 0", (name,))
    position: int = rows[0][0]
    return position


def _make_tables(cursor: Any, projection: Projection, generation: str) -> None:
    for table in projection.tables:
        cursor.execute(f"drop table if exists {table.name}{_FRESH}")
        for statement in table.create(_FRESH, generation):
            cursor.execute(statement)


def _follow_batch(projection: Projection, batch: Sequence[Recorded[Event]], cursor: Any) -> None:
    """Rows and place in one transaction: whatever dies in between, each event counts once."""
    cursor.execute("select position from projections where name = ? and partition = 0", (projection.name,))
    position = cursor.fetchone()[0]
    new = [recorded for recorded in batch if recorded.position > position]
    if new:
        _apply(projection, new, Memory(), "", cursor)
        _stand(cursor, projection, new[-1].position)


def _apply(projection: Projection, batch: Sequence[Recorded[Event]], memory: Memory, suffix: str, cursor: Any) -> None:
    rows = Rows(cursor, memory, suffix)
    for recorded in batch:
        projection.apply(recorded, rows)
    rows.flush()


def _stand(cursor: Any, projection: Projection, position: int) -> None:
    cursor.execute(
        "insert into projections (name, partition, version, position) values (?, 0, ?, ?)"
        " on conflict (name, partition) do update set version = excluded.version, position = excluded.position",
        (projection.name, projection.version, position),
    )
