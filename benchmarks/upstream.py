"""A provider that costs nothing: chat completions with a fixed answer, whole or streamed, in a process of its own.

The model `instant` answers at once; `steady` streams its chunks evenly over some time; `stamped` does so too, and
each chunk says when it was sent. `GET /arrivals` tells when the first byte of each request came, and forgets it. Both
are on the clock that all processes of a machine share.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
from typing import cast

if not __package__:  # Run as a file, Python looks for modules beside it and not in the repository.
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

import httptools
import orjson
import uvloop

from benchmarks.turns import make_texts

_USAGE = {"prompt_tokens": 80, "completion_tokens": 130, "total_tokens": 210}
_JSON = b"content-type: application/json\r\n"
_EVENTS = b"content-type: text/event-stream\r\n"


def whole(said: str) -> bytes:
    message = {"role": "assistant", "content": said}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return orjson.dumps(
        {"id": "chatcmpl-1", "object": "chat.completion", "model": "instant", "choices": [choice], "usage": _USAGE}
    )


def frames(said: str, chunks: int) -> list[bytes]:
    """The chunks with text, each a frame, and one more with all that ends the stream."""
    size = -(-len(said) // chunks)
    deltas = [_frame({"content": said[start : start + size]}, None) for start in range(0, len(said), size)]
    end = [_frame({}, "stop"), b"data: " + orjson.dumps({**_HEAD, "choices": [], "usage": _USAGE}), b"data: [DONE]"]
    return [delta + b"\n\n" for delta in deltas] + [b"".join(part + b"\n\n" for part in end)]


_HEAD = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "model": "instant"}


def _frame(delta: dict[str, str], finish: str | None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return b"data: " + orjson.dumps({**_HEAD, "choices": [choice]})


class Upstream:
    """What all connections share."""

    def __init__(self, chunks: int, seconds: float) -> None:
        said = make_texts().answers[0]
        self.arrivals: list[float] = []
        self.whole = whole(said)
        self.frames = frames(said, chunks)
        self.pause_seconds = seconds / chunks


class Connection(asyncio.Protocol):
    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._transport: asyncio.Transport | None = None
        self._arrived: float | None = None
        self._path = b""
        self._body: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are none of asyncio's, they only behave so.
        self._transport = cast("asyncio.Transport", transport)
        self._parser = httptools.HttpRequestParser(self)

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None

    def data_received(self, data: bytes) -> None:
        if self._arrived is None:
            self._arrived = time.perf_counter()
        self._parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        self._path = url

    def on_body(self, piece: bytes) -> None:
        self._body.append(piece)

    def on_message_complete(self) -> None:
        body, arrived = b"".join(self._body), self._arrived
        self._body, self._arrived = [], None
        upstream = self._upstream
        if self._path == b"/arrivals":
            self._send(_JSON, orjson.dumps(upstream.arrivals))
            upstream.arrivals.clear()
            return
        if not self._path.endswith(b"/chat/completions"):
            self._send(_JSON, b'{"object":"list","data":[]}')
            return
        assert arrived is not None
        upstream.arrivals.append(arrived)
        request = orjson.loads(body)
        if not request.get("stream"):
            self._send(_JSON, upstream.whole)
        elif request["model"] in ("steady", "stamped"):
            self._write(b"HTTP/1.1 200 OK\r\n" + _EVENTS + b"transfer-encoding: chunked\r\n\r\n")
            self._stream(0, request["model"] == "stamped")
        else:
            self._send(_EVENTS, b"".join(upstream.frames))

    def _stream(self, number: int, stamped: bool) -> None:
        """Send the frame of that number, and later the next."""
        frame = self._upstream.frames[number]
        last = number + 1 == len(self._upstream.frames)
        if stamped and not last:
            frame = _frame({"content": f"<{time.perf_counter():.6f}>"}, None) + b"\n\n"
        self._write(b"%x\r\n%b\r\n%b" % (len(frame), frame, b"0\r\n\r\n" if last else b""))
        if not last and self._transport is not None:
            asyncio.get_running_loop().call_later(self._upstream.pause_seconds, self._stream, number + 1, stamped)

    def _send(self, kind: bytes, body: bytes) -> None:
        self._write(b"HTTP/1.1 200 OK\r\n%bcontent-length: %d\r\n\r\n%b" % (kind, len(body), body))

    def _write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)


async def serve(chunks: int, seconds: float) -> None:
    upstream = Upstream(chunks, seconds)
    server = await asyncio.get_running_loop().create_server(lambda: Connection(upstream), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--chunks", type=int, default=20, help="chunks of a streamed answer")
    parser.add_argument("--seconds", type=float, default=1.0, help="how long the model `steady` takes")
    chosen = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(chosen.chunks, chosen.seconds))


if __name__ == "__main__":
    main()
