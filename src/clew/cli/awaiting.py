"""Waiting for a run on a server: till it ends, or nobody here can answer what it waits for."""

from __future__ import annotations

import sys
import time

from rich.console import Console

from clew.cli.common import ask_server, safe

ENDED = ("completed", "failed", "cancelled", "expired", "incomplete")
_POLL_SECONDS = 0.2


def wait_for(url: str | None, thread_id: str, run_id: str) -> str:
    """The status in the end. Calls that the client has to answer are asked of whoever sits at the terminal."""
    while True:
        status: str = ask_server(url, "GET", f"/clew/v1/runs/{run_id}")["run"]["status"]
        if status in ENDED:
            return status
        if status == "requires_action" and not _answered(url, f"/v1/threads/{thread_id}/runs/{run_id}"):
            return status
        time.sleep(_POLL_SECONDS)


def _answered(url: str | None, path: str) -> bool:
    """Whether the calls that the run waits for were answered, a line each. What is asked goes to standard error."""
    action = ask_server(url, "GET", path)["required_action"]
    if action is None:
        return True
    asking = Console(stderr=True, highlight=False)
    outputs = []
    for call in action["submit_tool_outputs"]["tool_calls"]:
        function = call["function"]
        asking.print(f"[yellow]{safe(function['name'])}[/]({safe(function['arguments'])}) returned: ", end="")
        line = sys.stdin.readline()
        if not line:
            asking.print()
            return False
        outputs.append({"tool_call_id": call["id"], "output": line.rstrip("\n")})
    ask_server(url, "POST", f"{path}/submit_tool_outputs", {"tool_outputs": outputs})
    return True


def how_to_answer(thread_id: str, run_id: str) -> str:
    """For a run that waits for its client when the command ends."""
    return (
        f"it waits for results of tool calls; send them to /v1/threads/{thread_id}/runs/{run_id}/submit_tool_outputs,"
        " or type them here, a line each"
    )
