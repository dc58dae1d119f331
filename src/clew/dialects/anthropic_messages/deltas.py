"""From entries that a thread does not have yet to what is put into it: messages, and what a client brings along."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from clew import exact_json
from clew.dialects.anthropic_messages.errors import rejected
from clew.dialects.anthropic_messages.history import Entry, blocks_of_result
from clew.engine.counting import content_tokens, new_message, text_tokens
from clew.events.content import Content, File, Image, JsonObject, Other, Part, Text
from clew.ids import new_id
from clew.rules import told
from clew.rules.parts import NewCall, NewItem, NewMessage, NewReasoning, NewResult
from clew_projections import recognition

PROVIDER = "anthropic"
# Counting the tokens of a text of this length takes about as long as a whole request otherwise does.
_COUNTED_HERE_CHARS_MAX = 16_000


@dataclass(frozen=True, slots=True)
class Result:
    """What a client says came of a call. `at` is where the request has it."""

    tool_call_id: str
    output: str
    content: Content
    is_error: bool
    at: str


@dataclass(frozen=True, slots=True)
class Delta:
    """`results` come first in what a user says: they are answers to what the model called last. `items` is the rest."""

    results: tuple[Result, ...]
    items: tuple[NewItem, ...]


async def delta_of(entries: Sequence[Entry]) -> Delta:
    """Raises `Rejected` for results of calls that nobody made."""
    chars = sum(len(entry.block.get("text") or "") for entry in entries)
    if chars <= _COUNTED_HERE_CHARS_MAX:
        return _delta(entries)
    return await asyncio.to_thread(_delta, entries)


def _delta(entries: Sequence[Entry]) -> Delta:
    first = 0
    while first < len(entries) and entries[first].kind == "returned" and not entries[first].by_server:
        first += 1
    results = tuple(_result(entry) for entry in entries[:first] if entry.link is not None)
    making = _Items()
    for entry in entries[first:]:
        making.take(entry)
    return Delta(results, tuple(making.done()))


@dataclass(slots=True)
class _Items:
    """`open` are calls that were brought along and that nothing has come of yet."""

    made: list[NewItem] = field(default_factory=list)
    open: dict[str, None] = field(default_factory=dict)
    _parts: list[Part] = field(default_factory=list)
    _said_by: tuple[Any, int] | None = None
    _turn: str | None = None
    _model_call_id: str = ""

    def take(self, entry: Entry) -> None:
        if entry.role != self._turn:
            self._flush()
            self._turn, self._model_call_id = entry.role, new_id("mc")
        match entry.kind:
            case "said":
                self._say(entry)
            case "thought":
                self._flush()
                self._think(entry)
            case "called":
                self._flush()
                self._call(entry)
            case "returned":
                self._flush()
                self._return(entry)

    def done(self) -> list[NewItem]:
        self._flush()
        self._pass_over()
        return self.made

    def _say(self, entry: Entry) -> None:
        if entry.link is None:
            return
        if self.open and entry.role != "assistant":
            self._pass_over()
        said_by = (entry.role, entry.turn)
        if said_by != self._said_by:
            self._flush()
        self._said_by = said_by
        self._parts.append(part_of(entry.block))

    def _flush(self) -> None:
        if self._parts and self._said_by is not None:
            role = self._said_by[0]
            message = new_message(role, tuple(self._parts))
            if role == "assistant":
                message = NewMessage(
                    message_id=message.message_id,
                    role=role,
                    content=message.content,
                    tokens=message.tokens,
                    model_call_id=self._model_call_id,
                )
            self.made.append(message)
        self._parts, self._said_by = [], None

    def _think(self, entry: Entry) -> None:
        block = exact_json.dumps(entry.block).decode()
        last = self.made[-1] if self.made else None
        if isinstance(last, NewReasoning) and last.model_call_id == self._model_call_id:
            self.made.pop()
            item_id, blocks = last.item_id, (*last.blocks, block)
        else:
            item_id, blocks = new_id("rs"), (block,)
        reasoning = NewReasoning(item_id=item_id, model_call_id=self._model_call_id, provider=PROVIDER, blocks=blocks)
        self.made.append(reasoning)

    def _call(self, entry: Entry) -> None:
        name, arguments = entry.block["name"], exact_json.dumps(entry.block["input"]).decode()
        self.open[entry.block["id"]] = None
        self.made.append(
            NewCall(
                tool_call_id=entry.block["id"],
                model_call_id=self._model_call_id,
                name=name,
                arguments=arguments,
                executor="server" if entry.by_server else "client",
                tokens=text_tokens(name + arguments),
            )
        )

    def _return(self, entry: Entry) -> None:
        result = _result(entry)
        if result.tool_call_id not in self.open:
            raise unexpected(result)
        del self.open[result.tool_call_id]
        self.made.append(
            NewResult(
                tool_call_id=result.tool_call_id,
                output=result.output,
                content=result.content,
                is_error=result.is_error,
                tokens=result_tokens(result),
            )
        )

    def _pass_over(self) -> None:
        """A provider takes no call without a result."""
        for tool_call_id in self.open:
            self.made.append(
                NewResult(
                    tool_call_id=tool_call_id,
                    output=told.PASSED_OVER,
                    is_error=True,
                    tokens=text_tokens(told.PASSED_OVER),
                )
            )
        self.open.clear()


def unexpected(result: Result) -> Exception:
    return rejected(
        f"{result.at}: unexpected `tool_use_id` found in `tool_result` blocks: {result.tool_call_id}. Each"
        " `tool_result` block must have a corresponding `tool_use` block in the previous message."
    )


def _result(entry: Entry) -> Result:
    blocks = [block for block in blocks_of_result(entry.block) if block["type"] != "text" or block["text"]]
    parts = tuple(map(part_of, blocks))
    texts = [block["text"] if block["type"] == "text" else f"[{block['type']}]" for block in blocks]
    only_text = len(parts) <= 1 and all(isinstance(part, Text) and not part.annotations for part in parts)
    return Result(
        entry.block["tool_use_id"],
        "\n".join(texts),
        () if only_text else parts,
        bool(entry.block.get("is_error")),
        entry.at,
    )


def result_tokens(result: Result) -> Any:
    return content_tokens(result.content) if result.content else text_tokens(result.output)


def part_of(block: dict[str, Any]) -> Part:
    """A block as content in nobody's shape, if it is the same block again from there; else as it is."""
    part = _plain_part(block)
    if part is not None and _same(part, block):
        return part
    kept = {name: value for name, value in block.items() if name != "cache_control" and value is not None}
    return Other(type="other", provider=PROVIDER, block=exact_json.dumps(kept).decode())


def _plain_part(block: dict[str, Any]) -> Part | None:
    kind = block["type"]
    if kind == "text":
        return Text(type="text", text=block["text"], annotations=tuple(block.get("citations") or ()))
    source: JsonObject = block.get("source") or {}
    if kind == "image" and source.get("type") == "url":
        return Image(type="image", url=str(source["url"]))
    if kind == "image":
        return Image(type="image", data=str(source.get("data")), media_type=str(source.get("media_type")))
    if kind == "document" and source.get("type") == "base64":
        return File(
            type="file",
            data=str(source.get("data")),
            media_type=str(source.get("media_type")),
            filename=block.get("title"),
        )
    return None


def _same(part: Part, block: dict[str, Any]) -> bool:
    if isinstance(part, Text):
        return True
    [shown] = recognition.blocks_of((part,))
    return recognition.said("user", shown) == recognition.said("user", block)
