"""Keeping rows: what handlers say is so becomes inserts and closings, gathered for a whole batch of events."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from operator import add
from typing import Any, TypeAlias, TypeVar, cast

from pydantic import BaseModel

from clew.events.base import Event, Recorded
from clew.log import Cursor, Reader
from clew.log.reader import EventCache
from clew.projecting.tables import Documents, Table

V = TypeVar("V", bound=BaseModel)
Key: TypeAlias = tuple[Any, ...]
Row: TypeAlias = dict[str, Any]

# Of a stream. A thread of many runs leaves many rows that are never asked for again.
_REMEMBERED_ROWS_MAX = 1_000
_REMEMBERED_STREAMS_MAX = 10_000
_REMEMBERED_COMMON_MAX = 10_000


class _Kept:
    """The newest row of a key. `stored` is false until it is in the database; `view` is its model, if any."""

    __slots__ = ("since", "stored", "until", "values", "view")

    def __init__(self, values: list[Any], since: int, stored: bool, view: BaseModel | None = None) -> None:
        self.values = values
        self.since = since
        self.until: int | None = None
        self.stored = stored
        self.view = view


class Memory:
    """The newest rows of hot tables, from one batch to the next, by the stream whose events say what is in them.

    Forgotten when a transaction was rolled back, or when another process may have moved the stream. `common` has the
    rows that events of many streams move: they are forgotten as soon as another process has appended anything.
    """

    def __init__(self) -> None:
        self.common: dict[tuple[str, Key], _Kept | None] = {}
        self._streams: OrderedDict[str, dict[tuple[str, Key], _Kept | None]] = OrderedDict()

    def of(self, stream: str) -> dict[tuple[str, Key], _Kept | None]:
        rows = self._streams.get(stream)
        if rows is None:
            rows = self._streams[stream] = {}
        else:
            self._streams.move_to_end(stream)
        return rows

    def forget(self, stream: str | None = None) -> None:
        if stream is None:
            self._streams.clear()
            self.forget_common()
        else:
            self._streams.pop(stream, None)

    def forget_common(self) -> None:
        self.common.clear()

    def trim(self) -> None:
        """Between batches: what is handed out by `of` may be in use within one."""
        while len(self._streams) > _REMEMBERED_STREAMS_MAX:
            self._streams.popitem(last=False)
        newest = next(reversed(self._streams), None)
        if newest is not None and len(self._streams[newest]) > _REMEMBERED_ROWS_MAX:
            del self._streams[newest]
        if len(self.common) > _REMEMBERED_COMMON_MAX:
            self.forget_common()


class Rows:
    """What a handler is given. `position` is that of the event at hand, `stream` the one it belongs to.

    Nothing is written before `flush`; `get`, `find` and `load` see what was said before them all the same. `batch` are
    the events of this transaction, which the store need not have yet; `log` is where the others are, if elsewhere.
    """

    def __init__(
        self,
        cursor: Cursor,
        memory: Memory,
        suffix: str = "",
        batch: Sequence[Recorded[Event]] = (),
        log: Reader | None = None,
    ) -> None:
        self.position = 0
        self._stream: str | None = None
        self._cursor = cursor
        self._memory = memory
        self._suffix = suffix
        self._batch = batch
        self._log = log
        self._newest: dict[tuple[str, Key], _Kept | None] = {}
        self._hot: dict[tuple[str, Key], _Kept | None] = {}
        self._inserts: dict[Table, list[_Kept]] = {}
        self._closes: dict[Table, list[tuple[Any, ...]]] = {}
        self._changes: dict[Table, dict[Key, _Kept | None]] = {}

    def at(self, stream: str, position: int) -> Rows:
        """Go on to the event at `position`, of `stream`."""
        self.position = position
        if stream != self._stream:
            self._stream, self._hot = stream, self._memory.of(stream)
        return self

    def add(self, table: Table, **columns: Any) -> None:
        """A row whose key has never been there."""
        values = [columns.get(name) for name in table.names]
        self._place(table, tuple(values[place] for place in table.key_places), values, None)

    def put(self, table: Table, **columns: Any) -> None:
        """The row of its key from here on."""
        assert not table.running, "totals are counted"
        values = [columns.get(name) for name in table.names]
        key = tuple(values[place] for place in table.key_places)
        self._replace(table, key, values, None)

    def count(self, table: Table, key: Key, more: Sequence[int]) -> bool:
        """The totals of a running table's key, in the order of its columns, are greater by so much from here on.
        Whether there were any before.
        """
        kept = self._kept(table, key)
        if kept is None:
            self._place(table, key, [*key, *more], None)
            return False
        self._replace(table, key, [*key, *map(add, kept.values[len(key) :], more)], None)
        return True

    def save(self, table: Documents[V], view: V) -> None:
        """The document of its key from here on."""
        values = table.row(view)
        self._replace(table, tuple(values[place] for place in table.key_places), values, view)

    def remove(self, table: Table, *key: Any) -> None:
        """No row has this key from here on."""
        assert not table.running, "a running total goes on for ever"
        kept = self._kept(table, key)
        if kept is not None:
            self._close(table, key, kept)
            self._remember(table, key, None)
            if not table.timed:
                self._changes.setdefault(table, {})[key] = None

    def get(self, table: Table, *key: Any) -> Row | None:
        kept = self._kept(table, key)
        return None if kept is None else dict(zip(table.names, kept.values, strict=True))

    def load(self, table: Documents[V], *key: Any) -> V | None:
        kept = self._kept(table, key)
        if kept is None:
            return None
        if kept.view is None:
            kept.view = table.read(kept.values[-1])
        return cast("V", kept.view)

    def find(self, table: Table, **equals: Any) -> list[Row]:
        """The rows of now with these values. For columns that an index covers."""
        self.flush()
        assert not table.running, "what was so of a running table's keys is asked for by key"
        conditions = [f"{column} = ?" for column in equals]
        if table.timed:
            conditions.append("until is null")
        self._cursor.execute(
            f"select {', '.join(table.names)} from {table.name}{self._suffix} where {' and '.join(conditions)}",
            tuple(equals.values()),
        )
        return [dict(zip(table.names, row, strict=True)) for row in self._cursor.fetchall()]

    def latest(self, table: Table, column: str, upto: int, **equals: Any) -> Row | None:
        """The row of now with these values whose `column` is the largest that is not above `upto`."""
        self.flush()
        conditions = [*(f"{name} = ?" for name in equals), f"{column} <= ?"]
        if table.timed:
            conditions.append("until is null")
        self._cursor.execute(
            f"select {', '.join(table.names)} from {table.name}{self._suffix} where {' and '.join(conditions)}"
            f" order by {column} desc limit 1",
            (*equals.values(), upto),
        )
        found = self._cursor.fetchall()
        return dict(zip(table.names, found[0], strict=True)) if found else None

    def events(self, stream: str, *, after: int, upto: int, kinds: Sequence[str] = ()) -> list[Recorded[Event]]:
        """Events of a stream with `after < version <= upto`, also of this transaction. Raises `Erased`."""
        mine = [one for one in self._batch if one.stream == stream]
        stored_upto = min(upto, mine[0].version - 1) if mine else upto
        found: list[Recorded[Event]] = []
        if stored_upto > after:
            # A cache of its own: this is the writer's thread, and nothing is looked at twice.
            log = self._log or Reader(self._cursor, EventCache())
            found = log.stream(stream, after=after, upto=stored_upto, kinds=kinds)
        wanted = (one for one in mine if after < one.version <= upto)
        return found + [one for one in wanted if not kinds or one.event.kind in kinds]

    def flush(self) -> None:
        """Write what was gathered: closings of rows that are stored, then new rows."""
        for table, closes in self._closes.items():
            self._cursor.update(f"{table.name}{self._suffix}", ("until", "integer"), table.key_types, closes)
        for table, kept_rows in self._inserts.items():
            rows: list[tuple[Any, ...]] = [
                (*kept.values, kept.since) if table.running else (*kept.values, kept.since, kept.until)
                for kept in kept_rows
            ]
            self._cursor.insert(f"{table.name}{self._suffix}", table.types, rows)
            for kept in kept_rows:
                kept.stored = True
        for table, changes in self._changes.items():
            self._flush_untimed(table, changes)
        self._closes.clear()
        self._inserts.clear()
        self._changes.clear()
        self._newest.clear()

    def end(self) -> None:
        """The batch is over: write what was gathered, and remember no more than is good."""
        self.flush()
        self._memory.trim()

    def _flush_untimed(self, table: Table, changes: dict[Key, _Kept | None]) -> None:
        name = f"{table.name}{self._suffix}"
        gone = [key for key, kept in changes.items() if kept is None]
        there = [kept for kept in changes.values() if kept is not None]
        if gone:
            self._cursor.delete(name, table.key_types, gone)
        if there:
            self._cursor.insert(name, table.types, [kept.values for kept in there], replacing=table.key)
            for kept in there:
                kept.stored = True

    def _replace(self, table: Table, key: Key, values: list[Any], view: BaseModel | None) -> None:
        kept = self._kept(table, key)
        if kept is None:
            self._place(table, key, values, view)
        elif not table.timed or (kept.since == self.position and not kept.stored):
            # Two sayings about one moment: the later one is what holds.
            kept.values, kept.view = values, view
            if not table.timed:
                self._changes.setdefault(table, {})[key] = kept
        else:
            self._close(table, key, kept)
            self._place(table, key, values, view)

    def _place(self, table: Table, key: Key, values: list[Any], view: BaseModel | None) -> None:
        kept = _Kept(values, self.position, stored=False, view=view)
        if table.timed:
            self._inserts.setdefault(table, []).append(kept)
        else:
            self._changes.setdefault(table, {})[key] = kept
        self._remember(table, key, kept)

    def _close(self, table: Table, key: Key, kept: _Kept) -> None:
        if not table.timed or (table.running and kept.since != self.position):
            return
        if kept.since == self.position:
            # What was said at this very moment is taken back: it never was.
            self.flush()
            self._cursor.delete(f"{table.name}{self._suffix}", table.key_types, [(*key, kept.since)])
            return
        kept.until = self.position
        if kept.stored:
            self._closes.setdefault(table, []).append((self.position, *key, kept.since))

    def _remember(self, table: Table, key: Key, kept: _Kept | None) -> None:
        self._remembered(table)[table.name, key] = kept

    def _remembered(self, table: Table) -> dict[tuple[str, Key], _Kept | None]:
        if not table.hot:
            return self._newest
        return self._memory.common if table.common else self._hot

    def _kept(self, table: Table, key: Key) -> _Kept | None:
        place = (table.name, key)
        remembered = self._remembered(table)
        if place in remembered:
            return remembered[place]
        kept = self._stored(table, key)
        self._remember(table, key, kept)
        return kept

    def _stored(self, table: Table, key: Key) -> _Kept | None:
        where = " and ".join(f"{column} = ?" for column in table.key)
        extra, now = (", since", " and until is null") if table.timed else ("", "")
        if table.running:
            now = " order by since desc limit 1"
        self._cursor.execute(
            f"select {', '.join(table.names)}{extra} from {table.name}{self._suffix} where {where}{now}", key
        )
        found = self._cursor.fetchall()
        if not found:
            return None
        values = list(found[0])
        since = values.pop() if table.timed else 0
        return _Kept(values, since, stored=True)
