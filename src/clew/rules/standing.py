"""Where budgets stand as a model call is about to be made, and what is to be done: facts come in, nothing is looked up.

A hard budget admits a call if what is spent, what calls of others under way have reserved, and this call's own prompt
fit. Its answer may go beyond, once: whatever is asked after it finds the budget used up. What is only reserved may
come back, so it is waited for; what is spent does not.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import TypeAlias

# The code of runs that a budget ended, and of a model call that is not sent because it ended its run.
REACHED = "budget_exceeded"
# The code of a model call that is not sent now: others have reserved what it needs.
TAKEN = "budget_taken"

_NOTHING = Decimal(0)
_EACH = {"hour": "an hour", "day": "a day", "month": "a month", "run": "for a run", "total": "in all"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """One budget, for one subject, as a call is about to be made.

    `version` 0 is a limit that came with the run. `asked` is what the call's prompt takes, `reserved` what calls of
    others under way may still take, prompts and answers. `blind` says why the numbers are not the whole truth.
    `warned`: it was said before, for this subject and period.
    """

    budget: str
    version: int
    scope: str
    subject: str | None
    period: str
    since: int | None
    unit: str
    limit: Decimal
    hard: bool
    spent: Decimal
    asked: Decimal
    reserved: Decimal = _NOTHING
    blind: str | None = None
    warned: bool = False

    @property
    def used_up(self) -> bool:
        """Whether the call does not fit, whatever comes of the calls of others."""
        return self.blind is not None or self.spent + self.asked > self.limit

    @property
    def taken(self) -> bool:
        """Whether the call does not fit beside what others have reserved."""
        return self.spent + self.reserved + self.asked > self.limit


@dataclass(frozen=True, slots=True)
class Fits:
    """The call may be made."""


@dataclass(frozen=True, slots=True)
class Waits:
    """There may be room before long."""

    standing: Standing


@dataclass(frozen=True, slots=True)
class Over:
    """The call is not made, and the run ends."""

    standing: Standing


Verdict: TypeAlias = Fits | Waits | Over


def verdict(standings: Iterable[Standing], now: int, until: int | None) -> Verdict:
    """`until` is how long the run waits, if it waits already; both in microseconds."""
    hard = [one for one in standings if one.hard]
    over = next((one for one in hard if one.used_up), None)
    if over is not None:
        return Over(over)
    taken = next((one for one in hard if one.taken), None)
    if taken is None:
        return Fits()
    return Over(taken) if until is not None and now >= until else Waits(taken)


def warnings(standings: Iterable[Standing]) -> list[Standing]:
    return [one for one in standings if not one.hard and one.used_up and not one.warned]


def told(standing: Standing) -> str:
    """In a sentence: which budget it is, its limit, what is spent, and what was asked of it."""
    one = standing
    limit = _amount(one.limit, one.unit)
    budget = f"{named(one)} is {limit} {_EACH[one.period]}" if one.version else f"the run's own limit is {limit}"
    if one.blind is not None:
        return f"{budget}, and what is spent cannot be told: {one.blind}"
    spent = f"{_amount(one.spent, one.unit)} {'is' if one.spent == 1 or one.unit == 'USD' else 'are'} spent"
    if one.since is not None:
        spent += f" since {datetime.fromtimestamp(one.since / 1_000_000, UTC):%Y-%m-%d %H:%M} UTC"
    if one.unit == "seconds":
        return f"{budget}; {spent}"
    needs = f"the next model call takes about {_amount(one.asked, one.unit)} before it is answered"
    if one.used_up:
        return f"{budget}; {spent}, and {needs}"
    reserved = f"{_amount(one.reserved, one.unit)} reserved for calls under way, which did not end in time"
    return f"{budget}; {spent}, {reserved}, and {needs}"


def named(standing: Standing) -> str:
    whose = f" of {standing.scope} {standing.subject}" if standing.subject is not None else ""
    return f"the budget {standing.budget}{whose}"


def _amount(amount: Decimal, unit: str) -> str:
    return f"{plain(amount)} {unit[:-1] if amount == 1 and unit != 'USD' else unit}"


def plain(amount: Decimal) -> str:
    """As people write it: no exponent, no zeros at the end."""
    written = f"{amount:f}"
    return written.rstrip("0").rstrip(".") if "." in written else written


@dataclass(frozen=True, slots=True, kw_only=True)
class WarnOfBudget:
    thread_id: str
    run_id: str
    fence: int
    standing: Standing


@dataclass(frozen=True, slots=True, kw_only=True)
class AwaitBudget:
    """`unsent`: the model call is in the log already, and is not sent. `until` holds unless the run waits already."""

    thread_id: str
    run_id: str
    fence: int
    standing: Standing
    until: int
    unsent: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class StopAtBudget:
    """`unsent`: the model call is in the log already, and is not sent."""

    thread_id: str
    run_id: str
    fence: int
    standing: Standing
    unsent: bool = False


OnBudget: TypeAlias = WarnOfBudget | AwaitBudget | StopAtBudget
