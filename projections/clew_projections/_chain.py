"""What was said as a chain of digests, by which a history that is sent again is known again.

A link is an item of the conversation in the form in which Anthropic's Messages API has it, since that is the API whose
clients send everything again. The form is bare: what clients leave out, add or write otherwise without meaning
anything by it (marks for the cache, nulls, a string for a block of text, the order of keys, where a turn is split)
makes no difference. A chain that skips what a client may drop is kept beside the whole one.

Links, and the digests made of them, are in tables: another form is another version of the projection.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import orjson

from clew import exact_json
from clew.events.base import Event, Recorded
from clew.events.content import Content, File, Image, JsonObject, Other, Part, Refusal, Text
from clew.events.message import MessageAppended, MessageEdited, MessageRemoved
from clew.events.model import ReasoningImported, ReasoningRecorded
from clew.events.tool import ToolCalled, ToolFailed, ToolImported, ToolReplaced, ToolReturned, ToolSettled
from clew.rules.told import is_told

_DIGEST_BYTES = 16
# Where blocks stand within blocks; anywhere else a key is somebody's own, also one called `cache_control`.
_HOLD_BLOCKS = frozenset(("content", "source", "tool", "definition", "tool_references"))
_DATA_URL = re.compile(r"data:([^;,]+);base64,(.*)", re.DOTALL)
_DEPTH_MAX = 240
_DROPPED_BLOCKS = frozenset(("thinking", "redacted_thinking"))


@dataclass(frozen=True, slots=True)
class Link:
    """`dropped`: a client may leave it out when it sends its history again."""

    form: bytes
    dropped: bool = False


@dataclass(frozen=True, slots=True)
class Chain:
    """Digests of all links up to somewhere: of every one, and of those that no client drops."""

    full: bytes
    lean: bytes

    def with_link(self, link: Link) -> Chain:
        full = _next(self.full, link.form)
        if link.dropped:
            return Chain(full, self.lean)
        return Chain(full, full if self.lean == self.full else _next(self.lean, link.form))

    def with_links(self, links: Iterable[Link]) -> Chain:
        chain = self
        for link in links:
            chain = chain.with_link(link)
        return chain


def beginning(tenant: str) -> Chain:
    seed = _digest(b"clew/history/1\0" + tenant.encode())
    return Chain(seed, seed)


def scope(instructions: str, user_id: str) -> bytes:
    """What must be the same besides the history: under other instructions it is another conversation."""
    return _digest(orjson.dumps((instructions, user_id)))


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()[:_DIGEST_BYTES]


def _next(digest: bytes, form: bytes) -> bytes:
    return hashlib.sha256(digest + form).digest()[:_DIGEST_BYTES]


# Links


def said(role: str, block: JsonObject) -> Link | None:
    """A block of somebody's turn. None when there is nothing in it."""
    kind = block.get("type")
    if kind == "text":
        text = block.get("text")
        if not text:
            return None
        form = b"%b\0text\0%b" % (role.encode(), str(text).encode("utf-8", "surrogatepass"))
        cited = block.get("citations")
        return Link(form + b"\0" + _json(_bare(cited)) if cited else form)
    return Link(b"%b\0block\0%b" % (role.encode(), _json(_bare(block))), dropped=kind in _DROPPED_BLOCKS)


def called(tool_call_id: str, name: str, arguments: JsonObject, *, by_server: bool = False) -> Link:
    """What a server calls by itself its clients may know nothing of."""
    return Link(b"call\0" + _json((tool_call_id, name, _plain(arguments))), dropped=by_server)


def returned(
    tool_call_id: str, blocks: Sequence[JsonObject], is_error: bool, *, by_server: bool = False
) -> Link | None:
    """None when nobody answered the call, and we only say so: a client never sends that."""
    if is_error and len(blocks) == 1 and is_told(str(blocks[0].get("text"))):
        return None
    shown = [_bare(block) for block in blocks if block.get("type") != "text" or block.get("text")]
    return Link(b"result\0" + _json((tool_call_id, shown, is_error)), dropped=by_server)


def _json(value: Any) -> bytes:
    """Numbers as floats have them: a client reads them so, and sends them again so."""
    return orjson.dumps(exact_json.as_floats(value), option=orjson.OPT_SORT_KEYS)


def _bare(value: Any) -> Any:
    """Without nulls, and without marks for the cache where a mark is one."""
    if isinstance(value, dict):
        return {
            key: _text_as_blocks(_bare(item)) if key == "content" else _bare(item) if key in _HOLD_BLOCKS else item
            for key, item in value.items()
            if item is not None and key != "cache_control"
        }
    return [_bare(item) for item in value] if isinstance(value, list) else value


def _text_as_blocks(value: Any) -> Any:
    return [{"type": "text", "text": value}] if isinstance(value, str) else value


def _plain(value: Any) -> Any:
    """JSON whose numbers are as every language writes them: 1.0 is 1 for some."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    return value


# From our items to blocks

Blocks: TypeAlias = list[JsonObject]


def text_block(text: str) -> JsonObject:
    return {"type": "text", "text": text}


def blocks_of(content: Content) -> Blocks:
    """Content as blocks of the Messages API."""
    return [block for part in content for block in _block(part)]


def _block(part: Part) -> Blocks:
    match part:
        case Text(text=text, annotations=annotations):
            return [{**text_block(text), "citations": list(annotations)} if annotations else text_block(text)]
        case Refusal(text=text):
            return [text_block(text)]
        case Image(url=str(url)) if (inline := _DATA_URL.fullmatch(url)) is not None:
            return [{"type": "image", "source": {"type": "base64", "media_type": inline[1], "data": inline[2]}}]
        case Image(url=str(url)):
            return [{"type": "image", "source": {"type": "url", "url": url}}]
        case Image(file_id=str(file_id)):
            return [{"type": "image", "source": {"type": "file", "file_id": file_id}}]
        case Image(data=data, media_type=media_type):
            source: JsonObject = {"type": "base64", "media_type": media_type or "image/png", "data": data or ""}
            return [{"type": "image", "source": source}]
        case File():
            return [_document(part)]
        case Other(provider="anthropic", block=block):
            return [parsed(block)]
        case Other(block=block):
            # Another API's, which has no place in this one; whoever reads it shall at least know of it.
            return [text_block(block)]


def _document(file: File) -> JsonObject:
    source: JsonObject
    if file.file_id is not None:
        source = {"type": "file", "file_id": file.file_id}
    else:
        media_type = file.media_type or "application/pdf"
        source = {"type": "base64", "media_type": media_type, "data": file.data or ""}
    title: JsonObject = {"title": file.filename} if file.filename is not None else {}
    return {"type": "document", "source": source, **title}


def parsed(block: str) -> JsonObject:
    """A block that was kept as it came. What is no object, another API may have: it is shown as the text that it is."""
    try:
        known = exact_json.loads(block)
    except ValueError:
        known = None
    return known if isinstance(known, dict) else text_block(block)


def arguments_of(written: str) -> JsonObject:
    """What a model wrote as the arguments of a call. Anthropic's own way to show what is no object is this one; what is
    nested so deeply that orjson would not write it, with all that stands around it, is shown so, too."""
    if not written.strip():
        return {}
    try:
        known = exact_json.loads(written)
    except ValueError:
        known = None
    if not isinstance(known, dict) or exact_json.is_deeper(known, _DEPTH_MAX):
        return {"INVALID_JSON": written}
    return known


def holds_answer(blocks: Iterable[JsonObject]) -> bool:
    """Whether text and calls are among the blocks of a reasoning, because the order says more than they do alone."""
    return any(block.get("type") in ("text", "tool_use") for block in blocks)


# From events to links


class Unknown(Exception):
    """What was said cannot be told from the events that one would have to look at."""


def links(events: Sequence[Recorded[Event]]) -> Iterator[Link]:
    """What was said, from the events that said it. Raises `Unknown` for an edit of something before them."""
    said = _Said(events)
    for recorded in events:
        yield from said.links(recorded.event)


def links_by_event(events: Sequence[Recorded[Event]]) -> Iterator[tuple[Recorded[Event], list[Link]]]:
    """The same, event by event."""
    said = _Said(events)
    for recorded in events:
        yield recorded, list(said.links(recorded.event))


class _Said:
    """A stretch of a thread as it is at its end: with what was edited or removed in it meanwhile."""

    def __init__(self, events: Sequence[Recorded[Event]]) -> None:
        self._edited: dict[str, MessageEdited | MessageRemoved] = {}
        self._replaced: dict[str, ToolReplaced] = {}
        self._of_server: set[str] = set()
        # Calls of the model whose reasoning holds all that was said and called.
        self._whole: set[str] = set()
        here: set[str] = set()
        for event in (recorded.event for recorded in events):
            match event:
                case MessageAppended(message_id=id):
                    here.add(id)
                case MessageEdited(message_id=id) | MessageRemoved(message_id=id):
                    self._edited[id] = event
                case ToolCalled(tool_call_id=id, executor="server", confirm=False):
                    self._of_server.add(id)
                case ToolImported(tool_call_id=id, executor="server"):
                    self._of_server.add(id)
                case ToolReturned(tool_call_id=id) | ToolFailed(tool_call_id=id) | ToolSettled(tool_call_id=id):
                    here.add(id)
                case ToolReplaced(tool_call_id=id, had_result=False):
                    here.add(id)
                case ToolReplaced(tool_call_id=id):
                    self._replaced[id] = event
                case ReasoningRecorded() | ReasoningImported():
                    if holds_answer(blocks_of_reasoning(event)):
                        self._whole.add(event.model_call_id)
                case _:
                    pass
        if not here.issuperset((*self._edited, *self._replaced)):
            raise Unknown

    def links(self, event: Event) -> Iterator[Link]:
        match event:
            case MessageAppended():
                yield from self._message(event)
            case ReasoningRecorded() | ReasoningImported():
                yield from self._reasoning(event)
            case ToolCalled() | ToolImported():
                if event.model_call_id not in self._whole:
                    yield self._call(event.tool_call_id, event.name, arguments_of(event.arguments))
            case ToolSettled(outcome="did_not_happen") | ToolReplaced(had_result=True):
                return
            case ToolReturned() | ToolFailed() | ToolSettled() | ToolReplaced():
                yield from self._result(event)
            case _:
                return

    def _message(self, message: MessageAppended) -> Iterator[Link]:
        if message.model_call_id in self._whole:
            return
        edit = self._edited.get(message.message_id)
        if isinstance(edit, MessageRemoved):
            return
        content = message.content if edit is None else edit.content
        for block in blocks_of(content):
            link = said(message.role, block)
            if link is not None:
                yield link

    def _reasoning(self, reasoning: ReasoningRecorded | ReasoningImported) -> Iterator[Link]:
        for block in blocks_of_reasoning(reasoning):
            if block.get("type") == "tool_use":
                arguments = block.get("input")
                known = arguments if isinstance(arguments, dict) else {}
                yield self._call(str(block.get("id")), str(block.get("name")), known)
            elif (link := said("assistant", block)) is not None:
                yield link

    def _call(self, tool_call_id: str, name: str, arguments: dict[str, Any]) -> Link:
        return called(tool_call_id, name, arguments, by_server=tool_call_id in self._of_server)

    def _result(self, result: ToolReturned | ToolFailed | ToolSettled | ToolReplaced) -> Iterator[Link]:
        now = self._replaced.get(result.tool_call_id, result)
        blocks, is_error = result_of(now)
        by_server = result.tool_call_id in self._of_server
        link = returned(result.tool_call_id, blocks, is_error, by_server=by_server)
        if link is not None:
            yield link


def blocks_of_reasoning(reasoning: ReasoningRecorded | ReasoningImported) -> Blocks:
    """What others than Anthropic's models think is in no form that clients of its API know, and is not shown them."""
    return list(map(parsed, reasoning.blocks)) if reasoning.provider == "anthropic" else []


def result_of(event: ToolReturned | ToolFailed | ToolSettled | ToolReplaced) -> tuple[Blocks, bool]:
    """What came of a call, in blocks, and whether it went wrong."""
    match event:
        case ToolReturned(content=content) | ToolReplaced(content=content) if content:
            return blocks_of(content), event.is_error
        case ToolReturned() | ToolReplaced():
            return _text(event.output), event.is_error
        case ToolFailed():
            return _text(event.output), True
        case ToolSettled():
            return _text(event.output), False


def _text(output: str) -> Blocks:
    return [text_block(output)] if output else []
