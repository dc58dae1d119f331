"""What each item has cost by being sent: the shares of every call add up to what it cost, to the last digit."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clew.audit.history import shown_rows
from clew.billing.carried import Carried, carried
from clew.engine.counting import text_tokens
from clew.events.base import Recorded
from clew.events.model import Cleared, ContextAssembled, ModelAnswered, ModelFailed
from clew.events.run import RunConfig, Truncation
from clew.log import Reader
from clew.prices import INPUT_KINDS, line_amount
from clew_projections import billing_ledger
from clew_projections.thread_view import ItemRow
from tests.billing.talking import Talk, hold
from tests.projections.living import House

pytestmark = pytest.mark.slow

Place = tuple[str, int]


@dataclass
class Shares:
    """Told the slow way: each call shares its amount among what it was shown, in fractions."""

    paid: Fraction = Fraction(0)
    tools: Fraction = Fraction(0)
    items: dict[Place, Fraction] = field(default_factory=lambda: defaultdict(Fraction))
    first: dict[Place, Fraction] = field(default_factory=dict)
    times: dict[Place, int] = field(default_factory=lambda: defaultdict(int))


def shares(reader: Reader, thread_id: str, upto: int) -> Shares:
    found = Shares()
    context: Recorded[ContextAssembled] | None = None
    for recorded in reader.stream(thread_id):
        if recorded.position > upto:
            break
        if isinstance(recorded.event, ContextAssembled):
            context = recorded  # type: ignore[assignment]
        elif isinstance(recorded.event, (ModelAnswered, ModelFailed)) and recorded.event.usage is not None:
            assert context is not None
            price = recorded.event.price
            lines = price.lines if price is not None else ()
            amount = sum((Fraction(line_amount(line)) for line in lines if line.kind in INPUT_KINDS), Fraction(0))
            _share(found, shown_rows(reader, context), context.event, amount)
    return found


def _share(found: Shares, rows: list[ItemRow], context: ContextAssembled, amount: Fraction) -> None:
    found.paid += amount
    found.tools += amount * context.tokens.tools / context.tokens.total
    for row in rows:
        place = (row.stream, row.number)
        share = amount * _tokens(row, context.manifest.cleared) / context.tokens.total
        found.items[place] += share
        found.first.setdefault(place, share)
        found.times[place] += 1


def _tokens(row: ItemRow, cleared: Cleared | None) -> int:
    if cleared is None or row.kind != "result":
        return row.tokens
    inside = any(one.stream == row.stream and one.first <= row.number <= one.last for one in cleared.items)
    return min(row.tokens, text_tokens(cleared.note).count) if inside else row.tokens


def _near(attos: int, exact: Fraction) -> bool:
    return abs(attos - exact * 10**18) <= 1


def _compare(found: Carried, expected: Shares) -> None:
    parts = [found.instructions_attos, found.tools_attos, *(item.attos for item in found.items)]
    assert sum(parts) == found.input_attos == expected.paid * 10**18
    assert all(part >= 0 for part in parts)
    assert _near(found.tools_attos, expected.tools)
    for item in found.items:
        place = (item.row.stream, item.row.number)
        assert item.times == expected.times.get(place, 0), place
        assert _near(item.attos, expected.items.get(place, Fraction(0))), place
        assert _near(item.first_attos, expected.first.get(place, Fraction(0))), place
        assert item.resent_attos >= 0
    assert {(item.row.stream, item.row.number) for item in found.items if item.times} == set(expected.times)


async def _shares_equal_calls(random: Random, turns: int, store: str = ":memory:") -> None:
    house = await House(store).open()
    try:
        talks = await hold(house, random, turns)
        with house.log.reading() as reader:
            head = reader.head()
            for talk in talks:
                _compare(carried(reader, talk.thread_id), shares(reader, talk.thread_id, head))
                as_of = random.randrange(1, head + 1)
                _compare(carried(reader, talk.thread_id, as_of), shares(reader, talk.thread_id, as_of))
    finally:
        await house.close()


@settings(max_examples=15)
@given(st.randoms(use_true_random=False), st.integers(1, 40))
def test_what_items_carry_is_what_their_calls_cost(random: Random, turns: int) -> None:
    asyncio.run(_shares_equal_calls(random, turns))


def test_so_it_is_in_long_conversations(store: str) -> None:
    asyncio.run(_shares_equal_calls(Random(3), 150, store))


def test_so_it_is_on_postgres(fresh_databases: Callable[[], str]) -> None:
    for seed in range(3):
        asyncio.run(_shares_equal_calls(Random(seed), 40, fresh_databases()))


def test_a_message_that_is_sent_again_is_paid_again() -> None:
    """Two runs under `none`: the first message is sent with both, the second with one."""

    async def main() -> None:
        house = await House().open()
        try:
            talk = await Talk(house, "talk", Random(1)).begin()
            config = RunConfig(provider="scripted", model="m", asked_model="m", truncation=Truncation(strategy="none"))
            await talk.run(config, calls=1)
            with house.log.reading() as reader:
                once = carried(reader, "talk")
            await talk.say(10)
            await talk.run(config, calls=1)
            with house.log.reading() as reader:
                twice = carried(reader, "talk")
        finally:
            await house.close()
        assert [item.times for item in once.items] == [1, 0]
        assert once.items[0].resent_attos == 0
        assert [item.times for item in twice.items] == [2, 1, 1, 0]
        assert twice.items[0].resent_attos > 0
        assert twice.items[0].first_attos == once.items[0].attos
        assert sum(item.attos for item in once.items) == once.input_attos

    asyncio.run(main())


def test_a_fork_pays_for_what_it_sends_and_not_for_what_it_inherits() -> None:
    async def main() -> None:
        house = await House().open()
        try:
            talk = await Talk(house, "talk", Random(1)).begin()
            config = RunConfig(provider="scripted", model="m", asked_model="m", truncation=Truncation(strategy="none"))
            await talk.run(config, calls=1)
            with house.log.reading() as reader:
                before = billing_ledger.spending(reader, thread_id="talk")
            child = await talk.fork("child")
            with house.log.reading() as reader:
                assert billing_ledger.spending(reader, thread_id="child") == billing_ledger.NOTHING
            await child.say()
            await child.run(config, calls=1)
            with house.log.reading() as reader:
                own = billing_ledger.spending(reader, thread_id="child")
                told = carried(reader, "child")
                assert billing_ledger.spending(reader, thread_id="talk") == before
                assert billing_ledger.spending(reader, tenant="acme") == before.plus(own)
        finally:
            await house.close()
        assert own.calls == 1
        inherited = [item for item in told.items if item.row.stream == "talk"]
        assert inherited, "what it inherited was shown, too"
        assert all(item.times == 1 and item.attos > 0 for item in inherited)
        assert sum(item.attos for item in told.items) + told.instructions_attos == told.input_attos

    asyncio.run(main())
