"""`clew truncation`: how the contexts of a thread's runs are made to fit. A server that runs writes it down."""

from __future__ import annotations

from typing import Annotated

import typer

from clew.cli.common import JsonOption, ask_server, console, print_json
from clew.engine.strategies import written
from clew.server.truncating import DEFAULT

UrlOption = Annotated[str | None, typer.Option(help="The server. Else http://127.0.0.1 and CLEW_PORT.")]


def add_to(app: typer.Typer) -> None:
    app.command(help="What a thread's runs do when it outgrows their room; with STRATEGY, what they do from now on.")(
        truncation
    )


def truncation(
    thread_id: Annotated[str, typer.Argument(metavar="THREAD")],
    strategy: Annotated[
        str | None,
        typer.Argument(
            metavar="[STRATEGY]",
            help="auto, none, last_messages:20, token_budget:8000, clear_tool_results:3, summarise, summarise:8000,"
            " summarise@MODEL; default: none of its own.",
        ),
    ] = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    path = f"/clew/v1/threads/{thread_id}"
    if strategy is not None:
        if strategy != DEFAULT:
            written(strategy, "STRATEGY")
        ask_server(url, "POST", f"{path}/events", {"kind": "thread.changed", "truncation": strategy})
    found = ask_server(url, "GET", path)
    if as_json:
        print_json({"thread_id": thread_id, "truncation": found["truncation"]})
    else:
        console.print(found["truncation"] or "none of its own: what the assistant says, or the server")
