"""Reading messages of Anthropic's API: whole ones, and streams piece by piece.

Blocks are kept as they come, also kinds that nobody here knows. What is thinking, or stands beside it, is needed
again as it was; the rest becomes text and calls.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import orjson

from clew import exact_json
from clew.errors import ProviderFailed
from clew.events.content import JsonObject
from clew.ids import new_id
from clew.providers import usage as usages
from clew.providers.answer_so_far import AnswerSoFar
from clew.providers.base import Answer, CalledTool, CallPiece, Piece, ReasoningPiece, TextPiece, UsageSoFar
from clew.providers.http import nonsense
from clew.providers.raw_json import members_of, raw_blocks
from clew.providers.text import TextPieces, whole_json, whole_text, written
from clew.providers.tool_arguments import ToolArguments
from clew.providers.valid_calls import NO_OBJECT, valid_arguments

_THOUGHTS = ("thinking", "redacted_thinking")


class _Block:
    """One block of an answer. `place` is its number among the calls, when it is one; `raw` its bytes, if known."""

    __slots__ = ("closed", "json", "pieces", "place", "raw", "said")

    def __init__(self, said: dict[str, Any], place: int | None, raw: str | None = None) -> None:
        self.said = said
        self.place = place
        self.raw = raw
        self.json = ToolArguments()
        self.pieces: dict[str, TextPieces] = {}
        self.closed = False

    @property
    def kind(self) -> Any:
        return self.said.get("type")

    def is_begun_again_by(self, said: dict[str, Any]) -> bool:
        """Whether a beginning at the same place is that of this block once more."""
        same = (self.kind, self.said.get("id")) == (said.get("type"), said.get("id"))
        return same and (not self.closed or self.kind == "tool_use")

    def add(self, name: str, piece: str) -> str:
        """Adds a piece of a text; returns what of it can be shown."""
        if name not in self.pieces:
            self.pieces[name] = TextPieces()
            self.pieces[name].add(str(self.said.get(name) or ""))
        return self.pieces[name].add(piece)

    def text(self, name: str = "text") -> str:
        return str(self.pieces[name]) if name in self.pieces else whole_text(str(self.said.get(name) or ""))

    def finished(self, who: str) -> str:
        """As JSON. What of it came in pieces is put together first."""
        if self.raw is not None and _can_go_back(self.raw):
            return self.raw
        said = {**self.said, **{name: self.text(name) for name in self.pieces}}
        if self.place is not None:
            said["input"] = _input(self.arguments())
        elif self.json:
            try:
                said["input"] = exact_json.parse(str(self.json))
            except ValueError as error:
                raise nonsense(who, "a block whose input is not JSON") from error
        return written(said)

    def arguments(self) -> str:
        """As they were written. Some servers send them whole with the beginning of the block, and then an empty object;
        others as a text that holds the object."""
        if self.json and not self.has_input_of_its_own:
            return _unwrapped(str(self.json))
        return _unwrapped(written(self.said.get("input") or {}))

    @property
    def has_input_of_its_own(self) -> bool:
        """Whether all of a call's input came with the beginning of the block."""
        return bool(self.said.get("input")) and (not self.json or self.json.are_empty)


class Gathering(AnswerSoFar):
    """An answer as it comes: give it events, it gives pieces; at the end it is the answer.

    See `transport.Gathering`.
    """

    def __init__(self, who: str, request_id: str | None) -> None:
        super().__init__(who, request_id)
        self._blocks: dict[Any, _Block] = {}
        self._calls = 0
        self._usage: JsonObject | None = None
        self._stop_details: Any = None
        self._stop_sequence: str | None = None

    def take(self, chunk: dict[str, Any]) -> Iterator[Piece]:
        """An event of a stream. Kinds that are not known are new ones, and carry nothing that is needed."""
        match chunk.get("type"):
            case "message" if not self.said_anything:
                # All of it in one event, and in the words of an answer that is no stream.
                self.note_usage(chunk)
                for index, block in enumerate(self._content(chunk)):
                    yield from self._begin(index, block)
                self._head(chunk)
                self.over = True
            case "message_start" if isinstance(chunk.get("message"), dict):
                self.note_usage(chunk)
                self._head(chunk["message"])
                if (so_far := self.used()) is not None:
                    yield so_far
            case "content_block_start" if isinstance(chunk.get("content_block"), dict):
                yield from self._begin(_index(chunk), chunk["content_block"])
            case "content_block_delta" if isinstance(chunk.get("delta"), dict):
                yield from self._go_on(_index(chunk), chunk["delta"])
            case "content_block_stop":
                if (stopped := self._block(_index(chunk))) is not None:
                    stopped.closed = True
            case "message_delta" if isinstance(chunk.get("delta"), dict):
                self.note_usage(chunk)
                self._head(chunk["delta"])
            case "message_stop":
                # A few servers tell what they count only here.
                self.note_usage(chunk)
                self.over = True
            case _:
                pass

    def take_whole(self, answer: dict[str, Any], received: bytes) -> Answer:
        """A message that came at once. Its blocks are kept as the bytes that they are in `received`."""
        content = self._content(answer)
        self.note_usage(answer)
        is_text = isinstance(answer["content"], str)
        blocks = [None] if is_text else raw_blocks(received.decode(errors="replace"))
        for index, (block, raw) in enumerate(zip(content, blocks, strict=True)):
            for _ in self._begin(index, block):
                pass
            self._blocks[index].raw = raw
            if block.get("type") == "tool_use" and raw is not None:
                self._blocks[index].json.add(members_of(raw).get("input", ""))
        self._head(answer)
        return self.answer()

    def _content(self, message: dict[str, Any]) -> list[dict[str, Any]]:
        """The blocks of a message that came at once. Some servers send a text instead."""
        content = message.get("content")
        if isinstance(content, str):
            return [{"type": "text", "text": content}]
        if not isinstance(content, list):
            raise nonsense(self._who, "an answer without content")
        if not all(isinstance(block, dict) for block in content):
            raise nonsense(self._who, "a block that is not an object")
        return content

    def note_usage(self, chunk: dict[str, Any]) -> None:
        """Counts grow; those that are not said again stay."""
        message = chunk.get("message")
        for holder in (message, chunk.get("delta"), chunk):
            reported = holder.get("usage") if isinstance(holder, dict) else None
            if isinstance(reported, dict):
                said = {name: value for name, value in whole_json(reported).items() if value is not None}
                self._usage = usages.merged(self._usage, said)

    def used(self) -> UsageSoFar | None:
        """What the provider has said so far of what it counts; None if that is nothing."""
        used = None if self._usage is None else usages.of_messages(self._usage)
        if used is None or self._usage is None:
            return None
        return UsageSoFar(used, self._usage, whole_text(self._model), _pricing_context(self._usage))

    def _head(self, message: dict[str, Any]) -> None:
        """What is beside the content and the usage."""
        self._note_head(message)
        if isinstance(message.get("stop_details"), dict):
            self._stop_details = message["stop_details"]
        if isinstance(message.get("stop_sequence"), str):
            self._stop_sequence = whole_text(message["stop_sequence"])
        self._note_reason(message.get("stop_reason"))

    def _begin(self, index: Any, said: dict[str, Any]) -> Iterator[Piece]:
        known = self._block(index)
        if known is not None and known.is_begun_again_by(said):
            return
        if index is None or known is not None:
            # Some servers leave the index out, or give all blocks the same.
            index = (index, len(self._blocks))
        place = None
        self._goes_on()
        if said.get("type") == "text" and (said.get("citations") or self._text_was_last()):
            # That it is another text, or where it is from, no piece of text says.
            yield ReasoningPiece()
        if said.get("type") == "tool_use":
            if not isinstance(said.get("name"), str) or not said["name"]:
                raise nonsense(self._who, "a tool call without a name")
            if not isinstance(said.get("id"), str) or not said["id"]:
                said = {**said, "id": new_id("call")}
            place, self._calls = self._calls, self._calls + 1
            yield CallPiece(place, whole_text(said["id"]), whole_text(said["name"]))
        elif said.get("type") == "text" and isinstance(said.get("text"), str) and said["text"]:
            said, text = {**said, "text": ""}, said["text"]
            block = _Block(said, place)
            self._blocks[index] = block
            shown = block.add("text", text)
            if shown:
                yield TextPiece(shown)
            return
        elif said.get("type") == "thinking":
            thought, signature = (whole_text(str(said.get(name) or "")) for name in ("thinking", "signature"))
            yield ReasoningPiece(thought, signature, begins=True)
        elif said.get("type") != "text":
            yield ReasoningPiece()
        self._blocks[index] = _Block(said, place)

    def _text_was_last(self) -> bool:
        return bool(self._blocks) and next(reversed(self._blocks.values())).kind == "text"

    def _block(self, index: Any) -> _Block | None:
        """The newest block of that index; where there are no indexes, the newest of all."""
        for key in reversed(self._blocks):
            if index is None or key == index or (isinstance(key, tuple) and key[0] == index):
                return self._blocks[key]
        return None

    def _go_on(self, index: Any, delta: dict[str, Any]) -> Iterator[Piece]:
        block = self._block(index)
        if block is None:
            raise nonsense(self._who, "more of a block that never began")
        match delta.get("type"):
            case ("text_delta" | "thinking_delta" | "signature_delta") as kind:
                name = kind.removesuffix("_delta")
                more = delta.get(name)
                if isinstance(more, str) and more:
                    self._goes_on()
                    yield from _shown(name, block.add(name, more))
            case "input_json_delta":
                more = delta.get("partial_json")
                if isinstance(more, str) and more:
                    self._goes_on()
                    shown = block.json.add(more)
                    if block.place is not None and shown:
                        yield CallPiece(block.place, arguments=shown)
            case "citations_delta":
                self._goes_on()
                known = block.said.get("citations")
                block.said["citations"] = [*(known if isinstance(known, list) else ()), delta.get("citation")]
                yield ReasoningPiece()
            case "compaction_delta":
                self._goes_on()
                block.said.update({name: delta[name] for name in delta if name != "type"})
            case _:
                pass

    def end(self) -> Iterator[Piece]:
        """What is left to be shown when nothing more comes."""
        for block in self._blocks.values():
            for name, pieces in block.pieces.items():
                yield from _shown(name, pieces.end())
            rest = block.arguments() if block.has_input_of_its_own else block.json.end()
            if block.place is not None and rest:
                yield CallPiece(block.place, arguments=rest)

    def answer(self) -> Answer:
        """The whole. Only to be asked for when the answer is whole. Raises `ProviderFailed`."""
        meaning = self._finish_reason()
        if meaning == "pause_turn":
            message = f"{self._who} paused for a tool of its own, and Clew offers none; nothing goes on with that"
            raise ProviderFailed(message, code="server_error", retryable=False)
        blocks = list(self._blocks.values())
        called = [block for block in blocks if block.place is not None]
        if self._reason is None and any(block.json and not exact_json.is_json(str(block.json)) for block in called):
            raise self._ended_in_a_call()
        calls = tuple(
            CalledTool(whole_text(block.said["id"]), whole_text(block.said["name"]), block.arguments())
            for block in called
        )
        texts = "".join(block.text() for block in blocks if block.kind == "text")
        explanation = self._stop_details.get("explanation") if self._stop_details else None
        return Answer(
            text=texts or None,
            refusal=whole_text(explanation) if isinstance(explanation, str) and explanation else None,
            tool_calls=calls,
            reasoning=tuple(block.finished(self._who) for block in _needed_again(blocks)),
            finish_reason="tool_calls" if calls and meaning == "stop" else meaning,
            model=whole_text(self._model),
            usage=None if self._usage is None else usages.of_messages(self._usage),
            usage_reported=self._usage or None,
            provider_ids=self._provider_ids(),
            pricing_context=_pricing_context(self._usage or {}),
            stop_sequence=self._stop_sequence,
        )


def _index(chunk: dict[str, Any]) -> int | str | None:
    """The place of the block that an event is about, if it says one."""
    index = chunk.get("index")
    return index if isinstance(index, (int, str)) else None


def _can_go_back(raw: str) -> bool:
    """Whether it is a block that the API takes: a call has an id and an object."""
    block = _plain_json(raw)
    if not isinstance(block, dict):
        return False
    return block.get("type") != "tool_use" or (bool(block.get("id")) and isinstance(block.get("input"), dict))


def _plain_json(text: str) -> Any:
    """The value of a JSON text; None where half a character or a number beyond all floats is in it, which JSON can
    write."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None


def _input(arguments: str) -> Any:
    """The object that stands for arguments among blocks that go back: the API takes nothing else. What was written is
    in the call."""
    valid = valid_arguments(arguments)
    return {NO_OBJECT: arguments} if _plain_json(valid) is None else exact_json.loads(valid)


def _unwrapped(arguments: str) -> str:
    """The object that is in a text; any others as they are."""
    if arguments.lstrip()[:1] == '"':
        with suppress(ValueError):
            inner = exact_json.parse(arguments)
            if isinstance(exact_json.parse(inner), dict):
                return whole_text(inner)
    return arguments


def _shown(name: str, text: str) -> Iterator[Piece]:
    if not text:
        return
    if name == "text":
        yield TextPiece(text)
    elif name == "thinking":
        yield ReasoningPiece(text=text)
    else:
        yield ReasoningPiece(signature=text)


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
    blocks = [block for block in blocks if block.kind != "text" or block.text().strip()]
    if all(_is_plain(block) for block in blocks):
        return []
    order = [0 if block.kind in _THOUGHTS else 1 if block.kind == "text" else 2 for block in blocks]
    simple = order == sorted(order) and order.count(1) <= 1
    if simple and all(block.kind in _THOUGHTS or _is_plain(block) for block in blocks):
        return [block for block in blocks if block.kind in _THOUGHTS]
    return blocks


def _is_plain(block: _Block) -> bool:
    return block.kind == "tool_use" or (block.kind == "text" and not block.said.get("citations"))
