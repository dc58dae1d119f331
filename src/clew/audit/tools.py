"""What an audit says of tool calls: who started them and when, how they ended, what was doubted and who settled it."""

from __future__ import annotations

from typing import Any

from clew.audit.records import Audit, Doubt, Note, ToolRecord, ToolStart
from clew.events.base import Recorded
from clew.events.tool import ToolCalled, ToolConfirmed, ToolFailed, ToolInDoubt, ToolReturned, ToolSettled, ToolStarted


def tell_tool(found: Audit, recorded: Recorded[Any]) -> None:
    event = recorded.event
    if isinstance(event, ToolCalled):
        step = found.steps[-1]
        made = event.model_dump(include={"tool_call_id", "step_id", "name", "arguments", "executor"})
        step.tools.append(ToolRecord(**made, called_at=recorded.at))
        if event.step_id not in step.step_ids:
            step.step_ids.append(event.step_id)
        return
    record = next(
        (one for step in reversed(found.steps) for one in step.tools if one.tool_call_id == event.tool_call_id), None
    )
    if record is not None:
        _next(found, record, recorded)


def _next(found: Audit, record: ToolRecord, recorded: Recorded[Any]) -> None:
    event = recorded.event
    match event:
        case ToolConfirmed(allowed=allowed, by=by):
            what = f"{record.name} was {'allowed' if allowed else 'denied'}{f' by {by}' if by else ''}"
            found.notes.append(Note(at=recorded.at, what=what, kind="client"))
        case ToolStarted():
            if record.attempts and record.outcome == "started":
                what = f"{record.name} was started again: whether it had happened before the crash is not known"
                found.notes.append(Note(at=recorded.at, what=what, kind="crash"))
            record.outcome, record.attempts, record.effect = "started", event.attempt, event.effect
            record.idempotency_key = event.idempotency_key
            record.starts.append(ToolStart(at=recorded.at, attempt=event.attempt, worker=recorded.actor))
        case ToolReturned() | ToolFailed():
            record.outcome = "returned" if isinstance(event, ToolReturned) else "failed"
            record.output, record.duration_ms = event.output, event.duration_ms
            if isinstance(event, ToolFailed):
                record.reason = event.reason
            else:
                record.bytes_whole = event.bytes_whole
            record.answered_at, record.answered_by = recorded.at, recorded.actor
        case ToolInDoubt(reason=reason):
            record.outcome, record.reason = "in_doubt", reason
            record.doubts.append(Doubt(at=recorded.at, reason=reason))
            found.notes.append(Note(at=recorded.at, what=f"{record.name} is in doubt: {reason}", kind="doubt"))
        case ToolSettled(outcome=outcome, output=output, by=by):
            record.outcome, record.settled_by = "settled", by
            if outcome != "did_not_happen":
                record.output, record.answered_at, record.answered_by = output, recorded.at, recorded.actor
            if record.doubts:
                doubt = record.doubts[-1]
                doubt.settled_at, doubt.outcome, doubt.by = recorded.at, outcome, by
            what = f"{record.name} was settled by {by}: {outcome.replace('_', ' ')}"
            found.notes.append(Note(at=recorded.at, what=what, kind="doubt"))
        case _:
            pass
