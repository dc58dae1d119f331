"""Commands that read: `threads`, `show`, `events`. They work beside a server that writes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import islice
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table as Grid

from clew import exact_json
from clew.cli.common import (
    AsOfOption,
    JsonOption,
    StoreOption,
    clock,
    console,
    open_log,
    open_reader,
    point_given,
    position_of,
    print_json,
    short,
    thread_and_point,
)
from clew.cli.printing import print_item
from clew.errors import Misconfigured, NotFound
from clew.events.base import Event, Recorded
from clew.ids import DEFAULT_TENANT
from clew.log import Reader
from clew.server.sse import item_json, recorded_json
from clew_projections import run_view, thread_stats, thread_view

_FOLLOW_SECONDS = 0.2
_PAGE_EVENTS = 500
_LINE_CHARS_MAX = 1_000


def add_to(app: typer.Typer) -> None:
    app.command(help="The newest threads.")(threads)
    app.command(help="What is in a thread.")(show)
    app.command(help="The events of a thread, or of the whole log.")(events)


def threads(
    store: StoreOption = None,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 20,
    label: Annotated[list[str] | None, typer.Option("--metadata", help="key=value; may be repeated.")] = None,
    as_of: AsOfOption = None,
    as_json: JsonOption = False,
) -> None:
    labels = dict(one.split("=", 1) for one in label or [] if "=" in one)
    with open_reader(store) as reader:
        position = position_of(point_given(as_of), reader)
        found = thread_view.threads(reader, tenant=DEFAULT_TENANT, labels=labels, limit=limit, as_of=position)
        stats = thread_stats.stats(reader, [row.thread_id for row in found], position)
    if as_json:
        print_json([{**_fields(row), "stats": _counts(stats[row.thread_id])} for row in found])
        return
    grid = Grid(box=None)
    for name in ("thread", "created", "messages", "runs", "tokens in", "out", "last active", "metadata", "fork of"):
        # An id that is cut short is of no use: rather a line that is too long.
        grid.add_column(name, no_wrap=True, overflow="ignore")
    for row in found:
        one = stats[row.thread_id]
        counts = [str(n) for n in (one.messages, one.runs, one.input_tokens, one.output_tokens)]
        active = clock(one.active_at)
        labelled = short(" ".join(f"{key}={value}" for key, value in row.metadata.items()), 40)
        lineage = f"{row.parent}@v{row.parent_version}" if row.parent else ""
        grid.add_row(row.thread_id, clock(row.created_at), *counts, active, labelled, lineage)
    if not found:
        console.print("no threads yet; point your OpenAI code at `clew serve`, or try `clew chat`")
        return
    wanted = console.measure(grid, options=console.options.update(width=_LINE_CHARS_MAX)).maximum
    Console(highlight=False, width=max(console.width, wanted)).print(grid)


def _counts(one: thread_stats.ThreadStats) -> dict[str, Any]:
    counted = _fields(one)
    return {name: counted[name] for name in ("messages", "runs", "input_tokens", "output_tokens", "active_at")}


def show(
    named: Annotated[str, typer.Argument(metavar="THREAD[@POINT]")],
    store: StoreOption = None,
    limit: Annotated[int, typer.Option(min=1, help="The newest so many items.")] = 50,
    as_of: AsOfOption = None,
    as_json: JsonOption = False,
) -> None:
    thread_id, point = thread_and_point(named, as_of)
    with open_reader(store) as reader:
        position = position_of(point, reader, thread_id)
        thread = thread_view.thread(reader, thread_id, position)
        if thread is None:
            raise NotFound(noun="thread", id=thread_id)
        history = thread_view.segments(reader, thread_id, position)
        rows = list(islice(thread_view.walk(reader, history, as_of=position), limit))
        items = thread_view.items(reader, rows[::-1])
        runs = run_view.runs(reader, thread_id, limit=5, as_of=position)
        version = reader.version(thread_id, position)
    if as_json:
        shown = [item_json(item) for item in items]
        print_json({**_fields(thread), "version": version, "items": shown, "runs": [run.model_dump() for run in runs]})
        return
    console.print(f"[bold]{thread_id}[/]  version {version}, created {clock(thread.created_at)}")
    for item in items:
        print_item(console, item)
    for run in runs:
        used = f"{run.usage.input} tokens in, {run.usage.output} out"
        console.print(f"[dim]run {run.run_id}  {run.status}  {used}[/]")


def events(
    named: Annotated[str | None, typer.Argument(metavar="[THREAD[@POINT]]")] = None,
    store: StoreOption = None,
    after: Annotated[int, typer.Option(min=0, help="Only later ones: a version, or a position without THREAD.")] = 0,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes.")] = False,
    as_of: AsOfOption = None,
    as_json: JsonOption = False,
) -> None:
    thread_id, point = thread_and_point(named, as_of) if named is not None else (None, point_given(as_of))
    if follow and point is not None:
        raise Misconfigured("nothing more comes in the past; leave out --follow, or the point")
    with open_log(store) as log:
        with log.reading() as reader:
            position = position_of(point, reader, thread_id)
        place = after
        while True:
            with log.reading() as reader:
                page = _page(reader, thread_id, place, position)
            for recorded in page:
                _print_event(recorded, as_json)
            if page:
                place = page[-1].version if thread_id else page[-1].position
            elif follow:
                time.sleep(_FOLLOW_SECONDS)
            else:
                return


def _page(reader: Reader, thread_id: str | None, place: int, as_of: int | None) -> Sequence[Recorded[Event]]:
    if thread_id is None:
        page = reader.follow(place, _PAGE_EVENTS)
        return page if as_of is None else [recorded for recorded in page if recorded.position <= as_of]
    version = reader.version(thread_id, as_of)
    if not version:
        raise NotFound(noun="thread", id=thread_id)
    return reader.stream(thread_id, after=place, upto=version, limit=_PAGE_EVENTS)


def _print_event(recorded: Recorded[Event], as_json: bool) -> None:
    if as_json:
        print(_json_line(recorded), flush=True)
        return
    data = recorded.event.model_dump_json(exclude_defaults=True)
    console.print(
        f"[dim]{recorded.position:>7}  {clock(recorded.at)}[/]  {recorded.stream} [cyan]v{recorded.version}[/]"
        f"  [bold]{recorded.event.kind}[/]  [dim]{escape(short(data, 160))}[/]",
        soft_wrap=True,
    )


def _json_line(recorded: Recorded[Event]) -> str:
    return exact_json.dumps(recorded_json(recorded)).decode()


def _fields(value: Any) -> dict[str, Any]:
    if value is None:
        return {}
    names = type(value).__dataclass_fields__
    return {name: _plain(getattr(value, name)) for name in names}


def _plain(value: Any) -> Any:
    if hasattr(value, "model_dump"):
        return value.model_dump()
    if hasattr(type(value), "__dataclass_fields__"):
        return _fields(value)
    return [_plain(one) for one in value] if isinstance(value, tuple) else value
