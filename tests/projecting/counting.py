"""A small projection to watch the keeping of: how many events each stream has had, and its newest word."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from clew.events import Recorded
from clew.events.thread import ThreadChanged
from clew.log import Log, open_store
from clew.projecting import Keeper, Projection, Rows, Table
from clew.projecting.projection import Lifecycle


def counts(*, timed: bool, name: str = "counts") -> Table:
    return Table(
        name=name,
        key=("stream",),
        columns={"stream": "text not null", "events": "integer not null"},
        timed=timed,
        hot=True,
    )


def counting(
    lifecycle: Lifecycle,
    *,
    version: int = 1,
    each: int = 1,
    before: Callable[[Recorded[Any]], None] = lambda recorded: None,
    timed: bool = True,
) -> Projection:
    """`each` is what an event counts. `before` is called first, and may raise."""
    table = counts(timed=timed)
    projection = Projection(name="counter", version=version, lifecycle=lifecycle, tables=(table,))

    @projection.on(ThreadChanged)
    def _(recorded: Recorded[ThreadChanged], rows: Rows) -> None:
        before(recorded)
        row = rows.get(table, recorded.stream)
        rows.put(table, stream=recorded.stream, events=(row["events"] if row is not None else 0) + each)

    return projection


def open_log(keeper: Keeper, store: str) -> Log:
    return Log(open_store(store), keeper.inline, keeper.forget, keeper.swapped)


def counted(log: Log) -> dict[str, int]:
    """What is counted now; a timed table says now of the rows that no other ended."""
    with log.reading() as reader:
        columns = (
            "select name from pragma_table_info('counts')"
            if reader.tongue.name == "sqlite"
            else "select column_name from information_schema.columns where table_name = 'counts'"
        )
        timed = "until" in [row[0] for row in reader.rows(columns)]
        rows = reader.rows("select stream, events from counts" + (" where until is null" if timed else ""))
    return dict(map(tuple, rows))


def standing(keeper: Keeper, log: Log) -> tuple[int, int, int]:
    """Version, position, and how far behind."""
    with log.reading() as reader:
        [found] = keeper.standings(reader)
    return found.version, found.position, found.behind
