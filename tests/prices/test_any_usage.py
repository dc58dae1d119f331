"""Whatever was used, by whatever prices: the lines are disjoint, and come to the amount."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from genai_prices.data_snapshot import get_snapshot
from hypothesis import given, settings
from hypothesis import strategies as st

from clew.events.price import Price, PriceLine
from clew.events.usage import Usage
from clew.prices import Prices, rounded, total
from clew.prices.overrides import Override
from clew.prices.units import KINDS
from tests.prices.billing import at

MODELS = [(provider.id, model.id) for provider in get_snapshot().providers for model in provider.models]
CONTEXTS = [
    {},
    {"service_tier": "flex"},
    {"service_tier": "priority"},
    {"processing": "batch"},
    {"speed": "fast"},
    {"service_tier": "unheard-of"},
]


@st.composite
def usages(draw: st.DrawFn, most: int = 2_000_000) -> Usage:
    """Usage that adds up: each part within its whole, the parts of a whole beside each other."""

    def parts(whole: int, number: int) -> list[int]:
        found = []
        for _ in range(number):
            found.append(draw(st.integers(0, whole)))
            whole -= found[-1]
        return found

    given_in, given_out = draw(st.integers(0, most)), draw(st.integers(0, most))
    cached, written, heard = parts(given_in, 3)
    thought, spoken = parts(given_out, 2)
    return Usage(
        input=given_in,
        output=given_out,
        cached=cached,
        cache_write=written,
        cache_write_1h=draw(st.integers(0, written)),
        input_audio=heard,
        reasoning=thought,
        output_audio=spoken,
    )


prices_of_kinds = st.fixed_dictionaries(
    {kind: st.decimals(0, 10_000, places=6) for kind in ("input", "output")},
    optional={kind: st.decimals(0, 10_000, places=6) for kind in KINDS if kind not in ("input", "output")},
)


def explained(price: Price) -> Decimal:
    assert all(line.tokens > 0 and Decimal(line.price) >= 0 for line in price.lines)
    return rounded(total(price.lines))


def billed(lines: tuple[PriceLine, ...], kinds: tuple[str, ...]) -> int:
    return sum(line.tokens for line in lines if line.kind in kinds)


@given(usage=usages(), prices=prices_of_kinds)
def test_every_token_is_billed_once(usage: Usage, prices: dict[str, Decimal]) -> None:
    own = Override("own", None, "*", None, prices)
    price = Prices((own,)).price("p", "m", usage, at("2026-11-20"))
    assert price is not None
    assert explained(price) == Decimal(price.amount)
    outgoing = ("output", "output_reasoning", "output_audio")
    assert billed(price.lines, outgoing) == usage.output
    assert billed(price.lines, tuple(kind for kind in KINDS if kind not in outgoing)) == usage.input
    assert len({line.kind for line in price.lines}) == len(price.lines)


@given(usage=usages(), prices=prices_of_kinds)
def test_an_amount_is_what_the_dearest_and_the_cheapest_price_leave_room_for(
    usage: Usage, prices: dict[str, Decimal]
) -> None:
    price = Prices((Override("own", None, "*", None, prices),)).price("p", "m", usage, at("2026-11-20"))
    assert price is not None
    least, most = min(prices.values()), max(prices.values())
    assert least * usage.total <= Decimal(price.amount) * 1_000_000 <= most * usage.total


@given(
    whole=st.integers(0, 1_000),
    more=st.integers(1, 1_000),
    part=st.sampled_from(["cached", "cache_write", "input_audio"]),
)
def test_a_part_that_is_more_than_the_whole_leaves_the_call_unpriced(whole: int, more: int, part: str) -> None:
    """Nothing is billed below nothing. Where the part has no price of its own, the whole is what counts."""
    usage = Usage(input=whole, output=1).model_copy(update={part: whole + more})
    kind = {"cached": "cache_read"}.get(part, part)
    prices = {"input": Decimal(2), "output": Decimal(8), kind: Decimal(1)}
    assert Prices((Override("own", None, "*", None, prices),)).price("p", "m", usage, at("2026-11-20")) is None
    del prices[kind]
    price = Prices((Override("own", None, "*", None, prices),)).price("p", "m", usage, at("2026-11-20"))
    assert price is not None
    assert Decimal(price.amount) * 1_000_000 == 2 * whole + 8


def test_what_is_left_unpriced_is_told(caplog: pytest.LogCaptureFixture) -> None:
    usage = Usage(input=1, cached=2)
    assert Prices().price("openai", "gpt-6-sol", usage, at("2026-11-20")) is None
    assert "openai/gpt-6-sol is left unpriced" in caplog.text
    caplog.clear()
    own = Override("own", None, "*", None, {"input": Decimal(1), "output": Decimal(1)})
    assert Prices((own,)).price("p", "m", Usage(web_searches=2), at("2026-11-20")) is None
    assert "nobody knows the price of its 2 web searches" in caplog.text


@settings(max_examples=1_000)
@given(
    model=st.sampled_from(MODELS),
    usage=usages(),
    context=st.sampled_from(CONTEXTS),
    day=st.sampled_from(["2024-01-01", "2025-06-15", "2026-10-13", "2026-11-20", "2027-06-01"]),
)
def test_the_table_says_the_same_without_us_and_the_lines_explain_it(
    model: tuple[str, str], usage: Usage, context: dict[str, str], day: str
) -> None:
    """For each model that there is: what genai-prices computes for these counts is the amount."""
    logging.disable(logging.WARNING)
    try:
        price = Prices().price(*model, usage, at(day), context)
    finally:
        logging.disable(logging.NOTSET)
    worked = by_the_library(model, usage, context, day)
    assert (price is None) == (worked is None)
    if price is not None and worked is not None:
        assert Decimal(price.amount) == rounded(worked)
        assert explained(price) == Decimal(price.amount)


def by_the_library(model: tuple[str, str], usage: Usage, context: dict[str, str], day: str) -> Decimal | None:
    from genai_prices import Usage as Theirs
    from genai_prices import calc_price

    counts = {
        "cache_read_tokens": usage.cached,
        "cache_write_tokens": usage.cache_write,
        "cache_write_1h_tokens": usage.cache_write_1h,
        "input_audio_tokens": usage.input_audio,
        "output_reasoning_tokens": usage.reasoning,
        "output_audio_tokens": usage.output_audio,
    }
    theirs = Theirs(
        input_tokens=usage.input, output_tokens=usage.output, **{name: n for name, n in counts.items() if n}
    )
    provider, name = model
    try:
        return calc_price(
            theirs,
            name.removeprefix(f"{provider}/"),
            provider_id=provider,
            genai_request_timestamp=datetime.fromisoformat(day).replace(tzinfo=UTC),
            price_context=context,
        ).total_price
    except (LookupError, ValueError):
        return None
