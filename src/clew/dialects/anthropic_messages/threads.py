"""An extension: the threads that there are, whichever API they were made through, and what is in them.

The items of a thread are told as messages: what a model said and called at once is one, and so are the results that a
user brings.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from clew.dialects.anthropic_messages.errors import rejected
from clew.dialects.anthropic_messages.recognising import as_now
from clew.dialects.anthropic_messages.reply import message_id, served_result, served_use, shown, tool_use
from clew.events.base import Event, Recorded
from clew.events.content import Metadata
from clew.events.items import Place
from clew.events.message import MessageAppended
from clew.events.model import ReasoningImported, ReasoningRecorded
from clew.events.thread import ThreadCompacted
from clew.events.tool import ToolCalled, ToolFailed, ToolImported, ToolReplaced, ToolReturned, ToolSettled
from clew.ids import DEFAULT_TENANT
from clew.log import Reader
from clew.serving.finding import the_thread
from clew.serving.http import Answer, Call
from clew_projections import recognition, thread_view
from clew_projections.thread_view import ItemRow, Segment, ThreadRow

_LIMIT_DEFAULT, _LIMIT_MAX = 20, 100
_PLACE = re.compile(r"(thread_[0-9A-Za-z]+):([0-9]{1,18})")
_LABEL = re.compile(r"metadata\[(.+)\]")


async def list_all(call: Call) -> Answer:
    """The newest first. `page` is what the page before gave as `next_page`."""
    query = call.query()
    limit, page = _limit(query.get("limit")), query.get("page")
    if page is not None and not page.isdecimal():
        raise rejected(f"page: {page!r} is no page of this list")
    labels: Metadata = {label[1]: value for name, value in query.items() if (label := _LABEL.fullmatch(name))}
    with call.reading() as reader:
        found = thread_view.threads(
            reader,
            tenant=DEFAULT_TENANT,
            labels=labels,
            before=int(page) if page is not None else None,
            limit=limit + 1,
            as_of=call.as_of,
        )
        listed = [_thread(reader, row, call.as_of) for row in found[:limit]]
    return Answer({"data": listed, "next_page": str(found[limit - 1].created) if len(found) > limit else None})


async def retrieve(call: Call) -> Answer:
    thread_id = call.id("thread_id")
    with call.reading() as reader:
        return Answer(_thread(reader, the_thread(reader, thread_id, call.as_of), call.as_of))


async def list_messages(call: Call) -> Answer:
    """The oldest first, which is the order that `messages` of a request have."""
    thread_id, query = call.id("thread_id"), call.query()
    limit, order = _limit(query.get("limit")), query.get("order") or "asc"
    if order not in ("asc", "desc"):
        raise rejected("order: Input should be 'asc' or 'desc'")
    beyond = _beyond(query.get("page"))
    with call.reading() as reader:
        the_thread(reader, thread_id, call.as_of)
        history = thread_view.segments(reader, thread_id, call.as_of)
        turns = _turns(reader, history, beyond, newest_first=order == "desc", as_of=call.as_of)
        found = [turn for turn, _ in zip(turns, range(limit + 1), strict=False)]
        listed = [_message(turn) for turn in found[:limit]]
    last = found[limit - 1].last if len(found) > limit else None
    return Answer({"data": listed, "next_page": f"{last.stream}:{last.number}" if last is not None else None})


def _limit(given: str | None) -> int:
    limit = int(given) if given is not None and given.isdecimal() else _LIMIT_DEFAULT if given is None else 0
    if not 1 <= limit <= _LIMIT_MAX:
        raise rejected(f"limit: Input should be a whole number from 1 to {_LIMIT_MAX}")
    return limit


def _beyond(given: str | None) -> Place | None:
    if given is None:
        return None
    found = _PLACE.fullmatch(given)
    if found is None:
        raise rejected(f"page: {given!r} is no page of this list")
    return Place(found[1], int(found[2]))


def _thread(reader: Reader, row: ThreadRow, as_of: int | None) -> dict[str, Any]:
    """`last_message_id` is what a request continues from."""
    history = thread_view.segments(reader, row.thread_id, as_of)
    turns = _turns(reader, history, None, newest_first=True, as_of=as_of)
    newest = next((turn.id for turn in turns if turn.role == "assistant" or turn.id is not None), None)
    parent = None if row.parent is None else {"thread_id": row.parent, "version": row.parent_version}
    return {
        "type": "thread",
        "id": row.thread_id,
        "created_at": _time(row.created_at),
        "metadata": row.metadata,
        "forked_from": parent,
        "last_message_id": newest,
    }


@dataclass(slots=True)
class _Turn:
    """Items that are one message. `key` is what those have in common that belong together."""

    role: str
    key: object
    id: str | None = None
    rows: list[ItemRow] = field(default_factory=list)
    events: list[Recorded[Event]] = field(default_factory=list)
    served: set[str] = field(default_factory=set)

    @property
    def last(self) -> Place:
        """The item that was come to last."""
        return Place(self.rows[-1].stream, self.rows[-1].number)


def _turns(
    reader: Reader, history: Sequence[Segment], beyond: Place | None, *, newest_first: bool, as_of: int | None
) -> Iterator[_Turn]:
    turn: _Turn | None = None
    for row in thread_view.walk(
        reader, history, beyond=beyond, newest_first=newest_first, page=_LIMIT_MAX, as_of=as_of
    ):
        [recorded] = as_now(reader, [row])
        role, key, served = _belongs(reader, history, row, recorded.event)
        if turn is None or turn.role != role or turn.key != key:
            if turn is not None:
                yield _in_order(turn, newest_first)
            turn = _Turn(role, key)
        turn.rows.append(row)
        turn.events.append(recorded)
        if served:
            turn.served.add(row.item_id)
    if turn is not None:
        yield _in_order(turn, newest_first)


def _in_order(turn: _Turn, newest_first: bool) -> _Turn:
    if newest_first:
        turn.events.reverse()
    turn.id = _id(turn)
    return turn


def _belongs(reader: Reader, history: Sequence[Segment], row: ItemRow, event: Event) -> tuple[str, object, bool]:
    """Whose turn an item is of, what it has in common with the rest of it, and whether the server did it."""
    match event:
        case MessageAppended(role="assistant", model_call_id=model_call_id):
            return "assistant", row.run_id or model_call_id or row.item_id, False
        case MessageAppended(role=role):
            return role, row.item_id, False
        case ReasoningRecorded() | ReasoningImported() | ToolCalled() | ToolImported():
            return "assistant", row.run_id or event.model_call_id, _is_served(event)
        case ThreadCompacted():
            return "system", row.item_id, False
        case _:
            call = thread_view.item(reader, history, "call", row.item_id)
            called = reader.event(call.created).event if call is not None else None
            if _is_served(called):
                return "assistant", row.run_id or getattr(called, "model_call_id", None), True
            return "user", "results", False


def _is_served(event: Event | None) -> bool:
    match event:
        case ToolCalled(executor="server", confirm=False) | ToolImported(executor="server"):
            return True
        case _:
            return False


def _id(turn: _Turn) -> str | None:
    """An answer is named after its first model call; what others said, as all APIs name it; results have no name."""
    for recorded in turn.events:
        match recorded.event:
            case MessageAppended(run_id=None, message_id=id):
                return id
            case MessageAppended(model_call_id=str(call)) | ToolCalled(model_call_id=call):
                return message_id(call)
            case ReasoningRecorded(model_call_id=call):
                return message_id(call)
            case _:
                continue
    return None


def _message(turn: _Turn) -> dict[str, Any]:
    return {
        "id": turn.id,
        "type": "message",
        "role": turn.role,
        "content": list(_content(turn)),
        "created_at": _time(turn.events[0].at),
    }


def _content(turn: _Turn) -> Iterator[dict[str, Any]]:
    whole: set[str] = set()
    for recorded in turn.events:
        match recorded.event:
            case ReasoningRecorded() | ReasoningImported() as reasoning:
                blocks = recognition.blocks_of_reasoning(reasoning)
                if recognition.holds_answer(blocks):
                    whole.add(reasoning.model_call_id)
                yield from map(shown, blocks)
            case MessageAppended() as said if said.model_call_id not in whole:
                blocks = [block for block in recognition.blocks_of(said.content) if block.get("text") != ""]
                yield from map(shown, blocks) if said.role == "assistant" else blocks
            case ToolCalled() | ToolImported() as call if call.model_call_id not in whole:
                make = served_use if call.tool_call_id in turn.served else tool_use
                yield make(call.tool_call_id, call.name, recognition.arguments_of(call.arguments))
            case ToolReturned() | ToolFailed() | ToolSettled() | ToolReplaced() as result:
                yield _result(result, result.tool_call_id in turn.served)
            case ThreadCompacted(summary=summary):
                yield from recognition.blocks_of(summary)
            case _:
                continue


def _result(result: ToolReturned | ToolFailed | ToolSettled | ToolReplaced, served: bool) -> dict[str, Any]:
    blocks, is_error = recognition.result_of(result)
    if served:
        return served_result(result.tool_call_id, blocks, is_error)
    return {"type": "tool_result", "tool_use_id": result.tool_call_id, "content": blocks, "is_error": is_error}


def _time(at: int) -> str:
    return datetime.fromtimestamp(at / 1_000_000, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
