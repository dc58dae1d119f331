"""One thread and one run that the tests tell their stories with: facts, and the commands that lead to them."""

from __future__ import annotations

from typing import Any

from clew.events.content import Tokens, text
from clew.events.message import MessageAppended, Role
from clew.events.model import (
    ContextAssembled,
    ContextTokens,
    ItemRange,
    Manifest,
    ModelAnswered,
    ModelCalled,
    ModelFailed,
)
from clew.events.run import RunActionRequired, RunCancelRequested, RunConfig, RunQueued, RunStarted
from clew.events.thread import ThreadCreated
from clew.events.tool import Effect, Executor, ToolCalled, ToolFailed, ToolInDoubt, ToolReturned, ToolStarted
from clew.events.usage import Usage
from clew.rules.commands import FinishTool, QueueRun
from clew.rules.contexts import Cut
from clew.rules.model_commands import BeginModelCall, FailModelCall, RecordAnswer
from clew.rules.parts import AnsweredCall, AnsweredMessage, AnsweredReasoning, Claim, NewMessage, ToolOutput

T, R, MC = "thread_1", "run_1", "mc_1"
CLAIM = Claim(worker="w", lease_seconds=30.0)
USED = Usage(input=10, output=5)
EXPIRES = 1_000_000


def tokens(count: int) -> Tokens:
    return Tokens(encoding="o200k_base", count=count, exact=True)


def config(**changes: Any) -> RunConfig:
    return RunConfig(provider="scripted", model="m", asked_model="m").model_copy(update=changes)


def new_message(said: str = "Hello", role: Role = "user", id: str = "msg_1", count: int = 3) -> NewMessage:
    return NewMessage(message_id=id, role=role, content=text(said), tokens=tokens(count))


def message(said: str = "Hello", role: Role = "user", id: str = "msg_1", count: int = 3) -> MessageAppended:
    return MessageAppended(message_id=id, role=role, content=text(said), tokens=tokens(count))


def queue_run(
    run_id: str = R, *, expires_at: int | None = EXPIRES, extra: tuple[NewMessage, ...] = (), **changes: Any
) -> QueueRun:
    return QueueRun(
        thread_id=T,
        run_id=run_id,
        dialect="openai",
        config=config(**changes),
        expires_at=expires_at,
        metadata={},
        additional_messages=extra,
    )


def queued(run_id: str = R, *, expires_at: int | None = EXPIRES, **changes: Any) -> RunQueued:
    return RunQueued(run_id=run_id, dialect="openai", config=config(**changes), expires_at=expires_at)


def started(fence: int = 1, *, attempt: int | None = None) -> RunStarted:
    return RunStarted(run_id=R, worker="w", attempt=attempt or fence, fence=fence, lease_seconds=30.0)


MANIFEST = Manifest(shown=(ItemRange(stream=T, first=2, last=2),), items=1)
CONTEXT = ContextTokens(instructions=0, tools=0, items=3, exact=True)


def assembled(fence: int = 1, model_call_id: str = MC) -> ContextAssembled:
    return ContextAssembled(
        run_id=R,
        fence=fence,
        model_call_id=model_call_id,
        manifest=MANIFEST,
        tokens=CONTEXT,
        renderer="scripted/1",
        digest="d",
    )


def model_called(fence: int = 1, model_call_id: str = MC, attempt: int = 1) -> ModelCalled:
    return ModelCalled(
        run_id=R, fence=fence, model_call_id=model_call_id, provider="scripted", model="m", attempt=attempt
    )


def begin(
    fence: int = 1, model_call_id: str = MC, claim: Claim | None = None, cut: Cut | None = None
) -> BeginModelCall:
    return BeginModelCall(
        thread_id=T,
        run_id=R,
        fence=fence,
        claim=claim,
        model_call_id=model_call_id,
        provider="scripted",
        model="m",
        manifest=MANIFEST,
        tokens=CONTEXT,
        renderer="scripted/1",
        digest="d",
        max_output_tokens=None,
        cut=cut,
    )


def said(words: str = "Hi", id: str = "msg_2", count: int = 2) -> AnsweredMessage:
    return AnsweredMessage(
        message_id=id, step_id=f"step_of_{id}", content=text(words), assistant_id="asst_1", tokens=tokens(count)
    )


def call(id: str, executor: Executor = "client", step_id: str = "step_1") -> AnsweredCall:
    return AnsweredCall(
        tool_call_id=id, step_id=step_id, name="look", arguments="{}", executor=executor, tokens=tokens(4)
    )


def answer(
    *calls: AnsweredCall,
    message: AnsweredMessage | None = None,
    finish: str = "stop",
    fence: int = 1,
    model_call_id: str = MC,
    usage: Usage | None = USED,
    reasoning: tuple[str, ...] = (),
) -> RecordAnswer:
    return RecordAnswer(
        thread_id=T,
        run_id=R,
        fence=fence,
        model_call_id=model_call_id,
        step_id="step_1",
        model="m-2026",
        finish_reason=finish,
        usage=usage,
        usage_reported=None,
        provider_ids={},
        first_token_ms=None,
        duration_ms=12.5,
        reasoning=AnsweredReasoning(item_id="rs_1", provider="scripted", blocks=reasoning) if reasoning else None,
        message=message,
        calls=calls,
    )


def answered(finish: str = "stop", usage: Usage | None = USED, fence: int = 1) -> ModelAnswered:
    return ModelAnswered(
        run_id=R,
        fence=fence,
        model_call_id=MC,
        attempt=1,
        step_id="step_1",
        model="m-2026",
        finish_reason=finish,
        usage=usage,
        duration_ms=12.5,
    )


def replied(words: str = "Hi", id: str = "msg_2", incomplete: str | None = None) -> MessageAppended:
    return MessageAppended(
        message_id=id,
        role="assistant",
        content=text(words),
        tokens=tokens(2),
        run_id=R,
        fence=1,
        assistant_id="asst_1",
        model_call_id=MC,
        step_id=f"step_of_{id}",
        incomplete=incomplete,
    )


def called(id: str, executor: Executor = "client", fence: int = 1) -> ToolCalled:
    return ToolCalled(
        run_id=R,
        fence=fence,
        model_call_id=MC,
        step_id="step_1",
        tool_call_id=id,
        name="look",
        arguments="{}",
        executor=executor,
        tokens=tokens(4),
    )


def fail_model(*, final: bool, code: str = "timeout", fence: int = 1, usage: Usage | None = None) -> FailModelCall:
    return FailModelCall(
        thread_id=T,
        run_id=R,
        fence=fence,
        code=code,
        message="no answer",
        retryable=not final,
        final=final,
        usage=usage,
    )


def model_failed(*, final: bool = False, code: str = "timeout", fence: int = 1, attempt: int = 1) -> ModelFailed:
    return ModelFailed(
        run_id=R,
        fence=fence,
        model_call_id=MC,
        attempt=attempt,
        code=code,
        message="no answer",
        retryable=not final,
        final=final,
    )


def closed_model_call(reason: str) -> ModelFailed:
    return ModelFailed(
        run_id=R,
        fence=1,
        model_call_id=MC,
        attempt=1,
        code=reason,
        message="the run ended while the model was answering",
        retryable=False,
        final=True,
        usage_unknown=True,
    )


def waits_for(*ids: str, fence: int = 1) -> RunActionRequired:
    return RunActionRequired(run_id=R, fence=fence, tool_call_ids=ids)


def output(id: str, said: str = "42") -> ToolOutput:
    return ToolOutput(tool_call_id=id, output=said)


def returned(id: str, said: str = "42", fence: int = 1) -> ToolReturned:
    return ToolReturned(run_id=R, fence=fence, step_id="step_1", tool_call_id=id, output=said)


def tool_started(id: str, effect: Effect = "once", attempt: int = 1, fence: int = 1) -> ToolStarted:
    return ToolStarted(
        run_id=R, fence=fence, step_id="step_1", tool_call_id=id, attempt=attempt, effect=effect, idempotency_key=id
    )


def finish_tool(id: str, output: str = "42", failure: str | None = None, fence: int = 1) -> FinishTool:
    return FinishTool(thread_id=T, run_id=R, fence=fence, tool_call_id=id, output=output, failure=failure)


def in_doubt(id: str, fence: int = 1) -> ToolInDoubt:
    return ToolInDoubt(run_id=R, fence=fence, step_id="step_1", tool_call_id=id, reason="died")


def tool_failed(id: str, reason: Any, said: str) -> ToolFailed:
    return ToolFailed(run_id=R, fence=1, step_id="step_1", tool_call_id=id, reason=reason, output=said)


CREATED = ThreadCreated(tenant="acme", dialect="openai")
HELLO = message()
CANCELLING = RunCancelRequested(run_id=R)

IDLE = (CREATED, HELLO)
QUEUED = (*IDLE, queued())
WORKING = (*QUEUED, started())
ASKED = (*WORKING, assembled(), model_called())
CLIENT_CALLS = (*ASKED, answered("tool_calls"), called("call_a"), called("call_b"))
WAITING = (*CLIENT_CALLS, waits_for("call_a", "call_b"))
SERVER_CALL = (*ASKED, answered("tool_calls"), called("call_s", "server"))
TOOL_STARTED = (*SERVER_CALL, tool_started("call_s"))
DOUBTING = (*TOOL_STARTED, in_doubt("call_s"))
MIXED = (*ASKED, answered("tool_calls"), called("call_s", "server"), called("call_c"))
