"""Commands that prove: `verify`, `checkpoint`, `export`. They work beside a server that writes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from clew.cli.common import PROGRESS_COLUMNS, JsonOption, StoreOption, console, open_reader, print_json
from clew.errors import Misconfigured
from clew.log import Reader
from clew.proof.checkpoint import Note, VerifierKey, parse_key, parse_note
from clew.proof.export import lines
from clew.proof.keys import known_signer
from clew.proof.tree import has_tree, newest_checkpoint, newest_note, tree_head
from clew.proof.verify import Report, verify_log, verify_stream
from clew.settings import from_environment

HeldOption = Annotated[
    list[Path] | None,
    typer.Option("--checkpoint", help="One that was kept elsewhere (`clew checkpoint`). May be repeated."),
]
KeyOption = Annotated[
    str | None,
    typer.Option("--key", help="Whose signatures count, as `clew checkpoint --key` printed it."),
]


def add_to(app: typer.Typer) -> None:
    app.command(help="Prove that nothing was changed: chains, positions, and what was signed.")(verify)
    app.command(help="The newest signed checkpoint. Keep it where nobody who can write to the store can.")(checkpoint)
    app.command(help="A thread, or the whole log, with everything that others need to verify it.")(export)


def verify(
    thread_id: Annotated[str | None, typer.Argument(metavar="[THREAD]")] = None,
    store: StoreOption = None,
    held: HeldOption = None,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    given = [read_note(path) for path in held or []]
    with open_reader(store) as reader, shown_progress("events") as progress:
        trusted = parse_key(key) if key is not None else key_of_this_machine(reader, store, given)
        if thread_id is not None:
            report = verify_stream(reader, thread_id, held=given, key=trusted)
        else:
            report = verify_log(reader, held=given, key=trusted, progress=progress)
    if as_json:
        print_json({"ok": not report.faults, "thread": thread_id, **asdict(report)})
    else:
        for line in told(report, thread_id):
            console.print(line, soft_wrap=True)
    if report.faults:
        raise typer.Exit(1)


def told(report: Report, thread_id: str | None) -> Iterator[str]:
    for fault in report.faults:
        yield f"[red]BAD[/] {str(fault).replace('[', chr(92) + '[')}"
    if report.more:
        yield "[red]BAD[/] and more"
    what = f"{report.events} events in {report.streams} streams" if thread_id is None else f"{report.events} events"
    erased = f", {report.erased} of them erased" if report.erased else ""
    yield f"{what}{erased}; {'something was changed' if report.faults else 'all chains hold'}"
    if report.covered:
        yield f"{report.covered} events of the log are as they were signed by {report.key}"
    if report.held:
        yield "the log extends what was given with --checkpoint"
    newer = report.events - report.covered
    if thread_id is None and newer > 0:
        yield f"{newer} events are newer than the last checkpoint that fits: held together by their chains only"


def checkpoint(
    store: StoreOption = None,
    key: Annotated[bool, typer.Option("--key", help="Print the key that verifies it, instead.")] = False,
    out: Annotated[Path | None, typer.Option(help="Write it to this file.")] = None,
    as_json: JsonOption = False,
) -> None:
    with open_reader(store) as reader:
        note = newest_checkpoint(reader)
        head, written = tree_head(reader), newest_note(reader)
    assert head is not None
    if as_json:
        found = note.checkpoint
        print_json(
            {
                "origin": found.origin,
                "size": found.size,
                "root": found.root.hex(),
                "key": head.verifier,
                "note": written,
            }
        )
        return
    wanted = f"{head.verifier}\n" if key else str(written)
    if out is None:
        sys.stdout.write(wanted)
        return
    with told_of("--out", out):
        out.write_text(wanted)
    console.print(f"{'the key' if key else f'the checkpoint of {note.checkpoint.size} events'} is in {out}")


def export(
    out: Annotated[Path, typer.Option(help="The file to write, of JSON lines.")],
    thread_id: Annotated[str | None, typer.Argument(metavar="[THREAD]")] = None,
    store: StoreOption = None,
    held: Annotated[
        Path | None, typer.Option("--checkpoint", help="Add the proof that the log extends this one.")
    ] = None,
) -> None:
    given = read_note(held) if held is not None else None
    with open_reader(store) as reader, shown_progress("events") as progress:
        found = lines(reader, thread_id, held=given, progress=progress)
        first = next(found)
        with told_of("--out", out), out.open("wb") as file:
            file.write(first)
            count = sum(1 for _ in map(file.write, found)) - 1
    console.print(f"{count} events in {out}; `python -m clew.proof.standalone {out}` verifies them", soft_wrap=True)


def read_note(path: Path) -> Note:
    with told_of("--checkpoint", path):
        return parse_note(path.read_bytes())


@contextmanager
def told_of(option: str, path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Misconfigured(f"{option} {path}: {error.strerror}") from error


def key_of_this_machine(reader: Reader, store: str | None, given: list[Note]) -> VerifierKey | None:
    """The public half of the key beside the store, if we may read that: a store that was changed may hold another."""
    settings = from_environment(store=store)
    signer = known_signer(settings.store, settings.signing_key)
    head = tree_head(reader) if has_tree(reader) else None
    origin = head.origin if head is not None else next((note.checkpoint.origin for note in given), None)
    return signer.verifier(origin) if signer is not None and origin is not None else None


@contextmanager
def shown_progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on standard error, gone when it is done."""
    errors = Console(stderr=True)
    with Progress(*PROGRESS_COLUMNS, console=errors, transient=True, disable=not errors.is_terminal) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, of: bar.update(task, completed=done, total=of)
