"""Reading messages of Anthropic's API: whole ones, and streams piece by piece.

Blocks are kept as they come, also kinds that nobody here knows. What is thinking, or stands beside it, is needed
again as it was; the rest becomes text and calls.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import orjson

from clew.errors import ProviderFailed
from clew.events.content import JsonObject
from clew.events.usage import Usage
from clew.providers.base import Answer, CalledTool, CallPiece, Piece, ReasoningPiece, TextPiece, UsageSoFar
from clew.providers.http import nonsense

_THOUGHTS = ("thinking", "redacted_thinking")
_FINISH = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "tool_use": "tool_calls",
    "max_tokens": "length",
    # The answer has filled the window: cut short as well.
    "model_context_window_exceeded": "length",
    # A classifier broke the answer off.
    "refusal": "content_filter",
}


def usage_of(reported: JsonObject) -> Usage:
    """Usage in our words: Anthropic counts what is read from the cache or written to it apart from the rest."""
    cached = _count(reported.get("cache_read_input_tokens"))
    written = _count(reported.get("cache_creation_input_tokens"))
    return Usage(
        input=_count(reported.get("input_tokens")) + cached + written,
        output=_count(reported.get("output_tokens")),
        cached=cached,
        cache_write=written,
        cache_write_1h=_count(_details(reported, "cache_creation").get("ephemeral_1h_input_tokens")),
        reasoning=_count(_details(reported, "output_tokens_details").get("thinking_tokens")),
    )


def _details(reported: JsonObject, name: str) -> JsonObject:
    details = reported.get(name)
    return details if isinstance(details, dict) else {}


def _count(value: Any) -> int:
    return int(value) if isinstance(value, (int, float)) and value > 0 else 0


class _Block:
    """One block of an answer. `place` is its number among the calls, when it is one; `raw` its bytes, if known."""

    __slots__ = ("json", "place", "raw", "said")

    def __init__(self, said: dict[str, Any], place: int | None, raw: str | None = None) -> None:
        self.said = said
        self.place = place
        self.raw = raw
        self.json: list[str] = []

    @property
    def kind(self) -> Any:
        return self.said.get("type")

    def finished(self, who: str) -> str:
        """As JSON. What of it came as JSON in pieces is put together first."""
        if self.raw is not None:
            return self.raw
        if self.json:
            try:
                self.said["input"] = orjson.loads("".join(self.json))
            except orjson.JSONDecodeError as error:
                raise nonsense(who, "a block whose input is not JSON") from error
        return orjson.dumps(self.said).decode()

    def arguments(self) -> str:
        return "".join(self.json) or orjson.dumps(self.said.get("input") or {}).decode()


class Gathering:
    """An answer as it comes: give it events, it gives pieces; at the end it is the answer."""

    def __init__(self, who: str, request_id: str | None) -> None:
        self._who = who
        self._request_id = request_id
        self._response_id: str | None = None
        self._model = ""
        self._blocks: dict[Any, _Block] = {}
        self._calls = 0
        self._usage: JsonObject | None = None
        self._stop_details: Any = None
        self._stop_sequence: str | None = None
        self.finish_reason: str | None = None
        self.over = False

    def take(self, chunk: dict[str, Any]) -> Iterator[Piece]:
        """An event of a stream. Kinds that are not known are new ones, and carry nothing that is needed."""
        match chunk.get("type"):
            case "message_start" if isinstance(chunk.get("message"), dict):
                self._head(chunk["message"])
                if self._usage is not None:
                    yield UsageSoFar(usage_of(self._usage), self._usage, self._model, _pricing_context(self._usage))
            case "content_block_start" if isinstance(chunk.get("content_block"), dict):
                yield from self._begin(chunk.get("index"), chunk["content_block"])
            case "content_block_delta" if isinstance(chunk.get("delta"), dict):
                yield from self._go_on(chunk.get("index"), chunk["delta"])
            case "message_delta" if isinstance(chunk.get("delta"), dict):
                self._head({**chunk["delta"], "usage": chunk.get("usage")})
            case "message_stop":
                self.over = True
            case _:
                pass

    def take_whole(self, answer: dict[str, Any], received: bytes) -> Answer:
        """A message that came at once. Its blocks are kept as the bytes that they are in `received`."""
        content = answer.get("content")
        if not isinstance(content, list):
            raise nonsense(self._who, "an answer without content")
        self._head(answer)
        for index, (block, raw) in enumerate(zip(content, raw_blocks(received.decode()), strict=True)):
            if not isinstance(block, dict):
                raise nonsense(self._who, "a block that is not an object")
            for _ in self._begin(index, block):
                pass
            self._blocks[index].raw = raw
            if block.get("type") == "tool_use":
                self._blocks[index].json = [members_of(raw).get("input", "")]
        if self.finish_reason is None:
            # Whole is whole; a server that speaks like Anthropic may leave the reason out.
            self.finish_reason = "stop"
        return self.answer()

    def _head(self, message: dict[str, Any]) -> None:
        """What is beside the content. Counts grow; those that are not said again stay."""
        if self._response_id is None and isinstance(message.get("id"), str):
            self._response_id = message["id"]
        if not self._model and isinstance(message.get("model"), str):
            self._model = message["model"]
        if isinstance(message.get("usage"), dict):
            said = {name: value for name, value in message["usage"].items() if value is not None}
            self._usage = {**(self._usage or {}), **said}
        if isinstance(message.get("stop_details"), dict):
            self._stop_details = message["stop_details"]
        if isinstance(message.get("stop_sequence"), str):
            self._stop_sequence = message["stop_sequence"]
        reason = message.get("stop_reason")
        if isinstance(reason, str):
            self.finish_reason = _FINISH.get(reason, reason)

    def _begin(self, index: Any, said: dict[str, Any]) -> Iterator[Piece]:
        place = None
        if said.get("type") == "text" and (said.get("citations") or self._text_was_last()):
            # That it is another text, or where it is from, no piece of text says.
            yield ReasoningPiece()
        if said.get("type") == "tool_use":
            if not isinstance(said.get("name"), str) or not isinstance(said.get("id"), str):
                raise nonsense(self._who, "a tool call without a name or an id")
            place, self._calls = self._calls, self._calls + 1
            yield CallPiece(place, said["id"], said["name"])
        elif said.get("type") == "text" and isinstance(said.get("text"), str) and said["text"]:
            yield TextPiece(said["text"])
        elif said.get("type") == "thinking":
            yield ReasoningPiece(str(said.get("thinking") or ""), str(said.get("signature") or ""), begins=True)
        elif said.get("type") != "text":
            yield ReasoningPiece()
        self._blocks[index] = _Block(said, place)

    def _text_was_last(self) -> bool:
        return bool(self._blocks) and next(reversed(self._blocks.values())).kind == "text"

    def _go_on(self, index: Any, delta: dict[str, Any]) -> Iterator[Piece]:
        block = self._blocks.get(index)
        if block is None:
            raise nonsense(self._who, "more of a block that never began")
        match delta.get("type"):
            case ("text_delta" | "thinking_delta" | "signature_delta") as kind:
                name = kind.removesuffix("_delta")
                more = delta.get(name)
                if isinstance(more, str) and more:
                    block.said[name] = (block.said.get(name) or "") + more
                    if kind == "text_delta":
                        yield TextPiece(more)
                    elif kind == "thinking_delta":
                        yield ReasoningPiece(text=more)
                    else:
                        yield ReasoningPiece(signature=more)
            case "input_json_delta":
                more = delta.get("partial_json")
                if isinstance(more, str) and more:
                    block.json.append(more)
                    if block.place is not None:
                        yield CallPiece(block.place, arguments=more)
            case "citations_delta":
                block.said["citations"] = [*(block.said.get("citations") or ()), delta.get("citation")]
                yield ReasoningPiece()
            case "compaction_delta":
                block.said.update({name: delta[name] for name in delta if name != "type"})
            case _:
                pass

    def answer(self) -> Answer:
        """The whole. Only to be asked for when there is a finish reason."""
        assert self.finish_reason is not None
        if self.finish_reason == "pause_turn":
            message = f"{self._who} paused for a tool of its own, and Clew offers none; nothing goes on with that"
            raise ProviderFailed(message, code="server_error", retryable=False)
        blocks = list(self._blocks.values())
        calls = tuple(
            CalledTool(block.said["id"], block.said["name"], block.arguments())
            for block in blocks
            if block.place is not None
        )
        texts = [block.said.get("text") for block in blocks if block.kind == "text"]
        explanation = self._stop_details.get("explanation") if self._stop_details else None
        ids = {"response": self._response_id, "request": self._request_id}
        return Answer(
            text="".join(text for text in texts if isinstance(text, str)) or None,
            refusal=explanation if isinstance(explanation, str) and explanation else None,
            tool_calls=calls,
            reasoning=tuple(block.finished(self._who) for block in _needed_again(blocks)),
            finish_reason="tool_calls" if calls and self.finish_reason == "stop" else self.finish_reason,
            model=self._model,
            usage=None if self._usage is None else usage_of(self._usage),
            usage_reported=self._usage,
            provider_ids={name: value for name, value in ids.items() if value},
            pricing_context=_pricing_context(self._usage or {}),
            stop_sequence=self._stop_sequence,
        )


def _pricing_context(usage: JsonObject) -> dict[str, str]:
    """In the words of genai-prices, where something else than the standard price may hold."""
    context = {}
    if usage.get("speed") == "fast":
        context["speed"] = "fast"
    tier = usage.get("service_tier")
    if tier == "batch":
        context["processing"] = "batch"
    elif isinstance(tier, str) and tier != "standard":
        context["service_tier"] = tier
    return context


def _needed_again(blocks: list[_Block]) -> list[_Block]:
    """What must go back as it came, because text and calls do not say it.

    Thoughts alone, where they come before a text and calls behind it; everything, where the order says more or there
    are blocks of other kinds.
    """
    # The API sends texts without anything in them, and takes none.
    blocks = [block for block in blocks if block.kind != "text" or str(block.said.get("text") or "").strip()]
    if all(_is_plain(block) for block in blocks):
        return []
    order = [0 if block.kind in _THOUGHTS else 1 if block.kind == "text" else 2 for block in blocks]
    simple = order == sorted(order) and order.count(1) <= 1
    if simple and all(block.kind in _THOUGHTS or _is_plain(block) for block in blocks):
        return [block for block in blocks if block.kind in _THOUGHTS]
    return blocks


def _is_plain(block: _Block) -> bool:
    return block.kind == "tool_use" or (block.kind == "text" and not block.said.get("citations"))


# JSON as it is written. The standard library's decoder tells where each value ends.

_SPACE = re.compile(r"[ \t\n\r]*")
_DECODER = json.JSONDecoder()


def members_of(text: str) -> dict[str, str]:
    """The members of an object, which `text` is known to be, each as it is written."""
    found: dict[str, str] = {}
    at = _skip(text, text.index("{") + 1)
    while text[at] != "}":
        name, at = _DECODER.raw_decode(text, at)
        begin = _skip(text, text.index(":", at) + 1)
        _, at = _DECODER.raw_decode(text, begin)
        found[name] = text[begin:at]
        at = _next(text, at)
    return found


def raw_blocks(text: str) -> list[str]:
    """The elements of `content` of the message that `text` is, each as it is written."""
    content = members_of(text)["content"]
    found = []
    at = _skip(content, 1)
    while content[at] != "]":
        begin = at
        _, at = _DECODER.raw_decode(content, begin)
        found.append(content[begin:at])
        at = _next(content, at)
    return found


def _skip(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    assert found is not None, "nothing is space, too"
    return found.end()


def _next(text: str, at: int) -> int:
    """Behind a comma, if one follows."""
    at = _skip(text, at)
    return _skip(text, at + 1) if text[at] == "," else at
