"""What the ledger is asked in people's words, and what it answers: worked by hand."""

from __future__ import annotations

import asyncio
import csv
import io
from collections.abc import Callable, Coroutine
from decimal import Decimal
from typing import Any

import pytest

from clew.billing.export import entries_csv, groups_csv
from clew.billing.questions import Asked, all_entries, entry_page, following_entries, ledger
from clew.billing.times import moment
from clew.errors import BadQuestion
from clew.events.thread import ThreadDeleted
from clew.events.usage import Usage
from clew.log import Reader
from clew_projections import billing_ledger
from tests.billing.facts import Books
from tests.log.clocks import clock
from tests.projections.living import House

DAY = 86_400_000_000
NOON = 1_795_608_000_000_000  # 2026-11-25T12:00:00Z


def told(write: Callable[[Books], Coroutine[Any, Any, None]], ask: Callable[[Reader], Any], store: str) -> Any:
    async def main() -> Any:
        house = await House(store).open()
        try:
            await write(Books(house))
            with house.log.reading() as reader:
                return ask(reader)
        finally:
            await house.close()

    return asyncio.run(main())


async def a_few(books: Books) -> None:
    """Three threads: 2,000 tokens in and 100 out are 0.005; half of the input cached, 0.004."""
    await books.call("t1", "r1", Usage(input=2_000, output=100), assistant_id="a1", tags={"team": "x"})
    await books.call("t1", "r2", Usage(input=2_000, cached=1_000, output=100), assistant_id="a1")
    await books.call("t2", "r3", Usage(input=500), model="n", tags={"team": "y", "user": "ada"})
    await books.call("t3", "r4", Usage(input=7, output=1), currency=None)
    await books.call("t3", "r5", None)
    await books.call("t3", "r6", None, failed=True, unknown=True)
    await books.call("t3", "r7", None, failed=True)


def test_a_total_tells_what_is_not_in_it(store: str) -> None:
    found = told(a_few, lambda reader: ledger(reader, Asked()), store)
    assert found.total.model_dump() == {
        "calls": 7,
        "failed_calls": 2,
        "unpriced_calls": 1,
        "lost_calls": 2,
        "input_tokens": 4_507,
        "cached_tokens": 1_000,
        "cache_write_tokens": 0,
        "output_tokens": 201,
        "reasoning_tokens": 0,
        "amount": "0.01",
        "currency": "USD",
        "left_out_tokens": 0,
        "saved_by_truncation": "0",
        "saved_by_caching": "0.001",
    }


GROUPS: dict[str, list[tuple[str | None, str]]] = {
    "thread": [("t1", "0.009"), ("t2", "0.001"), ("t3", "0")],
    "model": [("p/m", "0.009"), ("p/n", "0.001")],
    "assistant": [("a1", "0.009"), (None, "0.001")],
    "tag:team": [("x", "0.005"), (None, "0.004"), ("y", "0.001")],
    "tag": [("team=x", "0.005"), (None, "0.004"), ("team=y, user=ada", "0.001")],
    "tenant": [("default", "0.01")],
    "step": [("step_r1", "0.005"), ("step_r2", "0.004"), ("step_r3", "0.001")],
}


@pytest.mark.parametrize("by", GROUPS)
def test_groups_come_the_dearest_first(by: str, store: str) -> None:
    found = told(a_few, lambda reader: ledger(reader, Asked(), group_by=by), store)
    assert [(group.key, group.amount) for group in found.groups][: len(GROUPS[by])] == GROUPS[by]
    assert sum(Decimal(group.amount) for group in found.groups) == Decimal(found.total.amount)


FILTERS: list[tuple[dict[str, Any], str]] = [
    ({"thread_id": "t1"}, "0.009"),
    ({"run_id": "r2"}, "0.004"),
    ({"step_id": "step_r1"}, "0.005"),
    ({"assistant_id": "a1"}, "0.009"),
    ({"model": "n"}, "0.001"),
    ({"model": "p/n"}, "0.001"),
    ({"model": "other/n"}, "0"),
    ({"provider": "p", "model": "m"}, "0.009"),
    ({"tags": ("team=x",)}, "0.005"),
    ({"tags": ("team=y", "user=ada")}, "0.001"),
    ({"tags": ("team=y",), "thread_id": "t1"}, "0"),
    ({"tenant": "somebody else"}, "0"),
]


@pytest.mark.parametrize(("asked", "amount"), FILTERS)
def test_filters_hold_together(asked: dict[str, Any], amount: str, store: str) -> None:
    assert told(a_few, lambda reader: ledger(reader, Asked(**asked)).total.amount, store) == amount


def test_what_is_not_listed_is_told_together() -> None:
    found = told(a_few, lambda reader: ledger(reader, Asked(), group_by="run", limit=2), ":memory:")
    assert [group.key for group in found.groups] == ["r1", "r2"]
    assert (found.others.calls, found.others.amount, found.others.lost_calls) == (5, "0.001", 2)
    by_calls = told(a_few, lambda reader: ledger(reader, Asked(), group_by="thread", order="calls"), ":memory:")
    assert [group.key for group in by_calls.groups] == ["t3", "t1", "t2"]
    by_key = told(a_few, lambda reader: ledger(reader, Asked(), group_by="model", order="key"), ":memory:")
    assert [group.key for group in by_key.groups] == ["p/m", "p/n"]


def test_an_amount_in_another_currency_is_not_added_to_ours() -> None:
    async def write(books: Books) -> None:
        await books.call("t", "r1", Usage(input=1_000_000))
        await books.call("t", "r2", Usage(input=1_000_000), currency="EUR")

    found = told(write, lambda reader: ledger(reader, Asked()).total, ":memory:")
    assert (found.amount, found.unpriced_calls) == ("2", 1)
    [_, entry] = told(write, lambda reader: entry_page(reader, Asked()).entries, ":memory:")
    assert (entry.amount, entry.currency, entry.cost) == ("2.000000", "EUR", "priced")


def test_what_was_left_out_and_what_was_cached_is_what_was_not_paid() -> None:
    """3,000 tokens at two dollars for a million are 0.006; 400 cached ones were a dollar cheaper."""

    async def write(books: Books) -> None:
        await books.call("t", "r1", Usage(input=1_000, cached=400), left_out=3_000)
        await books.call("t", "r2", Usage(input=1_000), left_out=3_000, currency=None)
        await books.call("t", "r3", None, left_out=3_000, failed=True)

    found = told(write, lambda reader: ledger(reader, Asked()).total, ":memory:")
    assert found.left_out_tokens == 6_000
    assert found.saved_by_truncation == "0.006"
    assert found.saved_by_caching == "0.0004"


def test_tags_are_those_of_when_it_was_billed() -> None:
    async def write(books: Books) -> None:
        await books.call("t", "r1", Usage(input=500), tags={"team": "x"}, tags_later={"team": "y", "nul": "\0"})

    def ask(reader: Reader) -> Any:
        return [[group.key for group in ledger(reader, Asked(), group_by=by).groups] for by in ("tag:team", "tag:nul")]

    assert told(write, ask, ":memory:") == [["y"], ["\ufffd"]]


def test_a_thread_that_is_deleted_has_cost_what_it_has_cost() -> None:
    async def write(books: Books) -> None:
        await a_few(books)
        await books.write("t1", ThreadDeleted())

    found = told(write, lambda reader: ledger(reader, Asked(thread_id="t1")), ":memory:")
    assert found.total.amount == "0.009"


async def over_days(books: Books) -> None:
    """From noon on, every twelve hours."""
    for number in range(5):
        with clock(lambda number=number: NOON + number * DAY // 2):  # type: ignore[misc]
            await books.call("t", f"r{number}", Usage(input=500 * (number + 1)))


TIMES = [
    (None, None, ["r0", "r1", "r2", "r3", "r4"]),
    ("2026-11-26", None, ["r1", "r2", "r3", "r4"]),
    ("2026-11-26", "2026-11-27", ["r1", "r2"]),
    ("2026-11-25T12:00:00Z", "2026-11-26T00:00:00Z", ["r0"]),
    ("2026-11-25T12:00:00.000001Z", "2026-11-26T00:00:00.000001Z", ["r1"]),
    ("2026-11-26T02:00:00+02:00", "2026-11-26T14:00:00 02:00", ["r1"]),
    ("2026-11", "2026-12", ["r0", "r1", "r2", "r3", "r4"]),
    ("2026-12", None, []),
    (None, "1970-01-01", []),
]


@pytest.mark.parametrize(("since", "until", "runs"), TIMES)
def test_since_is_included_and_until_is_not(since: str | None, until: str | None, runs: list[str], store: str) -> None:
    def ask(reader: Reader) -> list[str]:
        asked = Asked(since=since, until=until)
        found = [entry.run_id for entry in all_entries(reader, asked)]
        assert ledger(reader, asked).total.calls == len(found)
        assert sum(group.calls for group in ledger(reader, asked, group_by="day").groups) == len(found)
        return found

    assert told(over_days, ask, store) == runs


def test_days_and_hours_come_in_their_order() -> None:
    def ask(reader: Reader) -> Any:
        return [
            [(group.key, group.input_tokens) for group in ledger(reader, Asked(), group_by=by).groups]
            for by in ("day", "month", "hour")
        ]

    days, months, hours = told(over_days, ask, ":memory:")
    assert days == [("2026-11-25", 500), ("2026-11-26", 2_500), ("2026-11-27", 4_500)]
    assert months == [("2026-11", 7_500)]
    assert hours[:2] == [("2026-11-25T12:00:00Z", 500), ("2026-11-26T00:00:00Z", 1_000)]


def test_as_of_a_position_it_is_what_it_was_then() -> None:
    def ask(reader: Reader) -> Any:
        middle = billing_ledger.entries(reader, billing_ledger.Scope(), billing_ledger.span(reader))[2].position
        return [
            ledger(reader, Asked(), as_of=position).total.input_tokens
            for position in (middle - 1, middle, reader.head())
        ]

    assert told(over_days, ask, ":memory:") == [1_500, 3_000, 7_500]


def test_so_long_before_now_is_a_time_too() -> None:
    assert moment("7d", "since", NOON) == NOON - 7 * DAY
    assert moment("12h", "since", NOON) == NOON - DAY // 2
    assert moment("30m", "since", NOON) == NOON - 1_800_000_000
    assert moment(" ", "since", NOON) is None


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"asked": Asked(since="yesterday")}, "since: 'yesterday' means nothing here: write a time"),
        ({"asked": Asked(until="2026-02-30")}, "until: '2026-02-30' means nothing here: there is no such time"),
        ({"asked": Asked(since="2026-11-25T25:00:00Z")}, "there is no such time"),
        ({"asked": Asked(since="2026-11-02", until="2026-11-01")}, "it is before since, 2026-11-02"),
        ({"asked": Asked(tags=("ada",))}, "tag: 'ada' means nothing here: write LABEL=VALUE"),
        ({"asked": Asked(), "group_by": "colour"}, "group by one of tenant, thread"),
        ({"asked": Asked(), "group_by": "tag:"}, "or by tag:LABEL"),
        ({"asked": Asked(), "group_by": "day:1"}, "group by one of"),
        ({"asked": Asked(), "group_by": "day", "order": "beauty"}, "order: 'beauty' means nothing here"),
    ],
)
def test_what_means_nothing_is_refused_and_told_how_to_be_written(asked: dict[str, Any], words: str) -> None:
    with pytest.raises(BadQuestion) as refused:
        told(a_few, lambda reader: ledger(reader, **asked), ":memory:")
    assert words in str(refused.value)


def test_csv_says_what_json_says() -> None:
    def ask(reader: Reader) -> Any:
        return ledger(reader, Asked(), group_by="thread", limit=2), list(all_entries(reader, Asked()))

    found, entries = told(a_few, ask, ":memory:")
    rows = list(csv.DictReader(io.StringIO("".join(groups_csv(found)))))
    assert [row["key"] for row in rows] == ["t1", "t2", "(others)"]
    assert sum(Decimal(row["amount"]) for row in rows) == Decimal(found.total.amount)
    rows = list(csv.DictReader(io.StringIO("".join(entries_csv(entries)))))
    assert [row["run_id"] for row in rows] == [f"r{number}" for number in range(1, 8)]
    assert rows[1]["lines"] == (
        "input 1000 at 2 for 1000000; cache_read 1000 at 1 for 1000000; output 100 at 10 for 1000000"
    )
    assert [row["cost"] for row in rows] == ["priced"] * 3 + ["unpriced", "lost", "lost", "nothing"]
    assert rows[2]["tags"] == "team=y; user=ada"


def test_entries_come_page_by_page_both_ways() -> None:
    def ask(reader: Reader, newest_first: bool) -> list[str]:
        found, after = [], None
        while True:
            page = entry_page(reader, Asked(), after=after, limit=2, newest_first=newest_first)
            found += [entry.run_id for entry in page.entries]
            if page.next is None:
                return found
            after = page.next

    oldest_first = told(a_few, lambda reader: ask(reader, False), ":memory:")
    assert oldest_first == [f"r{number}" for number in range(1, 8)]
    assert told(a_few, lambda reader: ask(reader, True), ":memory:") == oldest_first[::-1]


def test_an_export_of_several_pages_is_whole() -> None:
    def ask(reader: Reader) -> list[str]:
        found: list[str] = []
        left: billing_ledger.Span | None = billing_ledger.span(reader)
        while left is not None:
            entries, left = following_entries(reader, billing_ledger.Scope(), left, limit=2)
            found += [entry.run_id for entry in entries]
        return found

    assert told(a_few, ask, ":memory:") == [f"r{number}" for number in range(1, 8)]
