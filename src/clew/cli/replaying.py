"""`clew replay`: a run played again before one's eyes, verified against today's engine, or run anew otherwise."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Annotated

import typer
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from clew.cli.common import JsonOption, StoreOption, console, open_log, print_json
from clew.cli.playing import play
from clew.cli.rerunning import rerun
from clew.engine.replaying.files import recording
from clew.engine.replaying.verifying import Verdict, Verifier
from clew.errors import Misconfigured, NotFound
from clew.log import Log
from clew_projections import run_view

_COLUMNS = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
_TOLD_MAX = 20
_WITH_HELP = "model=…, instructions=…, assistant=… or truncation=last_messages:10; runs it for real, in a fork."


def add_to(app: typer.Typer) -> None:
    app.command(help="Play a run again, verify it against today's engine, or run it anew with other settings.")(replay)


def replay(
    run_id: Annotated[str | None, typer.Argument(metavar="[RUN]")] = None,
    store: StoreOption = None,
    verify: Annotated[bool, typer.Option("--verify", help="Would today's engine do the same? Calls nothing.")] = False,
    everything: Annotated[bool, typer.Option("--all", help="With --verify: every run of the store.")] = False,
    speed: Annotated[float, typer.Option(min=0.01, help="So many times as fast as it was.")] = 1.0,
    step: Annotated[bool, typer.Option("--step", help="By hand: forward and back, event by event.")] = False,
    breaks: Annotated[list[str] | None, typer.Option("--break", help="KIND to stop at, such as tool.called.")] = None,
    otherwise: Annotated[list[str] | None, typer.Option("--with", help=_WITH_HELP)] = None,
    start: Annotated[int, typer.Option("--from", min=1, help="With --with: the step to begin at.")] = 1,
    tools: Annotated[str, typer.Option(help="With --with: recorded, again, or stub=TEXT.")] = "recorded",
    url: Annotated[str | None, typer.Option(help="With --with: the server that makes it anew.")] = None,
    as_json: JsonOption = False,
) -> None:
    if verify:
        with open_log(store) as log:
            _verify(log, _wanted(log, run_id, everything), run_id, as_json)
        return
    if run_id is None or everything:
        raise Misconfigured("name a run; --all goes with --verify")
    if otherwise:
        rerun(run_id, otherwise, start, tools, url, as_json=as_json)
        return
    if start != 1 or tools != "recorded" or url is not None:
        raise Misconfigured("--from, --tools and --url go with --with, which says what is to be otherwise")
    if math.isnan(speed):
        raise Misconfigured("--speed is nan; write a number, such as 2 for twice as fast")
    with open_log(store) as log:
        play(log, run_id, speed=speed, by_hand=step, breaks=breaks or [], as_json=as_json)


def _wanted(log: Log, run_id: str | None, everything: bool) -> Sequence[str]:
    """The threads to look at."""
    if everything == (run_id is not None):
        raise Misconfigured("name a run, or say --all")
    with log.reading() as reader:
        if run_id is None:
            return run_view.threads(reader)
        view = run_view.run(reader, run_id)
    if view is None:
        raise NotFound(noun="run", id=run_id)
    return [view.thread_id]


def _verify(log: Log, threads: Sequence[str], run_id: str | None, as_json: bool) -> None:
    began = time.perf_counter()
    verdicts = asyncio.run(_verdicts(log, threads, run_id, as_json))
    seconds = time.perf_counter() - began
    different = [verdict for verdict in verdicts if not verdict.same]
    events = sum(verdict.events for verdict in verdicts)
    if as_json:
        said = {"runs": len(verdicts), "events": events, "seconds": round(seconds, 3)}
        print_json({**said, "different": [asdict(verdict) for verdict in different]})
    else:
        for verdict in different:
            _tell(verdict)
        runs = f"{len(verdicts)} run{'s' if len(verdicts) != 1 else ''}"
        outcome = f"[red]{len(different)} would go otherwise[/]" if different else "[green]all would go the same[/]"
        console.print(f"{runs}, {events} events compared in {seconds:.1f} s: {outcome}")
    if different:
        raise typer.Exit(1)


async def _verdicts(log: Log, threads: Sequence[str], run_id: str | None, quiet: bool) -> list[Verdict]:
    verifier = Verifier()
    found: list[Verdict] = []
    try:
        with _progress(len(threads), quiet or len(threads) == 1) as progress:
            for thread_id in threads:
                with log.reading() as reader:
                    recorded = recording(reader, thread_id)
                if run_id is None:
                    found += await verifier.thread(recorded)
                else:
                    found.append(await verifier.run(recorded, run_id))
                next(progress)
    finally:
        await verifier.close()
    return found


@contextmanager
def _progress(threads: int, quiet: bool) -> Iterator[Iterator[None]]:
    """Something to take the next of whenever a thread is done."""
    with Progress(*_COLUMNS, console=console, transient=True, disable=quiet) as progress:
        task = progress.add_task("threads", total=threads)

        def advance() -> Iterator[None]:
            while True:
                progress.advance(task)
                yield

        yield advance()


def _tell(verdict: Verdict) -> None:
    console.print(f"[bold]{verdict.run_id}[/]  in {verdict.thread_id}  [red]would go otherwise[/]")
    for one in verdict.differences[:_TOLD_MAX]:
        console.print(f"  event {one.version}  [bold]{one.kind}[/]  {escape(one.field)}")
        console.print(f"    recorded  {escape(repr(one.recorded))}", soft_wrap=True)
        console.print(f"    today     {escape(repr(one.today))}", soft_wrap=True)
    if len(verdict.differences) > _TOLD_MAX:
        console.print(f"  … and {len(verdict.differences) - _TOLD_MAX} more")
