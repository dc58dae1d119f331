"""Server-sent events, read as they come, by the parser of httpx2."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import httpx2

from clew import exact_json

END_MARK = "[DONE]"
_BOM = b"\xef\xbb\xbf"
# What a stream of events may begin with, if its content type does not say what it is.
_BEGINNINGS = (b"data:", b"event:", b"id:", b"retry:", b"error:", b":")
# A field of llama.cpp, which the grammar tells readers to ignore. Errors come in it, and then the end mark.
_ERROR_FIELD = b"error:"
_ERROR_LINE = re.compile(rb"(?<![^\r\n])error:")
# Data by which some servers keep a connection open.
_IDLE = re.compile(r'"?(:.*|\[?ping\]?|pong|keep[-_ ]?alive|heartbeat|null|ok|\[\])?"?', re.IGNORECASE)
_IDLE_KINDS = frozenset(("ping", "heartbeat", "keepalive", "keep-alive", "keep_alive"))
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


def is_end_mark(text: str) -> bool:
    return text.strip().strip('"').upper() in (END_MARK, END_MARK.strip("[]"))


def texts_in(event: httpx2.ServerSentEvent) -> list[str]:
    """The texts in the data of an event, each JSON or the end mark: one; none if it only keeps the connection open;
    one in each line where a server leaves out the blank lines between its events."""
    data = event.data
    if event.event in _IDLE_KINDS:
        return []
    if "\n" not in data:
        if data.startswith("{"):
            return [data]
        return [] if _IDLE.fullmatch(data.strip()) else [data]
    lines = [line for line in data.split("\n") if not _IDLE.fullmatch(line.strip())]
    each = all(line.lstrip().startswith(("{", END_MARK)) for line in lines)
    return lines if each and not exact_json.is_json(data) else [data]


async def _whole(body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The same bytes without a byte order mark, with errors as data, and with an end to the last event."""
    begun, held, last = False, b"", b""
    async for data in body:
        if data and not begun:
            begun = True
            data = data.removeprefix(_BOM)
        data = held + data
        line = max(data.rfind(b"\n"), data.rfind(b"\r")) + 1
        held = data[line:] if _ERROR_FIELD.startswith(data[line:]) else b""
        data = data[: len(data) - len(held)]
        if _ERROR_FIELD in data:
            # Whether it begins a line the byte before it tells, which may have come before.
            data = _ERROR_LINE.sub(b"data:", last + data)[len(last) :]
        last = data[-1:] or last
        if data:
            yield data
    yield held + b"\n\n"
