"""A model provider that sends exact bytes and takes valid requests only, in a thread of its own.

What is wrong with a request it says as real ones do, with status 400: a thread that holds something it refuses gets
nothing else from it for ever.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import orjson

from tests.rigs.raw_server import Reply, Server, json_reply, serving
from tests.rigs.valid_calls import calls_fault_of

Judge = Callable[[dict[str, Any]], str | None]


class Upstream:
    """`url` has no version in it. `judges` say what is wrong with a request, each None when nothing is."""

    def __init__(self, server: Server, url: str) -> None:
        self._server = server
        self.url = url
        self.judges: list[Judge] = [calls_fault_of]
        self.refused: list[str] = []

    def says(self, *replies: Reply) -> None:
        """From now on these, one after the other; the last is repeated."""
        self._server.replies[:] = replies

    @property
    def bodies(self) -> Sequence[bytes]:
        return self._server.bodies

    def requests(self) -> list[dict[str, Any]]:
        return [orjson.loads(body) for body in self._server.bodies]

    def refuses(self, body: bytes) -> Reply | None:
        fault = next((fault for judge in self.judges if (fault := judge(orjson.loads(body))) is not None), None)
        if fault is None:
            return None
        self.refused.append(fault)
        return json_reply({"error": {"message": fault, "type": "invalid_request_error", "code": None}}, 400)


@contextmanager
def upstream(*replies: Reply) -> Iterator[Upstream]:
    ready: list[Upstream] = []
    started, over = threading.Event(), threading.Event()

    async def run() -> None:
        async with serving(*(replies or (json_reply({}, 500),))) as server:
            made = Upstream(server, server.base_url.removesuffix("/v1"))
            server.refuses = made.refuses
            ready.append(made)
            started.set()
            await asyncio.to_thread(over.wait)

    thread = threading.Thread(target=lambda: asyncio.run(run()))
    thread.start()
    assert started.wait(10), "it does not start"
    try:
        yield ready[0]
    finally:
        over.set()
        thread.join(10)
        assert not thread.is_alive(), "it does not stop"
