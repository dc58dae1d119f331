"""The providers, each with what its servers say: for tests of what holds for all of them alike.

`KINDS` are those besides OpenAI's, `EVERY` are all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson
import pytest

from clew.errors import ProviderFailed
from clew.providers.anthropic import Anthropic
from clew.providers.base import Answer, Piece
from clew.providers.mistral import Mistral
from clew.providers.openai import OpenAI
from tests.rigs.raw_server import Reply, Server, reply, serving

KEY = "sk-secret-0123456789"


@dataclass(frozen=True)
class Kind:
    """`begun` is a stream that has said "Hel", `ended` its regular end, `whole` an answer that says a text."""

    name: str
    make: Callable[..., Anthropic | Mistral | OpenAI]
    plain: bytes
    stream: bytes
    begun: tuple[Any, ...]
    ended: tuple[Any, ...]
    whole: Callable[[str], Any]
    error: Callable[[str, str], Any]
    end_mark: bytes = b""
    has_version_in_url: bool = False

    def __str__(self) -> str:
        return self.name

    def streamed(self, *chunks: Any) -> Reply:
        return reply(self.events(*chunks) + self.end_mark, content_type="text/event-stream; charset=utf-8")

    def unmarked(self, *chunks: Any) -> Reply:
        """A stream that ends without the mark for its end."""
        return reply(self.events(*chunks), content_type="text/event-stream; charset=utf-8")

    def events(self, *chunks: Any) -> bytes:
        return b"".join(chunk if isinstance(chunk, bytes) else event(chunk) for chunk in chunks)

    def cut(self, *chunks: Any, then: str = "end") -> Reply:
        """A chunked response that stops in the middle."""
        data = self.events(*chunks)
        head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
        return Reply(head + (b"%x\r\n%s\r\n" % (len(data), data) if data else b""), then)

    async def pieces_of(self, server: Server, body: bytes, **options: Any) -> list[Piece]:
        base_url = server.base_url if self.has_version_in_url else server.base_url.removesuffix("/v1")
        provider = self.make(base_url=base_url, api_key=options.pop("api_key", KEY), **options)
        try:
            return [piece async for piece in provider.call(body)]
        finally:
            await provider.close()

    def received(self, replied: Reply, body: bytes, **options: Any) -> list[Piece]:
        async def run() -> list[Piece]:
            async with serving(replied) as server:
                return await self.pieces_of(server, body, **options)

        return asyncio.run(run())

    def answer(self, replied: Reply, body: bytes, **options: Any) -> Answer:
        answer = self.received(replied, body, **options)[-1]
        assert isinstance(answer, Answer)
        return answer

    def failure(self, replied: Reply, body: bytes, **options: Any) -> ProviderFailed:
        with pytest.raises(ProviderFailed) as caught:
            self.received(replied, body, **options)
        assert KEY not in str(caught.value)
        return caught.value


def event(data: Any) -> bytes:
    name = data.get("type") if isinstance(data, dict) else None
    return (f"event: {name}\n".encode() if name else b"") + b"data: %s\n\n" % orjson.dumps(data)


def start(**usage: Any) -> dict[str, Any]:
    """How Anthropic begins."""
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-x", "content": []}
    counted = {"input_tokens": 3, "output_tokens": 1, **usage}
    return {"type": "message_start", "message": {**message, "stop_reason": None, "usage": counted}}


def block(index: int, **said: Any) -> dict[str, Any]:
    return {"type": "content_block_start", "index": index, "content_block": said}


def delta(index: int, kind: str, **said: Any) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": {"type": f"{kind}_delta", **said}}


def stopped(index: int) -> dict[str, Any]:
    return {"type": "content_block_stop", "index": index}


def ended(reason: str, output_tokens: int = 2, **more: Any) -> tuple[dict[str, Any], ...]:
    said = {"type": "message_delta", "delta": {"stop_reason": reason, "stop_sequence": None, **more}}
    return ({**said, "usage": {"output_tokens": output_tokens}}, {"type": "message_stop"})


def message(*content: Any, stop_reason: str = "end_turn", **more: Any) -> dict[str, Any]:
    """A whole answer of Anthropic's."""
    usage = {"input_tokens": 3, "output_tokens": 2}
    said = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-x", "content": list(content)}
    return {**said, "stop_reason": stop_reason, "usage": usage, **more}


def chunk(finish: str | None = None, usage: Any = None, **said: Any) -> dict[str, Any]:
    """A piece of Mistral's answer."""
    choice = {"index": 0, "delta": said, "finish_reason": finish}
    return {"id": "1", "model": "mistral-x", "choices": [choice], **({"usage": usage} if usage else {})}


def completion(finish: str = "stop", usage: Any = None, **said: Any) -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", **said}, "finish_reason": finish}
    return {"id": "1", "model": "mistral-x", "choices": [choice], "usage": usage or {"prompt_tokens": 3}}


ANTHROPIC = Kind(
    name="anthropic",
    make=Anthropic,
    plain=b'{"model":"m","max_tokens":1,"messages":[]}',
    stream=b'{"model":"m","max_tokens":1,"messages":[],"stream":true}',
    begun=(start(), block(0, type="text", text=""), delta(0, "text", text="Hel")),
    ended=ended("end_turn"),
    whole=lambda said: message({"type": "text", "text": said}),
    error=lambda text, kind: {"type": "error", "error": {"type": kind, "message": text}, "request_id": "req_1"},
)
MISTRAL = Kind(
    name="mistral",
    make=Mistral,
    plain=b'{"model":"m","messages":[]}',
    stream=b'{"model":"m","messages":[],"stream":true}',
    begun=(chunk(role="assistant", content=""), chunk(content="Hel")),
    ended=(chunk("stop", content=""),),
    whole=lambda said: completion(content=said),
    error=lambda text, kind: {"object": "error", "message": text, "type": kind, "param": None, "code": "3000"},
    end_mark=b"data: [DONE]\n\n",
)
OPENAI = Kind(
    name="openai",
    make=OpenAI,
    plain=b'{"model":"m","messages":[]}',
    stream=b'{"model":"m","messages":[],"stream":true,"stream_options":{"include_usage":true}}',
    begun=MISTRAL.begun,
    ended=MISTRAL.ended,
    whole=MISTRAL.whole,
    error=lambda text, kind: {"error": {"message": text, "type": kind, "param": None, "code": None}},
    end_mark=MISTRAL.end_mark,
    has_version_in_url=True,
)
KINDS = (ANTHROPIC, MISTRAL)
EVERY = (OPENAI, *KINDS)
