"""What a handler says is so becomes rows that are so from then on, and were not before."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, TypeAlias

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clew.projecting import Table
from tests.projecting.ledger import Ledger, table

REX, TOM = ("ann", "rex"), ("ann", "tom")


@pytest.fixture(params=["sqlite", "postgres"])
def postgres_or_none(request: pytest.FixtureRequest) -> Iterator[psycopg.Connection[Any] | None]:
    if request.param == "sqlite":
        yield None
        return
    with psycopg.connect(request.getfixturevalue("postgres_dsn")) as connection:
        yield connection


@pytest.fixture(params=[True, False], ids=["hot", "cold"])
def timed(request: pytest.FixtureRequest, postgres_or_none: psycopg.Connection[Any] | None) -> Iterator[Ledger]:
    with Ledger(table(timed=True, hot=request.param), postgres_or_none) as ledger:
        yield ledger


@pytest.fixture(params=[True, False], ids=["hot", "cold"])
def untimed(request: pytest.FixtureRequest, postgres_or_none: psycopg.Connection[Any] | None) -> Iterator[Ledger]:
    untimed_table = replace(table(timed=False, hot=request.param), name="pets_of_now")
    with Ledger(untimed_table, postgres_or_none) as ledger:
        yield ledger


def test_a_row_is_so_from_its_position_on(timed: Ledger) -> None:
    timed.at(5).add(timed.pets, owner="ann", name="rex", weight=9)
    timed.end_batch()
    assert timed.weights() == {REX: 9}
    assert [timed.weights(p) for p in (4, 5, 6)] == [{}, {REX: 9}, {REX: 9}]


def test_a_column_that_is_not_named_is_empty(timed: Ledger) -> None:
    timed.at(1).add(timed.pets, owner="ann", name="rex", weight=9)
    assert timed.at(2).get(timed.pets, "ann", "rex") == {"owner": "ann", "name": "rex", "weight": 9, "note": None}


def test_a_put_ends_what_was_so_and_keeps_it(timed: Ledger) -> None:
    timed.at(5).add(timed.pets, owner="ann", name="rex", weight=9)
    timed.at(8).put(timed.pets, owner="ann", name="rex", weight=10)
    timed.end_batch()
    timed.at(11).put(timed.pets, owner="ann", name="rex", weight=11)
    timed.end_batch()
    assert {p: timed.weights(p).get(REX) for p in (4, 5, 7, 8, 10, 11, 99)} == {
        4: None,
        5: 9,
        7: 9,
        8: 10,
        10: 10,
        11: 11,
        99: 11,
    }
    assert [row[-2:] for row in timed.stored()] == [(5, 8), (8, 11), (11, None)]


def test_a_removed_row_was_so_until_then(timed: Ledger) -> None:
    timed.at(1).add(timed.pets, owner="ann", name="rex", weight=9)
    timed.end_batch()
    timed.at(4).remove(timed.pets, *REX)
    assert timed.at(4).get(timed.pets, *REX) is None
    timed.end_batch()
    assert [timed.weights(p) for p in (3, 4, None)] == [{REX: 9}, {}, {}]


def test_a_row_may_come_back(timed: Ledger) -> None:
    timed.at(1).add(timed.pets, owner="ann", name="rex", weight=9)
    timed.at(2).remove(timed.pets, *REX)
    timed.at(4).put(timed.pets, owner="ann", name="rex", weight=7)
    timed.end_batch()
    assert [timed.weights(p).get(REX) for p in (1, 2, 3, 4)] == [9, None, None, 7]


def test_removing_what_is_not_there_changes_nothing(timed: Ledger, untimed: Ledger) -> None:
    for ledger in (timed, untimed):
        ledger.at(1).remove(ledger.pets, *REX)
        ledger.end_batch()
        assert ledger.stored() == []


def test_of_two_sayings_about_one_moment_the_later_holds(timed: Ledger) -> None:
    timed.at(1).add(timed.pets, owner="ann", name="rex", weight=1)
    timed.end_batch()
    timed.at(5).put(timed.pets, owner="ann", name="rex", weight=5)
    timed.at(5).put(timed.pets, owner="ann", name="rex", weight=6)
    timed.end_batch()
    assert [row[2:] for row in timed.stored()] == [(1, None, 1, 5), (6, None, 5, None)]


def test_a_later_saying_holds_even_when_the_earlier_one_was_looked_for_between(timed: Ledger) -> None:
    timed.at(5).put(timed.pets, owner="ann", name="rex", weight=5)
    assert len(timed.at(5).find(timed.pets, owner="ann")) == 1
    timed.at(5).put(timed.pets, owner="ann", name="rex", weight=6)
    timed.end_batch()
    assert timed.weights() == {REX: 6}
    assert len(timed.stored()) == 1


@pytest.mark.parametrize("looked_for", [True, False])
def test_what_is_said_and_taken_back_at_one_moment_never_was(timed: Ledger, looked_for: bool) -> None:
    timed.at(1).add(timed.pets, owner="ann", name="tom", weight=1)
    timed.end_batch()
    for name in ("rex", "tom"):
        timed.at(5).put(timed.pets, owner="ann", name=name, weight=5)
        if looked_for:
            timed.at(5).find(timed.pets, owner="ann")
        timed.at(5).remove(timed.pets, "ann", name)
    timed.end_batch()
    assert timed.weights() == {}
    assert [row[1:] for row in timed.stored()] == [("tom", 1, None, 1, 5)]


def test_what_was_said_is_seen_before_it_is_written(timed: Ledger, untimed: Ledger) -> None:
    for ledger in (timed, untimed):
        ledger.at(1).add(ledger.pets, owner="ann", name="rex", weight=9)
        row = ledger.at(2).get(ledger.pets, *REX)
        assert row is not None
        assert row["weight"] == 9
        assert ledger.at(2).get(ledger.pets, "ann", "none") is None
        assert ledger.stored() == []
        assert [found["name"] for found in ledger.at(2).find(ledger.pets, owner="ann")] == ["rex"]


def test_only_rows_of_now_are_found(timed: Ledger) -> None:
    for name in ("rex", "tom"):
        timed.at(1).add(timed.pets, owner="ann", name=name, weight=1)
    timed.at(2).remove(timed.pets, *REX)
    timed.at(3).put(timed.pets, owner="ann", name="tom", weight=2)
    assert [(row["name"], row["weight"]) for row in timed.at(4).find(timed.pets, owner="ann")] == [("tom", 2)]
    assert timed.at(4).find(timed.pets, owner="bob") == []
    assert [row["name"] for row in timed.at(4).find(timed.pets, owner="ann", weight=2)] == ["tom"]


def test_a_table_without_time_knows_only_now(untimed: Ledger) -> None:
    untimed.at(1).add(untimed.pets, owner="ann", name="rex", weight=1)
    untimed.at(2).put(untimed.pets, owner="ann", name="rex", weight=2)
    untimed.end_batch()
    untimed.at(3).put(untimed.pets, owner="ann", name="tom", weight=3)
    untimed.at(4).remove(untimed.pets, *REX)
    untimed.at(5).put(untimed.pets, owner="ann", name="rex", weight=5, note="back")
    untimed.end_batch()
    assert untimed.stored() == [("ann", "rex", 5, "back"), ("ann", "tom", 3, None)]
    untimed.at(6).remove(untimed.pets, *TOM)
    untimed.end_batch()
    assert untimed.weights() == {REX: 5}


def test_what_is_changed_by_a_reader_of_a_row_is_not_said(timed: Ledger) -> None:
    timed.at(1).add(timed.pets, owner="ann", name="rex", weight=1)
    row = timed.at(2).get(timed.pets, *REX)
    assert row is not None
    row["weight"] = 99
    timed.end_batch()
    assert timed.weights() == {REX: 1}


def test_what_was_remembered_is_forgotten_with_its_transaction() -> None:
    with Ledger(table(timed=True, hot=True)) as ledger:
        ledger.at(1).add(ledger.pets, owner="ann", name="rex", weight=1)
        ledger.end_batch()
        ledger.connection.commit()
        ledger.at(2).put(ledger.pets, owner="ann", name="rex", weight=2)
        ledger.end_batch()
        ledger.connection.rollback()
        ledger.memory.forget()
        row = ledger.at(2).get(ledger.pets, *REX)
        assert row is not None
        assert row["weight"] == 1


NAMES = st.sampled_from(["rex", "tom", "kit"])
SAYINGS = st.one_of(
    st.tuples(st.just("put"), NAMES, st.integers(0, 3)),
    st.tuples(st.just("remove"), NAMES, st.just(0)),
    st.tuples(st.just("find"), NAMES, st.just(0)),
    st.tuples(st.just("end"), NAMES, st.just(0)),
)
Moments: TypeAlias = "list[list[tuple[str, str, int]]]"
MOMENTS = st.lists(st.lists(SAYINGS, min_size=1, max_size=4), min_size=2, max_size=12)


@settings(max_examples=300)
@given(MOMENTS, st.booleans(), st.booleans())
def test_every_moment_is_kept_as_it_was(moments: Moments, timed: bool, hot: bool) -> None:
    _kept_as_it_was(None, moments, timed, hot)


def test_so_it_is_on_postgres(postgres_dsn: str) -> None:
    with psycopg.connect(postgres_dsn) as connection:

        @settings(max_examples=60)
        @given(MOMENTS, st.booleans(), st.booleans())
        def each(moments: Moments, timed: bool, hot: bool) -> None:
            _kept_as_it_was(connection, moments, timed, hot)

        each()


def _kept_as_it_was(postgres: psycopg.Connection[Any] | None, moments: Moments, timed: bool, hot: bool) -> None:
    """Compared with a dictionary that is copied after every position."""
    pets: Table = table(timed=timed, hot=hot)
    now: dict[tuple[str, str], int] = {}
    history = [dict(now)]
    with Ledger(pets, postgres) as ledger:
        for position, sayings in enumerate(moments, start=1):
            for verb, name, weight in sayings:
                rows = ledger.at(position)
                if verb == "put":
                    rows.put(pets, owner="ann", name=name, weight=weight)
                    now["ann", name] = weight
                elif verb == "remove":
                    rows.remove(pets, "ann", name)
                    now.pop(("ann", name), None)
                elif verb == "find":
                    found = {("ann", row["name"]): row["weight"] for row in rows.find(pets, owner="ann")}
                    assert found == now
                else:
                    ledger.end_batch()
            history.append(dict(now))
        ledger.end_batch()
        assert ledger.weights() == now
        if timed:
            assert [ledger.weights(position) for position in range(len(history))] == history
