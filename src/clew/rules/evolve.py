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
    Purpose,
    ReasoningImported,
    ReasoningRecorded,
)
from clew.events.run import (
    BudgetAwaited,
    BudgetReached,
    RunActionRequired,
    RunCancelled,
    RunCancelRequested,
    RunChanged,
    RunCompleted,
    RunExpired,
    RunFailed,
    RunHandedOff,
    RunIncomplete,
    RunQueued,
    RunReconfigured,
    RunStarted,
)
from clew.events.thread import (
    ThreadChanged,
    ThreadCompacted,
    ThreadConfigured,
    ThreadCreated,
    ThreadDeleted,
    ThreadErased,
    ThreadForked,
)
from clew.events.tool import (
    ToolCalled,
    ToolConfirmed,
    ToolFailed,
    ToolImported,
    ToolInDoubt,
    ToolReplaced,
    ToolReturned,
    ToolSettled,
    ToolStarted,
)
from clew.events.usage import NO_USAGE
from clew.rules.standing import TAKEN
from clew.rules.state import BY_PROBE, ActiveRun, CallStatus, ModelCall, OpenCall, RunStatus, Summary, Thread


def evolve(thread: Thread, event: ThreadStreamEvent) -> Thread:
    match event:
        case MessageAppended() | MessageChanged() | MessageEdited() | MessageRemoved():
            return _message(thread, event)
        case (
            ThreadCreated()
            | ThreadConfigured()
            | ThreadChanged()
            | ThreadForked()
            | ThreadDeleted()
            | ThreadErased()
            | ThreadCompacted()
        ):
            return _thread(thread, event)
        case ContextAssembled() | ContextTruncated() | ModelCalled() | ModelAnswered() | ModelFailed():
            return replace(thread, run=_model(_active(thread), event))
        case ToolCalled() | ToolReturned() | ToolFailed() | ToolSettled():
            counted = thread if _is_no_result(event) else _more(thread, event.tokens)
            return replace(counted, run=_tool(_active(thread), event))
        case ToolStarted() | ToolInDoubt() | ToolConfirmed():
            return replace(thread, run=_tool(_active(thread), event))
        case ToolImported(tokens=tokens):
            return _more(thread, tokens)
        case ToolReplaced(had_result=had_result, tokens=tokens, tokens_before=before):
            now = tokens.count if tokens is not None else 0
            more = 0 if had_result else 1
            counted = replace(thread, items=thread.items + more, tokens=thread.tokens + now - before)
            return _changed(counted, event.tool_call_id) if had_result else counted
        case ReasoningRecorded(tokens=tokens) | ReasoningImported(tokens=tokens):
            return _more(thread, tokens)
        case (
            RunQueued()
            | RunReconfigured()
            | RunChanged()
            | RunStarted()
            | RunActionRequired()
            | RunHandedOff()
            | RunCancelRequested()
            | RunCompleted()
            | RunFailed()
            | RunCancelled()
            | RunExpired()
            | RunIncomplete()
            | BudgetReached()
            | BudgetAwaited()
        ):
            return replace(thread, run=_run(thread.run, event))
        case _:
            assert_never(event)


def _more(thread: Thread, tokens: Tokens | None) -> Thread:
    """One item more."""
    count = tokens.count if tokens is not None else 0
    return replace(thread, items=thread.items + 1, tokens=thread.tokens + count)


# A summary since which more than this was changed is not made use of any more.
_CHANGES_REMEMBERED_MAX = 32


def _changed(thread: Thread, item_id: str) -> Thread:
    """An item says something else now, or is gone: what a summary tells of it may not be true any more."""
    summary, run = thread.summary, thread.run
    if summary is not None:
        changed = _remembered(summary.changed, item_id)
        summary = None if changed is None else replace(summary, changed=changed)
    if run is not None and run.changed is not None:
        run = replace(run, changed=_remembered(run.changed, item_id))
    return replace(thread, summary=summary, run=run, changes=thread.changes + 1)


def _remembered(changed: tuple[str, ...], item_id: str) -> tuple[str, ...] | None:
    if item_id in changed:
        return changed
    return (*changed, item_id) if len(changed) < _CHANGES_REMEMBERED_MAX else None


def _is_no_result(event: ToolEvent) -> bool:
    """A call that turned out not to have happened has no result yet: it is made again."""
    return isinstance(event, ToolSettled) and event.outcome == "did_not_happen"


def _active(thread: Thread) -> ActiveRun:
    assert thread.run is not None, "the rules append events of a run only while it is active"
    return thread.run


def _thread(thread: Thread, event: ThreadEvent) -> Thread:
    match event:
        case ThreadCreated(tenant=tenant, truncation=truncation, stored=stored):
            return Thread(exists=True, tenant=tenant, truncation=truncation, stored=stored)
        case ThreadForked():
            return Thread(
                exists=True,
                tenant=event.tenant,
                user_messages=event.user_messages,
                items=event.items,
                tokens=event.tokens,
                truncation=event.truncation,
                summary=Summary(event.summary) if event.summary is not None else None,
                stored=event.stored,
            )
        case ThreadDeleted():
            return replace(thread, deleted=True)
        case ThreadCompacted():
            return replace(thread, summary=_summary(thread, event))
        case ThreadChanged(truncation=truncation):
            if truncation is None:
                return thread
            return replace(thread, truncation=None if truncation == "default" else truncation)
        case ThreadErased():
            # What was erased must not live on in what was told of it.
            return replace(thread, summary=None)
        case ThreadConfigured():
            return thread
        case _:
            assert_never(event)


def _summary(thread: Thread, compacted: ThreadCompacted) -> Summary | None:
    """What was changed while the model wrote it may be in it all the same."""
    if compacted.run_id is None or thread.run is None:
        return Summary(compacted.item_id)
    changed = thread.run.changed
    return None if changed is None else Summary(compacted.item_id, changed)


def _message(thread: Thread, event: MessageEvent) -> Thread:
    match event:
        case MessageAppended(role=role, tokens=tokens):
            more = _more(thread, tokens)
            return replace(more, user_messages=more.user_messages + 1) if role == "user" else more
        case MessageRemoved(role=role, tokens=gone):
            by_user = 1 if role == "user" else 0
            without = replace(
                thread,
                user_messages=thread.user_messages - by_user,
                items=thread.items - 1,
                tokens=thread.tokens - gone,
            )
            return _changed(without, event.message_id)
        case MessageEdited(tokens=tokens, tokens_before=before):
            now = tokens.count if tokens is not None else 0
            return _changed(replace(thread, tokens=thread.tokens + now - before), event.message_id)
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
    run: ActiveRun,
    event: RunStarted
    | RunReconfigured
    | RunActionRequired
    | RunHandedOff
    | RunCancelRequested
    | BudgetReached
    | BudgetAwaited,
) -> ActiveRun:
    match event:
        case RunStarted(fence=fence, attempt=attempt):
            status: RunStatus = "cancelling" if run.status == "cancelling" else "in_progress"
            return replace(run, status=status, fence=fence, attempts=attempt, starts=run.starts + 1)
        case RunReconfigured(config=config):
            return replace(run, limits=config.limits, reconfigured=run.reconfigured + 1, starts=0)
        case RunActionRequired():
            return replace(run, status="requires_action")
        case RunCancelRequested():
            return replace(run, status="cancelling")
        case BudgetReached() | RunHandedOff():
            return run
        case BudgetAwaited(until=until):
            return replace(run, budget_until=until)
        case _:
            assert_never(event)


def _model(
    run: ActiveRun, event: ContextAssembled | ContextTruncated | ModelCalled | ModelAnswered | ModelFailed
) -> ActiveRun:
    match event:
        case ModelCalled(model_call_id=model_call_id, attempt=attempt, purpose=purpose):
            return replace(run, model_call=ModelCall(model_call_id, attempt, waiting=True, purpose=purpose), calls=())
        case ModelAnswered(usage=usage):
            spent = run.usage.plus(usage or NO_USAGE)
            # A summary is what a step needs, and no step.
            more = 0 if _purpose(run) == "summary" else 1
            return replace(run, model_call=None, steps=run.steps + more, usage=spent, budget_until=None, starts=0)
        case ModelFailed(model_call_id=model_call_id, attempt=attempt, usage=usage, final=final):
            # What was not sent is no attempt that could have come to anything.
            made = attempt - 1 if event.code == TAKEN else attempt
            failed = ModelCall(model_call_id, made, waiting=False, purpose=_purpose(run), final=final)
            return replace(run, model_call=failed, usage=run.usage.plus(usage or NO_USAGE))
        case ContextAssembled(summarises=summarises):
            return run if summarises is None else replace(run, changed=())
        case ContextTruncated():
            return run
        case _:
            assert_never(event)


def _purpose(run: ActiveRun) -> Purpose:
    return run.model_call.purpose if run.model_call is not None else "answer"


def _tool(run: ActiveRun, event: ToolEvent) -> ActiveRun:
    match event:
        case ToolCalled():
            return replace(run, calls=(*run.calls, _open_call(event)))
        case ToolConfirmed(allowed=allowed):
            answered = replace(run, starts=0)
            if not allowed:
                # It fails in the same append.
                return answered
            return _requeued_when_answered(_with_call(answered, event.tool_call_id, status="called"))
        case ToolStarted(attempt=attempt, effect=effect):
            return _with_call(run, event.tool_call_id, status="started", attempts=attempt, effect=effect)
        case ToolInDoubt():
            return _with_call(run, event.tool_call_id, status="in_doubt")
        case ToolReturned() | ToolFailed():
            answered = replace(run, starts=0)
            return _requeued_when_answered(_with_call(answered, event.tool_call_id, status="answered"))
        case ToolSettled():
            settled = _settled(run, event)
            waited = run.status == "in_progress" and not settled.in_doubt
            return replace(settled, status="queued") if waited else settled
        case ToolReplaced() | ToolImported():
            return run
        case _:
            assert_never(event)


def _settled(run: ActiveRun, event: ToolSettled) -> ActiveRun:
    """A call that a probe has made again counts as started as often as before; that alone is no progress of the run."""
    if event.outcome != "did_not_happen":
        return replace(_with_call(run, event.tool_call_id, status="answered"), starts=0)
    call = run.call(event.tool_call_id)
    if call is None or event.by == BY_PROBE:
        return _with_call(run, event.tool_call_id, status="called")
    return replace(_with_call(run, event.tool_call_id, status="called", attempts_settled=call.attempts), starts=0)


def _open_call(event: ToolCalled) -> OpenCall:
    status: CallStatus = "unconfirmed" if event.confirm else "called"
    hands_over = event.handing_over is not None
    return OpenCall(event.tool_call_id, event.step_id, event.name, event.executor, status, hands_over=hands_over)


def _with_call(run: ActiveRun, tool_call_id: str, **changes: object) -> ActiveRun:
    calls = tuple(
        replace(call, **changes) if call.tool_call_id == tool_call_id else call  # type: ignore[arg-type]
        for call in run.calls
    )
    return replace(run, calls=calls)


def _requeued_when_answered(run: ActiveRun) -> ActiveRun:
    """A run that waited for its client goes back into the queue with the last answer."""
    if run.status == "requires_action" and not run.awaited:
        return replace(run, status="queued")
    return run
