"""Commands that tell and prove what happened: `audit`, `prompt`, `diff`. They work beside a server that writes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import orjson
import typer

from clew import exact_json
from clew.audit.atif import atif
from clew.audit.diffs import diff as diff_of
from clew.audit.otel import otlp
from clew.audit.page import page
from clew.audit.prompts import ExactPrompt, exact_prompt
from clew.audit.telling import audit as audit_of
from clew.cli.audit_text import print_audit
from clew.cli.common import (
    AsOfOption,
    JsonOption,
    StoreOption,
    clock,
    console,
    open_reader,
    plain,
    point_given,
    position_of,
    print_json,
    safe,
)
from clew.cli.diff_text import print_diff
from clew.errors import Erased, Misconfigured
from clew.log import Reader
from clew_projections import run_view

RunArgument = Annotated[str, typer.Argument(metavar="RUN")]


def add_to(app: typer.Typer) -> None:
    app.command(help="A run told step by step.")(audit)
    app.command(help="Exactly what a model call was sent, rendered again and proven.")(prompt)
    app.command(help="What differs between two runs, two threads, or one of them at two points (THREAD@v12).")(diff)


def audit(
    run_id: RunArgument,
    store: StoreOption = None,
    as_of: AsOfOption = None,
    as_json: JsonOption = False,
    html: Annotated[Path | None, typer.Option("--html", help="Write one self-contained page.")] = None,
    otel: Annotated[Path | None, typer.Option("--otel", help="Write an OpenTelemetry trace, as OTLP JSON.")] = None,
    content: Annotated[bool, typer.Option("--content", help="The trace has what was said, too.")] = False,
    trajectory: Annotated[Path | None, typer.Option("--atif", help="Write a trajectory, ATIF-v1.7.")] = None,
) -> None:
    """Printed unless it is written to a file."""
    with open_reader(store) as reader:
        found = audit_of(reader, run_id, _position(reader, run_id, as_of))
    if html is not None:
        _write(html, page(found).encode())
    if otel is not None:
        _write(otel, otlp(found, content=content))
    if trajectory is not None:
        _write(trajectory, atif(found))
    if as_json:
        print_json(found.model_dump())
    elif html is otel is trajectory is None:
        print_audit(console, found)


def _position(reader: Reader, run_id: str, as_of: str | None) -> int | None:
    """A version is one of the run's thread."""
    run = run_view.run(reader, run_id)
    return position_of(point_given(as_of), reader, run.thread_id if run is not None else None)


def _write(path: Path, content: bytes) -> None:
    try:
        path.write_bytes(content)
    except OSError as error:
        raise Misconfigured(f"{path} cannot be written: {error.strerror}") from error
    print(f"wrote {path} ({len(content):,} bytes)", file=sys.stderr)


def prompt(
    run_id: RunArgument,
    step: Annotated[str, typer.Argument(metavar="STEP", help="Id of a step or model call, or a number: 1, 2 …")],
    store: StoreOption = None,
    as_of: AsOfOption = None,
    raw: Annotated[bool, typer.Option("--raw", help="Only the body, byte for byte.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Exit code 1 when it cannot be proven, also when not even the log's own record of the step is left."""
    try:
        with open_reader(store) as reader:
            found = exact_prompt(reader, run_id, step, as_of=_position(reader, run_id, as_of))
    except Erased as error:
        print(f"clew: not proven: {error}", file=sys.stderr)
        raise typer.Exit(1) from error
    if raw:
        sys.stdout.buffer.write((found.body or "").encode())
    elif as_json:
        print_json(found.model_dump())
    else:
        _print_prompt(found)
    if not found.proven:
        if raw:
            print(f"clew: not proven: {found.why_not}", file=sys.stderr)
        raise typer.Exit(1)


def _print_prompt(found: ExactPrompt) -> None:
    console.print(
        f"[bold]model call {found.number}[/] [dim]{found.model_call_id} of {found.run_id}[/]\n"
        f"{found.items} items as of position {found.as_of}, {clock(found.at)}, rendered by {safe(found.renderer)}"
    )
    if found.body is not None:
        pretty = exact_json.dumps(exact_json.loads(found.body), option=orjson.OPT_INDENT_2).decode()
        console.print(plain(pretty), markup=False, soft_wrap=True)
    console.print(f"in the log   {found.digest}")
    if found.rendered_digest is not None:
        console.print(f"rendered     {found.rendered_digest}")
    if found.proven:
        console.print("[green]proven[/]: these are, byte for byte, what was sent")
    else:
        console.print(f"[red]not proven[/]: {safe(found.why_not or '')}")


def diff(
    a: Annotated[str, typer.Argument(metavar="A[@POINT]", help="A run or a thread, as it was at a point.")],
    b: Annotated[str, typer.Argument(metavar="B[@POINT]", help="What it became.")],
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    with open_reader(store) as reader:
        found = diff_of(reader, a, b)
    if as_json:
        print_json(found.model_dump())
    else:
        print_diff(console, found)
