"""Server-sent events, read as they come, by the parser of httpx2."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx2

_BOM = b"\xef\xbb\xbf"
# What a stream of events may begin with, if its content type does not say what it is.
_BEGINNINGS = (b"data:", b"event:", b"id:", b"retry:", b":")
BEGINNING_BYTES = max(map(len, _BEGINNINGS))


def begins_json(head: bytes) -> bool:
    """Whether a body that begins so is JSON and no stream: no event begins with a bracket."""
    return head.removeprefix(_BOM).lstrip()[:1] in (b"{", b"[")


def begins_events(head: bytes) -> bool:
    """Whether a body that begins so is a stream of events."""
    return head.removeprefix(_BOM).lstrip().startswith(_BEGINNINGS)


async def events(body: AsyncIterator[bytes], request: httpx2.Request) -> AsyncIterator[httpx2.ServerSentEvent]:
    """Yields the events of `body`, those without data too. Its end ends an event that nothing else has ended.

    Comments are no events; whoever gives the bytes sees them.
    """
    response = httpx2.Response(
        200, headers={"content-type": "text/event-stream"}, content=_whole(body), request=request
    )
    async for event in httpx2.EventSource(response, max_event_size=None):
        yield event


async def _whole(body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The same bytes without a byte order mark, and with an end to the last event."""
    begun = False
    async for data in body:
        if data and not begun:
            begun = True
            data = data.removeprefix(_BOM)
        yield data
    yield b"\n\n"
