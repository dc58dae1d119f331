"""Server-sent events of Clew's own API. One event of the log is one frame; its id is its version."""

from __future__ import annotations

from collections.abc import AsyncIterator

import orjson

from clew.bus import AnswerDropped, CallPreview, TextPreview
from clew.events.base import Event, Recorded
from clew.events.content import JsonObject
from clew.feed import Feed

RETRY_MS = 1_000


def recorded_json(recorded: Recorded[Event]) -> JsonObject:
    """An event with its place, as JSON. `at` is in microseconds since 1970."""
    return {
        "position": recorded.position,
        "thread_id": recorded.stream,
        "version": recorded.version,
        "at": recorded.at,
        "actor": recorded.actor,
        "kind": recorded.event.kind,
        "data": recorded.event.model_dump(mode="json", exclude_defaults=True),
    }


async def feed_frames(feed: Feed, thread_id: str, after: int, *, previews: bool) -> AsyncIterator[bytes]:
    """A thread's events as frames, for as long as somebody listens."""
    yield b"retry: %d\n\n" % RETRY_MS
    async for heard in feed.follow(thread_id, after):
        if heard is None:
            yield b": still here\n\n"
        elif isinstance(heard, Recorded):
            data = orjson.dumps(recorded_json(heard))
            yield b"id: %d\nevent: %b\ndata: %b\n\n" % (heard.version, heard.event.kind.encode(), data)
        elif previews:
            yield b"event: %b\ndata: %b\n\n" % (_preview_name(heard), orjson.dumps(heard))


def _preview_name(preview: TextPreview | CallPreview | AnswerDropped) -> bytes:
    match preview:
        case TextPreview():
            return b"preview.text"
        case CallPreview():
            return b"preview.call"
        case AnswerDropped():
            return b"preview.dropped"
