"""A load generator's HTTP client: keep-alive connections that cost next to nothing.

A client for people would use more of the two cores than the server that is measured.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import cast

import httptools
import orjson


@dataclass(frozen=True, slots=True)
class Response:
    """`seconds` to the last byte; `marked_seconds` to the first piece of the body that holds the mark asked for."""

    status: int
    body: bytes
    seconds: float
    marked_seconds: float | None


class Connection(asyncio.Protocol):
    """One request at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._parser: httptools.HttpResponseParser | None = None
        self._answer: asyncio.Future[Response] | None = None
        self._pieces: list[bytes] = []
        self._mark: bytes | None = None
        self._marked: float | None = None
        self._began = 0.0

    async def request(self, method: str, path: str, body: object = None, mark: bytes | None = None) -> Response:
        """Send `body` as JSON, or as it is when it is bytes. Raises `ConnectionError` when the server hangs up."""
        content = body if isinstance(body, bytes) else orjson.dumps(body) if body is not None else b""
        head = (
            f"{method} {path} HTTP/1.1\r\nhost: benchmark\r\ncontent-type: application/json\r\n"
            f"openai-beta: assistants=v2\r\ncontent-length: {len(content)}\r\n\r\n"
        )
        assert self._transport is not None, "connected"
        assert self._answer is None, "the last answer is whole"
        self._parser = httptools.HttpResponseParser(self)
        self._pieces, self._mark, self._marked = [], mark, None
        self._answer = asyncio.get_running_loop().create_future()
        self._began = time.perf_counter()
        self._transport.write(head.encode() + content)
        try:
            return await self._answer
        finally:
            self._answer = None

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    # What asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are none of asyncio's, they only behave so.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if self._parser is not None:
            self._parser.feed_data(data)

    def connection_lost(self, error: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error or ConnectionError("the server hung up before it had answered"))

    # What the parser calls

    def on_body(self, piece: bytes) -> None:
        if self._mark is not None and self._marked is None and self._mark in piece:
            self._marked = time.perf_counter() - self._began
        self._pieces.append(piece)

    def on_message_complete(self) -> None:
        assert self._parser is not None
        if self._answer is not None and not self._answer.done():
            seconds = time.perf_counter() - self._began
            status = self._parser.get_status_code()
            self._answer.set_result(Response(status, b"".join(self._pieces), seconds, self._marked))


@asynccontextmanager
async def connections(port: int, count: int) -> AsyncIterator[list[Connection]]:
    """So many connections to a server on this machine."""
    loop = asyncio.get_running_loop()
    made: list[Connection] = []
    try:
        for _ in range(count):
            _, connection = await loop.create_connection(Connection, "127.0.0.1", port)
            made.append(connection)
        yield made
    finally:
        for connection in made:
            connection.close()
