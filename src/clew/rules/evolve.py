"""What an event makes of a thread's state."""

from __future__ import annotations

from dataclasses import replace
from typing import assert_never

from clew.events import MessageEvent, RunEvent, ThreadEvent, ThreadStreamEvent, ToolEvent
from clew.events.content import Tokens
from clew.events.message import MessageAppended, MessageChanged, MessageEdited, MessageRemoved
from clew.events.model import (
    ContextAssembled,
    ContextTruncated,
    ModelAnswered,
    ModelCalled,
    ModelFailed,
    ReasoningRecorded,
)
from clew.events.run import (
    BudgetReached,
    RunActionRequired,
    RunCancelled,
    RunCancelRequested,
    RunChanged,
    RunCompleted,
    RunExpired,
    RunFailed,
    RunIncomplete,
    RunQueued,
    RunStarted,
)
from clew.events.thread import (
    ThreadChanged,
    ThreadCompacted,
    ThreadCreated,
    ThreadDeleted,
    ThreadErased,
    ThreadForked,
)
from clew.events.tool import ToolCalled, ToolFailed, ToolInDoubt, ToolReturned, ToolSettled, ToolStarted
from clew.events.usage import NO_USAGE
from clew.rules.state import ActiveRun, ModelCall, OpenCall, RunStatus, Thread


def evolve(thread: Thread, event: ThreadStreamEvent) -> Thread:
    match event:
        case MessageAppended() | MessageChanged() | MessageEdited() | MessageRemoved():
            return _message(thread, event)
        case ThreadCreated() | ThreadChanged() | ThreadForked() | ThreadDeleted() | ThreadErased() | ThreadCompacted():
            return _thread(thread, event)
        case ContextAssembled() | ContextTruncated() | ModelCalled() | ModelAnswered() | ModelFailed():
            return replace(thread, run=_model(_active(thread), event))
        case ToolCalled() | ToolReturned() | ToolFailed() | ToolSettled():
            counted = thread if _is_no_result(event) else _more(thread, event.tokens)
            return replace(counted, run=_tool(_active(thread), event))
        case ToolStarted() | ToolInDoubt():
            return replace(thread, run=_tool(_active(thread), event))
        case ReasoningRecorded(tokens=tokens):
            return _more(thread, tokens)
        case (
            RunQueued()
            | RunChanged()
            | RunStarted()
            | RunActionRequired()
            | RunCancelRequested()
            | RunCompleted()
            | RunFailed()
            | RunCancelled()
            | RunExpired()
            | RunIncomplete()
            | BudgetReached()
        ):
            return replace(thread, run=_run(thread.run, event))
        case _:
            assert_never(event)


def _more(thread: Thread, tokens: Tokens | None) -> Thread:
    """One item more."""
    count = tokens.count if tokens is not None else 0
    return replace(thread, items=thread.items + 1, tokens=thread.tokens + count)


def _is_no_result(event: ToolEvent) -> bool:
    """A call that turned out not to have happened has no result yet: it is made again."""
    return isinstance(event, ToolSettled) and event.outcome == "did_not_happen"


def _active(thread: Thread) -> ActiveRun:
    assert thread.run is not None, "the rules append events of a run only while it is active"
    return thread.run


def _thread(thread: Thread, event: ThreadEvent) -> Thread:
    match event:
        case ThreadCreated(tenant=tenant):
            return Thread(exists=True, tenant=tenant)
        case ThreadForked():
            return Thread(
                exists=True,
                tenant=event.tenant,
                user_messages=event.user_messages,
                items=event.items,
                tokens=event.tokens,
            )
        case ThreadDeleted():
            return replace(thread, deleted=True)
        case ThreadCompacted(tokens=tokens):
            return _more(thread, tokens)
        case ThreadChanged() | ThreadErased():
            return thread
        case _:
            assert_never(event)


def _message(thread: Thread, event: MessageEvent) -> Thread:
    match event:
        case MessageAppended(role=role, tokens=tokens):
            more = _more(thread, tokens)
            return replace(more, user_messages=more.user_messages + 1) if role == "user" else more
        case MessageRemoved(role=role, tokens=gone):
            by_user = 1 if role == "user" else 0
            return replace(
                thread,
                user_messages=thread.user_messages - by_user,
                items=thread.items - 1,
                tokens=thread.tokens - gone,
            )
        case MessageEdited(tokens=tokens, tokens_before=before):
            now = tokens.count if tokens is not None else 0
            return replace(thread, tokens=thread.tokens + now - before)
        case MessageChanged():
            return thread
        case _:
            assert_never(event)


def _run(run: ActiveRun | None, event: RunEvent) -> ActiveRun | None:
    match event:
        case RunQueued(run_id=run_id, config=config, expires_at=expires_at):
            return ActiveRun(run_id=run_id, expires_at=expires_at, limits=config.limits)
        case RunCompleted() | RunFailed() | RunCancelled() | RunExpired() | RunIncomplete():
            return None
        case RunChanged():
            return run
        case _:
            assert run is not None, "the rules append events of a run only while it is active"
            return _run_under_way(run, event)


def _run_under_way(
    run: ActiveRun, event: RunStarted | RunActionRequired | RunCancelRequested | BudgetReached
) -> ActiveRun:
    match event:
        case RunStarted(fence=fence, attempt=attempt):
            status: RunStatus = "cancelling" if run.status == "cancelling" else "in_progress"
            return replace(run, status=status, fence=fence, attempts=attempt)
        case RunActionRequired():
            return replace(run, status="requires_action")
        case RunCancelRequested():
            return replace(run, status="cancelling")
        case BudgetReached():
            return run
        case _:
            assert_never(event)


def _model(
    run: ActiveRun, event: ContextAssembled | ContextTruncated | ModelCalled | ModelAnswered | ModelFailed
) -> ActiveRun:
    match event:
        case ModelCalled(model_call_id=model_call_id, attempt=attempt):
            return replace(run, model_call=ModelCall(model_call_id, attempt, waiting=True), calls=())
        case ModelAnswered(usage=usage):
            spent = run.usage.plus(usage or NO_USAGE)
            return replace(run, model_call=None, steps=run.steps + 1, usage=spent)
        case ModelFailed(model_call_id=model_call_id, attempt=attempt, usage=usage):
            failed = ModelCall(model_call_id, attempt, waiting=False)
            return replace(run, model_call=failed, usage=run.usage.plus(usage or NO_USAGE))
        case ContextAssembled() | ContextTruncated():
            return run
        case _:
            assert_never(event)


def _tool(run: ActiveRun, event: ToolEvent) -> ActiveRun:
    match event:
        case ToolCalled():
            call = OpenCall(event.tool_call_id, event.step_id, event.name, event.executor)
            return replace(run, calls=(*run.calls, call))
        case ToolStarted(attempt=attempt, effect=effect):
            return _with_call(run, event.tool_call_id, status="started", attempts=attempt, effect=effect)
        case ToolInDoubt():
            return _with_call(run, event.tool_call_id, status="in_doubt")
        case ToolReturned() | ToolFailed():
            return _requeued_when_answered(_with_call(run, event.tool_call_id, status="answered"))
        case ToolSettled(outcome=outcome):
            status = "called" if outcome == "did_not_happen" else "answered"
            settled = _with_call(run, event.tool_call_id, status=status)
            waited = run.status == "in_progress" and not settled.in_doubt
            return replace(settled, status="queued") if waited else settled
        case _:
            assert_never(event)


def _with_call(run: ActiveRun, tool_call_id: str, **changes: object) -> ActiveRun:
    calls = tuple(
        replace(call, **changes) if call.tool_call_id == tool_call_id else call  # type: ignore[arg-type]
        for call in run.calls
    )
    return replace(run, calls=calls)


def _requeued_when_answered(run: ActiveRun) -> ActiveRun:
    """A run that waited for its client goes back into the queue with the last answer."""
    if run.status == "requires_action" and not run.unanswered:
        return replace(run, status="queued")
    return run
