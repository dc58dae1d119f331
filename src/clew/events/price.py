"""What a model call cost, by the price table of its day: said once, when it is recorded, and never looked up again."""

from __future__ import annotations

from typing import TypeAlias

from clew.events.base import Value

# What decides the price beside model and time, in the words of genai-prices: service_tier, speed, processing.
PricingContext: TypeAlias = dict[str, str]


class PriceLine(Value):
    """So many tokens of one kind at a price. `price` is for `per` of them, in the currency, as a decimal.

    Two kinds are no tokens: `web_searches`, and `requests`, which is what some providers take for each call.
    """

    kind: str
    tokens: int
    price: str
    per: int = 1_000_000


class Price(Value):
    """`amount` is a decimal with at most 18 places. `table` names the price table and its version.

    `model` and `provider` are what the table calls them. `lines` explain the amount, to the last digit.
    """

    amount: str
    currency: str = "USD"
    table: str
    provider: str
    model: str
    lines: tuple[PriceLine, ...] = ()
