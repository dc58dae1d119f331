"""What can be asked of a thread. Commands are imperative; facts that the rules do not hold come in with them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from clew.events.content import Content, JsonObject, Metadata, Tokens
from clew.events.message import Role
from clew.events.run import RunConfig, Truncation
from clew.events.thread import ThreadSettings
from clew.events.tool import Effect, SettledOutcome
from clew.rules.contexts import RecordSummary
from clew.rules.model_commands import BeginModelCall, FailModelCall, RecordAnswer, RetryModelCall
from clew.rules.parts import (
    Claim,
    Confirmation,
    NewItem,
    NewMessage,
    ToolOutput,
)
from clew.rules.standing import OnBudget
from clew.rules.state import RUN_STARTS_MAX, TOOL_STARTS_MAX, Thread


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateThread:
    """A thread that is not `stored` comes with the run that it is for."""

    thread_id: str
    tenant: str
    dialect: str
    metadata: Metadata
    tool_resources: JsonObject
    messages: tuple[NewItem, ...] = ()
    run: QueueRun | None = None
    truncation: Truncation | None = None
    settings: ThreadSettings | None = None
    stored: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigureThread:
    thread_id: str
    settings: ThreadSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeThread:
    thread_id: str
    metadata: Metadata | None = None
    tool_resources: JsonObject | None = None
    truncation: Truncation | Literal["default"] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteThread:
    thread_id: str
    by: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AppendMessages:
    thread_id: str
    messages: tuple[NewItem, ...]


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
class ReplaceToolOutput:
    """`had_result` and `tokens_before` are facts: whether the call has a result now, and of how many tokens."""

    thread_id: str
    tool_call_id: str
    output: str
    is_error: bool
    had_result: bool
    tokens: Tokens | None
    tokens_before: int
    content: Content = ()


Edit: TypeAlias = "AppendMessages | ChangeMessage | EditMessage | RemoveMessage | ReplaceToolOutput | ConfigureThread"


@dataclass(frozen=True, slots=True, kw_only=True)
class ForkThread:
    """Everything about the parent is a fact: where it is left, and the rules' state of it there.

    `edits` say what is otherwise in the child, in order, and `inserts` what is put into what it inherits: the first of
    them stands first. `truncation` None takes over the parent's. `run` is the run that the child begins with, if any.
    """

    thread_id: str
    parent: str
    parent_version: int
    parent_position: int
    inherited: Thread
    dialect: str
    metadata: Metadata
    tool_resources: JsonObject
    edits: tuple[Edit, ...] = ()
    truncation: Truncation | Literal["default"] | None = None
    run: QueueRun | None = None
    stored: bool = True
    inserts: tuple[NewMessage, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueRun:
    """`instead_of` is a run that waits for its client, who goes on without answering it: it is cancelled first."""

    thread_id: str
    run_id: str
    dialect: str
    config: RunConfig
    expires_at: int | None
    metadata: Metadata
    additional_messages: tuple[NewItem, ...] = ()
    instead_of: str | None = None
    matched_by: str | None = None


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
class StartRun:
    """`fence` is the one that the run is taken from. After `starts_max` starts without progress it ends."""

    thread_id: str
    run_id: str
    fence: int
    claim: Claim
    starts_max: int = RUN_STARTS_MAX


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
class StartTool:
    """A call that was started `starts_max` times and came to nothing is not started again."""

    thread_id: str
    run_id: str
    fence: int
    tool_call_id: str
    effect: Effect
    idempotency_key: str
    starts_max: int = TOOL_STARTS_MAX


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
class HandOff:
    """`next_run` is the run of the next agent; None leaves it to the client. `output` is what the model is told."""

    thread_id: str
    run_id: str
    fence: int
    tool_call_id: str
    assistant_id: str
    next_run: QueueRun | None
    output: str
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
class SubmitToolOutputs:
    """All that the run waits for at once. `past_status` is a fact: how the run ended, if it has.

    `messages` come behind the outputs; with `config`, the run goes on as that says.
    """

    thread_id: str
    run_id: str
    outputs: tuple[ToolOutput, ...]
    past_status: str | None
    confirmations: tuple[Confirmation, ...] = ()
    messages: tuple[NewItem, ...] = ()
    config: RunConfig | None = None
    matched_by: str | None = None


ThreadCommand: TypeAlias = (
    CreateThread
    | ForkThread
    | ReplaceToolOutput
    | ConfigureThread
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
    | RecordSummary
    | StartTool
    | FinishTool
    | HandOff
    | DoubtTool
    | SettleTool
    | SubmitToolOutputs
    | OnBudget
)
