"""What the tests of calls share: bodies, chunks, and a call to a server that replies as told."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from clew.errors import ProviderFailed
from clew.providers.base import Answer, Piece
from clew.providers.openai import OpenAI
from tests.rigs.raw_server import Reply, Server, serving

KEY = "sk-secret-0123456789"
PLAIN = b'{"model":"m","messages":[]}'
STREAM = b'{"model":"m","messages":[],"stream":true,"stream_options":{"include_usage":true}}'


def delta(finish: str | None = None, **said: Any) -> dict[str, Any]:
    return {
        "id": "chatcmpl-1",
        "model": "gpt-x",
        "choices": [{"index": 0, "delta": said, "finish_reason": finish}],
        "usage": None,
    }


def completion(finish: str = "stop", usage: Any = None, **said: Any) -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", **said}, "finish_reason": finish}
    return {"id": "chatcmpl-1", "model": "gpt-x", "choices": [choice], "usage": usage}


def call(index: int | None, id: str | None, name: str | None, arguments: Any) -> dict[str, Any]:
    sent: dict[str, Any] = {"function": {"name": name, "arguments": arguments}}
    return sent | ({} if index is None else {"index": index}) | ({} if id is None else {"id": id})


async def pieces_of(server: Server, body: bytes, **options: Any) -> list[Piece]:
    provider = OpenAI(base_url=server.base_url, api_key=options.pop("api_key", KEY), **options)
    try:
        return [piece async for piece in provider.call(body)]
    finally:
        await provider.close()


def received(replied: Reply, body: bytes = STREAM, **options: Any) -> list[Piece]:
    async def run() -> list[Piece]:
        async with serving(replied) as server:
            return await pieces_of(server, body, **options)

    return asyncio.run(run())


def answer_of(pieces: list[Piece]) -> Answer:
    assert isinstance(pieces[-1], Answer)
    assert not any(isinstance(piece, Answer) for piece in pieces[:-1])
    return pieces[-1]


def failure(replied: Reply, body: bytes = STREAM, **options: Any) -> ProviderFailed:
    with pytest.raises(ProviderFailed) as caught:
        received(replied, body, **options)
    assert KEY not in str(caught.value)
    return caught.value
