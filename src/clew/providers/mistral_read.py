"""Reading Mistral's chat completions: OpenAI's format, but for thinking among the content."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from clew.events.price import PricingContext
from clew.providers import openai_read
from clew.providers.base import CallPiece, TextPiece
from clew.providers.text import whole_text, written


class Gathering(openai_read.Gathering):
    """As OpenAI's, with chunks of thinking put together and kept."""

    def __init__(self, who: str, request_id: str | None, offered: Callable[[], Sequence[str]] = tuple) -> None:
        super().__init__(who, request_id, offered)
        self._thinking: list[dict[str, Any]] = []
        self._goes_on_thinking = False

    def _say(self, delta: dict[str, Any]) -> Iterator[TextPiece | CallPiece]:
        content = delta.get("content")
        if content and isinstance(content, str):
            self._goes_on_thinking = False
        for chunk in content if isinstance(content, list) else ():
            if isinstance(chunk, dict) and chunk.get("type") == "thinking":
                self._goes_on()
                self._think(chunk)
            else:
                self._goes_on_thinking = False
        yield from super()._say(delta)

    def _think(self, chunk: dict[str, Any]) -> None:
        """In a stream a chunk goes on with the one before it, until that is signed or something else is said."""
        # Where it is no list as the API has it, it goes back as one, or the API would refuse it.
        parts = _parts(chunk.get("thinking"))
        if not self._is_stream or not self._goes_on_thinking:
            self._thinking.append(chunk if chunk.get("thinking") == parts else {**chunk, "thinking": parts})
        else:
            last = self._thinking[-1]
            last.update({**chunk, "thinking": _joined([*last["thinking"], *parts])})
        self._goes_on_thinking = not chunk.get("signature")

    def _reasoning(self) -> tuple[str, ...]:
        return tuple(written(chunk) for chunk in self._thinking)

    def _pricing_context(self) -> PricingContext:
        tier = self._usage.get("service_tier") if self._usage is not None else None
        standard = not isinstance(tier, str) or tier in openai_read.STANDARD_TIERS
        return {} if standard else {"service_tier": whole_text(str(tier))}


def _parts(thinking: Any) -> list[Any]:
    """The parts of a chunk of thinking. Some servers send its text alone."""
    if isinstance(thinking, list):
        return thinking
    return [{"type": "text", "text": thinking}] if thinking and isinstance(thinking, str) else []


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
