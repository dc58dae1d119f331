"""The tables of the billing ledger, and what their rows are called when they are read.

An amount is kept as two whole numbers, billionths of the currency and billionths of those, so that both databases add
it up exactly. Every call is one entry, and is posted to accounts (of its thread, its assistant, its model, each of
its tags) that carry running totals: what an account had spent at any position is found by seeking, and what it spent
between two positions is the difference.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal, localcontext
from fractions import Fraction
from functools import lru_cache
from operator import add, sub
from typing import Any, Literal, NamedTuple, TypeAlias

from clew.projecting import Table

CURRENCY = "USD"
# The places that an amount has, kept in two halves.
PLACES = 18
_NANO = 10**9
# Enough for every amount of that many places that two integers of a database can hold, added up a million times.
_DIGITS = 50

AccountKind: TypeAlias = Literal["model", "thread", "assistant", "tag"]

# What is counted, in entries and in running totals alike. `calls` is 1 in every entry, so it has no column there.
# `truncation` is what the tokens that were left out would have cost, `caching` what cached ones would have cost more.
COUNTS = (
    "failed_calls",
    "unpriced_calls",
    "lost_calls",
    "input_tokens",
    "cached_tokens",
    "cache_write_tokens",
    "output_tokens",
    "reasoning_tokens",
    "left_out_tokens",
)
AMOUNTS = ("amount", "truncation", "caching")
_HALVES = tuple((f"{name}_nano", f"{name}_atto") for name in AMOUNTS)
COUNTED = (*COUNTS, *(half for halves in _HALVES for half in halves))
_COUNTED = dict.fromkeys(COUNTED, "integer not null")

THREADS = Table(
    name="ledger_threads",
    key=("thread_id",),
    columns={"thread_id": "text not null", "tenant": "text not null"},
    indexes=(("tenant", "thread_id"),),
    timed=False,
    hot=True,
)
# The runs under way, and the model call that each is at: `called` is the position of the call that waits, if any, and
# `context` what it was shown, see `billed_contexts`.
UNDER_WAY = Table(
    name="ledger_under_way",
    key=("run_id",),
    columns={
        "run_id": "text not null",
        "thread_id": "text not null",
        "tenant": "text not null",
        "assistant_id": "text",
        "tags": "text",
        "estimated_tokens": "integer not null",
        "left_out_tokens": "integer not null",
        "items": "integer not null",
        "context": "text",
        "max_output_tokens": "integer",
        "called": "integer",
        "model_call_id": "text",
        "attempt": "integer not null",
        "provider": "text",
        "model": "text",
        "purpose": "text",
    },
    timed=False,
    hot=True,
)
# `position` is that of the event that ended the attempt, `called` of the one that began it. `tags` is JSON, in order.
# `input_nano` and `input_atto` are that part of the amount which was for input, as far as the price's lines tell.
ENTRIES = Table(
    name="ledger_entries",
    key=("tenant", "position"),
    columns={
        "tenant": "text not null",
        "position": "integer not null",
        "at": "integer not null",
        "called": "integer not null",
        "thread_id": "text not null",
        "run_id": "text not null",
        "step_id": "text",
        "assistant_id": "text",
        "provider": "text not null",
        "model": "text not null",
        "purpose": "text not null",
        "tags": "text",
        "estimated_tokens": "integer not null",
        "context": "text",
        "input_nano": "integer not null",
        "input_atto": "integer not null",
        **_COUNTED,
    },
    indexes=(("thread_id", "position"), ("run_id", "position")),
    timed=False,
)
# `part` is the provider of a model and the label of a tag, and empty for the rest.
_ACCOUNT = dict.fromkeys(("kind", "tenant", "part", "name"), "text not null")
ACCOUNTS = Table(
    name="ledger_accounts",
    key=tuple(_ACCOUNT),
    columns={**_ACCOUNT, "opened": "integer not null"},
    timed=False,
)
BALANCES = Table(
    name="ledger_balances",
    key=tuple(_ACCOUNT),
    columns={**_ACCOUNT, "calls": "integer not null", **_COUNTED},
    hot=True,
    common=True,
    running=True,
)


class Total(NamedTuple):
    """What some calls used and cost together.

    Each attempt is a call. `unpriced_calls` used tokens that no table had a price for; of `lost_calls` nobody knows
    what they used. Neither is in `amount`, which is why they are told beside it. `left_out_tokens` were not sent
    because of truncation. Attos are billionths of billionths of the currency.
    """

    calls: int = 0
    failed_calls: int = 0
    unpriced_calls: int = 0
    lost_calls: int = 0
    input_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    left_out_tokens: int = 0
    attos: int = 0
    truncation_attos: int = 0
    caching_attos: int = 0

    @property
    def amount(self) -> Decimal:
        return from_attos(self.attos)

    @property
    def saved_by_truncation(self) -> Decimal:
        """What the tokens that were left out would have cost, at the full price of the calls that left them out."""
        return from_attos(self.truncation_attos)

    @property
    def saved_by_caching(self) -> Decimal:
        """What tokens that the provider had cached would have cost more at the full price."""
        return from_attos(self.caching_attos)

    @property
    def currency(self) -> str:
        return CURRENCY

    def plus(self, other: Total) -> Total:
        return Total(*map(add, self, other))

    def minus(self, other: Total) -> Total:
        return Total(*map(sub, self, other))


NOTHING = Total()


def total_of(row: Sequence[Any]) -> Total:
    """From the calls and the columns of `COUNTED`, or sums over them, in that order."""
    numbers = [int(value or 0) for value in row]
    counts, halves = numbers[: len(COUNTS) + 1], numbers[len(COUNTS) + 1 :]
    return Total._make([*counts, *(nano * _NANO + atto for nano, atto in zip(halves[::2], halves[1::2], strict=True))])


def running_total(
    calls: int,
    failed_calls: int,
    unpriced_calls: int,
    lost_calls: int,
    input_tokens: int,
    cached_tokens: int,
    cache_write_tokens: int,
    output_tokens: int,
    reasoning_tokens: int,
    left_out_tokens: int,
    *halves: int,
) -> Total:
    """The same, of a row that has a number in every column: there may be thousands of them."""
    nano, atto, truncation_nano, truncation_atto, caching_nano, caching_atto = halves
    return Total(
        calls,
        failed_calls,
        unpriced_calls,
        lost_calls,
        input_tokens,
        cached_tokens,
        cache_write_tokens,
        output_tokens,
        reasoning_tokens,
        left_out_tokens,
        nano * _NANO + atto,
        truncation_nano * _NANO + truncation_atto,
        caching_nano * _NANO + caching_atto,
    )


def columns_of(total: Total) -> dict[str, int]:
    """The columns of `COUNTED`, in their order. In running totals both halves of an amount just grow."""
    columns = dict(zip(COUNTS, total[1:], strict=False))
    for (nano, atto), attos in zip(_HALVES, total[-len(AMOUNTS) :], strict=True):
        columns[nano], columns[atto] = divmod(attos, _NANO)
    return columns


def in_attos(amount: Decimal) -> int:
    """Whole, because amounts have no more places than that."""
    with localcontext(prec=_DIGITS):
        return int(amount.scaleb(PLACES).to_integral_value())


@lru_cache(maxsize=4_096)
def _attos_a_token(price: str, per: int) -> tuple[int, int]:
    """As a fraction in its lowest terms: there are few prices, and many calls."""
    rate = Fraction(price) * 10**PLACES / per
    return rate.numerator, rate.denominator


def worth_in_attos(tokens: int, price: str, per: int) -> int:
    """What so many tokens cost, half to even where that is not whole."""
    numerator, denominator = _attos_a_token(price, per)
    whole, rest = divmod(tokens * numerator, denominator)
    return whole + (2 * rest > denominator or (2 * rest == denominator and whole % 2))


def from_attos(attos: int) -> Decimal:
    with localcontext(prec=_DIGITS):
        return Decimal(attos).scaleb(-PLACES).normalize()


def halves_of(name: str, attos: int) -> dict[str, int]:
    """As an amount is kept."""
    nano, atto = divmod(attos, _NANO)
    return {f"{name}_nano": nano, f"{name}_atto": atto}


def attos_in(row: Mapping[str, Any], name: str) -> int:
    return int(row[f"{name}_nano"]) * _NANO + int(row[f"{name}_atto"])
