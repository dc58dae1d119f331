"""What a provider is: a model API that we call.

A provider renders a prompt to the exact bytes it will send (pure and versioned: the log keeps their digest), and
it sends such bytes, giving previews while the answer comes and the whole answer at the end.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from clew.events.content import JsonObject
from clew.events.items import Item
from clew.events.run import RunConfig
from clew.events.usage import Usage


@dataclass(frozen=True, slots=True)
class Prompt:
    """All that a request is rendered from."""

    config: RunConfig
    items: Sequence[Item]
    max_output_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class TextPiece:
    """The next piece of the answer's text."""

    text: str


@dataclass(frozen=True, slots=True)
class CallPiece:
    """The next piece of a tool call. The first piece of each `index` carries id and name."""

    index: int
    tool_call_id: str | None = None
    name: str | None = None
    arguments: str = ""


@dataclass(frozen=True, slots=True)
class CalledTool:
    tool_call_id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer. `finish_reason` is stop, tool_calls, length, content_filter, or the provider's own word."""

    text: str | None
    refusal: str | None
    tool_calls: tuple[CalledTool, ...]
    reasoning: tuple[str, ...]
    finish_reason: str
    model: str
    usage: Usage | None
    usage_reported: JsonObject | None
    provider_ids: dict[str, str]


Piece: TypeAlias = TextPiece | CallPiece | Answer


@dataclass(frozen=True, slots=True)
class ModelInfo:
    id: str
    created: int
    owned_by: str


class Provider(Protocol):
    """`renderer` names the way of rendering and its version, such as `openai-chat/1`. A version never changes."""

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
