"""What attempts at asking a model cost, added up from the prices in their events, to the last digit."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal, localcontext

from pydantic import BaseModel

from clew.events.model import ModelAnswered, ModelFailed
from clew.events.price import Price
from clew.events.usage import Usage
from clew.prices import shown

# Amounts have 18 places; so many digits have room for a sum of any of them.
_DIGITS = 60


class Costs(BaseModel):
    """`amounts` are decimals by currency. What is not in them is counted, and is not for nothing.

    `unpriced` attempts used tokens that no table had a price for. Of `unknown` ones nobody said what they used,
    and the provider may bill them.
    """

    amounts: dict[str, str] = {}
    unpriced: int = 0
    unknown: int = 0

    @property
    def told(self) -> str:
        """In a line; empty where no model was asked."""
        parts = [f"{amount} {currency}" for currency, amount in self.amounts.items()]
        parts += [f"{self.unpriced} unpriced"] if self.unpriced else []
        parts += [f"{self.unknown} of unknown cost"] if self.unknown else []
        return ", ".join(parts)


def cost_of(event: ModelAnswered | ModelFailed) -> Costs:
    """That of one attempt."""
    unknown = event.usage_unknown if isinstance(event, ModelFailed) else event.usage is None
    return _costs(event.price, event.usage, unknown)


def _costs(price: Price | None, usage: Usage | None, unknown: bool) -> Costs:
    if price is not None:
        return Costs(amounts={price.currency: price.amount}, unknown=int(unknown))
    return Costs(unpriced=int(usage is not None), unknown=int(unknown))


def total(costs: Iterable[Costs]) -> Costs:
    sums: dict[str, Decimal] = {}
    unpriced = unknown = 0
    with localcontext(prec=_DIGITS):
        for one in costs:
            unpriced += one.unpriced
            unknown += one.unknown
            for currency, amount in one.amounts.items():
                sums[currency] = sums.get(currency, Decimal(0)) + Decimal(amount)
    return Costs(
        amounts={currency: shown(amount) for currency, amount in sorted(sums.items())},
        unpriced=unpriced,
        unknown=unknown,
    )
