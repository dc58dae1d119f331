"""Invoices that were worked by hand, one for each provider. Prices are dollars for a million tokens.

The same is asked of genai-prices, from the usage as the provider words it: three ways, one amount.
"""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from genai_prices import extract_usage

from clew.events.content import JsonObject
from clew.events.usage import NO_USAGE, Usage
from clew.prices import Prices
from clew.providers.usage import of_chat
from tests.prices.billing import amount, priced, shares


def by_the_library(provider: str, model: str, reported: dict[str, Any], day: str, flavor: str = "default") -> Decimal:
    """What genai-prices makes of a provider's own words, without us between."""
    said = {"model": model, "usage": reported}
    extracted = extract_usage(said, provider_id=provider, api_flavor=flavor)
    moment = datetime.fromisoformat(day).replace(tzinfo=UTC)
    return extracted.calc_price(genai_request_timestamp=moment).total_price


def test_an_invoice_of_openai() -> None:
    """gpt-6-sol: input 2, read from the cache 0.20, written to it 2.50, output 10; half of all in flex and in batch.

    prompt 12,000, of which cached 8,000 and written 2,000; completion 1,500, of which reasoning 900

        fresh      12,000 - 8,000 - 2,000 = 2,000 at 2      = 0.004
        cached                              8,000 at 0.20   = 0.0016
        written                             2,000 at 2.50   = 0.005
        output, reasoning being part of it  1,500 at 10     = 0.015
                                                              0.0256
    """
    reported: JsonObject = {
        "prompt_tokens": 12_000,
        "completion_tokens": 1_500,
        "prompt_tokens_details": {"cached_tokens": 8_000, "cache_write_tokens": 2_000},
        "completion_tokens_details": {"reasoning_tokens": 900},
    }
    usage = of_chat(reported)
    assert usage is not None
    standard = priced("openai", "gpt-6-sol", usage, "2026-11-20")
    assert standard is not None
    assert standard.amount == "0.0256"
    assert shares(standard) == {
        "input": (2_000, "2", Decimal("0.004")),
        "cache_read": (8_000, "0.2", Decimal("0.0016")),
        "cache_write": (2_000, "2.5", Decimal("0.005")),
        "output": (1_500, "10", Decimal("0.015")),
    }
    assert by_the_library("openai", "gpt-6-sol", reported, "2026-11-20", "chat") == Decimal("0.0256")
    flex = amount("openai", "gpt-6-sol", usage, "2026-11-20", service_tier="flex")
    batch = amount("openai", "gpt-6-sol", usage, "2026-11-20", processing="batch")
    priority = amount("openai", "gpt-6-sol", usage, "2026-11-20", service_tier="priority")
    assert (flex, batch, priority) == ("0.0128", "0.0128", "0.0512")
    # Four calls: 0.0256 + 0.0128 + 0.0128 + 0.0512
    assert sum(map(Decimal, (standard.amount, flex, batch, priority))) == Decimal("0.1024")


def test_a_long_prompt_costs_more_from_its_first_token() -> None:
    """Above 272,000 tokens: input 4, cached 0.40, output 15.

    272,000 fresh                           = 272,000 at 2      = 0.544
    272,001 fresh                           = 272,001 at 4      = 1.088004
    300,000, of which 250,000 cached        =  50,000 at 4      = 0.2
                                            + 250,000 at 0.40   = 0.1
    and 1,000 of output                     +   1,000 at 15     = 0.015
                                                                  0.315
    """
    at_the_edge = priced("openai", "gpt-6-sol", Usage(input=272_000), "2026-11-20")
    assert shares(at_the_edge) == {"input": (272_000, "2", Decimal("0.544"))}
    assert amount("openai", "gpt-6-sol", Usage(input=272_001), "2026-11-20") == "1.088004"
    long = Usage(input=300_000, cached=250_000, output=1_000)
    assert amount("openai", "gpt-6-sol", long, "2026-11-20") == "0.315"
    assert {kind: line[1] for kind, line in shares(priced("openai", "gpt-6-sol", long, "2026-11-20")).items()} == {
        "input": "4",
        "cache_read": "0.4",
        "output": "15",
    }


def test_an_invoice_of_anthropic() -> None:
    """claude-opus-5-5: input 4, read from the cache 0.20, written for 5 minutes 5 and for an hour 8, output 20.

    Their input leaves out what went through the cache: 10 fresh, 1,000 read, 60 + 40 written, 5 of output.

        fresh             10 at 4     = 0.00004
        read           1,000 at 0.20  = 0.0002
        for 5 minutes     60 at 5     = 0.0003
        for an hour       40 at 8     = 0.00032
        output             5 at 20    = 0.0001
                                        0.00096
        3 searches at 10 a thousand   = 0.03
                                        0.03096

    Fast costs twice as much, 0.00192; a batch half, 0.00048.
    """
    usage = Usage(input=1_110, cached=1_000, cache_write=100, cache_write_1h=40, output=5, reasoning=2)
    reported = {
        "input_tokens": 10,
        "cache_read_input_tokens": 1_000,
        "cache_creation_input_tokens": 100,
        "cache_creation": {"ephemeral_5m_input_tokens": 60, "ephemeral_1h_input_tokens": 40},
        "output_tokens": 5,
        "output_tokens_details": {"thinking_tokens": 2},
    }
    price = priced("anthropic", "claude-opus-5-5", usage, "2026-11-20")
    assert price is not None
    assert price.amount == "0.00096"
    assert shares(price) == {
        "input": (10, "4", Decimal("0.00004")),
        "cache_read": (1_000, "0.2", Decimal("0.0002")),
        "cache_write": (60, "5", Decimal("0.0003")),
        "cache_write_1h": (40, "8", Decimal("0.00032")),
        "output": (5, "20", Decimal("0.0001")),
    }
    assert by_the_library("anthropic", "claude-opus-5-5", reported, "2026-11-20") == Decimal("0.00096")
    assert amount("anthropic", "claude-opus-5-5", usage, "2026-11-20", speed="fast") == "0.00192"
    assert amount("anthropic", "claude-opus-5-5", usage, "2026-11-20", processing="batch") == "0.00048"
    searched = usage.model_copy(update={"web_searches": 3})
    with_searches = priced("anthropic", "claude-opus-5-5", searched, "2026-11-20")
    assert shares(with_searches)["web_searches"] == (3, "10", Decimal("0.03"))
    assert with_searches is not None
    assert with_searches.amount == "0.03096"
    reported["server_tool_use"] = {"web_search_requests": 3}
    assert by_the_library("anthropic", "claude-opus-5-5", reported, "2026-11-20") == Decimal("0.03096")


def test_an_invoice_of_mistral() -> None:
    """mistral-large-4 changed its price twice; a day begins at midnight, UTC. Of a million tokens in (200,000 of them
    cached) and a million out:

        until 19 October    0.8 at 0.68  = 0.544   0.2 at 0.07 = 0.014   1 at 2.09 = 2.09   2.648
        from 20 October     0.8 at 1.36  = 1.088   0.2 at 0.14 = 0.028   1 at 4.18 = 4.18   5.296
        from 29 October     0.8 at 0.70  = 0.56    0.2 at 0.07 = 0.014   1 at 2.10 = 2.1    2.674
        from then, batch    0.8 at 0.35  = 0.28    0.2 at 0.035= 0.007   1 at 1.05 = 1.05   1.337
    """
    usage = Usage(input=1_000_000, cached=200_000, output=1_000_000)
    reported = {
        "prompt_tokens": 1_000_000,
        "completion_tokens": 1_000_000,
        "prompt_tokens_details": {"cached_tokens": 200_000},
    }
    for day, worked in (
        ("2026-10-01", "2.648"),
        ("2026-10-19T23:59:59", "2.648"),
        ("2026-10-20", "5.296"),
        ("2026-10-28T23:59:59", "5.296"),
        ("2026-10-29", "2.674"),
        ("2026-11-23", "2.674"),
    ):
        assert amount("mistral", "mistral-large-4", usage, day) == worked
        assert by_the_library("mistral", "mistral-large-4", reported, day) == Decimal(worked)
    assert amount("mistral", "mistral-large-4", usage, "2026-11-23", processing="batch") == "1.337"
    # What the notes say of a million in and a million out: 0.68 + 2.09, 1.36 + 4.18, 0.7 + 2.1
    both = Usage(input=1_000_000, output=1_000_000)
    days = ("2026-10-01", "2026-10-25", "2026-11-23")
    assert [amount("mistral", "mistral-large-4", both, day) for day in days] == ["2.77", "5.54", "2.8"]


def test_what_nobody_knows_has_no_price_and_is_not_free() -> None:
    usage = Usage(input=1, output=1)
    assert priced("openai", "model-of-tomorrow", usage, "2026-11-20") is None
    assert priced("nobody", "gpt-6-sol", usage, "2026-11-20") is None
    assert priced("openai", "", usage, "2026-11-20") is None


def test_a_model_that_used_nothing_costs_nothing_and_says_so() -> None:
    price = priced("openai", "gpt-6-sol", NO_USAGE, "2026-11-20")
    assert price is not None
    assert (price.amount, price.lines) == ("0", ())


def test_the_last_digit_is_there() -> None:
    """One token read from the cache of o4-mini in flex: 0.138 / 1,000,000."""
    one = Usage(input=1, cached=1)
    assert amount("openai", "o4-mini", one, "2026-11-20", service_tier="flex") == "0.000000138"
    # A trillion tokens and one: 2 * 1,000,000.000001 at the price of long prompts
    assert amount("openai", "gpt-6-sol", Usage(input=10**12 + 1), "2026-11-20") == "4000000.000004"


def test_a_call_that_is_billed_by_itself_shows_that() -> None:
    """perplexity/sonar takes dollars for each call beside those for its tokens."""
    price = priced("perplexity", "perplexity/sonar", Usage(input=1_000, output=100), "2026-11-20")
    number, each, share = shares(price)["requests"]
    assert price is not None
    assert (number, share) == (1, Decimal(each) / 1_000)
    assert sum(line[2] for line in shares(price).values()) == Decimal(price.amount)


def test_the_address_says_who_sends_the_bill() -> None:
    """One provider of ours may be anybody who speaks its format; a server that nobody knows is taken by its name."""
    usage = Usage(input=1_000_000)
    elsewhere = Prices(addresses={"openai": "https://api.deepseek.com/v1"})
    price = priced("openai", "deepseek-chat", usage, "2026-11-20", elsewhere)
    assert price is not None
    assert price.provider == "deepseek"
    assert priced("openai", "gpt-6-sol", usage, "2026-11-20", elsewhere) is None
    at_home = Prices(addresses={"openai": "http://127.0.0.1:8000/v1"})
    assert amount("openai", "gpt-6-sol", usage, "2026-11-20", at_home) == "4"


def test_a_models_name_may_say_its_provider_once() -> None:
    usage = Usage(input=1_000)
    assert amount("openai", "openai/gpt-6-sol", usage, "2026-11-20") == "0.002"
    # The other slash belongs to the name that the provider knows.
    named = priced("openrouter", "openrouter/mistralai/mistral-nemo", usage, "2026-11-20")
    assert named is not None
    assert named.model == "mistralai/mistral-nemo"
    assert priced("openai", "other/gpt-6-sol", usage, "2026-11-20") is None
