"""Which tokens of a call are billed at which price, and what is billed by number.

Prices are for disjoint kinds of tokens, usage is told in totals that hold each other. Where a model has no price of
its own for a kind, the wider kind's price holds: what was read from a cache is input if nothing says otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from decimal import ROUND_HALF_EVEN, Decimal, localcontext

from clew.events.price import Price, PriceLine
from clew.events.usage import Usage

# Each kind, the wider kind that it is a part of, and how many tokens of it (its parts included) there are.
_KINDS: tuple[tuple[str, str | None, Callable[[Usage], int]], ...] = (
    ("input", None, lambda usage: usage.input),
    ("cache_read", "input", lambda usage: usage.cached),
    ("cache_write", "input", lambda usage: usage.cache_write),
    ("cache_write_1h", "cache_write", lambda usage: usage.cache_write_1h),
    ("input_audio", "input", lambda usage: usage.input_audio),
    ("output", None, lambda usage: usage.output),
    ("output_reasoning", "output", lambda usage: usage.reasoning),
    ("output_audio", "output", lambda usage: usage.output_audio),
)
# What is billed by number, and how many there are of it. `requests` is what some providers take for each call.
_COUNTED: dict[str, Callable[[Usage], int]] = {
    "web_searches": lambda usage: usage.web_searches,
    "requests": lambda _: 1,
}
COUNTED = tuple(_COUNTED)
KINDS = tuple(kind for kind, _, _ in _KINDS)
# Of a decimal while it is computed with: a price of 20 digits times a trillion tokens has room.
DIGITS = 50
# A dollar has 18 places here: enough for every price that there is, for a single token, without rounding.
_PLACES = Decimal(1).scaleb(-18)
_WIDER = {kind: wider for kind, wider, _ in _KINDS}
# Those that are for what was sent.
INPUT_KINDS = frozenset(kind for kind in KINDS if "input" in (kind, _WIDER[kind], _WIDER.get(_WIDER[kind] or "")))


def lines(usage: Usage, prices: Mapping[str, Decimal]) -> tuple[PriceLine, ...]:
    """One for each kind that has a price and was used. `prices` are for a million tokens, or a thousand searches.

    Raises `ValueError` for a usage whose parts are more than the whole, since nobody can say what was meant, and for
    searches that have no price, since they are not free.
    """
    return (
        *_token_lines(usage, {kind: price for kind, price in prices.items() if kind in KINDS}),
        *_counted_lines(usage, prices),
    )


def _counted_lines(usage: Usage, prices: Mapping[str, Decimal]) -> tuple[PriceLine, ...]:
    if usage.web_searches and "web_searches" not in prices:
        raise ValueError(f"nobody knows the price of its {usage.web_searches} web searches")
    return tuple(
        PriceLine(kind=kind, tokens=number(usage), price=f"{prices[kind]:f}", per=1_000)
        for kind, number in _COUNTED.items()
        if kind in prices and number(usage)
    )


def _token_lines(usage: Usage, prices: Mapping[str, Decimal]) -> tuple[PriceLine, ...]:
    counts = dict.fromkeys(prices, 0)
    for kind, _, count in reversed(_KINDS):
        own = count(usage) - sum(part(usage) for _, wider, part in _KINDS if wider == kind)
        billed_as = _priced(kind, prices)
        if billed_as is not None:
            counts[billed_as] += own
    if impossible := next((kind for kind, count in counts.items() if count < 0), None):
        raise ValueError(f"the parts of {impossible} are {-counts[impossible]} tokens more than the whole")
    return tuple(
        PriceLine(kind=kind, tokens=counts[kind], price=f"{prices[kind]:f}") for kind in KINDS if counts.get(kind)
    )


def _priced(kind: str, prices: Mapping[str, Decimal]) -> str | None:
    wanted: str | None = kind
    while wanted is not None and wanted not in prices:
        wanted = _WIDER[wanted]
    return wanted


def repriced(price: Price, usage: Usage) -> Price | None:
    """What another usage would have come to at the same unit prices, None where they are not known."""
    if not price.lines:
        return None
    found = lines(usage, {line.kind: Decimal(line.price) for line in price.lines})
    return price.model_copy(update={"lines": found, "amount": shown(rounded(total(found)))})


def line_amount(line: PriceLine) -> Decimal:
    with localcontext(prec=DIGITS):
        return line.tokens * Decimal(line.price) / line.per


def total(found: Iterable[PriceLine]) -> Decimal:
    """What the lines come to, nothing rounded."""
    with localcontext(prec=DIGITS):
        return sum(map(line_amount, found), Decimal(0))


def rounded(amount: Decimal) -> Decimal:
    """To the places that amounts have, half to even."""
    with localcontext(prec=DIGITS):
        return amount.quantize(_PLACES, rounding=ROUND_HALF_EVEN)


def shown(amount: Decimal) -> str:
    """As people write it: no exponent, no zeros at the end."""
    written = f"{amount:f}"
    return written.rstrip("0").rstrip(".") if "." in written else written
