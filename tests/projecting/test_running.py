"""Running totals: one follows the other, none is ever closed, and whoever moves them is no stream's business."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clew.events import Recorded
from clew.events.thread import ThreadChanged
from clew.log import Log
from clew.projecting import Keeper, Projection, Rows, Table, differences
from tests.log.stores import said
from tests.projecting.counting import open_log
from tests.projecting.ledger import Ledger

Moments = list[list[tuple[str, int]]]
MOMENTS = st.lists(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 3)), max_size=3), min_size=1, max_size=12)


def running(*, hot: bool = True, common: bool = True) -> Table:
    return Table(
        name="totals",
        key=("name",),
        columns={"name": "text not null", "total": "integer not null"},
        hot=hot,
        common=common,
        running=True,
    )


@pytest.fixture(params=["sqlite", "postgres"])
def postgres_or_none(request: pytest.FixtureRequest) -> Iterator[psycopg.Connection[Any] | None]:
    if request.param == "sqlite":
        yield None
        return
    with psycopg.connect(request.getfixturevalue("postgres_dsn")) as connection:
        yield connection


@pytest.mark.parametrize("hot", [True, False], ids=["hot", "cold"])
def test_a_total_holds_until_the_next_and_nothing_is_closed(
    hot: bool, postgres_or_none: psycopg.Connection[Any] | None
) -> None:
    with Ledger(running(hot=hot), postgres_or_none) as ledger:
        assert not ledger.at(3).count(ledger.pets, ("a",), (1,))
        assert ledger.at(3).count(ledger.pets, ("a",), (1,))
        ledger.end_batch()
        assert ledger.at(7).count(ledger.pets, ("a",), (3,))
        assert ledger.at(8).get(ledger.pets, "a") == {"name": "a", "total": 5}
        ledger.end_batch()
        assert ledger.stored() == [("a", 3, 2), ("a", 7, 5)]
        assert ledger.at(9).get(ledger.pets, "a") == {"name": "a", "total": 5}
        assert ledger.at(9).get(ledger.pets, "b") is None


def test_the_check_of_a_file_finds_nothing_wrong_with_totals() -> None:
    with Ledger(running()) as ledger:
        ledger.at(3).count(ledger.pets, ("a",), (1,))
        ledger.end_batch()
        ledger.cursor.execute("pragma integrity_check")
        assert [tuple(row) for row in ledger.cursor.fetchall()] == [("ok",)]


@settings(max_examples=200)
@given(MOMENTS, st.booleans(), st.booleans())
def test_totals_are_those_of_a_dictionary(moments: Moments, hot: bool, common: bool) -> None:
    table = running(hot=hot, common=common)
    now: dict[str, int] = {}
    with Ledger(table) as ledger:
        for position, sayings in enumerate(moments, start=1):
            for name, more in sayings:
                before = ledger.at(position).get(table, name)
                assert (before["total"] if before is not None else None) == now.get(name)
                now[name] = now.get(name, 0) + more
                ledger.at(position).count(table, (name,), (more,))
            if position % 2:
                ledger.end_batch()
        ledger.end_batch()
        newest = {name: total for name, _, total in ledger.stored()}
    assert newest == now


def counting() -> Projection:
    """All events of all streams are one total."""
    table = running()
    projection = Projection(name="totals", version=1, lifecycle="inline", tables=(table,))

    @projection.on(ThreadChanged)
    def _(recorded: Recorded[ThreadChanged], rows: Rows) -> None:
        rows.count(table, ("all",), (1,))

    return projection


def total(log: Log) -> int:
    with log.reading() as reader:
        found: int = reader.rows("select total from totals where name = 'all' order by since desc limit 1")[0][0]
        return found


def test_processes_that_take_turns_count_what_the_others_counted(postgres_dsn: str) -> None:
    async def main() -> None:
        keepers = [Keeper([counting()]) for _ in range(3)]
        logs = [open_log(keeper, postgres_dsn) for keeper in keepers]
        await keepers[0].prepare(logs[0])
        # Each on a stream of its own, so that nobody learns of the others by a conflict.
        turns = [0, 0, 1, 2, 2, 1, 0, 1, 1, 0, 2]
        versions = [0, 0, 0]
        for counted, who in enumerate(turns, start=1):
            await logs[who].append(f"thread-{who}", [said("on")], after=versions[who])
            versions[who] += 1
            assert total(logs[who]) == counted
        with logs[0].reading() as reader:
            assert list(differences(reader, [keepers[0].projections["totals"]])) == []
        for log in logs:
            log.close()

    asyncio.run(main())


def test_what_an_append_that_failed_had_counted_is_forgotten(store: str) -> None:
    async def main() -> None:
        projection = counting()
        inner = projection.handlers[ThreadChanged]

        def fails_once(recorded: Recorded[Any], rows: Rows) -> None:
            inner(recorded, rows)
            if recorded.event == said("fail"):
                raise ValueError("not this one")

        projection.handlers[ThreadChanged] = fails_once
        keeper = Keeper([projection])
        log = open_log(keeper, store)
        await keeper.prepare(log)
        await log.append("thread-1", [said("on")], after=0)
        with pytest.raises(ValueError, match="not this one"):
            await log.append("thread-2", [said("fail")], after=0)
        await log.append("thread-3", [said("on")], after=0)
        assert total(log) == 2
        log.close()

    asyncio.run(main())
