"""Reading Mistral's chat completions: OpenAI's format, but for thinking among the content, and how usage is told."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson

from clew.errors import ProviderFailed
from clew.events.content import JsonObject
from clew.events.price import PricingContext
from clew.events.usage import Usage
from clew.providers import openai_read
from clew.providers.base import Answer, CallPiece, TextPiece

_NO_ID = "null"


def usage_of(reported: JsonObject) -> Usage:
    """Usage in our words. What came from a cache is told in one of three places, and always counted as input, too."""
    cached = reported.get("num_cached_tokens")
    for name in ("prompt_tokens_details", "prompt_token_details"):
        details = reported.get(name)
        if isinstance(details, dict):
            cached = details.get("cached_tokens") or cached
    found = openai_read.usage_of(reported)
    return found if found.cached else found.model_copy(update={"cached": openai_read.count(cached)})


class Gathering(openai_read.Gathering):
    """As OpenAI's, with chunks of thinking put together and kept."""

    def __init__(self, who: str, request_id: str | None) -> None:
        super().__init__(who, request_id)
        self._thinking: list[dict[str, Any]] = []
        self._goes_on = False
        self._whole = False

    def take_whole(self, completion: dict[str, Any], received: bytes) -> Answer:
        self._whole = True
        return super().take_whole(completion, received)

    def _say(self, delta: dict[str, Any]) -> Iterator[TextPiece | CallPiece]:
        content = delta.get("content")
        if content and isinstance(content, str):
            self._goes_on = False
        for chunk in content if isinstance(content, list) else ():
            if isinstance(chunk, dict) and chunk.get("type") == "thinking":
                self._think(chunk)
            else:
                self._goes_on = False
        for call in delta.get("tool_calls") or ():
            if isinstance(call, dict) and call.get("id") == _NO_ID:
                # The default of the field, in words.
                call["id"] = None
        yield from super()._say(delta)

    def _think(self, chunk: dict[str, Any]) -> None:
        """In a stream a chunk goes on with the one before it, until that is signed or something else is said."""
        if self._whole or not self._goes_on:
            self._thinking.append(chunk)
        else:
            last = self._thinking[-1]
            parts = [*(last.get("thinking") or ()), *(chunk.get("thinking") or ())]
            last.update(chunk)
            last["thinking"] = _joined(parts)
        self._goes_on = not chunk.get("signature")

    def answer(self) -> Answer:
        if self.finish_reason == "error":
            message = f"{self._who} broke the answer off with an error of its own"
            raise ProviderFailed(message, code="server_error", retryable=True)
        if self.finish_reason == "model_length":
            self.finish_reason = "length"
        return super().answer()

    def _reasoning(self) -> tuple[str, ...]:
        return tuple(orjson.dumps(chunk).decode() for chunk in self._thinking)

    def _used(self, reported: JsonObject) -> Usage:
        return usage_of(reported)

    def _pricing_context(self) -> PricingContext:
        tier = self._usage.get("service_tier") if self._usage is not None else None
        return {"service_tier": tier} if isinstance(tier, str) and tier not in openai_read.STANDARD_TIERS else {}


def _joined(parts: list[Any]) -> list[Any]:
    """Pieces of text that follow each other are one text."""
    joined: list[Any] = []
    for part in parts:
        before: Any = joined[-1] if joined else None
        if _is_text(part) and _is_text(before):
            joined[-1] = {**before, "text": before["text"] + part["text"]}
        else:
            joined.append(part)
    return joined


def _is_text(part: Any) -> bool:
    return isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str)
