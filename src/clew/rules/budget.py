"""The rule book of a budget: what may be set. What follows from where budgets stand is in `spending.py`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation, localcontext
from typing import TypeAlias, assert_never

from clew.errors import NotABudget, NotFound
from clew.events import BudgetEvent
from clew.events.budget import BudgetRemoved, BudgetSet, Period, Scope, Unit
from clew.rules.decider import Decider

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
# As many as amounts of money have in the ledger, and more than anybody spends.
_PLACES_MAX = 18
_LIMIT_MAX = Decimal(10) ** 18
_DIGITS = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class SetBudget:
    """`limit` is a decimal; a whole number where `unit` is tokens."""

    budget_id: str
    scope: Scope
    subject: str | None
    period: Period
    unit: Unit
    limit: str
    hard: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveBudget:
    budget_id: str
    by: str | None = None


BudgetCommand: TypeAlias = SetBudget | RemoveBudget


@dataclass(frozen=True, slots=True)
class Budget:
    """As it is set; None before, and after it was removed."""

    now: BudgetSet | None = None


def stream_of(budget_id: str) -> str:
    """People choose the names of budgets, and no name may be that of another stream."""
    return f"budget_{budget_id}"


def decide(command: BudgetCommand, budget: Budget) -> Sequence[BudgetEvent]:
    match command:
        case SetBudget():
            wanted = _checked(command)
            return [] if wanted == budget.now else [wanted]
        case RemoveBudget(budget_id=budget_id, by=by):
            if budget.now is None:
                raise NotFound(noun="budget", id=budget_id)
            return [BudgetRemoved(budget_id=budget_id, by=by)]
        case _:
            assert_never(command)


def _checked(command: SetBudget) -> BudgetSet:
    if not _NAME.fullmatch(command.budget_id):
        why = "a name has up to 64 letters, digits, dots, dashes and underscores, and begins with a letter or digit"
        raise NotABudget(budget_id=command.budget_id, why=why)
    if command.subject == "":
        raise NotABudget(budget_id=command.budget_id, why="nobody is called ''; null stands for each by itself")
    return BudgetSet(
        budget_id=command.budget_id,
        scope=command.scope,
        subject=command.subject,
        period=command.period,
        unit=command.unit,
        limit=_limit(command),
        hard=command.hard,
    )


def _limit(command: SetBudget) -> str:
    """As people write it, so that the same limit is the same text."""
    try:
        limit = Decimal(command.limit)
    except InvalidOperation:
        raise NotABudget(budget_id=command.budget_id, why=f"{command.limit!r} is no decimal number") from None
    if not limit.is_finite() or not 0 <= limit < _LIMIT_MAX:
        raise NotABudget(budget_id=command.budget_id, why=f"a limit is from 0 to {_LIMIT_MAX}, not {command.limit}")
    places = 0 if command.unit == "tokens" else _PLACES_MAX
    with localcontext(prec=_DIGITS):
        rounded = abs(limit.quantize(Decimal(1).scaleb(-places)))
    if rounded != limit:
        allowed = "whole tokens" if command.unit == "tokens" else f"at most {_PLACES_MAX} decimal places"
        raise NotABudget(budget_id=command.budget_id, why=f"a limit has {allowed}, not {command.limit}")
    written = f"{rounded:f}"
    return written.rstrip("0").rstrip(".") if "." in written else written


def evolve(budget: Budget, event: BudgetEvent) -> Budget:
    match event:
        case BudgetSet():
            return Budget(event)
        case BudgetRemoved():
            return Budget()
        case _:
            assert_never(event)


budget_rules: Decider[BudgetCommand, Budget, BudgetEvent] = Decider(
    name="budget", version=1, initial=Budget(), decide=decide, evolve=evolve
)
