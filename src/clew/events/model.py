"""What can happen between a run and the model: a context is made, the model is asked, it answers or fails."""

from __future__ import annotations

from typing import ClassVar, Literal, TypeAlias

from clew.events.base import Event, Value
from clew.events.content import JsonObject, Tokens
from clew.events.price import Price, PricingContext
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


class Cleared(Value):
    """Each tool result in these ranges that is longer than `note` was shown as the note; its call was shown whole."""

    items: tuple[ItemRange, ...]
    note: str


class NotRendered(Value):
    """Something of the context that the request does not hold, because this provider has no place for it.

    `count` of them are in `items`, or it is a setting of the run and `items` is None. `what` names it.
    """

    what: str
    reason: str
    items: ItemRange | None = None
    count: int = 1

    def __str__(self) -> str:
        if self.items is None:
            return f"{self.what}: {self.reason}"
        first, last = self.items.first, self.items.last
        where = f"{first}" if first == last else f"{self.count} in {first} to {last}"
        return f"{self.what} ({where} of {self.items.stream}): {self.reason}"


class Manifest(Value):
    """Which items a model call was shown, in order, read as of the position `as_of`.

    That may be earlier than just before this event: somebody may have appended meanwhile. None is just before.
    `not_rendered` is what only another provider would have understood of all this.
    """

    shown: tuple[ItemRange, ...]
    left_out: tuple[LeftOut, ...] = ()
    items: int
    as_of: int | None = None
    cleared: Cleared | None = None
    not_rendered: tuple[NotRendered, ...] = ()


class ContextTokens(Value):
    """Tokens by part, counted or estimated by us; the provider's own count comes with its answer."""

    instructions: int
    tools: int
    items: int
    exact: bool

    @property
    def total(self) -> int:
        return self.instructions + self.tools + self.items


Purpose: TypeAlias = Literal["answer", "summary"]


class Summarising(Value):
    """A model was asked for a summary of what it was shown, in the way that `form` names.

    It was to be about so many `tokens` long; `limit` is what the thread had outgrown.
    """

    form: str
    tokens: int
    limit: int
    limit_name: str


class ContextAssembled(Event):
    """`digest` is the SHA-256 of the request body as sent; `renderer` with its version makes those bytes again.

    `summarises` is set when it was for a summary and not for an answer. `origin` is the host and port of the server
    that it was for, where what it holds depends on that.
    """

    kind: ClassVar[str] = "context.assembled"

    run_id: str
    fence: int
    model_call_id: str
    manifest: Manifest
    tokens: ContextTokens
    renderer: str
    digest: str
    max_output_tokens: int | None = None
    summarises: Summarising | None = None
    origin: str | None = None


class InsteadOf(Value):
    """The strategy that was asked for and could not be followed. `reason` is failed, no_provider, or no_room."""

    strategy: str
    reason: Literal["failed", "no_provider", "no_room"]


class ContextTruncated(Event):
    """Something was left out, or shown cleared. `limit` is the number of tokens, messages or results that forced it.

    Where nothing was left out but what a summary stands for, the limit is `summary`, with the tokens of that.
    """

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
    cleared: tuple[ItemRange, ...] = ()
    items_cleared: int = 0
    instead_of: InsteadOf | None = None


class ModelCalled(Event):
    kind: ClassVar[str] = "model.called"

    run_id: str
    fence: int
    model_call_id: str
    provider: str
    model: str
    attempt: int
    purpose: Purpose = "answer"


# How an answer ended, where that is known. Any other word is the provider's own, and nobody knows what it means.
FINISH_REASONS = frozenset(("stop", "tool_calls", "length", "content_filter"))


class ModelAnswered(Event):
    """`finish_reason` is one of `FINISH_REASONS`, or the provider's own word.

    `usage_reported` is the provider's own object, `usage` the same in our words; None when it sent none.

    `step_id` is the step that bears the usage: of the two steps that a message with tool calls makes, the last.
    `price` is None when no table knows one: that is an unpriced call, not a free one. `stop_sequence` is the one of
    those asked for that ended the answer, where the provider tells.
    """

    kind: ClassVar[str] = "model.answered"

    run_id: str
    fence: int
    model_call_id: str
    attempt: int
    step_id: str
    model: str
    finish_reason: str
    stop_sequence: str | None = None
    usage: Usage | None = None
    usage_reported: JsonObject | None = None
    provider_ids: dict[str, str] = {}
    first_token_ms: float | None = None
    duration_ms: float
    price: Price | None = None
    pricing_context: PricingContext = {}


class ModelFailed(Event):
    """`final` means that no further attempt follows. `code` is "lost" when the process died while waiting.

    `usage` is what the provider said that the attempt used, None when it said nothing. `usage_unknown` says
    that it may well bill something all the same: the request had reached it, and it never said no. `status` is the HTTP
    status with which it said no.
    """

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
    price: Price | None = None
    pricing_context: PricingContext = {}
    usage_reported: JsonObject | None = None
    usage_unknown: bool = False
    status: int | None = None


class ReasoningRecorded(Event):
    """`blocks` are the provider's JSON as received: signatures must go back unchanged, and to `model` alone.

    Where the reasoning stands between texts and calls, these are among the blocks, so that the order is kept. `origin`
    is the host and port of the server that sent it, where the provider is whoever speaks a format.
    """

    kind: ClassVar[str] = "reasoning.recorded"

    run_id: str
    fence: int
    model_call_id: str
    item_id: str
    provider: str
    blocks: tuple[str, ...]
    tokens: Tokens | None = None
    model: str | None = None
    origin: str | None = None


class ReasoningImported(Event):
    """Outside any run: what a model thought elsewhere, as the client tells it, for whoever signed it."""

    kind: ClassVar[str] = "reasoning.imported"

    model_call_id: str
    item_id: str
    provider: str
    blocks: tuple[str, ...]
    tokens: Tokens | None = None
    model: str | None = None


ModelEvent: TypeAlias = (
    ContextAssembled
    | ContextTruncated
    | ModelCalled
    | ModelAnswered
    | ModelFailed
    | ReasoningRecorded
    | ReasoningImported
)
