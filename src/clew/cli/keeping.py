"""Commands that keep the house: `projections`, `doctor`, `settle`."""

from __future__ import annotations

import asyncio
import time
from typing import Annotated

import typer
from rich.progress import Progress
from rich.table import Table as Grid

import clew_projections
from clew.cli.common import PROGRESS_COLUMNS, JsonOption, StoreOption, ask_server, console, open_log, print_json
from clew.errors import Misconfigured, StoreLocked
from clew.log import Log, Reader, open_store, shown
from clew.log.migrations import newest_migration
from clew.projecting import Keeper, differences, discover
from clew.proof.verify import verify_log
from clew.settings import from_environment

_DIFFERENCES_MAX = 10
_POLL_SECONDS = 0.2

projections = typer.Typer(help="The read models.", no_args_is_help=True)


def add_to(app: typer.Typer) -> None:
    app.add_typer(projections, name="projections")
    app.command(help="Check the settings, the store, the hash chains and the read models.")(doctor)
    app.command(help="Bring a store up to this version of Clew: its tables, then its read models.")(migrate)
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


@projections.command("rebuild", help="Make read models anew from the log, then swap; a server may go on serving.")
def rebuild(
    name: Annotated[str | None, typer.Argument()] = None,
    everything: Annotated[bool, typer.Option("--all", help="All of them.")] = False,
    store: StoreOption = None,
    url: Annotated[str | None, typer.Option(help="The server that has the store, if one does.")] = None,
) -> None:
    keeper = Keeper(discover(clew_projections))
    if name is not None and name not in keeper.projections:
        raise Misconfigured(f"no projection is called {name!r}; there are {', '.join(keeper.projections)}")
    if name is None and not everything:
        raise Misconfigured("name a projection, or say --all")
    names = list(keeper.projections) if everything or name is None else [name]
    try:
        opened = open_store(from_environment(store=store).store)
    except StoreLocked:
        # Whoever writes to the file does it, in portions between what else it has to do.
        _rebuild_by_server(url, names)
        return
    log = Log(opened, keeper.inline, keeper.forget, keeper.swapped)
    try:
        with Progress(*PROGRESS_COLUMNS, console=console) as progress:
            task = progress.add_task(_what(names), total=None)

            def advance(done: int, of: int) -> None:
                progress.update(task, completed=done, total=of)

            asyncio.run(keeper.rebuild(log, *names, progress=advance, gently=opened.shared))
    finally:
        log.close()


def _what(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{len(names)} read models"


def _rebuild_by_server(url: str | None, names: list[str]) -> None:
    answer = ask_server(url, "POST", "/clew/v1/projections/rebuild", {"names": names})
    with Progress(*PROGRESS_COLUMNS, console=console) as progress:
        task = progress.add_task(_what(names), total=None)
        while answer["running"]:
            progress.update(task, completed=answer["done"], total=answer["of"] or None)
            time.sleep(_POLL_SECONDS)
            answer = ask_server(url, "GET", "/clew/v1/projections/rebuild")
        progress.update(task, completed=answer["done"], total=answer["of"] or None)
    if answer["error"]:
        raise Misconfigured(f"the server gave up: {answer['error']}")


def migrate(store: StoreOption = None) -> None:
    name = from_environment(store=store).store
    stale = bring_up(name)
    made = f"; made anew: {', '.join(stale)}" if stale else ""
    console.print(f"{shown(name)} is up: migration {newest_migration()}{made}")


def bring_up(store: str) -> list[str]:
    """Migrate a store, and make the read models that are missing or old; gives the names of those."""
    keeper = Keeper(discover(clew_projections))
    log = Log(open_store(store), keeper.inline, keeper.forget, keeper.swapped)
    try:
        with log.reading() as reader:
            standings = keeper.standings(reader)
        stale = [one.name for one in standings if one.version != keeper.projections[one.name].version]
        with Progress(*PROGRESS_COLUMNS, console=console, transient=True) as progress:
            task = progress.add_task("read models", total=None)
            asyncio.run(keeper.prepare(log, lambda done, of: progress.update(task, completed=done, total=of)))
    finally:
        log.close()
    return stale


def doctor(store: StoreOption = None, as_json: JsonOption = False) -> None:
    settings = from_environment(store=store)
    providers = ", ".join(
        f"{name} at {its.base_url} ({'with' if its.api_key else 'no'} key)" for name, its in settings.providers.items()
    )
    found: list[tuple[str, bool, str]] = [("settings", True, f"store {shown(settings.store)}; {providers}")]
    with open_log(store) as log, log.reading() as reader:
        found.append(("store", *_store(log, reader)))
        found.append(("chains", *_chains(reader)))
        found.append(("read models", *_read_models(reader)))
    if as_json:
        print_json([{"check": name, "ok": ok, "found": told} for name, ok, told in found])
    else:
        for name, ok, told in found:
            console.print(f"{'[green]ok  [/]' if ok else '[red]BAD [/]'} [bold]{name:<12}[/] {told}")
    if not all(ok for _, ok, _ in found):
        raise typer.Exit(1)


def _store(log: Log, reader: Reader) -> tuple[bool, str]:
    ok, told = log.store.examine(reader.cursor)
    if not ok:
        return False, told
    count = reader.rows("select count(*) from events")[0][0]
    newest = reader.head()
    if count != newest:
        return False, f"{count} events, but the newest has position {newest}: some are missing"
    return True, f"{count} events; {told}"


def _chains(reader: Reader) -> tuple[bool, str]:
    found = verify_log(reader)
    if found.faults:
        return False, f"{found.faults[0]}; `clew verify` tells more"
    return True, f"{found.events} events in {found.streams} streams verified, {found.covered} of them signed"


def _read_models(reader: Reader) -> tuple[bool, str]:
    """Every row is compared with what follows from the log; how far followers are behind is told, and no fault."""
    keeper = Keeper(discover(clew_projections))
    found = []
    with Progress(*PROGRESS_COLUMNS, console=console, transient=True) as progress:
        task = progress.add_task("comparing read models with the log", total=None)
        for one in differences(
            reader,
            list(keeper.projections.values()),
            lambda done, of: progress.update(task, completed=done, total=of),
        ):
            found.append(str(one))
            if len(found) == _DIFFERENCES_MAX:
                break
    if found:
        return False, "; ".join(found) + "; make them anew with `clew projections rebuild --all`"
    behind = [one for one in keeper.standings(reader) if one.behind]
    old = [one.name for one in behind if one.version != keeper.projections[one.name].version]
    if old:
        return False, f"of another version: {', '.join(old)}; `clew migrate` makes them anew"
    told = "; ".join(f"{one.name} is {one.behind} events behind" for one in behind)
    return True, f"as they follow from the log{'; ' + told if told else ''}"


def settle(
    run_id: Annotated[str, typer.Argument(metavar="RUN")],
    tool_call_id: Annotated[str, typer.Argument(metavar="CALL")],
    outcome: Annotated[str, typer.Option(help="happened, did_not_happen (it is then called again) or unknown.")],
    output: Annotated[str, typer.Option(help="What the model is told the call returned.")] = "",
    by: Annotated[str, typer.Option(help="Who found out.")] = "a person",
    url: Annotated[str | None, typer.Option(help="The server. Else http://127.0.0.1 and CLEW_PORT.")] = None,
) -> None:
    path = f"/clew/v1/runs/{run_id}/tool_calls/{tool_call_id}/settle"
    ask_server(url, "POST", path, {"outcome": outcome, "output": output, "by": by})
    console.print(f"{tool_call_id} is settled: {outcome}")
