"""`clew what-if`: what the past would have used and cost with another strategy or model, or at other prices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table as Grid

from clew.billing.costs import CURRENCY
from clew.billing.supposing import Otherwise, supposed_of
from clew.billing.what_if import RunIf, what_if
from clew.billing.what_if_told import CostTold, RunTold, WhatIf, tell
from clew.cli.common import (
    PROGRESS_COLUMNS,
    AsOfOption,
    JsonOption,
    StoreOption,
    console,
    open_log,
    position_of,
    print_json,
    safe,
    thread_and_point,
)
from clew.cli.ledger_text import money
from clew.engine.models import resolve
from clew.engine.strategies import as_written
from clew.errors import Erased, Misconfigured, NotFound
from clew.log import Log
from clew.past import Point
from clew.prices import Prices, read_overrides
from clew.settings import PROVIDER_NAMES, from_environment
from clew.wiring import make_prices
from clew_projections import run_view, thread_view

# Of a thread the newest runs, of all threads those that differ most.
_SHOWN_MAX = 20
_ESTIMATES = frozenset(("estimated", "imagined"))


@dataclass(frozen=True, slots=True)
class _Asked:
    otherwise: Otherwise
    prices: Prices
    reprices: bool
    context_tokens: int | None
    truncation: str | None
    model: str | None
    prices_file: Path | None

    def told(self, runs: Sequence[RunIf], erased: Sequence[str] = ()) -> WhatIf:
        name = str(self.prices_file) if self.prices_file is not None else None
        return tell(runs, truncation=self.truncation, model=self.model, prices=name, erased_threads=erased)


def add_to(app: typer.Typer) -> None:
    app.command("what-if", help="What the past would have cost under another strategy, model or price. Calls nothing.")(
        suppose
    )


def suppose(
    named: Annotated[str | None, typer.Argument(metavar="[THREAD[@POINT]]")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All threads of the store.")] = False,
    truncation: Annotated[
        str | None,
        typer.Option(
            "--truncation",
            metavar="STRATEGY",
            help="auto, none, last_messages:20, token_budget:8000, clear_tool_results:3, summarise, summarise:8000.",
        ),
    ] = None,
    model: Annotated[str | None, typer.Option("--model", metavar="MODEL", help="A model, or PROVIDER/MODEL.")] = None,
    prices: Annotated[
        Path | None, typer.Option("--prices", metavar="FILE", help="A TOML file of prices, in place of CLEW_PRICES.")
    ] = None,
    store: StoreOption = None,
    as_of: AsOfOption = None,
    as_json: JsonOption = False,
) -> None:
    """Beside what was."""
    asked = _asked(truncation, model, prices)
    if everything == (named is not None):
        raise Misconfigured("name a thread, or say --all")
    thread_id, point = thread_and_point(named or "", as_of)
    with open_log(store) as log:
        if everything:
            _all(log, asked, point, as_json=as_json)
        else:
            _one(log, thread_id, asked, point, as_json=as_json)


def _asked(truncation: str | None, model: str | None, prices: Path | None) -> _Asked:
    if truncation is None and model is None and prices is None:
        raise Misconfigured("say what would be otherwise: --truncation, --model, or --prices")
    settings = from_environment()
    known = dict.fromkeys((*PROVIDER_NAMES, "scripted"))
    strategy = supposed_of(truncation, "--truncation", known) if truncation is not None else None
    provider, name = resolve(model, known, settings.default_provider) if model is not None else (None, None)
    configured = make_prices(settings)
    return _Asked(
        otherwise=Otherwise(strategy, provider, name),
        prices=configured if prices is None else Prices(read_overrides(prices), configured.addresses),
        reprices=prices is not None,
        context_tokens=settings.context_tokens,
        truncation=as_written(strategy) if strategy is not None else None,
        model=f"{provider}/{name}" if name is not None else None,
        prices_file=prices,
    )


def _runs(log: Log, thread_id: str, asked: _Asked, as_of: int | None) -> list[RunIf]:
    with log.reading() as reader:
        found = what_if(
            reader,
            thread_id,
            asked.otherwise,
            asked.prices,
            reprices=asked.reprices,
            context_tokens=asked.context_tokens,
            as_of=as_of,
        )
        return list(found)


def _one(log: Log, thread_id: str, asked: _Asked, point: Point | None, *, as_json: bool) -> None:
    with log.reading() as reader:
        position = position_of(point, reader, thread_id)
        if thread_view.thread(reader, thread_id, position) is None:
            raise NotFound(noun="thread", id=thread_id)
    found = asked.told(_runs(log, thread_id, asked, position))
    if as_json:
        print_json(found.model_dump(mode="json"))
        return
    had = sorted({f"{run.strategy} with {run.model}" for run in found.runs})
    if had:
        console.print(f"it had {safe(', '.join(had))}")
    grid = _grid("run")
    for run in found.runs[-_SHOWN_MAX:]:
        grid.add_row(run.run_id, *_figures(run.was, run.otherwise, run.difference), _how(run))
    if len(found.runs) > _SHOWN_MAX:
        grid.add_row(f"[dim]{len(found.runs) - _SHOWN_MAX} earlier runs[/]")
    _conclude(console, grid, found)


def _all(log: Log, asked: _Asked, point: Point | None, *, as_json: bool) -> None:
    with log.reading() as reader:
        position = position_of(point, reader)
        threads = run_view.threads(reader)
    runs: list[RunIf] = []
    erased: list[str] = []
    with Progress(*PROGRESS_COLUMNS, console=console, transient=True, disable=as_json) as progress:
        for thread_id in progress.track(threads, description="threads"):
            try:
                runs += _runs(log, thread_id, asked, position)
            except Erased:
                erased.append(thread_id)
    found = asked.told(runs, erased)
    if as_json:
        print_json(found.model_dump(mode="json"))
        return
    by_thread: dict[str, list[RunIf]] = {}
    for run in runs:
        by_thread.setdefault(run.thread_id, []).append(run)
    told = sorted(map(asked.told, by_thread.values()), key=lambda one: abs(float(one.difference)), reverse=True)
    grid = _grid("thread")
    for one in told[:_SHOWN_MAX]:
        grid.add_row(one.runs[0].thread_id, *_figures(one.was, one.otherwise, one.difference), _how(one))
    if len(told) > _SHOWN_MAX:
        grid.add_row(f"[dim]{len(told) - _SHOWN_MAX} more threads[/]")
    _conclude(console, grid, found)
    if erased:
        console.print(f"[yellow]{len(erased)} threads are erased in part, and are in no sum[/]")


def _grid(first: str) -> Grid:
    grid = Grid(box=None, header_style="bold", pad_edge=False)
    grid.add_column(first, overflow="fold")
    for name in ("input", "cached", CURRENCY, "difference"):
        grid.add_column(name, justify="right", no_wrap=True)
    grid.add_column("")
    return grid


def _figures(was: CostTold, otherwise: CostTold, difference: str) -> list[str]:
    """What was, and what would have been. It is no saving when something was not to be had any more."""
    less = difference.startswith("-")
    style = "dim" if difference == "0" else "red" if not less else "yellow" if otherwise.refused_calls else "green"
    return [
        _beside(f"{was.input_tokens:,}", f"{otherwise.input_tokens:,}"),
        _beside(f"{was.cached_tokens:,}", f"{otherwise.cached_tokens:,}"),
        _beside(money(was.amount), money(otherwise.amount)),
        f"[{style}]{'' if less or difference == '0' else '+'}{money(difference)}[/]",
    ]


def _beside(was: str, otherwise: str) -> str:
    return was if was == otherwise else f"{was} → {otherwise}"


def _how(told: RunTold | WhatIf) -> str:
    """A mark for what is an estimate, and one for what would have had no room; the notes below tell more."""
    marks = ["[dim]≈[/]"] if _ESTIMATES & told.bases.keys() else []
    return " ".join([*marks, *(["[yellow]no room[/]"] if "refused" in told.bases else [])])


def _conclude(console: Console, grid: Grid, found: WhatIf) -> None:
    if not found.runs:
        console.print("there was no run, so nothing would have been otherwise")
        return
    figures = (f"[bold]{figure}[/]" for figure in _figures(found.was, found.otherwise, found.difference))
    grid.add_row(f"[bold]sum of {len(found.runs):,} runs[/]", *figures, _how(found))
    console.print(grid)
    for note in found.notes:
        console.print(f"[dim]· {safe(note)}[/]")
