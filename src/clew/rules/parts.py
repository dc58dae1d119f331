"""What commands are made of: items on their way into a thread, answers and claims."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from clew.events.content import Attachment, Content, Metadata, Tokens
from clew.events.message import Role, Spot
from clew.events.tool import Executor, HandingOver


@dataclass(frozen=True, slots=True, kw_only=True)
class NewMessage:
    """`model_call_id` and `assistant_id` are set when the client says that a model wrote it, elsewhere.

    `before` is where a fork puts it: an item that it inherits.
    """

    message_id: str
    role: Role
    content: Content
    attachments: tuple[Attachment, ...] = ()
    metadata: Metadata | None = None
    tokens: Tokens | None = None
    model_call_id: str | None = None
    assistant_id: str | None = None
    before: Spot | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewCall:
    """A tool call that the client says was made, elsewhere. Its `NewResult` comes with the same command."""

    tool_call_id: str
    model_call_id: str
    name: str
    arguments: str
    executor: Executor
    handing_over: HandingOver | None = None
    tokens: Tokens | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewReasoning:
    """What a model thought, elsewhere: blocks for the provider that signed them."""

    item_id: str
    model_call_id: str
    provider: str
    blocks: tuple[str, ...]
    model: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewResult:
    """`had_result` and `tokens_before` are facts: whether the call has a result by now, and of how many tokens."""

    tool_call_id: str
    output: str
    tokens: Tokens | None = None
    is_error: bool = False
    content: Content = ()
    had_result: bool = False
    tokens_before: int = 0


NewItem: TypeAlias = NewMessage | NewCall | NewReasoning | NewResult


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """Who takes a run, and for how long unless he renews."""

    worker: str
    lease_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AnsweredMessage:
    message_id: str
    step_id: str
    content: Content
    assistant_id: str | None
    tokens: Tokens | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AnsweredReasoning:
    """`model` is the one that was asked. `origin` is its server, where the provider may be anybody's."""

    item_id: str
    provider: str
    blocks: tuple[str, ...]
    model: str | None = None
    origin: str | None = None
    tokens: Tokens | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AnsweredCall:
    tool_call_id: str
    step_id: str
    name: str
    arguments: str
    executor: Executor
    tokens: Tokens | None
    confirm: bool = False
    handing_over: HandingOver | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolOutput:
    tool_call_id: str
    output: str
    tokens: Tokens | None = None
    is_error: bool = False
    content: Content = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirmation:
    """Whether the server may make the call. `told` is what the model is told of one that it may not make."""

    tool_call_id: str
    allowed: bool
    told: str = "The call was not allowed, and was not made."
    tokens: Tokens | None = None
    by: str | None = None
