"""Tools with a side effect that outlives the process: each call writes a line to a file, and syncs it.

`CLEW_DEEDS` names the file; `CLEW_DEEDS_SECONDS` says how long a call takes after its deed: time to be killed in.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import clew
from clew.engine.tools import ToolCallInfo
from clew.events.tool import SettledOutcome


def write(line: str) -> None:
    with Path(os.environ["CLEW_DEEDS"]).open("a") as file:
        file.write(line + "\n")
        file.flush()
        os.fsync(file.fileno())
    time.sleep(float(os.environ.get("CLEW_DEEDS_SECONDS", "0")))


def undeclared(text: str) -> str:
    """Declares nothing, so it must never happen twice."""
    write(f"undeclared {text}")
    return "done"


@clew.tool(effect="idempotent")
def repeatable(text: str, call: ToolCallInfo) -> str:
    write(f"repeatable {text} {call.idempotency_key} {call.attempt}")
    return "done"


@clew.tool(effect="once", in_doubt="tell_model")
def told(text: str) -> str:
    write(f"told {text}")
    return "done"


def look_it_up(key: str) -> tuple[SettledOutcome, str]:
    """The probe of `probed`: the file itself knows whether the deed was done."""
    path = Path(os.environ["CLEW_DEEDS"])
    done = path.exists() and any(key in line for line in path.read_text().splitlines())
    return ("happened", "done, as the file says") if done else ("did_not_happen", "")


@clew.tool(effect="once", probe=look_it_up)
def probed(text: str, call: ToolCallInfo) -> str:
    write(f"probed {text} {call.idempotency_key}")
    return "done"


@clew.tool(effect="once", timeout_seconds=0.3)
def slow(text: str) -> str:
    write(f"slow {text}")
    time.sleep(1)
    return "too late"


TOOLS = [undeclared, repeatable, told, probed, slow]
