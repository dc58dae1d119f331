"""What a model is told of calls that nobody answered, and what is said of runs and calls that were started too often.

Whoever compares what was said, or plays it again, knows these words.
"""

from __future__ import annotations

import re

from clew.events.tool import FailedReason

RUN_ENDED: dict[FailedReason, str] = {
    "run_cancelled": "The run was cancelled before this call was answered.",
    "run_expired": "The run expired before this call was answered.",
    "run_failed": "The run failed before this call was answered.",
    "run_incomplete": "The run ended before this call was answered.",
    "run_completed": "Nobody can answer this call: the thread was not kept.",
}
CUT_SHORT = "The model's answer was cut short, so this call was not made."
FORKED = "This call had no result yet when the thread was forked."
PASSED_OVER = "The conversation went on before this call was answered."

_ALL = frozenset((*RUN_ENDED.values(), CUT_SHORT, FORKED, PASSED_OVER))


def is_told(output: str) -> bool:
    """Whether a result is none of anybody's, but what we say in place of one."""
    return output in _ALL


_IN_VAIN = re.compile(r"^.+? was started (\d+) times and ")
_NO_PROGRESS = re.compile(r"^the run was started (\d+) times in a row and made no progress$")


def started_in_vain(tool: str, starts: int, what: str) -> str:
    return f"{tool} was started {starts} times and {what}"


def starts_in_vain(text: str) -> int | None:
    found = _IN_VAIN.match(text)
    return int(found[1]) if found is not None else None


def no_progress(starts: int) -> str:
    return f"the run was started {starts} times in a row and made no progress"


def starts_without_progress(text: str) -> int | None:
    found = _NO_PROGRESS.match(text)
    return int(found[1]) if found is not None else None
