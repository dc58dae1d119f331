"""What calls used and cost, added up."""

from __future__ import annotations

from dataclasses import dataclass, fields
from decimal import Decimal, localcontext
from typing import Any

from clew.events.price import Price
from clew.events.usage import Usage

CURRENCY = "USD"
# Amounts have 18 places; with so many digits no sum of them is ever rounded.
_DIGITS = 60


@dataclass(frozen=True, slots=True)
class Cost:
    """Each attempt is a call. `counted_tokens` are ours, of what was shown; the other counts are the provider's.

    `unpriced_calls` used tokens that nobody knew a price for, of `lost_calls` nobody knows what they used: neither is
    in `amount`. `refused_calls` had no room, and were not made.
    """

    calls: int = 0
    summary_calls: int = 0
    unpriced_calls: int = 0
    lost_calls: int = 0
    refused_calls: int = 0
    counted_tokens: int = 0
    input_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0
    amount: Decimal = Decimal(0)

    def __add__(self, other: Cost) -> Cost:
        with localcontext(prec=_DIGITS):
            return Cost(**{one.name: getattr(self, one.name) + getattr(other, one.name) for one in fields(Cost)})

    def amount_more_than(self, other: Cost) -> Decimal:
        with localcontext(prec=_DIGITS):
            return self.amount - other.amount


def cost(usage: Usage | None, price: Price | None, *, may_have_used: bool = True, summary: bool = False) -> Cost:
    """Of one attempt. An amount in another currency cannot be added up: that call is one without a price."""
    counts: dict[str, Any] = {"calls": 1, "summary_calls": int(summary)}
    if usage is None:
        return Cost(**counts, lost_calls=int(may_have_used))
    amount = Decimal(price.amount) if price is not None and price.currency == CURRENCY else None
    return Cost(
        **counts,
        unpriced_calls=int(amount is None),
        input_tokens=usage.input,
        cached_tokens=usage.cached,
        cache_write_tokens=usage.cache_write,
        output_tokens=usage.output,
        amount=amount or Decimal(0),
    )
