"""What can happen between a run and the model: a context is made, the model is asked, it answers or fails."""

from __future__ import annotations

from typing import ClassVar, TypeAlias

from clew.events.base import Event, Value
from clew.events.content import JsonObject, Tokens
from clew.events.usage import Usage


class ItemRange(Value):
    """Items `first` to `last` of a stream, both included. An item's number is the version of its event."""

    stream: str
    first: int
    last: int


class LeftOut(Value):
    """A range that the context did not show, and why."""

    items: ItemRange
    reason: str


class Manifest(Value):
    """Which items a model call was shown, in order. Read as the thread was just before this event."""

    shown: tuple[ItemRange, ...]
    left_out: tuple[LeftOut, ...] = ()
    items: int


class ContextTokens(Value):
    """Tokens by part, counted or estimated by us; the provider's own count comes with its answer."""

    instructions: int
    tools: int
    items: int
    exact: bool

    @property
    def total(self) -> int:
        return self.instructions + self.tools + self.items


class ContextAssembled(Event):
    """`digest` is the SHA-256 of the request body as sent; `renderer` with its version makes those bytes again."""

    kind: ClassVar[str] = "context.assembled"

    run_id: str
    fence: int
    model_call_id: str
    manifest: Manifest
    tokens: ContextTokens
    renderer: str
    digest: str
    max_output_tokens: int | None = None


class ContextTruncated(Event):
    """Something was left out. `limit` is the number of tokens, or messages, that forced it."""

    kind: ClassVar[str] = "context.truncated"

    run_id: str
    fence: int
    model_call_id: str
    strategy: str
    left_out: tuple[LeftOut, ...]
    items_left_out: int
    tokens_before: int
    tokens_after: int
    limit: int
    limit_name: str


class ModelCalled(Event):
    kind: ClassVar[str] = "model.called"

    run_id: str
    fence: int
    model_call_id: str
    provider: str
    model: str
    attempt: int


class ModelAnswered(Event):
    """`usage_reported` is the provider's own object, `usage` the same in our words; None when it sent none.

    `step_id` is the step that bears the usage: of the two steps that a message with tool calls makes, the last.
    """

    kind: ClassVar[str] = "model.answered"

    run_id: str
    fence: int
    model_call_id: str
    attempt: int
    step_id: str
    model: str
    finish_reason: str
    usage: Usage | None = None
    usage_reported: JsonObject | None = None
    provider_ids: dict[str, str] = {}
    first_token_ms: float | None = None
    duration_ms: float


class ModelFailed(Event):
    """`final` means that no further attempt follows. `code` is "lost" when the process died while waiting."""

    kind: ClassVar[str] = "model.failed"

    run_id: str
    fence: int
    model_call_id: str
    attempt: int
    code: str
    message: str
    retryable: bool
    final: bool
    retry_after_seconds: float | None = None
    usage: Usage | None = None
    duration_ms: float | None = None


class ReasoningRecorded(Event):
    """`blocks` are the provider's JSON as received: signatures must go back unchanged."""

    kind: ClassVar[str] = "reasoning.recorded"

    run_id: str
    fence: int
    model_call_id: str
    item_id: str
    provider: str
    blocks: tuple[str, ...]
    tokens: Tokens | None = None


ModelEvent: TypeAlias = (
    ContextAssembled | ContextTruncated | ModelCalled | ModelAnswered | ModelFailed | ReasoningRecorded
)
