"""The rules of handing a thread over: the agent's run ends, and that of the next agent begins in the same append."""

from __future__ import annotations

from collections.abc import Sequence

from clew.events import ThreadStreamEvent
from clew.events.run import RunCompleted, RunHandedOff
from clew.events.tool import ToolFailed, ToolReturned
from clew.rules.commands import HandOff
from clew.rules.moves import HandOver, next_move
from clew.rules.runs import held, queued
from clew.rules.state import Thread

_TOO_LATE = "The thread was handed over to another agent already."


def hand_off(command: HandOff, thread: Thread) -> Sequence[ThreadStreamEvent]:
    """All that the model called beside it is answered by then; of several agents that it named, the first gets it."""
    run = held(thread, command.run_id, command.fence)
    move = next_move(run)
    if not isinstance(move, HandOver) or move.call.tool_call_id != command.tool_call_id:
        return []
    following = command.next_run
    events: list[ThreadStreamEvent] = [
        RunHandedOff(
            run_id=run.run_id,
            fence=run.fence,
            tool_call_id=command.tool_call_id,
            assistant_id=command.assistant_id,
            to_run_id=following.run_id if following is not None else None,
        ),
        ToolReturned(
            run_id=run.run_id,
            fence=run.fence,
            step_id=move.call.step_id,
            tool_call_id=command.tool_call_id,
            output=command.output,
            tokens=command.tokens,
        ),
    ]
    events += [
        ToolFailed(
            run_id=run.run_id,
            fence=run.fence,
            step_id=call.step_id,
            tool_call_id=call.tool_call_id,
            reason="error",
            output=_TOO_LATE,
        )
        for call in run.unanswered
        if call.tool_call_id != command.tool_call_id
    ]
    events.append(RunCompleted(run_id=run.run_id, usage=run.usage))
    if following is not None:
        events.append(queued(following, handed_off_by=run.run_id))
    return events
