"""The rules of a run's life: queued, taken, cancelled, expired, ended.

Every command of a worker carries the fence it was given when it took the run, and a stale one is refused.
A run that ends closes what is open, in the same append: a model call that waits, tool calls without an answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import assert_never

from clew.errors import CallsUnanswered, NothingToRun, RunEnded, RunUnderWay, StaleFence, ThreadBusy
from clew.events import ThreadStreamEvent
from clew.events.message import MessageAppended
from clew.events.model import ModelFailed, ReasoningImported
from clew.events.run import (
    RunCancelled,
    RunCancelRequested,
    RunChanged,
    RunEnd,
    RunExpired,
    RunFailed,
    RunIncomplete,
    RunQueued,
    RunStarted,
)
from clew.events.tool import FailedReason, ToolFailed, ToolImported, ToolReplaced
from clew.rules import told
from clew.rules.commands import (
    ChangeRun,
    EndIncomplete,
    ExpireRun,
    FailRun,
    FinishCancel,
    QueueRun,
    RequestCancel,
    StartRun,
)
from clew.rules.parts import Claim, NewCall, NewItem, NewMessage, NewReasoning, NewResult
from clew.rules.state import ActiveRun, Thread


def appended(item: NewItem) -> MessageAppended | ToolImported | ReasoningImported | ToolReplaced:
    match item:
        case NewMessage():
            return MessageAppended(
                message_id=item.message_id,
                role=item.role,
                content=item.content,
                attachments=item.attachments,
                metadata=item.metadata or {},
                tokens=item.tokens,
                assistant_id=item.assistant_id,
                model_call_id=item.model_call_id,
                before=item.before,
            )
        case NewCall():
            return ToolImported(
                tool_call_id=item.tool_call_id,
                model_call_id=item.model_call_id,
                name=item.name,
                arguments=item.arguments,
                executor=item.executor,
                handing_over=item.handing_over,
                tokens=item.tokens,
            )
        case NewReasoning():
            return ReasoningImported(
                item_id=item.item_id,
                model_call_id=item.model_call_id,
                provider=item.provider,
                blocks=item.blocks,
                model=item.model,
            )
        case NewResult():
            return ToolReplaced(
                tool_call_id=item.tool_call_id,
                output=item.output,
                is_error=item.is_error,
                content=item.content,
                had_result=item.had_result,
                tokens=item.tokens,
                tokens_before=item.tokens_before,
            )
        case _:
            assert_never(item)


def busy(thread_id: str, run: ActiveRun, wish: str) -> ThreadBusy:
    """Why nothing else can begin on the thread."""
    if run.status != "requires_action":
        return ThreadBusy(thread_id=thread_id, run_id=run.run_id, wish=wish)
    awaited = tuple(call.tool_call_id for call in run.awaited)
    return CallsUnanswered(thread_id=thread_id, run_id=run.run_id, wish=wish, tool_call_ids=awaited)


def held(thread: Thread, run_id: str, fence: int) -> ActiveRun:
    """The run, if the worker that took it with `fence` still holds it."""
    run = thread.run
    if run is None or run.run_id != run_id or run.fence != fence:
        newest = run.fence if run is not None and run.run_id == run_id else -1
        raise StaleFence(run_id=run_id, fence=fence, newest=newest)
    return run


def queue(command: QueueRun, thread: Thread) -> Sequence[ThreadStreamEvent]:
    run = thread.run
    if run is not None and run.run_id == command.run_id:
        return []
    ended = run is not None and run.run_id == command.instead_of and run.status == "requires_action"
    if run is not None and not ended:
        raise busy(command.thread_id, run, "run")
    closed = cancelled_unasked(run) if run is not None else []
    new_user_messages = sum(
        isinstance(item, NewMessage) and item.role == "user" for item in command.additional_messages
    )
    if thread.user_messages + new_user_messages == 0 and not command.config.instructions:
        raise NothingToRun(thread_id=command.thread_id)
    return [*closed, *map(appended, command.additional_messages), queued(command)]


def queued(command: QueueRun, *, handed_off_by: str | None = None) -> RunQueued:
    return RunQueued(
        run_id=command.run_id,
        dialect=command.dialect,
        config=command.config,
        expires_at=command.expires_at,
        metadata=command.metadata,
        handed_off_by=handed_off_by,
        matched_by=command.matched_by,
    )


def change(command: ChangeRun, thread: Thread) -> Sequence[ThreadStreamEvent]:
    run = thread.run
    if run is not None and run.run_id == command.run_id and run.status in ("in_progress", "cancelling"):
        raise RunUnderWay(run_id=run.run_id, status=run.status)
    return [RunChanged(run_id=command.run_id, metadata=command.metadata)]


def start(command: StartRun, thread: Thread) -> Sequence[ThreadStreamEvent]:
    run = thread.run
    if run is None or run.run_id != command.run_id or run.status in ("requires_action", "cancelling"):
        return []
    started = taken(held(thread, command.run_id, command.fence), command.claim)
    if run.starts < command.starts_max:
        return [started]
    # Whoever takes it only ends it: else it would be taken for ever.
    message = told.no_progress(run.starts)
    failed = RunFailed(run_id=run.run_id, usage=run.usage, code="server_error", message=message)
    return [started, *closing(replace(run, fence=started.fence), failed, "run_failed")]


def taken(run: ActiveRun, claim: Claim) -> RunStarted:
    return RunStarted(
        run_id=run.run_id,
        worker=claim.worker,
        attempt=run.attempts + 1,
        fence=run.fence + 1,
        lease_seconds=claim.lease_seconds,
    )


def request_cancel(command: RequestCancel, thread: Thread) -> Sequence[ThreadStreamEvent]:
    run = thread.run
    if run is None or run.run_id != command.run_id:
        raise RunEnded(run_id=command.run_id, status=command.past_status or "ended")
    if run.status == "cancelling":
        raise RunEnded(run_id=run.run_id, status=run.status)
    return [RunCancelRequested(run_id=run.run_id, by=command.by)]


def finish_cancel(command: FinishCancel, thread: Thread) -> Sequence[ThreadStreamEvent]:
    run = thread.run
    if run is None or run.run_id != command.run_id or run.status != "cancelling":
        return []
    return closing(run, RunCancelled(run_id=run.run_id, usage=run.usage), "run_cancelled")


def expire(command: ExpireRun, thread: Thread) -> Sequence[ThreadStreamEvent]:
    """A run with a call in doubt does not expire: it waits for a person, who comes when he comes."""
    run = thread.run
    if run is None or run.run_id != command.run_id or run.expires_at is None:
        return []
    if command.now < run.expires_at or run.in_doubt:
        return []
    return closing(run, RunExpired(run_id=run.run_id, usage=run.usage), "run_expired")


def fail(command: FailRun, thread: Thread) -> Sequence[ThreadStreamEvent]:
    run = held(thread, command.run_id, command.fence)
    failed = RunFailed(run_id=run.run_id, usage=run.usage, code=command.code, message=command.message)
    return closing(run, failed, "run_failed")


def end_incomplete(command: EndIncomplete, thread: Thread) -> Sequence[ThreadStreamEvent]:
    run = held(thread, command.run_id, command.fence)
    ended = RunIncomplete(run_id=run.run_id, usage=run.usage, reason=command.reason)
    return closing(run, ended, "run_incomplete")


def cancelled_unasked(run: ActiveRun) -> Sequence[ThreadStreamEvent]:
    """Without a request to cancel it: its thread is deleted, or goes on with another run."""
    return closing(run, RunCancelled(run_id=run.run_id, usage=run.usage), "run_cancelled")


def closing(run: ActiveRun, end: RunEnd, reason: FailedReason) -> Sequence[ThreadStreamEvent]:
    """The end of a run, after the ends of what was open in it."""
    events: list[ThreadStreamEvent] = []
    if run.model_call is not None and run.model_call.waiting:
        events.append(
            ModelFailed(
                run_id=run.run_id,
                fence=run.fence,
                model_call_id=run.model_call.model_call_id,
                attempt=run.model_call.attempt,
                code=reason,
                message="the run ended while the model was answering",
                retryable=False,
                final=True,
                usage_unknown=True,
            )
        )
    events += [
        ToolFailed(
            run_id=run.run_id,
            fence=run.fence,
            step_id=call.step_id,
            tool_call_id=call.tool_call_id,
            reason=reason,
            output=told.RUN_ENDED[reason],
        )
        for call in run.unanswered
    ]
    return [*events, end]
