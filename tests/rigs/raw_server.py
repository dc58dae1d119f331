"""An HTTP server on the loopback that says exactly what it is told to, also what no decent server would."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import orjson


@dataclass(frozen=True)
class Reply:
    """These bytes, then each of `later` after a pause; then the end of the connection, a reset, silence, or (None) the
    next request."""

    data: bytes
    then: str | None = None
    later: tuple[bytes, ...] = ()
    pause_seconds: float = 0.0


@dataclass
class Server:
    """`refuses` may give another reply to a body than the next one, which waits then."""

    replies: list[Reply]
    base_url: str = ""
    heads: list[str] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    connections: int = 0
    hung_up: asyncio.Event = field(default_factory=asyncio.Event)
    over: asyncio.Event = field(default_factory=asyncio.Event)
    refuses: Callable[[bytes], Reply | None] = lambda body: None

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while await self._answer_one(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            self.hung_up.set()
        finally:
            writer.close()

    async def _answer_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = next((int(line[15:]) for line in head.split("\r\n") if line.startswith("content-length:")), 0)
        self.heads.append(head)
        self.bodies.append(await reader.readexactly(length))
        refused = self.refuses(self.bodies[-1])
        # The last reply is repeated.
        reply = refused or (self.replies.pop(0) if len(self.replies) > 1 else self.replies[0])
        writer.write(reply.data)
        await writer.drain()
        for data in reply.later:
            await asyncio.sleep(reply.pause_seconds)
            writer.write(data)
            await writer.drain()
        if reply.then == "silence":
            ended = asyncio.create_task(reader.read())
            over = asyncio.create_task(self.over.wait())
            await asyncio.wait({ended, over}, return_when=asyncio.FIRST_COMPLETED)
            if ended.done():
                self.hung_up.set()
            for task in (ended, over):
                task.cancel()
            await asyncio.gather(ended, over, return_exceptions=True)
        elif reply.then == "reset":
            writer.transport.abort()
        return reply.then is None


@asynccontextmanager
async def serving(*replies: Reply) -> AsyncIterator[Server]:
    server = Server(list(replies))
    tasks: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        # Cancelled is only who still waits for a request when the test is over.
        with suppress(asyncio.CancelledError):
            await server.handle(reader, writer)

    listening = await asyncio.start_server(connected, "127.0.0.1", 0, limit=2**20)
    server.base_url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/v1"
    try:
        yield server
    finally:
        server.over.set()
        listening.close()
        await listening.wait_closed()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def reply(data: bytes, status: int = 200, content_type: str = "application/json", headers: str = "") -> Reply:
    """A whole response. `headers` are lines that each end in CRLF."""
    head = f"HTTP/1.1 {status} x\r\ncontent-type: {content_type}\r\n{headers}content-length: {len(data)}\r\n\r\n"
    return Reply(head.encode() + data)


def json_reply(value: Any, status: int = 200, headers: str = "") -> Reply:
    return reply(orjson.dumps(value), status, headers=headers)


def events(*chunks: Any, done: bool = True) -> bytes:
    """Server-sent events: bytes as they are, everything else as JSON."""
    lines = [chunk if isinstance(chunk, bytes) else b"data: %s\n\n" % orjson.dumps(chunk) for chunk in chunks]
    return b"".join(lines) + (b"data: [DONE]\n\n" if done else b"")


def stream(*chunks: Any, done: bool = True, headers: str = "") -> Reply:
    return reply(events(*chunks, done=done), content_type="text/event-stream; charset=utf-8", headers=headers)


def slow_stream(*parts: bytes, pause_seconds: float) -> Reply:
    """A chunked response, whole, with a pause before each part but the first."""
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    first, *later = (b"%x\r\n%s\r\n" % (len(part), part) for part in parts)
    return Reply(head + first, None, (*later, b"0\r\n\r\n"), pause_seconds)


def cut_stream(*chunks: Any, then: str = "end") -> Reply:
    """A chunked response that stops in the middle."""
    data = events(*chunks, done=False)
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    return Reply(head + (b"%x\r\n%s\r\n" % (len(data), data) if data else b""), then)
