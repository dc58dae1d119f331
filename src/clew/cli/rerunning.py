"""`clew replay RUN --with …`: a run made anew for real, in a fork, with something else, and what differs then.

A server does it, since the server writes. The fork begins where the step that is named was about to be thought of.
Unless `--tools again` says so, no tool is executed: calls get what they got in the recorded run, or a text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from clew.audit.diffs import Diff
from clew.cli.awaiting import how_to_answer, wait_for
from clew.cli.common import ask_server, console, print_json
from clew.cli.diff_text import print_diff
from clew.engine.standing_in import NOT_RECORDED
from clew.engine.strategies import as_written, written
from clew.errors import Misconfigured

_KEYS = {"model": "model", "instructions": "instructions", "assistant": "assistant_id"}


def rerun(run_id: str, otherwise: Sequence[str], step: int, tools: str, url: str | None, *, as_json: bool) -> None:
    """Raises `Misconfigured` for what cannot be done."""
    wanted: dict[str, Any] = {"step": step, **_tools(tools), **dict(map(change, otherwise))}
    made = ask_server(url, "POST", f"/clew/v1/runs/{run_id}/rerun", wanted)
    fork, anew = made["thread_id"], made["run_id"]
    status = wait_for(url, fork, anew)
    found = ask_server(url, "GET", f"/clew/v1/diff?a={run_id}&b={anew}")
    missing = _missing(ask_server(url, "GET", f"/clew/v1/runs/{anew}/audit")) if tools == "recorded" else []
    if as_json:
        print_json({"thread_id": fork, "run_id": anew, "status": status, "diff": found, "missing": missing})
        return
    console.print(f"{anew} in {fork}: {status}", soft_wrap=True)
    if status == "requires_action":
        console.print(f"[yellow]{how_to_answer(fork, anew)}[/]", soft_wrap=True)
    for name in missing:
        console.print(f"[yellow]{name} was called otherwise than it was recorded; it was told so[/]")
    print_diff(console, Diff.model_validate(found))


def change(given: str) -> tuple[str, Any]:
    """KEY=VALUE as the server takes it."""
    name, equals, value = given.partition("=")
    if equals and name in _KEYS:
        return _KEYS[name], value
    if equals and name == "truncation":
        return name, str(as_written(written(value, "--with truncation")))
    raise Misconfigured(f"--with {given!r} is none of {', '.join(f'{key}=…' for key in (*_KEYS, 'truncation'))}")


def _tools(given: str) -> dict[str, str]:
    kind, equals, text = given.partition("=")
    if kind == "stub" and equals:
        return {"tools": "stub", "stub": text}
    if given in ("recorded", "again"):
        return {"tools": given}
    raise Misconfigured(f"--tools {given!r} is none of recorded, again, stub=TEXT")


def _missing(audit: Any) -> list[str]:
    """Names of calls that nothing was recorded for."""
    return [tool["name"] for step in audit["steps"] for tool in step["tools"] if tool["output"] == NOT_RECORDED]
