"""What a model is told of calls that nobody answered. Whoever compares what was said knows these words again."""

from __future__ import annotations

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
