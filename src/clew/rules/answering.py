"""The rules of what the client of a run does: it answers calls, and allows or denies what the server asks it about."""

from __future__ import annotations

from collections.abc import Sequence

from clew.errors import NothingToConfirm, OutputsIncomplete, OutputsNotExpected
from clew.events import ThreadStreamEvent
from clew.events.run import RunReconfigured
from clew.events.tool import ToolConfirmed, ToolFailed, ToolReturned
from clew.rules.commands import SubmitToolOutputs
from clew.rules.parts import Confirmation
from clew.rules.runs import appended
from clew.rules.state import ActiveRun, Thread


def submit(command: SubmitToolOutputs, thread: Thread) -> Sequence[ThreadStreamEvent]:
    run = thread.run
    if run is None or run.run_id != command.run_id or run.status != "requires_action":
        status = run.status if run is not None and run.run_id == command.run_id else command.past_status
        raise OutputsNotExpected(run_id=command.run_id, status=status or "ended")
    confirmed = tuple(one.tool_call_id for one in command.confirmations)
    given = (*(output.tool_call_id for output in command.outputs), *confirmed)
    expected = tuple(call.tool_call_id for call in run.awaited)
    if sorted(given) != sorted(expected):
        raise OutputsIncomplete(run_id=run.run_id, expected=expected, given=given)
    confirmable = tuple(call.tool_call_id for call in run.awaited if call.status == "unconfirmed")
    if not set(confirmed) <= set(confirmable):
        raise NothingToConfirm(run_id=run.run_id, tool_call_ids=tuple(set(confirmed) - set(confirmable)))
    steps = {call.tool_call_id: call.step_id for call in run.calls}
    returned = [
        ToolReturned(
            run_id=run.run_id,
            fence=run.fence,
            step_id=steps[output.tool_call_id],
            tool_call_id=output.tool_call_id,
            output=output.output,
            tokens=output.tokens,
            is_error=output.is_error,
            content=output.content,
        )
        for output in command.outputs
    ]
    decided = (event for one in command.confirmations for event in _confirmed(one, run, steps[one.tool_call_id]))
    events: list[ThreadStreamEvent] = [*returned, *decided, *map(appended, command.messages)]
    if command.config is not None:
        events.append(RunReconfigured(run_id=run.run_id, config=command.config, matched_by=command.matched_by))
    return events


def _confirmed(confirmation: Confirmation, run: ActiveRun, step_id: str) -> list[ThreadStreamEvent]:
    confirmed = ToolConfirmed(
        run_id=run.run_id,
        fence=run.fence,
        step_id=step_id,
        tool_call_id=confirmation.tool_call_id,
        allowed=confirmation.allowed,
        by=confirmation.by,
    )
    if confirmation.allowed:
        return [confirmed]
    denied = ToolFailed(
        run_id=run.run_id,
        fence=run.fence,
        step_id=step_id,
        tool_call_id=confirmation.tool_call_id,
        reason="denied",
        output=confirmation.told,
        tokens=confirmation.tokens,
    )
    return [confirmed, denied]
