"""`clew budgets`: what may be spent, what is, and setting it otherwise."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import typer
from pydantic import ValidationError
from rich.table import Table as Grid

import clew_projections
from clew.cli.common import (
    AsOfOption,
    JsonOption,
    StoreOption,
    ask_server,
    clock,
    console,
    open_log,
    point_given,
    position_of,
    print_json,
    safe,
)
from clew.desk import Desk
from clew.errors import Misconfigured, StoreLocked
from clew.log import Log, open_store
from clew.projecting import Keeper, discover
from clew.rules.budget import BudgetCommand, RemoveBudget
from clew.server.budgets import BudgetInfo, BudgetWanted, budget_info, moment_of, wanted
from clew.settings import from_environment
from clew.wiring import make_prices
from clew_projections import budgets as catalogue

_REACHED_MAX = 3

budgets = typer.Typer(help="What may be spent, and what is.", invoke_without_command=True)
UrlOption = Annotated[str | None, typer.Option(help="The server that has the store, if one does.")]


def add_to(app: typer.Typer) -> None:
    app.add_typer(budgets, name="budgets")


@budgets.callback()
def show(
    context: typer.Context, store: StoreOption = None, as_of: AsOfOption = None, as_json: JsonOption = False
) -> None:
    """The budgets there are, and where they stand."""
    if context.invoked_subcommand is not None:
        return
    prices = make_prices(from_environment(store=store))
    with open_log(store) as log, log.reading() as reader:
        position = position_of(point_given(as_of), reader)
        now = moment_of(reader, log.now(), position)
        found = [
            budget_info(reader, view, prices, now, as_of=position, reached=_REACHED_MAX)
            for view in catalogue.budgets(reader, position)
        ]
    if as_json:
        print_json([one.model_dump(mode="json") for one in found])
    else:
        console.print(_table(found) if found else "no budgets; `clew budgets set NAME LIMIT --scope …` sets one")


def _table(found: list[BudgetInfo]) -> Grid:
    grid = Grid("budget", "holds for", "per", "limit", "", "spent", "reserved", "left", "last reached", box=None)
    for one in found:
        stands = one.standing
        numbers = (stands.spent, stands.reserved or "-", stands.left) if stands is not None else ("-", "-", "-")
        grid.add_row(
            one.budget_id,
            safe(f"{one.scope} {one.subject}" if one.subject is not None else f"each {one.scope}"),
            one.period,
            f"{one.limit} {one.unit}",
            "hard" if one.hard else "warns",
            *numbers,
            f"{clock(one.reached[0].at)} by {one.reached[0].run_id}" if one.reached else "",
        )
    return grid


@budgets.command("set", help="Set a budget: in the store itself, or by the server that has it.")
def set_budget(
    name: Annotated[str, typer.Argument()],
    limit: Annotated[str, typer.Argument(help="How much: tokens, or US dollars.")],
    scope: Annotated[str, typer.Option(help="run, thread, assistant or tenant.")],
    period: Annotated[str, typer.Option(help="What is added up: run, hour, day, month (UTC) or total.")],
    unit: Annotated[str, typer.Option(help="tokens or USD.")],
    subject: Annotated[str | None, typer.Option(help="Whose it is. Without it: of each by itself.")] = None,
    hard: Annotated[bool, typer.Option("--hard/--warn", help="Whether it ends runs, or only says so.")] = True,
    store: StoreOption = None,
    url: UrlOption = None,
) -> None:
    given = {"scope": scope, "subject": subject, "period": period, "unit": unit, "limit": limit, "hard": hard}
    try:
        body = BudgetWanted.model_validate(given)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
        raise Misconfigured(faults) from error
    _tell(store, url, "PUT", name, wanted(name, body), body.model_dump())
    whose = subject if subject is not None else f"each {scope}"
    per = "" if period == "total" else f" per {period}"
    console.print(f"{name}: {limit} {unit}{per} for {safe(whose)}, {'hard' if hard else 'warns'}")


@budgets.command("remove", help="Remove a budget; what was stays in the log.")
def remove_budget(name: Annotated[str, typer.Argument()], store: StoreOption = None, url: UrlOption = None) -> None:
    _tell(store, url, "DELETE", name, RemoveBudget(budget_id=name, by="clew"), None)
    console.print(f"{name} holds no more")


def _tell(
    store: str | None, url: str | None, method: str, name: str, command: BudgetCommand, body: dict[str, Any] | None
) -> None:
    """Into the store, or where a server writes to its file, through that."""
    keeper = Keeper(discover(clew_projections))
    try:
        opened = open_store(from_environment(store=store).store)
    except StoreLocked:
        ask_server(url, method, f"/clew/v1/budgets/{name}", body)
        return

    async def append(log: Log) -> None:
        await keeper.prepare(log)
        desk = Desk(log)
        await desk.on_budget(name, lambda: command, actor="clew")
        await desk.close()

    log = Log(opened, keeper.inline, keeper.forget, keeper.swapped)
    try:
        asyncio.run(append(log))
    finally:
        log.close()
