"""The forecast of a run is what the run then is, as far as anybody can know it before."""

from __future__ import annotations

import asyncio
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clew.billing.forecasting import Forecast, forecast
from clew.engine.counting import text_tokens
from clew.errors import NotFound, Refused
from clew.events.run import RunConfig, Truncation
from clew.events.usage import Usage
from clew.log import Reader
from clew_projections import billing_ledger
from clew_projections.billing_ledger import Entry, Scope
from tests.billing.talking import PRICES, Talk, hold
from tests.projections.living import House


def config(strategy: str = "none", n: int | None = None, model: str = "m1") -> RunConfig:
    truncation = Truncation.model_validate({"strategy": strategy, "n": n})
    return RunConfig(provider="scripted", model=model, asked_model=model, truncation=truncation)


def foretold(talk: Talk, *, model: str | None = None, say: str | None = None) -> Forecast:
    thread = talk.house.desk.thread(talk.thread_id)
    with talk.house.log.reading() as reader:
        return forecast(reader, talk.thread_id, thread, PRICES, model=model, say=say)


def newest(reader: Reader, thread_id: str, count: int) -> list[Entry]:
    scope = Scope(thread_id=thread_id)
    found = billing_ledger.entries(reader, scope, billing_ledger.span(reader), newest_first=True, limit=count)
    return found[::-1]


@settings(max_examples=20)
@given(st.randoms(use_true_random=False), st.integers(1, 25))
def test_what_will_be_shown_is_what_is_shown(random: Random, turns: int) -> None:
    async def main() -> None:
        house = await House().open()
        try:
            talks = await hold(house, random, turns)
            talk = random.choice(talks)
            same = talk.config()
            await talk.say()
            await talk.run(same, calls=1)
            await talk.say()
            with house.log.reading() as reader:
                head = reader.head()
            try:
                before = foretold(talk)
            except Refused:
                before = None
            with house.log.reading() as reader:
                assert reader.head() == head, "a forecast changes nothing"
            await talk.run(same, calls=1)
            with house.log.reading() as reader:
                calls = [one for one in newest(reader, talk.thread_id, 1) if one.run_id == talk.runs[-1]]
            if before is None:
                assert not calls, "there was no room for a call"
            else:
                assert [one.estimated_tokens for one in calls] == [before.next_call.counted_tokens]
                assert (before.provider, before.model) == ("scripted", same.model)
        finally:
            await house.close()

    asyncio.run(main())


async def _talk(house: House) -> Talk:
    return await Talk(house, "talk", Random(2)).begin()


def test_what_it_costs_is_learnt_from_the_newest_calls() -> None:
    async def main() -> None:
        house = await House().open()
        try:
            talk = await _talk(house)
            await talk.run(config(), calls=1)
            await talk.run(config(), calls=1)
            before = foretold(talk)
            with house.log.reading() as reader:
                calls = newest(reader, "talk", 2)
        finally:
            await house.close()
        counted = sum(call.estimated_tokens for call in calls)
        given = sum(call.total.input_tokens for call in calls)
        cached = sum(call.total.cached_tokens for call in calls)
        call = before.next_call
        assert call.input_tokens == round(call.counted_tokens * given / counted)
        assert call.cached_tokens == call.input_tokens * cached // given
        assert call.output_tokens == min(call.total.output_tokens for call in calls)
        usage = Usage(input=call.input_tokens, cached=call.cached_tokens, output=call.output_tokens)
        expected = PRICES.price("scripted", "m1", usage, 1)
        assert expected is not None
        assert (call.amount, before.amount, before.calls) == (expected.amount, expected.amount, 1)
        assert before.learnt_from_calls == 2

    asyncio.run(main())


def test_a_run_of_several_calls_grows_from_one_to_the_next() -> None:
    async def main() -> None:
        house = await House().open()
        try:
            talk = await _talk(house)
            await talk.run(config(), calls=3)
            before = foretold(talk)
        finally:
            await house.close()
        assert before.calls == 3
        assert before.amount is not None
        assert before.next_call.amount is not None
        assert float(before.amount) > 3 * float(before.next_call.amount)

    asyncio.run(main())


def test_another_model_or_message_changes_what_it_would_cost() -> None:
    async def main() -> None:
        house = await House().open()
        try:
            talk = await _talk(house)
            await talk.run(config(), calls=1)
            as_it_is, unpriced = foretold(talk), foretold(talk, model="scripted/unknown")
            longer = foretold(talk, say="And what about this?")
            inherited = foretold(await talk.fork("child"))
        finally:
            await house.close()
        assert (unpriced.amount, unpriced.next_call.amount, unpriced.price_table) == (None, None, None)
        assert (unpriced.model, as_it_is.price_table) == ("unknown", "talk/1")
        more = text_tokens("And what about this?").count
        assert longer.next_call.counted_tokens == as_it_is.next_call.counted_tokens + more
        assert longer.items == as_it_is.items + 1
        assert (inherited.model, inherited.learnt_from_calls, inherited.next_call.output_tokens) == ("m1", 0, None)

    asyncio.run(main())


def test_without_anything_to_go_by_it_is_refused() -> None:
    async def main() -> None:
        house = await House().open()
        try:
            talk = await _talk(house)
            with pytest.raises(Refused, match="nothing ran on talk yet"):
                foretold(talk)
            await talk.run(config(), calls=1)
            await talk.run(config("token_budget", 1), calls=1)
            with pytest.raises(Refused, match="the next run on talk would fail: the context needs at least"):
                foretold(talk)
            with pytest.raises(NotFound):
                foretold(Talk(house, "nowhere", Random(1)))
        finally:
            await house.close()

    asyncio.run(main())
