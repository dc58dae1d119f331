"""What the recorded providers of other wire formats share: recordings, faults on request, and what they were asked.

`../shared/rigs/recorded_upstream.py` speaks OpenAI's format. These play the same recordings back in the formats of
Anthropic and Mistral, with the same options and the same `GET /calls`, and refuse whatever the real ones would.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import importlib.util
import json
import sys
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from tests.rigs.processes import RECORDING, UPSTREAM


class Refused(Exception):
    """A request that is not valid: `status` and `body` are the provider's own answer."""

    def __init__(self, status: int, body: Any, why: str) -> None:
        super().__init__(why)
        self.status = status
        self.body = body


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request and what it is answered with. `place` is that of the reply among the messages of the recording."""

    body: dict[str, Any]
    reply: dict[str, Any]
    usage: dict[str, Any]
    digest: str
    place: int


class Wire(Protocol):
    """A wire format. Messages of a history, and the reply to it, are in OpenAI's."""

    path: str

    def check(self, body: dict[str, Any], headers: Mapping[str, str]) -> None:
        """Raises `Refused`."""
        ...

    def error(self, status: int, message: str) -> Any: ...

    def history(self, body: dict[str, Any]) -> list[dict[str, Any]]: ...

    def usage(self, body: dict[str, Any], reply: dict[str, Any]) -> dict[str, Any]: ...

    def whole(self, exchange: Exchange) -> Any: ...

    def frames(self, exchange: Exchange) -> Sequence[bytes]: ...

    def models(self) -> Any: ...


def original() -> Any:
    """The rig that speaks OpenAI's format, as a module: its recordings, and how they are compared."""
    spec = importlib.util.spec_from_file_location("recorded_upstream", UPSTREAM)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def event(data: Any, name: str | None = None) -> bytes:
    head = f"event: {name}\n".encode() if name is not None else b""
    return head + b"data: " + orjson.dumps(data) + b"\n\n"


class Recorded:
    """The provider: `seen` is what it was asked, and what it did of its own accord."""

    def __init__(self, options: argparse.Namespace, wire: Wire) -> None:
        self._options = options
        self._wire = wire
        self._rig = original()
        self._recordings = self._rig.Recordings(RECORDING)
        self.seen: dict[str, Any] = {"calls": 0, "failed": 0, "cut": 0, "invalid": []}
        self.seen |= {"histories": Counter(), "bodies": Counter(), "usages": []}

    async def call(self, request: Request) -> Response:
        raw, options, seen = await request.body(), self._options, self.seen
        seen["bodies"][hashlib.sha256(raw).hexdigest()] += 1
        seen["calls"] += 1
        number = seen["calls"]
        await asyncio.sleep(options.delay_ms / 1000)
        if options.fail_every and number % options.fail_every == 0:
            seen["failed"] += 1
            status = 429 if seen["failed"] % 2 else 529
            return _json(self._wire.error(status, "told to fail"), status, {"retry-after-ms": "10"})
        body = json.loads(raw)
        try:
            self._wire.check(body, request.headers)
        except Refused as refused:
            seen["invalid"].append(str(refused))
            return _json(refused.body, refused.status)
        return self._answer(body, number)

    def _answer(self, body: dict[str, Any], number: int) -> Response:
        history = self._wire.history(body)
        digest = hashlib.sha256(json.dumps([self._rig.plain(message) for message in history]).encode()).hexdigest()
        self.seen["histories"][digest] += 1
        reply, why = self._recordings.answer(history, self._options.match)
        if reply is None:
            return _json(self._wire.error(400, why), 400)
        usage = self._wire.usage(body, reply)
        place = sum(message["role"] != "system" for message in history)
        exchange = Exchange(body, reply, usage, digest, place)
        headers = {"request-id": f"req_{number}"}
        if not body.get("stream"):
            self.seen["usages"].append(usage)
            return _json(self._wire.whole(exchange), headers=headers)
        frames = self._wire.frames(exchange)
        every = self._options.cut_stream_every
        stream = self._stream(frames, usage, cut=bool(every) and number % every == 0)
        return StreamingResponse(stream, media_type="text/event-stream", headers=headers)

    async def _stream(self, frames: Sequence[bytes], usage: dict[str, Any], *, cut: bool) -> AsyncIterator[bytes]:
        self.seen["cut"] += cut
        for frame in frames[: len(frames) // 2] if cut else frames:
            yield frame
            await asyncio.sleep(0)
        if cut:
            raise ConnectionResetError("told to cut the stream")
        self.seen["usages"].append(usage)

    async def calls(self, _: Request) -> Response:
        return _json(self.seen)

    async def models(self, _: Request) -> Response:
        return _json(self._wire.models())

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route(self._wire.path, self.call, methods=["POST"]),
                Route("/v1/models", self.models),
                Route("/calls", self.calls),
            ]
        )


def _json(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Arguments are written as they were recorded, which only orjson can embed."""
    return Response(orjson.dumps(value), status, media_type="application/json", headers=headers)


def parser(what: str) -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=what)
    made.add_argument("--port", type=int, required=True)
    made.add_argument("--match", choices=["exact", "suffix"], default="exact")
    made.add_argument("--delay-ms", type=float, default=0, help="before the first byte of an answer")
    made.add_argument("--fail-every", type=int, default=0, help="answer every n-th call with 429 or 529")
    made.add_argument("--cut-stream-every", type=int, default=0, help="break off every n-th stream half way")
    made.add_argument("--think", action="store_true", help="begin each answer with thinking")
    return made


def serve(options: argparse.Namespace, wire: Wire) -> None:
    uvicorn.run(Recorded(options, wire).app(), host="127.0.0.1", port=options.port, log_level="critical")
