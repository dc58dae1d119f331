"""What a provider is: a model API that we call.

A provider renders a prompt to the exact bytes it will send (pure and versioned: the log keeps their digest), and
it sends such bytes, giving previews while the answer comes and the whole answer at the end.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from clew.events.content import JsonObject
from clew.events.items import Item
from clew.events.price import PricingContext
from clew.events.run import RunConfig
from clew.events.usage import Usage


@dataclass(frozen=True, slots=True)
class Prompt:
    """All that a request is rendered from. `origin` is the host and port of the server that it goes to."""

    config: RunConfig
    items: Sequence[Item]
    max_output_tokens: int | None = None
    origin: str | None = None


@dataclass(frozen=True, slots=True)
class TextPiece:
    """The next piece of the answer's text."""

    text: str


@dataclass(frozen=True, slots=True)
class ReasoningPiece:
    """The next piece of what the model thinks: of a text, then its signature. `begins` is set on the first of each.

    With neither there is something that can only be shown whole, which the answer does.
    """

    text: str = ""
    signature: str = ""
    begins: bool = False


@dataclass(frozen=True, slots=True)
class CallPiece:
    """The next piece of a tool call. The first piece of each `index` carries id and name."""

    index: int
    tool_call_id: str | None = None
    name: str | None = None
    arguments: str = ""


@dataclass(frozen=True, slots=True)
class UsageSoFar:
    """What the provider has said that it counts, before the answer is whole. A later one holds in place of it.

    `model` and `pricing_context` are as in the answer, as far as they are known by then.
    """

    usage: Usage
    usage_reported: JsonObject
    model: str = ""
    pricing_context: PricingContext = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CalledTool:
    """`index` is that of its pieces, where it is not its position in the answer."""

    tool_call_id: str
    name: str
    arguments: str
    index: int | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer. `finish_reason` is stop, tool_calls, length, content_filter, or the provider's own word.

    `pricing_context` is empty when the standard price holds. `stop_sequence` is the one of those asked for that ended
    it, where the provider tells.
    """

    text: str | None
    refusal: str | None
    tool_calls: tuple[CalledTool, ...]
    reasoning: tuple[str, ...]
    finish_reason: str
    model: str
    usage: Usage | None
    usage_reported: JsonObject | None
    provider_ids: dict[str, str]
    pricing_context: PricingContext = field(default_factory=dict)
    stop_sequence: str | None = None


Piece: TypeAlias = TextPiece | ReasoningPiece | CallPiece | UsageSoFar | Answer


@dataclass(frozen=True, slots=True)
class ModelInfo:
    id: str
    created: int
    owned_by: str


def origin_of(provider: Provider) -> str | None:
    """Returns the host and port of a provider's server, if that matters to what it is sent."""
    return getattr(provider, "origin", None)


class Provider(Protocol):
    """`renderer` names the way of rendering and its version, such as `openai-chat/1`. A version never changes.

    A provider that is whoever speaks a format may have an `origin`: the host and port of the server.
    """

    name: str
    renderer: str

    def render(self, prompt: Prompt) -> bytes:
        """The request body for `prompt`. Pure: the same prompt gives the same bytes, for ever."""
        ...

    def call(self, body: bytes) -> AsyncGenerator[Piece, None]:
        """Send `body`. Yields pieces as they come, if the body asks for streaming, and last the `Answer`.

        Raises `ProviderFailed`; retries are the engine's business. Closing the iterator ends the call.
        """
        ...

    async def models(self) -> list[ModelInfo]:
        """What can be asked for. Raises `ProviderFailed`."""
        ...

    async def close(self) -> None: ...
