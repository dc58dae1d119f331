"""Calls to servers of Mistral's chat completions that answer. What is as in OpenAI's format is tested there."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest

from clew.errors import ProviderFailed
from clew.events.usage import Usage
from clew.providers.base import Answer, CalledTool, CallPiece, ModelInfo, TextPiece
from clew.providers.mistral import Mistral
from tests.providers.kinds import KEY, MISTRAL, chunk, completion
from tests.rigs.raw_server import Reply, json_reply, serving

USAGE: dict[str, Any] = {"prompt_tokens": 20, "completion_tokens": 7, "total_tokens": 27, "num_cached_tokens": 12}


def call(index: int, id: str | None, name: str, arguments: Any) -> dict[str, Any]:
    return {"id": id, "function": {"name": name, "arguments": arguments}, "index": index}


def thinking(words: str, **more: Any) -> dict[str, Any]:
    return {"type": "thinking", "thinking": [{"type": "text", "text": words}], **more}


def answer_of(*chunks: Any) -> Answer:
    return MISTRAL.answer(MISTRAL.streamed(*chunks), MISTRAL.stream)


def test_a_whole_answer_comes_as_one_piece() -> None:
    said = completion(
        "tool_calls", USAGE, content="Let me see.", tool_calls=[call(0, "ABCdef123", "get", '{ "a":1}')], prefix=False
    )
    replied = json_reply(said, headers="mistral-correlation-id: c_9\r\n")
    assert MISTRAL.received(replied, MISTRAL.plain) == [
        Answer(
            text="Let me see.",
            refusal=None,
            tool_calls=(CalledTool("ABCdef123", "get", '{ "a":1}'),),
            reasoning=(),
            finish_reason="tool_calls",
            model="mistral-x",
            usage=Usage(input=20, output=7, cached=12),
            usage_reported=USAGE,
            provider_ids={"response": "1", "request": "c_9"},
        )
    ]


def test_a_stream_gives_pieces_and_then_the_same_answer() -> None:
    pieces = MISTRAL.received(
        MISTRAL.streamed(
            chunk(role="assistant", content=""),
            chunk(content="Let me "),
            chunk(content="see."),
            chunk("tool_calls", USAGE, content="", tool_calls=[call(0, "ABCdef123", "get", '{ "a":1}')]),
        ),
        MISTRAL.stream,
    )
    assert pieces[:-1] == [TextPiece("Let me "), TextPiece("see."), CallPiece(0, "ABCdef123", "get", '{ "a":1}')]
    whole = completion("tool_calls", USAGE, content="Let me see.", tool_calls=[call(0, "ABCdef123", "get", '{ "a":1}')])
    assert pieces[-1:] == MISTRAL.received(json_reply(whole), MISTRAL.plain)


def test_calls_side_by_side_come_whole_and_without_ids_get_ours() -> None:
    calls = [call(0, "null", "f", "{}"), call(0, "null", "g", {"x": 1}), call(0, None, "h", "")]
    for answer in (
        MISTRAL.answer(json_reply(completion("tool_calls", tool_calls=calls)), MISTRAL.plain),
        answer_of(chunk("tool_calls", tool_calls=calls)),
    ):
        assert [(one.name, one.arguments) for one in answer.tool_calls] == [("f", "{}"), ("g", '{"x":1}'), ("h", "")]
        assert len({one.tool_call_id for one in answer.tool_calls} - {"null"}) == 3


def test_thinking_in_the_content_is_kept_and_is_no_text() -> None:
    content = [thinking("Hm.", closed=True), thinking("So.", signature="s"), {"type": "text", "text": "Hello."}]
    answer = MISTRAL.answer(json_reply(completion(content=content)), MISTRAL.plain)
    assert answer.text == "Hello."
    assert [orjson.loads(one) for one in answer.reasoning] == content[:2]


def test_thinking_that_comes_in_pieces_is_put_together() -> None:
    reference = {"type": "reference", "reference_ids": [1]}
    pieces = MISTRAL.received(
        MISTRAL.streamed(
            chunk(role="assistant", content=""),
            chunk(content=[thinking("Hm", closed=True)]),
            chunk(content=[thinking("m.", closed=True)]),
            chunk(content=[{"type": "thinking", "thinking": [reference], "signature": "s"}]),
            chunk(content=[thinking("Anew.")]),
            chunk(content=[{"type": "text", "text": "Hel"}]),
            chunk(content=[thinking("Later.")]),
            chunk("stop", content="lo"),
        ),
        MISTRAL.stream,
    )
    assert pieces[:-1] == [TextPiece("Hel"), TextPiece("lo")]
    answer = pieces[-1]
    assert isinstance(answer, Answer)
    assert [orjson.loads(one) for one in answer.reasoning] == [
        {
            "type": "thinking",
            "thinking": [{"type": "text", "text": "Hmm."}, reference],
            "closed": True,
            "signature": "s",
        },
        thinking("Anew."),
        thinking("Later."),
    ]


@pytest.mark.parametrize(
    ("said", "finish"),
    [("stop", "stop"), ("length", "length"), ("model_length", "length"), ("something_new", "something_new")],
)
def test_each_finish_reason_has_its_meaning(said: str, finish: str) -> None:
    assert answer_of(chunk(content="Hi"), chunk(said)).finish_reason == finish
    assert MISTRAL.answer(json_reply(completion(said, content="Hi")), MISTRAL.plain).finish_reason == finish


@pytest.mark.parametrize(
    "cached",
    [
        {"num_cached_tokens": 5},
        {"prompt_tokens_details": {"cached_tokens": 5}},
        {"prompt_token_details": {"cached_tokens": 5}, "num_cached_tokens": 5},
    ],
)
def test_what_came_from_a_cache_is_found_where_it_is_told(cached: dict[str, Any]) -> None:
    usage = {"prompt_tokens": 9, "completion_tokens": 1, **cached}
    answer = MISTRAL.answer(json_reply(completion(usage=usage, content="Hi")), MISTRAL.plain)
    assert answer.usage == Usage(input=9, output=1, cached=5)


def test_how_it_was_served_is_told_with_its_usage() -> None:
    for tier, context in (("standard", {}), ("priority", {"service_tier": "priority"})):
        usage = {**USAGE, "service_tier": tier}
        answer = MISTRAL.answer(json_reply(completion(usage=usage, content="Hi")), MISTRAL.plain)
        assert answer.pricing_context == context


@pytest.mark.parametrize("prefix", ["", "/v1", "/some/prefix"])
def test_the_request_is_the_body_as_it_is(prefix: str) -> None:
    async def run() -> str:
        async with serving(json_reply(completion(content="Hi"))) as server:
            provider = Mistral(base_url=server.base_url.removesuffix("/v1") + prefix, api_key=KEY)
            async for _ in provider.call(MISTRAL.plain):
                pass
            await provider.close()
            assert server.bodies == [MISTRAL.plain]
            return server.heads[0]

    head = asyncio.run(run())
    assert head.startswith(f"post {prefix.removesuffix('/v1')}/v1/chat/completions http/1.1\r\n")
    assert f"\r\nauthorization: bearer {KEY}\r\n" in head


def test_models_are_listed() -> None:
    async def run(replied: Reply) -> list[ModelInfo]:
        async with serving(replied) as server:
            provider = Mistral(base_url=server.base_url, api_key=KEY)
            try:
                return await provider.models()
            finally:
                await provider.close()
                assert server.heads[0].startswith("get /v1/models http/1.1\r\n")

    listed = {"data": [{"id": "a", "created": 7, "owned_by": "mistralai"}, {"name": "odd"}]}
    assert asyncio.run(run(json_reply(listed))) == [ModelInfo("a", 7, "mistralai")]
    with pytest.raises(ProviderFailed, match="a list of models that is none"):
        asyncio.run(run(json_reply({"data": 1})))
