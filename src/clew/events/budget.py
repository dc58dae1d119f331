"""What can happen to a budget: a limit on what runs may spend. Each setting makes a version of it."""

from __future__ import annotations

from typing import ClassVar, Literal, TypeAlias

from clew.events.base import Event

Scope: TypeAlias = Literal["run", "thread", "assistant", "tenant"]
Period: TypeAlias = Literal["run", "hour", "day", "month", "total"]
Unit: TypeAlias = Literal["tokens", "USD"]


class BudgetSet(Event):
    """The whole budget as it is from here on.

    It holds for `subject`, or, where that is None, for each run, thread, assistant or tenant by itself. `period` is
    what is added up: everything ever, what was spent in this hour, day or month (UTC), or by one run. `limit` is a
    decimal. A budget that is not `hard` warns.
    """

    kind: ClassVar[str] = "budget.set"

    budget_id: str
    scope: Scope
    subject: str | None = None
    period: Period
    unit: Unit
    limit: str
    hard: bool


class BudgetRemoved(Event):
    """It holds no more. The same name may be set again."""

    kind: ClassVar[str] = "budget.removed"

    budget_id: str
    by: str | None = None


BudgetEvent: TypeAlias = BudgetSet | BudgetRemoved
