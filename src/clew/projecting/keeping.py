"""Keeping projections: inline with each append, following behind, and rebuilding from the log."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from clew.errors import NewerStore, StoreFailed, StoreLost
from clew.events.base import Event, Recorded
from clew.log import ColumnType, Cursor, Log, Reader
from clew.projecting.projection import Projection
from clew.projecting.rows import Memory, Rows

BATCH_EVENTS = 2_000
# So many are written within about two milliseconds, for which an append may wait.
_GENTLE_EVENTS = 25
_FRESH = "__new"
_POLL_SECONDS = 5.0
_STANDINGS: Mapping[str, ColumnType] = {
    "name": "text",
    "partition": "integer",
    "version": "integer",
    "position": "integer",
}
_GATHER_SECONDS = 0.05

logger = logging.getLogger(__name__)

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
        self._upto = 0
        self._handled = {event_type for p in self._inline for event_type in p.handlers}

    def inline(self, cursor: Cursor, recorded: Sequence[Recorded[Event]]) -> None:
        """In the transaction that appends. Where inline projections stand is, by that, the end of the log."""
        if recorded[0].position != self._upto + 1:
            # Another process has appended since, and may have moved what is common to many streams.
            self._memory.forget_common()
        self._upto = recorded[-1].position
        rows = Rows(cursor, self._memory, batch=recorded)
        for one in recorded:
            if type(one.event) in self._handled:
                for projection in self._inline:
                    projection.apply(one, rows)
        rows.end()

    def forget(self, stream: str | None = None) -> None:
        """Rows of `stream` may have been moved by another process; of every stream when None."""
        self._memory.forget(stream)

    def swapped(self, cursor: Cursor) -> None:
        """Another process has swapped a read model. Raises `NewerStore` when it is one that we cannot write."""
        cursor.execute("select name, version from projections where partition = 0")
        for name, version in cursor.fetchall():
            ours = self.projections.get(name)
            if ours is not None and version > ours.version:
                raise NewerStore(path=f"the read model {name}", found=version, known=ours.version)

    async def prepare(self, log: Log, progress: Progress = lambda done, of: None) -> None:
        """Make the tables that are missing, and rebuild what an older version of a projection left.

        With other processes on the log, one of them does it and the others wait.
        """
        with log.store.preparing():
            if log.store.shared:
                await log.write(self.swapped)
            stale = [p for p in self.projections.values() if self._stored_version(log, p) != p.version]
            if stale and not await log.write(lambda cursor: self._begin(log, cursor, stale), alone=True):
                await self.rebuild(log, *(projection.name for projection in stale), progress=progress)

    def _begin(self, log: Log, cursor: Cursor, projections: Sequence[Projection]) -> bool:
        """While nobody appends: the tables of a log without events, if it is one. A swap takes ten times as long."""
        if Reader(cursor, log.cache).head():
            return False
        generation = f"{time.time_ns():x}"
        for projection in projections:
            _make_tables(cursor, [projection], generation, "")
            _stand(cursor, projection, 0)
        self._note_swap(log, cursor)
        return True

    async def rebuild(
        self,
        log: Log,
        *names: str,
        progress: Progress = lambda done, of: None,
        gently: bool = False,
    ) -> None:
        """Make rows anew beside the old ones, reading the log once for all, then swap. Readers see the old ones until
        then. `gently`: in small portions with pauses, because others want to append meanwhile.
        """
        projections = [self.projections[name] for name in names]
        generation = f"{time.time_ns():x}"
        await log.write(lambda cursor: _make_tables(cursor, projections, generation))
        position = 0
        memory = Memory()
        # Reading keeps everything else in this process waiting, too.
        portion = _GENTLE_EVENTS if gently else BATCH_EVENTS
        while True:
            began = time.perf_counter()
            with log.reading() as reader:
                head = reader.head()
                batch = reader.follow(position, portion)
            if batch:
                await log.write(partial(_apply, projections, batch, memory, _FRESH))
                position = batch[-1].position
                progress(position, head)
            if len(batch) < portion:
                break
            if gently:
                # Half of the time is for others, at the least.
                await asyncio.sleep(time.perf_counter() - began)
        await log.write(lambda cursor: self._finish(log, cursor, projections, position), alone=True)

    def _finish(self, log: Log, cursor: Cursor, projections: Sequence[Projection], position: int) -> None:
        """In one transaction, while nobody appends: the rest of the log, then the swap."""
        # Followers of other processes lock these rows before they write theirs; who locks in another order deadlocks.
        cursor.execute(f"select name from projections where partition = 0 order by name{cursor.tongue.for_update}")
        cursor.fetchall()
        reader = Reader(cursor, log.cache)
        while batch := reader.follow(position, BATCH_EVENTS):
            _apply(projections, batch, Memory(), _FRESH, cursor)
            position = batch[-1].position
        for projection in projections:
            for table in projection.tables:
                cursor.execute(f"drop table if exists {table.name}")
                cursor.execute(f"alter table {table.name}{_FRESH} rename to {table.name}")
            _stand(cursor, projection, position)
        self._note_swap(log, cursor)

    def _note_swap(self, log: Log, cursor: Cursor) -> None:
        if log.store.shared:
            cursor.execute("update log_head set epoch = epoch + 1 where partition = 0")
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
            try:
                for name in names:
                    await self.follow(log, name)
            except (StoreFailed, StoreLost) as error:
                # Whoever comes behind has time until the store is back, or there is room on its disk again.
                logger.warning("the read models wait for the store: %s", error)
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


def _make_tables(cursor: Cursor, projections: Sequence[Projection], generation: str, suffix: str = _FRESH) -> None:
    for table in (table for projection in projections for table in projection.tables):
        cursor.execute(f"drop table if exists {table.name}{suffix}")
        for statement in table.create(suffix, generation, cursor.tongue):
            cursor.execute(statement)


def _follow_batch(projection: Projection, batch: Sequence[Recorded[Event]], cursor: Cursor) -> None:
    """Rows and place in one transaction: whatever dies in between, each event counts once."""
    sql = f"select version, position from projections where name = ? and partition = 0{cursor.tongue.for_update}"
    cursor.execute(sql, (projection.name,))
    version, position = cursor.fetchone()
    if version > projection.version:
        # A newer Clew has swapped it meanwhile, and keeps it.
        return
    new = [recorded for recorded in batch if recorded.position > position]
    if new:
        _apply([projection], new, Memory(), "", cursor)
        _stand(cursor, projection, new[-1].position)


def _apply(
    projections: Sequence[Projection], batch: Sequence[Recorded[Event]], memory: Memory, suffix: str, cursor: Cursor
) -> None:
    rows = Rows(cursor, memory, suffix, batch)
    for recorded in batch:
        for projection in projections:
            projection.apply(recorded, rows)
    rows.end()


def _stand(cursor: Cursor, projection: Projection, position: int) -> None:
    columns: dict[str, ColumnType] = {
        "name": "text",
        "partition": "integer",
        "version": "integer",
        "position": "integer",
    }
    row = (projection.name, 0, projection.version, position)
    cursor.insert("projections", columns, [row], replacing=("name", "partition"))
