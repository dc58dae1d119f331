"""Budgets, in Clew's own API: what there is, how each stands, setting and removing."""

from __future__ import annotations

from typing import Annotated

from fastapi import FastAPI, Path, Query
from pydantic import BaseModel, ConfigDict, Field

from clew.engine.budgets import Look, Measure
from clew.engine.engine import Engine
from clew.errors import NotFound
from clew.events.budget import Period, Scope, Unit
from clew.log import Reader
from clew.prices import Prices
from clew.rules.budget import RemoveBudget, SetBudget
from clew.rules.standing import plain
from clew.server.past import AsOf
from clew_projections import billing_ledger
from clew_projections import budgets as catalogue
from clew_projections.budgets import BudgetView, ReachedView

_REACHED_IN_LISTS = 3
_ACTOR = "clew"

BudgetId = Annotated[str, Path(max_length=64)]


class BudgetWanted(BaseModel):
    """A limit on what is spent: in tokens, or in US dollars as a decimal string.

    It holds for `subject`, the id of a run, thread or assistant, or the name of a tenant; without one, for each of
    them by itself. `period` is what is added up: one run, an hour, day or month (UTC), or everything. A budget that
    is not `hard` only warns.
    """

    model_config = ConfigDict(extra="forbid")

    scope: Scope
    subject: Annotated[str | None, Field(max_length=256)] = None
    period: Period
    unit: Unit
    limit: Annotated[str, Field(max_length=64)] | Annotated[int, Field(strict=True)]
    hard: bool = True


class BudgetStanding(BaseModel):
    """Where it stands for one subject. Times are in microseconds since 1970, amounts are decimals in its unit.

    `reserved` is for model calls under way, and only known of now. `blind` says why `spent` is not the whole truth.
    """

    subject: str
    since: int | None
    until: int | None
    spent: str
    reserved: str | None
    left: str
    blind: str | None


class BudgetInfo(BaseModel):
    """`standing` is that of the budget's own subject, or of the one that was asked about.

    `reached` tells of the first time in each period that it was reached, for each subject; the newest first.
    """

    budget_id: str
    version: int
    set_at: int
    scope: Scope
    subject: str | None
    period: Period
    unit: Unit
    limit: str
    hard: bool
    standing: BudgetStanding | None
    reached: list[ReachedView]


class BudgetGone(BaseModel):
    budget_id: str
    removed: bool


def add_budgets(app: FastAPI, engine: Engine) -> None:
    @app.get("/budgets", summary="The budgets, and where they stand")
    async def list_budgets(as_of: AsOf) -> list[BudgetInfo]:
        with engine.log.reading() as reader:
            found = catalogue.budgets(reader, as_of)
            now = moment_of(reader, engine.log.now(), as_of)
            return [
                budget_info(reader, one, engine.prices, now, as_of=as_of, reached=_REACHED_IN_LISTS) for one in found
            ]

    @app.get(
        "/budgets/{budget_id}",
        summary="A budget, and where it stands",
        description="With `subject`, where it stands for that one: a run where the period is a run.",
    )
    async def get_budget(
        budget_id: BudgetId,
        as_of: AsOf,
        subject: Annotated[str | None, Query(max_length=256)] = None,
        reached: Annotated[int, Query(ge=0, le=1_000)] = 100,
    ) -> BudgetInfo:
        return _one(engine, budget_id, as_of, subject, reached)

    @app.put("/budgets/{budget_id}", summary="Set a budget", description="Set again, it is as it is set then.")
    async def set_budget(budget_id: BudgetId, body: BudgetWanted) -> BudgetInfo:
        command = wanted(budget_id, body)
        await engine.desk.on_budget(budget_id, lambda: command, actor=_ACTOR)
        return _one(engine, budget_id, None, None, _REACHED_IN_LISTS)

    @app.delete("/budgets/{budget_id}", summary="Remove a budget", description="It holds no more; what was stays.")
    async def remove_budget(budget_id: BudgetId) -> BudgetGone:
        command = RemoveBudget(budget_id=budget_id, by=_ACTOR)
        await engine.desk.on_budget(budget_id, lambda: command, actor=_ACTOR)
        return BudgetGone(budget_id=budget_id, removed=True)


def wanted(budget_id: str, body: BudgetWanted) -> SetBudget:
    return SetBudget(
        budget_id=budget_id,
        scope=body.scope,
        subject=body.subject,
        period=body.period,
        unit=body.unit,
        limit=str(body.limit),
        hard=body.hard,
    )


def _one(engine: Engine, budget_id: str, as_of: int | None, subject: str | None, reached: int) -> BudgetInfo:
    with engine.log.reading() as reader:
        view = catalogue.budget(reader, budget_id, as_of)
        if view is None:
            raise NotFound(noun="budget", id=budget_id)
        now = moment_of(reader, engine.log.now(), as_of)
        return budget_info(reader, view, engine.prices, now, as_of=as_of, subject=subject, reached=reached)


def moment_of(reader: Reader, now: int, as_of: int | None) -> int:
    """The time that was now as of a position."""
    if as_of is None:
        return now
    return reader.times_of((as_of,))[0] if as_of else 0


def budget_info(
    reader: Reader,
    view: BudgetView,
    prices: Prices,
    now: int,
    *,
    as_of: int | None = None,
    subject: str | None = None,
    reached: int,
) -> BudgetInfo:
    named = view.subject if view.period != "run" or view.scope == "run" else None
    whose = subject or named
    return BudgetInfo(
        **view.model_dump(),
        standing=_standing(reader, view, prices, now, as_of, whose) if whose is not None else None,
        reached=catalogue.reached(reader, view.budget_id, limit=reached, as_of=as_of) if reached else [],
    )


def _standing(
    reader: Reader, view: BudgetView, prices: Prices, now: int, as_of: int | None, subject: str
) -> BudgetStanding:
    run_id = subject if view.period == "run" else None
    stands = Look(reader, Measure(view.unit, prices, now), run_id=run_id, as_of=as_of).at(view, subject)
    until = None if view.period == "run" or view.period == "total" else billing_ledger.following(now, view.period)
    return BudgetStanding(
        subject=subject,
        since=stands.since,
        until=until,
        spent=plain(stands.spent),
        reserved=plain(stands.reserved) if as_of is None else None,
        left=plain(max(stands.limit - stands.spent, stands.limit * 0)),
        blind=stands.blind,
    )
