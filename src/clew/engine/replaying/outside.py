"""What people and clients did to a thread while it ran, as the command that it was."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from clew.engine.replaying.recordings import Recording
from clew.events.base import Event, Recorded
from clew.events.message import MessageAppended
from clew.events.model import ReasoningImported
from clew.events.run import RunCancelRequested, RunChanged, RunQueued, RunReconfigured
from clew.events.tool import ToolConfirmed, ToolFailed, ToolImported, ToolReplaced, ToolReturned, ToolSettled
from clew.rules.commands import (
    ChangeRun,
    DeleteThread,
    QueueRun,
    RequestCancel,
    SettleTool,
    SubmitToolOutputs,
    ThreadCommand,
)
from clew.rules.parts import Confirmation, NewCall, NewItem, NewMessage, NewReasoning, NewResult, ToolOutput


def deed(recording: Recording, recorded: Recorded[Event]) -> ThreadCommand | None:
    """The command that begins with this event; None where it is put in as it is, since no rule changes it."""
    thread_id = recording.thread_id
    deleted = recording.deletion_at(recorded.version)
    if deleted is not None:
        return DeleteThread(thread_id=thread_id, by=deleted.by, reason=deleted.reason)
    successor = recording.successor_at(recorded.version)
    if successor is not None:
        return _queue(recording, recorded.version, successor)
    match recorded.event:
        case RunCancelRequested(run_id=run_id, by=by):
            return RequestCancel(thread_id=thread_id, run_id=run_id, past_status=None, by=by)
        case RunChanged(run_id=run_id, metadata=metadata):
            return ChangeRun(thread_id=thread_id, run_id=run_id, metadata=metadata)
        case ToolSettled() as settled:
            return SettleTool(
                thread_id=thread_id,
                run_id=settled.run_id,
                tool_call_id=settled.tool_call_id,
                outcome=settled.outcome,
                output=settled.output,
                by=settled.by,
                tokens=settled.tokens,
            )
        case ToolReturned(run_id=run_id) | ToolConfirmed(run_id=run_id):
            return _submission(recording, recorded.version, run_id)
        case _:
            return None


def _submission(recording: Recording, version: int, run_id: str) -> SubmitToolOutputs:
    """All that the client submitted at once."""
    outputs, confirmations, after = _answers(recording, version, run_id)
    events = [recorded.event for recorded in recording.after(after)]
    given = _given(events)
    # Without a configuration behind them, what comes next came by itself.
    then = events[len(given)] if len(events) > len(given) else None
    reconfigured = then if isinstance(then, RunReconfigured) else None
    return SubmitToolOutputs(
        thread_id=recording.thread_id,
        run_id=run_id,
        outputs=tuple(outputs),
        past_status=None,
        confirmations=tuple(confirmations),
        messages=given if reconfigured is not None else (),
        config=reconfigured.config if reconfigured is not None else None,
        matched_by=reconfigured.matched_by if reconfigured is not None else None,
    )


def _answers(recording: Recording, version: int, run_id: str) -> tuple[list[ToolOutput], list[Confirmation], int]:
    """What was answered at once, and the version of the last event of that."""
    last = version
    outputs: list[ToolOutput] = []
    confirmations: list[Confirmation] = []
    for recorded in recording.after(version - 1):
        event = recorded.event
        if getattr(event, "run_id", None) != run_id or not recording.is_from_outside(recorded.version):
            break
        match event:
            case ToolReturned():
                outputs.append(
                    ToolOutput(
                        tool_call_id=event.tool_call_id,
                        output=event.output,
                        tokens=event.tokens,
                        is_error=event.is_error,
                        content=event.content,
                    )
                )
            case ToolConfirmed(tool_call_id=tool_call_id, allowed=allowed, by=by):
                confirmations.append(Confirmation(tool_call_id=tool_call_id, allowed=allowed, by=by))
            case ToolFailed(output=told, tokens=tokens) if confirmations:
                confirmations[-1] = replace(confirmations[-1], told=told, tokens=tokens)
            case _:
                break
        last = recorded.version
    return outputs, confirmations, last


def _queue(recording: Recording, version: int, successor: Recorded[Event]) -> QueueRun:
    """The run that was queued in place of one that waited, with what its client said."""
    queued = successor.event
    assert isinstance(queued, RunQueued)
    end = recording.end_at(version)
    assert end is not None, "what has a successor has ended"
    between = [one.event for one in recording.after(end.version) if one.version < successor.version]
    return QueueRun(
        thread_id=recording.thread_id,
        run_id=queued.run_id,
        dialect=queued.dialect,
        config=queued.config,
        expires_at=queued.expires_at,
        metadata=queued.metadata,
        additional_messages=_given(between),
        instead_of=getattr(end.event, "run_id", None),
        matched_by=queued.matched_by,
    )


def _given(events: Iterable[Event]) -> tuple[NewItem, ...]:
    """What came from outside any run, up to the first event that is something else."""
    found: list[NewItem] = []
    for event in events:
        item = _item(event)
        if item is None:
            break
        found.append(item)
    return tuple(found)


def _item(event: Event) -> NewItem | None:
    match event:
        case MessageAppended(run_id=None):
            return NewMessage(
                message_id=event.message_id,
                role=event.role,
                content=event.content,
                attachments=event.attachments,
                metadata=event.metadata,
                tokens=event.tokens,
                model_call_id=event.model_call_id,
                assistant_id=event.assistant_id,
            )
        case ToolImported():
            return NewCall(
                tool_call_id=event.tool_call_id,
                model_call_id=event.model_call_id,
                name=event.name,
                arguments=event.arguments,
                executor=event.executor,
                handing_over=event.handing_over,
                tokens=event.tokens,
            )
        case ReasoningImported():
            return NewReasoning(
                item_id=event.item_id,
                model_call_id=event.model_call_id,
                provider=event.provider,
                blocks=event.blocks,
                model=event.model,
            )
        case ToolReplaced():
            return NewResult(
                tool_call_id=event.tool_call_id,
                output=event.output,
                tokens=event.tokens,
                is_error=event.is_error,
                content=event.content,
                had_result=event.had_result,
                tokens_before=event.tokens_before,
            )
        case _:
            return None
