"""Commands that keep the house: `projections`, `doctor`, `settle`."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from typing import Annotated

import httpx2
import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table as Grid

import clew_projections
from clew.cli.common import JsonOption, StoreOption, console, open_log, print_json
from clew.errors import Misconfigured
from clew.log import Log, Reader, open_store
from clew.log.chain import FIRST, Sealed, check
from clew.projecting import Keeper, discover
from clew.settings import from_environment

_PAGE_EVENTS = 5_000

projections = typer.Typer(help="The read models.", no_args_is_help=True)


def add_to(app: typer.Typer) -> None:
    app.add_typer(projections, name="projections")
    app.command(help="Check the settings, the file, the hash chains and the read models.")(doctor)
    app.command(help="Settle a tool call in doubt, on a server that runs.")(settle)


@projections.command("list", help="Which read models there are.")
def list_projections(as_json: JsonOption = False) -> None:
    found = discover(clew_projections)
    if as_json:
        tables = [{"name": p.name, "version": p.version, "lifecycle": p.lifecycle} for p in found]
        print_json(tables)
        return
    grid = Grid("name", "version", "lifecycle", "tables", "events", box=None)
    for projection in found:
        tables_of = ", ".join(table.name for table in projection.tables)
        grid.add_row(
            projection.name, str(projection.version), projection.lifecycle, tables_of, str(len(projection.handlers))
        )
    console.print(grid)


@projections.command("status", help="Where each read model stands.")
def status(store: StoreOption = None, as_json: JsonOption = False) -> None:
    with open_log(store) as log, log.reading() as reader:
        found = Keeper(discover(clew_projections)).standings(reader)
    if as_json:
        names = ("name", "lifecycle", "version", "position", "behind")
        print_json([{name: getattr(one, name) for name in names} for one in found])
        return
    grid = Grid("name", "lifecycle", "version", "position", "behind", box=None)
    for one in found:
        grid.add_row(one.name, one.lifecycle, str(one.version), str(one.position), str(one.behind))
    console.print(grid)


@projections.command("rebuild", help="Make a read model anew from the log, then swap. Stop the server first.")
def rebuild(
    name: Annotated[str | None, typer.Argument()] = None,
    everything: Annotated[bool, typer.Option("--all", help="All of them.")] = False,
    store: StoreOption = None,
) -> None:
    keeper = Keeper(discover(clew_projections))
    if name is not None and name not in keeper.projections:
        raise Misconfigured(f"no projection is called {name!r}; there are {', '.join(keeper.projections)}")
    if name is None and not everything:
        raise Misconfigured("name a projection, or say --all")
    names = list(keeper.projections) if everything or name is None else [name]
    log = Log(open_store(from_environment(store=store).store), keeper.inline, keeper.forget)
    try:
        asyncio.run(_rebuild(keeper, log, names))
    finally:
        log.close()


async def _rebuild(keeper: Keeper, log: Log, names: list[str]) -> None:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        for name in names:
            task = progress.add_task(name, total=None)

            def advance(done: int, of: int, task: int = task) -> None:
                progress.update(task, completed=done, total=of)  # type: ignore[arg-type]

            await keeper.rebuild(log, name, advance)


def doctor(store: StoreOption = None, as_json: JsonOption = False) -> None:
    settings = from_environment(store=store)
    providers = ", ".join(
        f"{name} at {its.base_url} ({'with' if its.api_key else 'no'} key)" for name, its in settings.providers.items()
    )
    found: list[tuple[str, bool, str]] = [("settings", True, f"store {settings.store}; {providers}")]
    with open_log(store) as log:
        for name, examine in (("file", _file), ("chains", _chains), ("read models", _read_models)):
            with log.reading() as reader:
                ok, told = examine(reader)
            found.append((name, ok, told))
    if as_json:
        print_json([{"check": name, "ok": ok, "found": told} for name, ok, told in found])
    else:
        for name, ok, told in found:
            console.print(f"{'[green]ok  [/]' if ok else '[red]BAD [/]'} [bold]{name:<12}[/] {told}")
    if not all(ok for _, ok, _ in found):
        raise typer.Exit(1)


def _file(reader: Reader) -> tuple[bool, str]:
    try:
        told = reader.rows("pragma quick_check(1)")[0][0]
    except sqlite3.DatabaseError as error:
        return False, str(error)
    count, newest = reader.rows("select count(*), max(rowid) from events")[0]
    if count != (newest or 0):
        return False, f"{count} events, but the newest has position {newest}: some are missing"
    return told == "ok", f"{count} events; sqlite says {told}"


def _chains(reader: Reader) -> tuple[bool, str]:
    heads: dict[str, bytes] = {}
    count = 0
    for sealed in _all_sealed(reader):
        stream = str(sealed.originator_id)
        broken = check([sealed], heads.get(stream, FIRST))
        if broken is not None:
            return False, f"event {sealed.originator_version} of {stream} (position {sealed.position}): {broken[1]}"
        heads[stream] = sealed.hash
        count += 1
    return True, f"{count} events in {len(heads)} streams verified"


def _all_sealed(reader: Reader) -> Iterator[Sealed]:
    position = 0
    while page := reader.sealed(position, _PAGE_EVENTS):
        yield from page
        position = page[-1].position


def _read_models(reader: Reader) -> tuple[bool, str]:
    behind = [one for one in Keeper(discover(clew_projections)).standings(reader) if one.behind]
    told = "; ".join(f"{one.name} is {one.behind} events behind" for one in behind)
    inline = [one for one in behind if one.lifecycle == "inline"]
    return not inline, told or "all up with the log"


Examine = Callable[[Reader], tuple[bool, str]]


def settle(
    run_id: Annotated[str, typer.Argument(metavar="RUN")],
    tool_call_id: Annotated[str, typer.Argument(metavar="CALL")],
    outcome: Annotated[str, typer.Option(help="happened, did_not_happen (it is then called again) or unknown.")],
    output: Annotated[str, typer.Option(help="What the model is told the call returned.")] = "",
    by: Annotated[str, typer.Option(help="Who found out.")] = "a person",
    url: Annotated[str | None, typer.Option(help="The server. Else http://127.0.0.1 and CLEW_PORT.")] = None,
) -> None:
    settings = from_environment()
    base = url or f"http://127.0.0.1:{settings.port}"
    headers = {"authorization": f"Bearer {settings.api_key}"} if settings.api_key else {}
    try:
        answer = httpx2.post(
            f"{base}/clew/v1/runs/{run_id}/tool_calls/{tool_call_id}/settle",
            json={"outcome": outcome, "output": output, "by": by},
            headers=headers,
        )
    except httpx2.HTTPError as error:
        raise Misconfigured(f"no server answers at {base} ({error}); start `clew serve`, or give --url") from error
    if answer.is_error:
        raise Misconfigured(f"the server refused: {answer.text}")
    console.print(f"{tool_call_id} is settled: {outcome}")
