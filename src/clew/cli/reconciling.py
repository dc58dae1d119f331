"""`clew ledger reconcile`: the ledger beside a provider's own usage export."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn
from rich.table import Table as Grid

from clew.billing.reconciling import Compared, Explanation, Reconciliation, reconcile
from clew.billing.usage_csv import read_export
from clew.cli.billing import bill
from clew.cli.common import JsonOption, StoreOption, clock, console, open_reader, print_json, safe
from clew.cli.ledger_text import money
from clew.errors import Misconfigured

_CALLS_TOLD_MAX = 10
_STYLES = {"agrees": "green", "explained": "yellow", "unexplained": "red"}
_HEADS = {
    "requests": "calls",
    "input": "input",
    "cached": "cached",
    "cache_write": "written",
    "cache_write_1h": "for 1 h",
    "output": "output",
    "web_searches": "searches",
}


def add_to(_: typer.Typer) -> None:
    bill.command(
        "reconcile", help="Beside a provider's usage export, by day (UTC) and model. Exit code 1 unless it fits."
    )(reconcile_export)


def reconcile_export(
    csv: Annotated[Path, typer.Option("--csv", metavar="FILE", help="OpenAI's or Anthropic's usage export.")],
    where: Annotated[
        list[str] | None,
        typer.Option("--where", metavar="COLUMN=VALUE", help="Only such rows of it, as api_key_id=…; may be repeated."),
    ] = None,
    provider: Annotated[
        str | None, typer.Option("--provider", help="Whose calls of the ledger; else those of the export's provider.")
    ] = None,
    since: Annotated[str | None, typer.Option("--since", metavar="DAY", help="Else the export's first.")] = None,
    until: Annotated[str | None, typer.Option("--until", metavar="DAY", help="The last; else the export's.")] = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """What a provider lists and what the ledger has."""
    export = read_export(csv, dict(map(_pair, where or [])))
    days = _day(since, "--since"), _day(until, "--until")
    columns = (SpinnerColumn(), TextColumn("{task.completed:,} calls read"))
    with Progress(*columns, console=console, transient=True, disable=as_json) as progress, open_reader(store) as reader:
        task = progress.add_task("entries", total=None)
        found = reconcile(
            reader,
            export,
            provider=provider,
            since=days[0],
            until=days[1],
            advance=lambda number: progress.advance(task, number),
        )
    if as_json:
        print_json(found.model_dump(mode="json"))
    else:
        print_reconciliation(console, found)
    if found.unexplained:
        raise typer.Exit(1)


def _pair(given: str) -> tuple[str, str]:
    column, equals, value = given.partition("=")
    if not equals:
        raise Misconfigured(f"--where {given!r} names no value; write --where COLUMN=VALUE")
    return column, value


def _day(given: str | None, option: str) -> date | None:
    if given is None:
        return None
    try:
        return date.fromisoformat(given)
    except ValueError:
        raise Misconfigured(f"{option} is {given!r}; write a day, such as 2026-11-25") from None


def print_reconciliation(console: Console, found: Reconciliation) -> None:
    """Where both agree one line, where not what each says; below it what accounts for the difference."""
    grid = Grid(box=None, header_style="bold", pad_edge=False)
    grid.add_column("day (UTC)")
    grid.add_column("model", overflow="fold")
    grid.add_column("")
    for name in found.counted:
        grid.add_column(_HEADS[name], justify="right")
    grid.add_column(found.currency, justify="right")
    grid.add_column("")
    for one in found.compared:
        _add(grid, found, one)
    console.print(grid)
    for one in found.compared:
        if one.explanations or one.verdict == "unexplained":
            _explain(console, one)
    _conclude(console, found)


def _add(grid: Grid, found: Reconciliation, one: Compared) -> None:
    head = (str(one.day), safe(one.model))
    amount = money(one.amount) + (" [yellow]*[/]" if one.unpriced_calls or one.lost_calls else "")
    verdict = f"[{_STYLES[one.verdict]}]{one.verdict}[/]"
    if one.listed == one.ledger:
        grid.add_row(*head, "both", *(f"{one.ledger[name]:,}" for name in found.counted), amount, verdict)
        return
    grid.add_row(*head, found.provider, *(f"{one.listed[name]:,}" for name in found.counted), "", "")
    grid.add_row("", "", "ledger", *(f"{one.ledger[name]:,}" for name in found.counted), amount, "")
    more = (f"{one.difference[name]:+,}" if one.difference[name] else "" for name in found.counted)
    grid.add_row("", "", "[bold]difference[/]", *(f"[bold]{count}[/]" if count else "" for count in more), "", verdict)


def _explain(console: Console, one: Compared) -> None:
    console.print(f"\n[bold]{one.day}  {safe(one.model)}[/]  {_names(one)}")
    for why in one.explanations:
        _tell(console, why)
    if not one.explanations:
        lines = f" (lines {', '.join(map(str, one.lines[:_CALLS_TOLD_MAX]))})" if one.lines else ""
        console.print(f"  nothing in the ledger accounts for what the provider lists{lines}")


def _names(one: Compared) -> str:
    """Where the two sides call it by different names."""
    if one.listed_as == one.recorded_as or not one.listed_as or not one.recorded_as:
        return ""
    return f"[dim]listed as {safe(', '.join(one.listed_as))}; in the ledger {safe(', '.join(one.recorded_as))}[/]"


def _tell(console: Console, why: Explanation) -> None:
    console.print(f"  {why.text}")
    for call in why.calls[:_CALLS_TOLD_MAX]:
        counts = ", ".join(f"{_HEADS[name]} {count:,}" for name, count in (call.counts or {}).items() if count)
        known = counts or f"prompt estimated at {call.estimated_tokens:,} tokens"
        failure = f", {safe(call.failure)}" if call.failure else ""
        console.print(f"    [dim]{clock(call.at)}  position {call.position}  {call.run_id}[/]  {known}{failure}")
    if len(why.calls) > _CALLS_TOLD_MAX:
        console.print(f"    [dim]… and {len(why.calls) - _CALLS_TOLD_MAX} more; --json tells all[/]")


def _conclude(console: Console, found: Reconciliation) -> None:
    days = f"{found.since}" if found.since == found.until else f"{found.since} to {found.until}"
    counts = ", ".join(f"{_HEADS[name]} {found.listed[name]:,} / {found.ledger[name]:,}" for name in found.counted)
    console.print(f"\n{days}: {counts} [dim](listed / ledger)[/]")
    if found.rows_passed_over:
        console.print(f"[dim]{found.rows_passed_over:,} rows of the export are others' and were passed over[/]")
    if any(one.unpriced_calls or one.lost_calls for one in found.compared):
        unpriced = sum(one.unpriced_calls for one in found.compared)
        lost = sum(one.lost_calls for one in found.compared)
        console.print(f"[yellow]*[/] not in the amount: {unpriced:,} calls without a price, {lost:,} of unknown usage")
    if not found.compared:
        console.print("neither the provider nor the ledger has any call")
    elif found.unexplained:
        console.print(f"[red]{found.unexplained} of {len(found.compared)} do not fit[/]")
    else:
        console.print("[green]everything fits[/]")
