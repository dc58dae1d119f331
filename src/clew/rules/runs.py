"""The rules of a run's life: queued, taken, cancelled, expired, ended.

Every command of a worker carries the fence it was given when it took the run, and a stale one is refused.
A run that ends closes what is open, in the same append: a model call that waits, tool calls without an answer.
"""

from __future__ import annotations

from collections.abc import Sequence

from clew.errors import NothingToRun, RunEnded, RunUnderWay, StaleFence, ThreadBusy
from clew.events import ThreadStreamEvent
from clew.events.message import MessageAppended
from clew.events.model import ModelFailed
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
from clew.events.tool import FailedReason, ToolFailed
from clew.rules.commands import (
    ChangeRun,
    Claim,
    EndIncomplete,
    ExpireRun,
    FailRun,
    FinishCancel,
    NewMessage,
    QueueRun,
    RequestCancel,
    StartRun,
)
from clew.rules.state import ActiveRun, Thread


def appended(message: NewMessage) -> MessageAppended:
    return MessageAppended(
        message_id=message.message_id,
        role=message.role,
        content=message.content,
        attachments=message.attachments,
        metadata=message.metadata or {},
        tokens=message.tokens,
    )


def held(thread: Thread, run_id: str, fence: int) -> ActiveRun:
    """The run, if the worker that took it with `fence` still holds it."""
    run = thread.run
    if run is None or run.run_id != run_id or run.fence != fence:
        newest = run.fence if run is not None and run.run_id == run_id else -1
        raise StaleFence(run_id=run_id, fence=fence, newest=newest)
    return run


def queue(command: QueueRun, thread: Thread) -> Sequence[ThreadStreamEvent]:
    if thread.run is not None:
        if thread.run.run_id == command.run_id:
            return []
        raise ThreadBusy(thread_id=command.thread_id, run_id=thread.run.run_id, wish="run")
    new_user_messages = sum(message.role == "user" for message in command.additional_messages)
    if thread.user_messages + new_user_messages == 0 and not command.config.instructions:
        raise NothingToRun(thread_id=command.thread_id)
    queued = RunQueued(
        run_id=command.run_id,
        dialect=command.dialect,
        config=command.config,
        expires_at=command.expires_at,
        metadata=command.metadata,
    )
    return [*map(appended, command.additional_messages), queued]


def change(command: ChangeRun, thread: Thread) -> Sequence[ThreadStreamEvent]:
    run = thread.run
    if run is not None and run.run_id == command.run_id and run.status in ("in_progress", "cancelling"):
        raise RunUnderWay(run_id=run.run_id, status=run.status)
    return [RunChanged(run_id=command.run_id, metadata=command.metadata)]


def start(command: StartRun, thread: Thread) -> Sequence[ThreadStreamEvent]:
    run = thread.run
    if run is None or run.run_id != command.run_id or run.status in ("requires_action", "cancelling"):
        return []
    return [taken(run, command.claim)]


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


def cancelled_with_thread(run: ActiveRun) -> Sequence[ThreadStreamEvent]:
    return closing(run, RunCancelled(run_id=run.run_id, usage=run.usage), "run_cancelled")


_TOLD = {
    "run_cancelled": "The run was cancelled before this call was answered.",
    "run_expired": "The run expired before this call was answered.",
    "run_failed": "The run failed before this call was answered.",
    "run_incomplete": "The run ended before this call was answered.",
}


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
            )
        )
    events += [
        ToolFailed(
            run_id=run.run_id,
            fence=run.fence,
            step_id=call.step_id,
            tool_call_id=call.tool_call_id,
            reason=reason,
            output=_TOLD[reason],
        )
        for call in run.unanswered
    ]
    return [*events, end]
