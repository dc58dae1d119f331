"""`clew fork`: asks a server that runs, since it is the server that writes."""

from __future__ import annotations

import re
from typing import Annotated, Any

import typer

from clew.cli.awaiting import how_to_answer, wait_for
from clew.cli.common import JsonOption, ask_server, console, print_json
from clew.errors import Misconfigured

_AT = re.compile(r"^(?P<thread>[^@]+)(?:@v(?P<version>[0-9]{1,18}))?$")
_RUN_HELP = "Let the fork run at once, as the run before did but for what is said otherwise."


def add_to(app: typer.Typer) -> None:
    app.command(help="Fork a thread where it stood after any of its events, on a server that runs.")(fork)


def fork(
    place: Annotated[str, typer.Argument(metavar="THREAD[@vN]", help="After event N; as it is now without it.")],
    replace: Annotated[list[str] | None, typer.Option(help="MESSAGE=TEXT: it says TEXT in the fork.")] = None,
    drop: Annotated[list[str] | None, typer.Option(help="MESSAGE: it is not in the fork.")] = None,
    insert: Annotated[list[str] | None, typer.Option(help="MESSAGE=TEXT: the user says TEXT right before it.")] = None,
    say: Annotated[list[str] | None, typer.Option(help="TEXT of the user, where the fork begins.")] = None,
    answer: Annotated[list[str] | None, typer.Option(help="CALL=OUTPUT: the tool call has this result.")] = None,
    truncation: Annotated[
        str | None, typer.Option(help="The strategy of the fork's runs, such as summarise or token_budget:8000.")
    ] = None,
    run: Annotated[bool, typer.Option("--run", help=_RUN_HELP)] = False,
    assistant: Annotated[str | None, typer.Option(help="With --run: another assistant.")] = None,
    model: Annotated[str | None, typer.Option(help="With --run: another model.")] = None,
    instructions: Annotated[str | None, typer.Option(help="With --run: other instructions.")] = None,
    url: Annotated[str | None, typer.Option(help="The server. Else http://127.0.0.1 and CLEW_PORT.")] = None,
    as_json: JsonOption = False,
) -> None:
    found = _AT.match(place)
    if found is None:
        raise Misconfigured(f"{place!r} is no thread; write THREAD, or THREAD@v12 for the thread after its event 12")
    edits: list[dict[str, Any]] = [
        *({"kind": "replace", "message_id": id, "content": said} for id, said in map(_pair, replace or [])),
        *({"kind": "drop", "message_id": id} for id in drop or []),
        *({"kind": "insert", "before": id, "content": said} for id, said in map(_pair, insert or [])),
        *({"kind": "answer", "tool_call_id": id, "output": output} for id, output in map(_pair, answer or [])),
        *({"kind": "say", "content": said} for said in say or []),
    ]
    version = int(found["version"]) if found["version"] else None
    path = f"/clew/v1/threads/{found['thread']}/fork"
    wanted = _run(run, assistant, model, instructions)
    made = ask_server(url, "POST", path, {"version": version, "edits": edits, "truncation": truncation, "run": wanted})
    fork, run_id = made["thread_id"], made["run_id"]
    status = wait_for(url, fork, run_id) if run_id else None
    if as_json:
        print_json({**made, "status": status})
        return
    console.print(f"{fork} is a fork of {made['forked_from']} at v{made['forked_at']}", soft_wrap=True)
    if run_id:
        console.print(f"{run_id}: {status}; `clew show {fork}`, `clew audit {run_id}`", soft_wrap=True)
    if status == "requires_action":
        console.print(f"[yellow]{how_to_answer(fork, run_id)}[/]", soft_wrap=True)


def _run(run: bool, assistant: str | None, model: str | None, instructions: str | None) -> dict[str, Any] | None:
    changes = {"assistant_id": assistant, "model": model, "instructions": instructions}
    said = {name: value for name, value in changes.items() if value is not None}
    if said and not run:
        raise Misconfigured(f"--{next(iter(said)).removesuffix('_id')} is about a run; add --run")
    return said if run else None


def _pair(given: str) -> tuple[str, str]:
    name, equals, value = given.partition("=")
    if not equals:
        raise Misconfigured(f"{given!r} lacks a `=`; write ID=TEXT")
    return name, value
