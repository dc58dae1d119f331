"""What can be asked of a thread. Commands are imperative; facts that the rules do not hold come in with them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from clew.events.content import Attachment, Content, JsonObject, Metadata, Tokens
from clew.events.message import Role
from clew.events.model import ContextTokens, LeftOut, Manifest
from clew.events.run import RunConfig
from clew.events.tool import Effect, Executor, SettledOutcome
from clew.events.usage import Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class NewMessage:
    message_id: str
    role: Role
    content: Content
    attachments: tuple[Attachment, ...] = ()
    metadata: Metadata | None = None
    tokens: Tokens | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateThread:
    thread_id: str
    tenant: str
    dialect: str
    metadata: Metadata
    tool_resources: JsonObject
    messages: tuple[NewMessage, ...] = ()
    run: QueueRun | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeThread:
    thread_id: str
    metadata: Metadata | None = None
    tool_resources: JsonObject | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteThread:
    thread_id: str
    by: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AppendMessages:
    thread_id: str
    messages: tuple[NewMessage, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeMessage:
    thread_id: str
    message_id: str
    metadata: Metadata


@dataclass(frozen=True, slots=True, kw_only=True)
class EditMessage:
    """`tokens_before` is a fact: how many tokens the message has now."""

    thread_id: str
    message_id: str
    content: Content
    tokens: Tokens | None
    tokens_before: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveMessage:
    """`role` and `tokens` are facts: what kind of message it is that goes."""

    thread_id: str
    message_id: str
    role: Role
    tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueRun:
    thread_id: str
    run_id: str
    dialect: str
    config: RunConfig
    expires_at: int | None
    metadata: Metadata
    additional_messages: tuple[NewMessage, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeRun:
    thread_id: str
    run_id: str
    metadata: Metadata


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestCancel:
    """`past_status` is a fact: how the run ended, if it has."""

    thread_id: str
    run_id: str
    past_status: str | None
    by: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishCancel:
    thread_id: str
    run_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpireRun:
    """`now` in microseconds since 1970."""

    thread_id: str
    run_id: str
    now: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """Who takes a run, and for how long unless he renews."""

    worker: str
    lease_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StartRun:
    thread_id: str
    run_id: str
    claim: Claim


@dataclass(frozen=True, slots=True, kw_only=True)
class FailRun:
    thread_id: str
    run_id: str
    fence: int
    code: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EndIncomplete:
    thread_id: str
    run_id: str
    fence: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """What a context left out, and what forced that."""

    strategy: str
    left_out: tuple[LeftOut, ...]
    items: int
    tokens_before: int
    tokens_after: int
    limit: int
    limit_name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BeginModelCall:
    """With `claim` set, the same append takes the run (`fence` is then the one it is taken from)."""

    thread_id: str
    run_id: str
    fence: int
    claim: Claim | None
    model_call_id: str
    provider: str
    model: str
    manifest: Manifest
    tokens: ContextTokens
    renderer: str
    digest: str
    max_output_tokens: int | None
    cut: Cut | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryModelCall:
    thread_id: str
    run_id: str
    fence: int
    model_call_id: str
    provider: str
    model: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FailModelCall:
    thread_id: str
    run_id: str
    fence: int
    code: str
    message: str
    retryable: bool
    final: bool
    retry_after_seconds: float | None = None
    usage: Usage | None = None
    duration_ms: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AnsweredMessage:
    message_id: str
    step_id: str
    content: Content
    assistant_id: str | None
    tokens: Tokens | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AnsweredCall:
    tool_call_id: str
    step_id: str
    name: str
    arguments: str
    executor: Executor
    tokens: Tokens | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordAnswer:
    """The whole answer of a model: it goes into the log in one append, with what follows from it."""

    thread_id: str
    run_id: str
    fence: int
    model_call_id: str
    step_id: str
    model: str
    finish_reason: str
    usage: Usage | None
    usage_reported: JsonObject | None
    provider_ids: dict[str, str]
    first_token_ms: float | None
    duration_ms: float
    reasoning_provider: str
    reasoning_id: str
    reasoning: tuple[str, ...]
    message: AnsweredMessage | None
    calls: tuple[AnsweredCall, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StartTool:
    thread_id: str
    run_id: str
    fence: int
    tool_call_id: str
    effect: Effect
    idempotency_key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishTool:
    """`failure` is None when the tool returned."""

    thread_id: str
    run_id: str
    fence: int
    tool_call_id: str
    output: str
    failure: str | None = None
    duration_ms: float | None = None
    bytes_whole: int | None = None
    tokens: Tokens | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DoubtTool:
    thread_id: str
    run_id: str
    fence: int
    tool_call_id: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SettleTool:
    thread_id: str
    run_id: str
    tool_call_id: str
    outcome: SettledOutcome
    output: str
    by: str
    tokens: Tokens | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolOutput:
    tool_call_id: str
    output: str
    tokens: Tokens | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitToolOutputs:
    """`past_status` is a fact: how the run ended, if it has."""

    thread_id: str
    run_id: str
    outputs: tuple[ToolOutput, ...]
    past_status: str | None


ThreadCommand: TypeAlias = (
    CreateThread
    | ChangeThread
    | DeleteThread
    | AppendMessages
    | ChangeMessage
    | EditMessage
    | RemoveMessage
    | QueueRun
    | ChangeRun
    | RequestCancel
    | FinishCancel
    | ExpireRun
    | StartRun
    | FailRun
    | EndIncomplete
    | BeginModelCall
    | RetryModelCall
    | FailModelCall
    | RecordAnswer
    | StartTool
    | FinishTool
    | DoubtTool
    | SettleTool
    | SubmitToolOutputs
)
