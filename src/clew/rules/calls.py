"""The rules of what a run does: it asks the model, records the answer, executes tools and waits for answers."""

from __future__ import annotations

from collections.abc import Sequence

from clew.errors import NotInDoubt, OutputsIncomplete, OutputsNotExpected
from clew.events import ThreadStreamEvent
from clew.events.message import MessageAppended
from clew.events.model import (
    ContextAssembled,
    ContextTruncated,
    ModelAnswered,
    ModelCalled,
    ModelFailed,
    ReasoningRecorded,
)
from clew.events.run import RunActionRequired, RunCompleted, RunFailed, RunIncomplete
from clew.events.tool import FailedReason, ToolCalled, ToolFailed, ToolInDoubt, ToolReturned, ToolSettled, ToolStarted
from clew.events.usage import NO_USAGE, Usage
from clew.rules.commands import (
    BeginModelCall,
    DoubtTool,
    FailModelCall,
    FinishTool,
    RecordAnswer,
    RetryModelCall,
    SettleTool,
    StartTool,
    SubmitToolOutputs,
)
from clew.rules.runs import held, taken
from clew.rules.state import ActiveRun, Thread


def begin_model_call(command: BeginModelCall, thread: Thread) -> Sequence[ThreadStreamEvent]:
    run = held(thread, command.run_id, command.fence)
    if run.status == "cancelling" or (run.status == "queued") != (command.claim is not None):
        return []
    if run.unanswered or (run.model_call is not None and run.model_call.waiting):
        return []
    start = [taken(run, command.claim)] if command.claim is not None else []
    fence = run.fence + len(start)
    failed_before = run.model_call.attempt if run.model_call is not None else 0
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
        attempt=failed_before + 1,
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
    )
    return [called]


def fail_model_call(command: FailModelCall, thread: Thread) -> Sequence[ThreadStreamEvent]:
    """A failure after which no attempt follows ends the run, too."""
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
        duration_ms=command.duration_ms,
    )
    if not command.final or run.status == "cancelling":
        return [failed]
    spent = run.usage.plus(command.usage or NO_USAGE)
    return [failed, RunFailed(run_id=run.run_id, usage=spent, code=command.code, message=command.message)]


def record_answer(command: RecordAnswer, thread: Thread) -> Sequence[ThreadStreamEvent]:
    run = held(thread, command.run_id, command.fence)
    waiting = run.model_call
    if waiting is None or not waiting.waiting or waiting.model_call_id != command.model_call_id:
        return []
    answered = ModelAnswered(
        run_id=run.run_id,
        fence=run.fence,
        model_call_id=command.model_call_id,
        attempt=waiting.attempt,
        step_id=command.step_id,
        model=command.model,
        finish_reason=command.finish_reason,
        usage=command.usage,
        usage_reported=command.usage_reported,
        provider_ids=command.provider_ids,
        first_token_ms=command.first_token_ms,
        duration_ms=command.duration_ms,
    )
    usage = run.usage.plus(command.usage or NO_USAGE)
    return [answered, *_items(command, run), *_after_answer(command, run, usage)]


_INCOMPLETE = {"length": "max_tokens", "content_filter": "content_filter"}


def _items(command: RecordAnswer, run: ActiveRun) -> list[ThreadStreamEvent]:
    events: list[ThreadStreamEvent] = []
    if command.reasoning:
        events.append(
            ReasoningRecorded(
                run_id=run.run_id,
                fence=run.fence,
                model_call_id=command.model_call_id,
                item_id=command.reasoning_id,
                provider=command.reasoning_provider,
                blocks=command.reasoning,
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
        )
        for call in command.calls
    ]
    return events


def _after_answer(command: RecordAnswer, run: ActiveRun, usage: Usage) -> Sequence[ThreadStreamEvent]:
    """What the answer leads to. A cancelled run keeps its last answer, and is ended by whoever cancels it."""
    if run.status == "cancelling":
        return []
    if command.finish_reason in _INCOMPLETE:
        return _cut_short(command, run, usage)
    if not command.calls:
        return [RunCompleted(run_id=run.run_id, usage=usage)]
    if all(call.executor == "client" for call in command.calls):
        return [_action_required(run, tuple(call.tool_call_id for call in command.calls))]
    return []


def _cut_short(command: RecordAnswer, run: ActiveRun, usage: Usage) -> Sequence[ThreadStreamEvent]:
    closers = [
        ToolFailed(
            run_id=run.run_id,
            fence=run.fence,
            step_id=call.step_id,
            tool_call_id=call.tool_call_id,
            reason="run_incomplete",
            output="The model's answer was cut short, so this call was not made.",
        )
        for call in command.calls
    ]
    if command.finish_reason == "length":
        return [*closers, RunIncomplete(run_id=run.run_id, usage=usage, reason="max_completion_tokens")]
    message = "The provider's content filter cut the answer short."
    return [*closers, RunFailed(run_id=run.run_id, usage=usage, code="server_error", message=message)]


def _action_required(run: ActiveRun, tool_call_ids: tuple[str, ...]) -> RunActionRequired:
    return RunActionRequired(run_id=run.run_id, fence=run.fence, tool_call_ids=tool_call_ids)


def start_tool(command: StartTool, thread: Thread) -> Sequence[ThreadStreamEvent]:
    """A call that was started and may have happened is started again only if that does no harm."""
    run = held(thread, command.run_id, command.fence)
    call = run.call(command.tool_call_id)
    if run.status == "cancelling" or call is None or call.status not in ("called", "started"):
        return []
    if call.executor != "server":
        return []
    if call.status == "started" and call.effect == "once":
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
    return [outcome, *_client_next(run, call.tool_call_id)]


def _client_next(run: ActiveRun, answered: str) -> list[ThreadStreamEvent]:
    """When the server's calls are answered and the client's are not, it is the client's turn."""
    left = [call for call in run.unanswered if call.tool_call_id != answered]
    if run.status == "cancelling" or not left or any(call.executor == "server" for call in left):
        return []
    return [_action_required(run, tuple(call.tool_call_id for call in left))]


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
    return [settled, *_client_next(run, call.tool_call_id)]


def submit(command: SubmitToolOutputs, thread: Thread) -> Sequence[ThreadStreamEvent]:
    run = thread.run
    if run is None or run.run_id != command.run_id or run.status != "requires_action":
        status = run.status if run is not None and run.run_id == command.run_id else command.past_status
        raise OutputsNotExpected(run_id=command.run_id, status=status or "ended")
    given = tuple(output.tool_call_id for output in command.outputs)
    expected = tuple(call.tool_call_id for call in run.unanswered)
    if sorted(given) != sorted(expected):
        raise OutputsIncomplete(run_id=run.run_id, expected=expected, given=given)
    steps = {call.tool_call_id: call.step_id for call in run.calls}
    return [
        ToolReturned(
            run_id=run.run_id,
            fence=run.fence,
            step_id=steps[output.tool_call_id],
            tool_call_id=output.tool_call_id,
            output=output.output,
            tokens=output.tokens,
        )
        for output in command.outputs
    ]
