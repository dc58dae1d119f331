"""Which budgets there are, and when each was reached, now or at any point in the past.

What is spent is the ledger's to say; here is what may be.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pydantic import BaseModel, ConfigDict

from clew.events.base import Recorded
from clew.events.budget import BudgetRemoved, BudgetSet, Period, Scope, Unit
from clew.events.run import BudgetReached
from clew.log import Reader
from clew.projecting import Projection, Rows, documents, moment


class _View(BaseModel):
    model_config = ConfigDict(frozen=True)


class BudgetView(_View):
    """`version` counts from 1; `set_at` is when this one was set, in microseconds."""

    budget_id: str
    version: int
    set_at: int
    scope: Scope
    subject: str | None = None
    period: Period
    unit: Unit
    limit: str
    hard: bool


class ReachedView(_View):
    """The first time that a version of a budget was reached, for one subject in one period.

    `occasion` tells that from all others. `blind` is set where it could not be told what was spent.
    """

    budget_id: str
    occasion: str
    reached: int
    at: int
    version: int
    subject: str | None = None
    since: int | None = None
    hard: bool
    spent: str
    limit: str
    unit: str
    blind: str | None = None
    thread_id: str
    run_id: str


BUDGETS = documents(
    "budgets",
    BudgetView,
    key=("budget_id",),
    columns={"budget_id": "text not null"},
)
# Not hot: the runs of many threads reach one budget, and rows are remembered by thread.
REACHED = replace(
    documents(
        "budgets_reached",
        ReachedView,
        key=("budget_id", "occasion"),
        columns={"budget_id": "text not null", "occasion": "text not null", "reached": "integer not null"},
        indexes=(("budget_id", "reached"),),
    ),
    hot=False,
)
projection = Projection(name="budgets", version=1, lifecycle="inline", tables=(BUDGETS, REACHED))


def occasion(version: int, subject: str | None, period: str, since: int | None, run_id: str, *, blind: bool) -> str:
    """What a budget that only warns says something once for."""
    when = run_id if period == "run" else since or "ever"
    return f"v{version} {subject or ''} {when}{' blind' if blind else ''}"


@projection.on(BudgetSet)
def _(recorded: Recorded[BudgetSet], rows: Rows) -> None:
    view = BudgetView(version=recorded.version, set_at=recorded.at, **recorded.event.model_dump())
    rows.save(BUDGETS, view)


@projection.on(BudgetRemoved)
def _(recorded: Recorded[BudgetRemoved], rows: Rows) -> None:
    rows.remove(BUDGETS, recorded.event.budget_id)


@projection.on(BudgetReached)
def _(recorded: Recorded[BudgetReached], rows: Rows) -> None:
    event = recorded.event
    if not event.version:
        # A limit that came with the run is no budget of anybody else's.
        return
    blind = event.blind is not None
    place = occasion(event.version, event.subject, event.period, event.since, event.run_id, blind=blind)
    if rows.get(REACHED, event.budget, place) is not None:
        return
    view = ReachedView(
        budget_id=event.budget,
        occasion=place,
        reached=recorded.position,
        at=recorded.at,
        thread_id=recorded.stream,
        **event.model_dump(
            include={"version", "subject", "since", "hard", "spent", "limit", "unit", "blind", "run_id"}
        ),
    )
    rows.save(REACHED, view)


# Questions


def budgets(reader: Reader, as_of: int | None = None) -> list[BudgetView]:
    """By name."""
    now, at = moment(as_of)
    rows = reader.rows(f"select doc from budgets where {now} order by budget_id", at)
    return [BUDGETS.read(row[0]) for row in rows]


def budget(reader: Reader, budget_id: str, as_of: int | None = None) -> BudgetView | None:
    now, at = moment(as_of)
    found: list[Any] = reader.rows(f"select doc from budgets where budget_id = ? and {now}", (budget_id, *at))
    return BUDGETS.read(found[0][0]) if found else None


def was_reached(reader: Reader, budget_id: str, place: str) -> bool:
    """Whether it was said, on that occasion."""
    found = reader.rows(
        "select 1 from budgets_reached where budget_id = ? and occasion = ? and until is null", (budget_id, place)
    )
    return bool(found)


def reached(reader: Reader, budget_id: str, *, limit: int, as_of: int | None = None) -> list[ReachedView]:
    """When a budget was reached, the newest first."""
    now, at = moment(as_of)
    rows = reader.rows(
        f"select doc from budgets_reached where budget_id = ? and {now} order by reached desc limit ?",
        (budget_id, *at, limit),
    )
    return [REACHED.read(row[0]) for row in rows]
