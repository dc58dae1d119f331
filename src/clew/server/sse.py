"""Server-sent events of Clew's own API. One event of the log is one frame; its id is its version."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress

from pydantic import TypeAdapter

from clew import exact_json
from clew.bus import AnswerDropped, CallPreview, Preview, ReasoningPreview, TextPreview
from clew.errors import StoreFailed, StoreLost
from clew.events.base import Event, Recorded
from clew.events.content import JsonObject
from clew.events.items import Item
from clew.feed import Feed
from clew.log import Log

RETRY_MS = 1_000
_PAGE_EVENTS = 256
_ITEM: TypeAdapter[Item] = TypeAdapter(Item)


def recorded_json(recorded: Recorded[Event]) -> JsonObject:
    """An event with its place, as JSON. `at` is in microseconds since 1970."""
    return {
        "position": recorded.position,
        "thread_id": recorded.stream,
        "version": recorded.version,
        "at": recorded.at,
        "actor": recorded.actor,
        "kind": recorded.event.kind,
        "data": recorded.event.model_dump(exclude_defaults=True),
    }


def item_json(item: Item) -> JsonObject:
    """An entry of a transcript as JSON. Its `type` is message, reasoning, toolcall, toolresult or summary."""
    kind = type(item).__name__.removesuffix("Item").lower()
    data: JsonObject = _ITEM.dump_python(item)
    return {"type": kind, **data}


async def feed_frames(feed: Feed, thread_id: str, after: int, *, previews: bool) -> AsyncIterator[bytes]:
    """A thread's events as frames, for as long as somebody listens."""
    retry = b"retry: %d\n\n" % RETRY_MS
    yield retry
    with suppress(StoreFailed, StoreLost):
        async for heard in feed.follow(thread_id, after):
            if heard is None:
                yield b": still here\n\n"
            elif isinstance(heard, Recorded):
                yield _frame(heard)
            elif previews:
                yield b"event: %b\ndata: %b\n\n" % (_preview_name(heard), exact_json.dumps(heard))
    # The process ends, the store is away, or the client did not keep up: it may come again.
    yield retry


async def past_frames(log: Log, thread_id: str, after: int, upto: int) -> AsyncIterator[bytes]:
    """The frames of a thread's events up to version `upto`, and no more."""
    while after < upto:
        with log.reading() as reader:
            page = reader.stream(thread_id, after=after, upto=upto, limit=_PAGE_EVENTS)
        after = page[-1].version
        yield b"".join(map(_frame, page))


def _frame(recorded: Recorded[Event]) -> bytes:
    data = exact_json.dumps(recorded_json(recorded))
    return b"id: %d\nevent: %b\ndata: %b\n\n" % (recorded.version, recorded.event.kind.encode(), data)


def _preview_name(preview: Preview) -> bytes:
    match preview:
        case TextPreview():
            return b"preview.text"
        case ReasoningPreview():
            return b"preview.reasoning"
        case CallPreview():
            return b"preview.call"
        case AnswerDropped():
            return b"preview.dropped"
