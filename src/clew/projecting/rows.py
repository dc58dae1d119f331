"""Keeping rows: what handlers say is so becomes inserts and closings, gathered for a whole batch of events."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias, TypeVar, cast

from pydantic import BaseModel

from clew.projecting.tables import Documents, Table

V = TypeVar("V", bound=BaseModel)
Key: TypeAlias = tuple[Any, ...]
Row: TypeAlias = dict[str, Any]

_REMEMBERED_ROWS_MAX = 20_000


class Cursor(Protocol):
    """As much of a database cursor as is needed here."""

    def execute(self, statement: str, parameters: Sequence[Any] = ..., /) -> Any: ...

    def executemany(self, statement: str, parameters: Sequence[Sequence[Any]], /) -> Any: ...

    def fetchall(self) -> Any: ...


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
    """The newest rows of hot tables, from one batch to the next. Forgotten when a transaction was rolled back."""

    def __init__(self) -> None:
        self.rows: OrderedDict[tuple[str, Key], _Kept | None] = OrderedDict()

    def forget(self) -> None:
        self.rows.clear()

    def trim(self) -> None:
        while len(self.rows) > _REMEMBERED_ROWS_MAX:
            self.rows.popitem(last=False)


class Rows:
    """What a handler is given. `position` is that of the event at hand.

    Nothing is written before `flush`; `get`, `find` and `load` see what was said before them all the same.
    """

    def __init__(self, cursor: Cursor, memory: Memory, suffix: str = "") -> None:
        self.position = 0
        self._cursor = cursor
        self._memory = memory
        self._suffix = suffix
        self._newest: dict[tuple[str, Key], _Kept | None] = {}
        self._inserts: dict[Table, list[_Kept]] = {}
        self._closes: dict[Table, list[tuple[Any, ...]]] = {}
        self._changes: dict[Table, dict[Key, _Kept | None]] = {}

    def add(self, table: Table, **columns: Any) -> None:
        """A row whose key has never been there."""
        values = [columns.get(name) for name in table.names]
        self._place(table, tuple(values[place] for place in table.key_places), values, None)

    def put(self, table: Table, **columns: Any) -> None:
        """The row of its key from here on."""
        values = [columns.get(name) for name in table.names]
        key = tuple(values[place] for place in table.key_places)
        self._replace(table, key, values, None)

    def save(self, table: Documents[V], view: V) -> None:
        """The document of its key from here on."""
        values = table.row(view)
        self._replace(table, tuple(values[place] for place in table.key_places), values, view)

    def remove(self, table: Table, *key: Any) -> None:
        """No row has this key from here on."""
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
        conditions = [f"{column} = ?" for column in equals]
        if table.timed:
            conditions.append("until is null")
        self._cursor.execute(
            f"select {', '.join(table.names)} from {table.name}{self._suffix} where {' and '.join(conditions)}",
            tuple(equals.values()),
        )
        return [dict(zip(table.names, row, strict=True)) for row in self._cursor.fetchall()]

    def flush(self) -> None:
        """Write what was gathered: closings of rows that are stored, then new rows."""
        for table, closes in self._closes.items():
            where = " and ".join(f"{column} = ?" for column in (*table.key, "since"))
            self._cursor.executemany(f"update {table.name}{self._suffix} set until = ? where {where}", closes)
        for table, kept_rows in self._inserts.items():
            marks = ",".join("?" * len(table.stored))
            self._cursor.executemany(
                f"insert into {table.name}{self._suffix} ({', '.join(table.stored)}) values ({marks})",
                [(*kept.values, kept.since, kept.until) for kept in kept_rows],
            )
            for kept in kept_rows:
                kept.stored = True
        for table, changes in self._changes.items():
            self._flush_untimed(table, changes)
        self._closes.clear()
        self._inserts.clear()
        self._changes.clear()
        self._newest.clear()
        self._memory.trim()

    def _flush_untimed(self, table: Table, changes: dict[Key, _Kept | None]) -> None:
        name = f"{table.name}{self._suffix}"
        gone = [key for key, kept in changes.items() if kept is None]
        there = [kept for kept in changes.values() if kept is not None]
        if gone:
            where = " and ".join(f"{column} = ?" for column in table.key)
            self._cursor.executemany(f"delete from {name} where {where}", gone)
        if there:
            marks = ",".join("?" * len(table.names))
            others = [column for column in table.names if column not in table.key]
            update = ", ".join(f"{column} = excluded.{column}" for column in others)
            self._cursor.executemany(
                f"insert into {name} ({', '.join(table.names)}) values ({marks})"
                f" on conflict ({', '.join(table.key)}) do update set {update}",
                [kept.values for kept in there],
            )
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
        if not table.timed:
            return
        if kept.since == self.position:
            # What was said at this very moment is taken back: it never was.
            self.flush()
            where = " and ".join(f"{column} = ?" for column in (*table.key, "since"))
            self._cursor.execute(f"delete from {table.name}{self._suffix} where {where}", (*key, kept.since))
            return
        kept.until = self.position
        if kept.stored:
            self._closes.setdefault(table, []).append((self.position, *key, kept.since))

    def _remember(self, table: Table, key: Key, kept: _Kept | None) -> None:
        if table.hot:
            self._memory.rows[table.name, key] = kept
        else:
            self._newest[table.name, key] = kept

    def _kept(self, table: Table, key: Key) -> _Kept | None:
        place = (table.name, key)
        remembered = self._memory.rows if table.hot else self._newest
        if place in remembered:
            return remembered[place]
        kept = self._stored(table, key)
        self._remember(table, key, kept)
        return kept

    def _stored(self, table: Table, key: Key) -> _Kept | None:
        where = " and ".join(f"{column} = ?" for column in table.key)
        extra, now = (", since", " and until is null") if table.timed else ("", "")
        self._cursor.execute(
            f"select {', '.join(table.names)}{extra} from {table.name}{self._suffix} where {where}{now}", key
        )
        found = self._cursor.fetchall()
        if not found:
            return None
        values = list(found[0])
        since = values.pop() if table.timed else 0
        return _Kept(values, since, stored=True)
