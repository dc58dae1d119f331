"""The rules of what a run does: it asks the model, records the answer, executes tools and waits for answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from clew import exact_json
from clew.errors import NotInDoubt
from clew.events import ThreadStreamEvent
from clew.events.message import MessageAppended
from clew.events.model import (
    FINISH_REASONS,
    ContextAssembled,
    ContextTruncated,
    ModelAnswered,
    ModelCalled,
    ModelFailed,
    Purpose,
    ReasoningRecorded,
)
from clew.events.run import RunActionRequired, RunCompleted, RunFailed, RunIncomplete
from clew.events.tool import (
    FailedReason,
    ToolCalled,
    ToolFailed,
    ToolInDoubt,
    ToolReturned,
    ToolSettled,
    ToolStarted,
)
from clew.events.usage import NO_USAGE, Usage
from clew.rules import told
from clew.rules.commands import DoubtTool, FinishTool, SettleTool, StartTool
from clew.rules.model_commands import BeginModelCall, FailModelCall, RecordAnswer, RetryModelCall
from clew.rules.parts import AnsweredCall
from clew.rules.runs import closing, held, taken
from clew.rules.state import ActiveRun, CallStatus, OpenCall, Thread


def begin_model_call(command: BeginModelCall, thread: Thread) -> Sequence[ThreadStreamEvent]:
    run = held(thread, command.run_id, command.fence)
    if run.status == "cancelling" or (run.status == "queued") != (command.claim is not None):
        return []
    if run.unanswered or (run.model_call is not None and run.model_call.waiting):
        return []
    start = [taken(run, command.claim)] if command.claim is not None else []
    fence = run.fence + len(start)
    purpose: Purpose = "answer" if command.summarises is None else "summary"
    if command.changes is not None and command.changes != thread.changes:
        return []
    failed = run.model_call if run.model_call is not None and run.model_call.purpose == purpose else None
    events: list[ThreadStreamEvent] = [
        *start,
        ContextAssembled(
            run_id=run.run_id,
            fence=fence,
            model_call_id=command.model_call_id,
            manifest=command.manifest,
            tokens=command.tokens,
            renderer=command.renderer,
            digest=command.digest,
            max_output_tokens=command.max_output_tokens,
            summarises=command.summarises,
            origin=command.origin,
        ),
    ]
    if command.cut is not None:
        events.append(_truncated(command, fence))
    called = ModelCalled(
        run_id=run.run_id,
        fence=fence,
        model_call_id=command.model_call_id,
        provider=command.provider,
        model=command.model,
        attempt=failed.attempt + 1 if failed is not None else 1,
        purpose=purpose,
    )
    return [*events, called]


def _truncated(command: BeginModelCall, fence: int) -> ContextTruncated:
    cut = command.cut
    assert cut is not None
    return ContextTruncated(
        run_id=command.run_id,
        fence=fence,
        model_call_id=command.model_call_id,
        strategy=cut.strategy,
        left_out=cut.left_out,
        items_left_out=cut.items,
        tokens_before=cut.tokens_before,
        tokens_after=cut.tokens_after,
        limit=cut.limit,
        limit_name=cut.limit_name,
        cleared=cut.cleared,
        items_cleared=cut.items_cleared,
        instead_of=cut.instead_of,
    )


def retry_model_call(command: RetryModelCall, thread: Thread) -> Sequence[ThreadStreamEvent]:
    run = held(thread, command.run_id, command.fence)
    if run.status == "cancelling" or run.model_call is None or run.model_call.waiting:
        return []
    called = ModelCalled(
        run_id=run.run_id,
        fence=run.fence,
        model_call_id=command.model_call_id,
        provider=command.provider,
        model=command.model,
        attempt=run.model_call.attempt + 1,
        purpose=run.model_call.purpose,
    )
    return [called]


def fail_model_call(command: FailModelCall, thread: Thread) -> Sequence[ThreadStreamEvent]:
    """A failure after which no attempt follows ends the run, too: unless it was for a summary, which can be done
    without."""
    run = held(thread, command.run_id, command.fence)
    if run.model_call is None or not run.model_call.waiting:
        return []
    failed = ModelFailed(
        run_id=run.run_id,
        fence=run.fence,
        model_call_id=run.model_call.model_call_id,
        attempt=run.model_call.attempt,
        code=command.code,
        message=command.message,
        retryable=command.retryable,
        final=command.final,
        retry_after_seconds=command.retry_after_seconds,
        usage=command.usage,
        usage_reported=command.usage_reported,
        price=command.price,
        pricing_context=command.pricing_context,
        duration_ms=command.duration_ms,
        usage_unknown=command.usage_unknown,
        status=command.status,
    )
    if not command.final or run.status == "cancelling" or run.model_call.purpose == "summary":
        return [failed]
    spent = run.usage.plus(command.usage or NO_USAGE)
    return [failed, RunFailed(run_id=run.run_id, usage=spent, code=command.code, message=command.message)]


def record_answer(command: RecordAnswer, thread: Thread) -> Sequence[ThreadStreamEvent]:
    run = held(thread, command.run_id, command.fence)
    waiting = run.model_call
    if waiting is None or not waiting.waits_for(command.model_call_id, "answer"):
        return []
    answered = ModelAnswered(
        run_id=run.run_id,
        fence=run.fence,
        model_call_id=command.model_call_id,
        attempt=waiting.attempt,
        step_id=command.step_id,
        model=command.model,
        finish_reason=command.finish_reason,
        stop_sequence=command.stop_sequence,
        usage=command.usage,
        usage_reported=command.usage_reported,
        provider_ids=command.provider_ids,
        first_token_ms=command.first_token_ms,
        duration_ms=command.duration_ms,
        price=command.price,
        pricing_context=command.pricing_context,
    )
    usage = run.usage.plus(command.usage or NO_USAGE)
    cut = _cut_calls(command)
    failed = _cut_off(cut, run, "arguments")
    return [answered, *_items(command, run), *failed, *_after_answer(command, thread, run, usage, cut)]


_INCOMPLETE = {"length": "max_tokens", "content_filter": "content_filter"}


def _items(command: RecordAnswer, run: ActiveRun) -> list[ThreadStreamEvent]:
    events: list[ThreadStreamEvent] = []
    if (reasoning := command.reasoning) is not None:
        events.append(
            ReasoningRecorded(
                run_id=run.run_id,
                fence=run.fence,
                model_call_id=command.model_call_id,
                item_id=reasoning.item_id,
                provider=reasoning.provider,
                blocks=reasoning.blocks,
                model=reasoning.model,
                origin=reasoning.origin,
                tokens=reasoning.tokens,
            )
        )
    if (message := command.message) is not None:
        events.append(
            MessageAppended(
                message_id=message.message_id,
                role="assistant",
                content=message.content,
                tokens=message.tokens,
                run_id=run.run_id,
                fence=run.fence,
                assistant_id=message.assistant_id,
                model_call_id=command.model_call_id,
                step_id=message.step_id,
                incomplete=_INCOMPLETE.get(command.finish_reason),
            )
        )
    events += [
        ToolCalled(
            run_id=run.run_id,
            fence=run.fence,
            model_call_id=command.model_call_id,
            step_id=call.step_id,
            tool_call_id=call.tool_call_id,
            name=call.name,
            arguments=call.arguments,
            executor=call.executor,
            tokens=call.tokens,
            confirm=call.confirm,
            handing_over=call.handing_over,
        )
        for call in command.calls
    ]
    return events


def _cut_calls(command: RecordAnswer) -> tuple[AnsweredCall, ...]:
    """Returns the calls that may not be whole: no JSON, in an answer that ended for a reason that nobody knows."""
    if command.finish_reason in FINISH_REASONS:
        return ()
    return tuple(call for call in command.calls if not exact_json.is_json(call.arguments))


def _cut_off(calls: Sequence[AnsweredCall], run: ActiveRun, reason: FailedReason) -> list[ToolFailed]:
    return [
        ToolFailed(
            run_id=run.run_id,
            fence=run.fence,
            step_id=call.step_id,
            tool_call_id=call.tool_call_id,
            reason=reason,
            output=told.CUT_SHORT,
        )
        for call in calls
    ]


def _after_answer(
    command: RecordAnswer, thread: Thread, run: ActiveRun, usage: Usage, cut: tuple[AnsweredCall, ...]
) -> Sequence[ThreadStreamEvent]:
    """What the answer leads to. A cancelled run keeps its last answer, and is ended by whoever cancels it."""
    if run.status == "cancelling":
        return []
    if command.finish_reason in _INCOMPLETE:
        return _cut_short(command, run, usage)
    if not command.calls:
        return [RunCompleted(run_id=run.run_id, usage=usage)]
    calls = tuple(_open_call(call) for call in command.calls if call not in cut)
    return client_next(thread, replace(run, model_call=None, calls=calls, usage=usage))


def _open_call(call: AnsweredCall) -> OpenCall:
    status: CallStatus = "unconfirmed" if call.confirm else "called"
    hands_over = call.handing_over is not None
    return OpenCall(call.tool_call_id, call.step_id, call.name, call.executor, status, hands_over=hands_over)


def _cut_short(command: RecordAnswer, run: ActiveRun, usage: Usage) -> Sequence[ThreadStreamEvent]:
    closers = _cut_off(command.calls, run, "run_incomplete")
    if command.finish_reason == "length":
        return [*closers, RunIncomplete(run_id=run.run_id, usage=usage, reason="max_completion_tokens")]
    message = "The provider's content filter cut the answer short."
    return [*closers, RunFailed(run_id=run.run_id, usage=usage, code="server_error", message=message)]


def client_next(thread: Thread, run: ActiveRun) -> Sequence[ThreadStreamEvent]:
    """When the server's calls are answered and the client's are not, it is the client's turn.

    Nobody comes again to a thread that is not kept: its run ends with what the client was to do.
    """
    waits = any(call.is_to_run or call.status == "in_doubt" for call in run.calls)
    if run.status == "cancelling" or waits or not run.awaited:
        return []
    if not thread.stored:
        return closing(run, RunCompleted(run_id=run.run_id, usage=run.usage), "run_completed")
    ids = tuple(call.tool_call_id for call in run.awaited)
    return [RunActionRequired(run_id=run.run_id, fence=run.fence, tool_call_ids=ids)]


def start_tool(command: StartTool, thread: Thread) -> Sequence[ThreadStreamEvent]:
    """A call that was started and may have happened is started again only if that does no harm, and not for ever."""
    run = held(thread, command.run_id, command.fence)
    call = run.call(command.tool_call_id)
    if run.status == "cancelling" or call is None or call.status not in ("called", "started"):
        return []
    if call.executor != "server":
        return []
    if (call.status == "started" and call.effect == "once") or call.starts >= command.starts_max:
        return []
    started = ToolStarted(
        run_id=run.run_id,
        fence=run.fence,
        step_id=call.step_id,
        tool_call_id=call.tool_call_id,
        attempt=call.attempts + 1,
        effect=command.effect,
        idempotency_key=command.idempotency_key,
    )
    return [started]


_FAILURES: dict[str, FailedReason] = {"error": "error", "timeout": "timeout", "arguments": "arguments"}


def finish_tool(command: FinishTool, thread: Thread) -> Sequence[ThreadStreamEvent]:
    run = held(thread, command.run_id, command.fence)
    call = run.call(command.tool_call_id)
    if call is None or call.executor != "server" or call.status not in ("called", "started"):
        return []
    outcome: ToolReturned | ToolFailed
    if command.failure is None:
        outcome = ToolReturned(
            run_id=run.run_id,
            fence=run.fence,
            step_id=call.step_id,
            tool_call_id=call.tool_call_id,
            output=command.output,
            duration_ms=command.duration_ms,
            bytes_whole=command.bytes_whole,
            tokens=command.tokens,
        )
    else:
        outcome = ToolFailed(
            run_id=run.run_id,
            fence=run.fence,
            step_id=call.step_id,
            tool_call_id=call.tool_call_id,
            reason=_FAILURES[command.failure],
            output=command.output,
            duration_ms=command.duration_ms,
            tokens=command.tokens,
        )
    return [outcome, *client_next(thread, without(run, call.tool_call_id))]


def without(run: ActiveRun, tool_call_id: str) -> ActiveRun:
    """The run when that call is answered."""
    return replace(run, calls=tuple(call for call in run.calls if call.tool_call_id != tool_call_id))


def doubt_tool(command: DoubtTool, thread: Thread) -> Sequence[ThreadStreamEvent]:
    run = held(thread, command.run_id, command.fence)
    call = run.call(command.tool_call_id)
    if call is None or call.status != "started":
        return []
    doubt = ToolInDoubt(
        run_id=run.run_id,
        fence=run.fence,
        step_id=call.step_id,
        tool_call_id=call.tool_call_id,
        reason=command.reason,
    )
    return [doubt]


def settle(command: SettleTool, thread: Thread) -> Sequence[ThreadStreamEvent]:
    run = thread.run
    call = run.call(command.tool_call_id) if run is not None and run.run_id == command.run_id else None
    if run is None or call is None or call.status != "in_doubt":
        raise NotInDoubt(tool_call_id=command.tool_call_id)
    settled = ToolSettled(
        run_id=run.run_id,
        fence=run.fence,
        step_id=call.step_id,
        tool_call_id=call.tool_call_id,
        outcome=command.outcome,
        output="" if command.outcome == "did_not_happen" else command.output,
        by=command.by,
        tokens=command.tokens,
    )
    if command.outcome == "did_not_happen":
        return [settled]
    return [settled, *client_next(thread, without(run, call.tool_call_id))]
