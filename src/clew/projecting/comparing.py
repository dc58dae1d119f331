"""Comparing read models with the log: they are made anew on the side, and every row is looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from clew.log import Cursor, Reader
from clew.log.scratch import scratch
from clew.projecting.projection import Projection
from clew.projecting.rows import Memory, Rows
from clew.projecting.tables import Table

_PAGE_EVENTS = 2_000
_PAGE_ROWS = 5_000

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Difference:
    """`kept` is the row that is stored, `made` the one that follows from the log; None where there is none.

    `columns` name what is in them.
    """

    projection: str
    table: str
    key: tuple[Any, ...]
    kept: tuple[Any, ...] | None
    made: tuple[Any, ...] | None
    columns: tuple[str, ...] = ()

    def __str__(self) -> str:
        row = f"{self.table} {' '.join(map(str, self.key))}"
        if self.kept is None:
            return f"{row}: the row is missing"
        if self.made is None:
            return f"{row}: the row follows from no event"
        parts = [
            f"{name} is {kept!r}, and should be {made!r}"
            for name, kept, made in zip(self.columns, self.kept, self.made, strict=True)
            if kept != made
        ]
        return f"{row}: {', '.join(parts)}"


def differences(
    reader: Reader, projections: Sequence[Projection], progress: Progress = lambda done, of: None
) -> Iterator[Difference]:
    """What is stored otherwise than it follows from the log, as of one moment."""
    for projection in projections:
        upto = _stands_at(reader, projection)
        if upto is None:
            continue
        with scratch() as cursor:
            _make(reader, projection, cursor, upto, progress)
            for table in projection.tables:
                yield from _table(reader, projection, table, cursor)


def _stands_at(reader: Reader, projection: Projection) -> int | None:
    """The position that its rows are of; None when they were never made, or by another version."""
    rows = reader.rows("select version, position from projections where name = ? and partition = 0", (projection.name,))
    if not rows or rows[0][0] != projection.version:
        return None
    position: int = rows[0][1]
    return reader.head() if projection.lifecycle == "inline" else position


def _make(reader: Reader, projection: Projection, cursor: Cursor, upto: int, progress: Progress) -> None:
    for table in projection.tables:
        for statement in table.create("", "compared", cursor.tongue):
            cursor.execute(statement)
    memory = Memory()
    position = 0
    while position < upto:
        page = [recorded for recorded in reader.follow(position, _PAGE_EVENTS) if recorded.position <= upto]
        rows = Rows(cursor, memory, log=reader)
        for recorded in page:
            projection.apply(recorded, rows)
        rows.end()
        position = page[-1].position if page else upto
        progress(position, upto)


def _table(reader: Reader, projection: Projection, table: Table, made: Cursor) -> Iterator[Difference]:
    """Both sides in the order of their keys, so that what one lacks shows."""
    key = tuple(table.key_types)
    columns = tuple(table.types)
    places = [columns.index(column) for column in key]
    ours = _rows(table, lambda sql, parameters: _fetched(made, sql, parameters))
    theirs = _rows(table, reader.rows)
    mine, kept = next(ours, None), next(theirs, None)
    while mine is not None or kept is not None:
        my_key = tuple(mine[place] for place in places) if mine is not None else None
        kept_key = tuple(kept[place] for place in places) if kept is not None else None
        if my_key == kept_key:
            if mine != kept:
                yield Difference(projection.name, table.name, my_key or (), kept, mine, columns)
            mine, kept = next(ours, None), next(theirs, None)
        elif kept_key is None or (my_key is not None and _before(my_key, kept_key)):
            yield Difference(projection.name, table.name, my_key or (), None, mine, columns)
            mine = next(ours, None)
        else:
            yield Difference(projection.name, table.name, kept_key, kept, None, columns)
            kept = next(theirs, None)


def _before(one: tuple[Any, ...], other: tuple[Any, ...]) -> bool:
    """As both databases sort: names by their bytes."""
    for a, b in zip_longest(one, other):
        if a != b:
            return bool(a.encode() < b.encode() if isinstance(a, str) else a < b)
    return False


def _rows(table: Table, fetch: Callable[[str, Sequence[Any]], list[Any]]) -> Iterator[tuple[Any, ...]]:
    key = tuple(table.key_types)
    select = f"select {', '.join(table.types)} from {table.name}"
    order = f"order by {', '.join(key)} limit ?"
    beyond = f"where ({', '.join(key)}) > ({', '.join('?' * len(key))})"
    places = [tuple(table.types).index(column) for column in key]
    page = fetch(f"{select} {order}", (_PAGE_ROWS,))
    while page:
        yield from (tuple(row) for row in page)
        last = [page[-1][place] for place in places]
        page = fetch(f"{select} {beyond} {order}", (*last, _PAGE_ROWS))


def _fetched(cursor: Cursor, sql: str, parameters: Sequence[Any]) -> list[Any]:
    cursor.execute(sql, parameters)
    found: list[Any] = cursor.fetchall()
    return found
