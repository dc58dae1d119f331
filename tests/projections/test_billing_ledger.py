"""The ledger says what the events say, to the last digit: as of any position, by whatever it is asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import count
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clew.log import Reader
from clew_projections import billing_ledger
from clew_projections.billing_ledger import Scope, Span
from tests.log.clocks import clock
from tests.projections.bills import KEYS, Billed, as_billed, billed, by_key, summed, told, without_savings
from tests.projections.living import House, live

pytestmark = pytest.mark.slow

COMMANDS_MAX = 120
# So far apart, in microseconds, that a history goes over many hours and days.
_STEP = 3_000_000_000


@settings(max_examples=15)
@given(st.randoms(use_true_random=False), st.integers(1, COMMANDS_MAX))
def test_every_question_is_answered_as_the_events_are(random: Random, commands: int) -> None:
    asyncio.run(_answers_equal_events(random, commands))


@pytest.mark.parametrize("seed", range(3))
def test_so_it_is_after_a_long_history(store: str, seed: int) -> None:
    asyncio.run(_answers_equal_events(Random(seed), 600, store))


def test_so_it_is_on_postgres(fresh_databases: Callable[[], str]) -> None:
    @settings(max_examples=8)
    @given(st.randoms(use_true_random=False), st.integers(1, COMMANDS_MAX))
    def each(random: Random, commands: int) -> None:
        asyncio.run(_answers_equal_events(random, commands, fresh_databases()))

    each()


async def _answers_equal_events(random: Random, commands: int, store: str = ":memory:") -> None:
    house = await House(store).open()
    ticks = count(1_750_000_000_000_000, _STEP)
    try:
        with clock(lambda: next(ticks)):
            await live(house, random, commands)
        bills = billed(house.events())
        with house.log.reading() as reader:
            head = reader.head()
            for _ in range(12):
                after, upto = sorted(random.randrange(head + 1) for _ in range(2))
                within = Span(random.choice((0, after)), random.choice((head, upto)))
                _compare(reader, random, bills, within)
            _compare_times(reader, random, bills)
    finally:
        await house.close()


def _compare(reader: Reader, random: Random, bills: list[Billed], within: Span) -> None:
    scope = _scope(random, bills)
    mine = [one for one in bills if within.after < one.position <= within.upto and one.fits(scope)]
    assert without_savings(billing_ledger.total(reader, scope, within)) == summed(mine)
    for by in KEYS:
        groups = billing_ledger.grouped(reader, scope, within, by)
        assert {group.key: without_savings(group.total) for group in groups} == by_key(mine, by), by
    _compare_entries(reader, scope, within, mine)


def _scope(random: Random, bills: list[Billed]) -> Scope:
    """Nobody in particular, or somebody that there is, by one name or by several."""
    if not bills or random.random() < 0.2:
        return Scope(tenant=random.choice((None, "acme", "nobody")))
    one = random.choice(bills)
    names = ("tenant", "thread_id", "run_id", "step_id", "assistant_id", "provider", "model")
    chosen = random.sample(names, random.choice((1, 1, 1, 2, 3)))
    tags = tuple(one.tags.items())[: random.choice((0, 0, 1, 2))]
    return Scope(**{name: getattr(one, name) for name in chosen}, tags=tags)


def _compare_entries(reader: Reader, scope: Scope, within: Span, mine: list[Billed]) -> None:
    for newest_first in (False, True):
        found, rest = [], within
        while page := billing_ledger.entries(reader, scope, rest, newest_first=newest_first, limit=7):
            found += page
            last = page[-1].position
            rest = Span(rest.after, last - 1) if newest_first else Span(last, rest.upto)
        assert [told(entry) for entry in found] == [as_billed(one) for one in mine[:: -1 if newest_first else 1]]
    for entry, one in zip(sorted(found, key=lambda entry: entry.position), mine, strict=True):
        assert (entry.usage, entry.price) == (one.event.usage, one.event.price)
        assert without_savings(entry.total) == summed([one])


def _compare_times(reader: Reader, random: Random, bills: list[Billed]) -> None:
    """From a time on, and until before another; times at which something was billed are the ones to get wrong."""
    if not bills:
        return
    for _ in range(6):
        since, until = sorted(random.choice(bills).at + random.choice((-1, 0, 1)) for _ in range(2))
        as_of = random.choice((None, random.choice(bills).position))
        mine = [one for one in bills if since <= one.at < until and (as_of is None or one.position <= as_of)]
        found = billing_ledger.spending(reader, tenant="acme", since=since, until=until, as_of=as_of)
        assert without_savings(found) == summed(mine)


@settings(max_examples=12)
@given(st.randoms(use_true_random=False), st.integers(1, COMMANDS_MAX))
def test_what_was_spent_as_of_a_position_never_changes(random: Random, commands: int) -> None:
    asyncio.run(_never_changes(random, commands))


def test_nor_does_it_on_postgres(postgres_dsn: str) -> None:
    asyncio.run(_never_changes(Random(5), 300, postgres_dsn))


async def _never_changes(random: Random, commands: int, store: str = ":memory:") -> None:
    """A second log is given the events one by one, and asked again and again what it said before."""
    house, replay = await House().open(), await House(store).open()
    then: dict[int, list[object]] = {}
    try:
        await live(house, random, commands)
        for recorded in house.events():
            await replay.log.append(recorded.stream, [recorded.event], after=recorded.version - 1)
            if random.random() < 0.1:
                with replay.log.reading() as reader:
                    then[recorded.position] = _everything(reader, None)
        with replay.log.reading() as reader:
            for position, told in then.items():
                assert _everything(reader, position) == told
    finally:
        await house.close()
        await replay.close()


def _everything(reader: Reader, as_of: int | None) -> list[object]:
    within = billing_ledger.span(reader, as_of=as_of)
    groups = [billing_ledger.grouped(reader, Scope(), within, by) for by in KEYS]
    return [billing_ledger.spending(reader, as_of=as_of), groups, billing_ledger.entries(reader, Scope(), within)]


@settings(max_examples=12)
@given(st.randoms(use_true_random=False), st.integers(1, COMMANDS_MAX))
def test_open_are_the_calls_that_the_rules_wait_for(random: Random, commands: int) -> None:
    asyncio.run(_open_equals_rules(random, commands))


def test_so_it_is_after_a_long_history_too() -> None:
    for seed in range(8):
        asyncio.run(_open_equals_rules(Random(seed), 200))


async def _open_equals_rules(random: Random, commands: int) -> None:
    house = await House().open()
    try:
        await live(house, random, commands)
        streams = {one.stream for one in house.events() if one.stream.startswith(("thread", "fork"))}
        runs = {stream: house.desk.thread(stream).run for stream in streams}
        waiting = {
            (stream, run.run_id, run.model_call.model_call_id, run.model_call.attempt)
            for stream, run in runs.items()
            if run is not None and run.model_call is not None and run.model_call.waiting
        }
        with house.log.reading() as reader:
            found = billing_ledger.open_calls(reader)
            assert {(one.thread_id, one.run_id, one.model_call_id, one.attempt) for one in found} == waiting
            for one in found:
                assert one in billing_ledger.open_calls(reader, tenant="acme", run_id=one.run_id)
                assert one not in billing_ledger.open_calls(reader, thread_id="another")
            under_way = {row[0] for row in reader.rows("select run_id from ledger_under_way")}
        assert under_way == {run.run_id for run in runs.values() if run is not None}
    finally:
        await house.close()
