"""What the tests of prices share: days, and a price in figures that can be worked by hand."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

from clew.events.price import Price
from clew.events.usage import Usage
from clew.prices import Prices


def at(day: str) -> int:
    """Microseconds since 1970 of a day or a time in UTC."""
    return int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()) * 1_000_000


def priced(
    provider: str, model: str, usage: Usage, day: str, prices: Prices | None = None, **context: str
) -> Price | None:
    return (prices or Prices()).price(provider, model, usage, at(day), context)


def amount(provider: str, model: str, usage: Usage, day: str, prices: Prices | None = None, **context: str) -> str:
    price = priced(provider, model, usage, day, prices, **context)
    assert price is not None, f"{provider}/{model} has no price"
    return price.amount


def shares(price: Price | None) -> dict[str, tuple[int, str, Decimal]]:
    """Of each line how many there were, at which price, and what that comes to."""
    assert price is not None
    return {line.kind: (line.tokens, line.price, line.tokens * Decimal(line.price) / line.per) for line in price.lines}
