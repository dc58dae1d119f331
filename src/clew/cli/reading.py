"""Commands that read: `threads`, `show`, `events`, `audit`. They work beside a server that writes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from rich.table import Table as Grid

from clew.cli.common import JsonOption, StoreOption, clock, console, open_log, open_reader, print_json, short
from clew.cli.printing import print_audit, print_item
from clew.engine.auditing import audit as audit_of
from clew.engine.engine import DEFAULT_TENANT
from clew.errors import NotFound
from clew.events.base import Event, Recorded
from clew.log import Reader
from clew.server.sse import recorded_json
from clew_projections import run_view, thread_stats, thread_view

_FOLLOW_SECONDS = 0.2
_PAGE_EVENTS = 500


def add_to(app: typer.Typer) -> None:
    app.command(help="The newest threads.")(threads)
    app.command(help="What is in a thread.")(show)
    app.command(help="The events of a thread, or of the whole log.")(events)
    app.command(help="A run told step by step.")(audit)


def threads(
    store: StoreOption = None,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 20,
    label: Annotated[list[str] | None, typer.Option("--metadata", help="key=value; may be repeated.")] = None,
    as_json: JsonOption = False,
) -> None:
    labels = dict(one.split("=", 1) for one in label or [] if "=" in one)
    with open_reader(store) as reader:
        found = thread_view.threads(reader, tenant=DEFAULT_TENANT, labels=labels, limit=limit)
        stats = thread_stats.stats(reader, [row.thread_id for row in found]) if found else {}
    if as_json:
        print_json([{**_fields(row), "stats": _fields(stats.get(row.thread_id))} for row in found])
        return
    grid = Grid("thread", "created", "messages", "runs", "tokens in", "out", "last active", "metadata", box=None)
    for row in found:
        one = stats.get(row.thread_id)
        counts = [str(n) for n in (one.messages, one.runs, one.input_tokens, one.output_tokens)] if one else ["-"] * 4
        active = clock(one.active_at) if one else "-"
        labelled = short(" ".join(f"{key}={value}" for key, value in row.metadata.items()), 40)
        grid.add_row(row.thread_id, clock(row.created_at), *counts, active, labelled)
    console.print(grid if found else "no threads yet; point your OpenAI code at `clew serve`, or try `clew chat`")


def show(
    thread_id: Annotated[str, typer.Argument(metavar="THREAD")],
    store: StoreOption = None,
    limit: Annotated[int, typer.Option(min=1, help="The newest so many items.")] = 50,
    as_json: JsonOption = False,
) -> None:
    with open_reader(store) as reader:
        thread = thread_view.thread(reader, thread_id)
        if thread is None:
            raise NotFound(noun="thread", id=thread_id)
        history = thread_view.segments(reader, thread_id)
        rows = []
        for row in thread_view.walk(reader, history):
            rows.append(row)
            if len(rows) == limit:
                break
        items = thread_view.items(reader, rows[::-1])
        runs = run_view.runs(reader, thread_id, limit=5)
        version = reader.version(thread_id)
    if as_json:
        shown = [{"type": type(item).__name__.removesuffix("Item").lower(), **_fields(item)} for item in items]
        print_json({**_fields(thread), "version": version, "items": shown, "runs": [run.model_dump() for run in runs]})
        return
    console.print(f"[bold]{thread_id}[/]  version {version}, created {clock(thread.created_at)}")
    for item in items:
        print_item(console, item)
    for run in runs:
        used = f"{run.usage.input} tokens in, {run.usage.output} out"
        console.print(f"[dim]run {run.run_id}  {run.status}  {used}[/]")


def events(
    thread_id: Annotated[str | None, typer.Argument(metavar="[THREAD]")] = None,
    store: StoreOption = None,
    after: Annotated[int, typer.Option(min=0, help="Only later ones: a version, or a position without THREAD.")] = 0,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes.")] = False,
    as_json: JsonOption = False,
) -> None:
    with open_log(store) as log:
        place = after
        while True:
            with log.reading() as reader:
                page = _page(reader, thread_id, place)
            for recorded in page:
                _print_event(recorded, as_json)
            if page:
                place = page[-1].version if thread_id else page[-1].position
            elif follow:
                time.sleep(_FOLLOW_SECONDS)
            else:
                return


def _page(reader: Reader, thread_id: str | None, place: int) -> Sequence[Recorded[Event]]:
    if thread_id is None:
        return reader.follow(place, _PAGE_EVENTS)
    if not reader.version(thread_id):
        raise NotFound(noun="thread", id=thread_id)
    return reader.stream(thread_id, after=place, limit=_PAGE_EVENTS)


def _print_event(recorded: Recorded[Event], as_json: bool) -> None:
    if as_json:
        print(_json_line(recorded), flush=True)
        return
    data = recorded.event.model_dump_json(exclude_defaults=True)
    console.print(
        f"[dim]{recorded.position:>7}  {clock(recorded.at)}[/]  {recorded.stream} [cyan]v{recorded.version}[/]"
        f"  [bold]{recorded.event.kind}[/]",
        end="  ",
    )
    console.print(short(data, 160), style="dim", markup=False)


def _json_line(recorded: Recorded[Event]) -> str:
    import orjson

    return orjson.dumps(recorded_json(recorded)).decode()


def audit(
    run_id: Annotated[str, typer.Argument(metavar="RUN")], store: StoreOption = None, as_json: JsonOption = False
) -> None:
    with open_reader(store) as reader:
        found = audit_of(reader, run_id)
    if as_json:
        print_json(found.model_dump(mode="json"))
    else:
        print_audit(console, found)


def _fields(value: Any) -> dict[str, Any]:
    if value is None:
        return {}
    names = type(value).__dataclass_fields__
    return {name: _plain(getattr(value, name)) for name in names}


def _plain(value: Any) -> Any:
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    if hasattr(type(value), "__dataclass_fields__"):
        return _fields(value)
    return [_plain(one) for one in value] if isinstance(value, tuple) else value
