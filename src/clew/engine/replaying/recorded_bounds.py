"""After how many starts a recorded run, or a call of it, was given up.

Where nothing was given up nothing is when it is played again, however often it was started: an engine of then, or
another setting, had other bounds.
"""

from __future__ import annotations

from clew.engine.hand import Bounds
from clew.engine.replaying.recordings import Recording
from clew.events.model import ModelFailed
from clew.events.run import RunFailed
from clew.events.tool import ToolFailed, ToolInDoubt
from clew.rules import told

_NEVER = 1_000_000


def recorded_bounds(recording: Recording, run_id: str, version: int) -> Bounds:
    """As they showed after event `version`."""
    tool_starts, run_starts, lost_answers, lost = _NEVER, _NEVER, _NEVER, 0
    for recorded in recording.of_run(run_id, version + 1):
        match recorded.event:
            case ToolFailed(reason="error", output=text) | ToolInDoubt(reason=text):
                tool_starts = min(tool_starts, told.starts_in_vain(text) or _NEVER)
            case RunFailed(message=message):
                run_starts = told.starts_without_progress(message) or _NEVER
            case ModelFailed(code="lost", final=True, attempt=attempt) if lost < attempt:
                lost_answers = min(lost_answers, attempt)
            case ModelFailed(code="lost", attempt=attempt):
                lost = max(lost, attempt)
            case _:
                continue
    return Bounds(tool_starts, run_starts, lost_answers)
