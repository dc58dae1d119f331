"""Calls to servers of Anthropic's Messages API that answer."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx2
import orjson
import pytest

from clew.errors import ProviderFailed
from clew.events.usage import Usage
from clew.providers.anthropic import Anthropic
from clew.providers.anthropic_render import BLOCK_BINDING
from clew.providers.base import Answer, CalledTool, CallPiece, ModelInfo, Piece, ReasoningPiece, TextPiece, UsageSoFar
from clew.providers.raw_json import members_of, raw_blocks
from tests.providers.kinds import ANTHROPIC, KEY, block, delta, ended, message, start, stopped
from tests.rigs.raw_server import Reply, json_reply, reply, serving

USAGE: dict[str, Any] = {
    "input_tokens": 10,
    "cache_read_input_tokens": 1000,
    "cache_creation_input_tokens": 100,
    "cache_creation": {"ephemeral_5m_input_tokens": 60, "ephemeral_1h_input_tokens": 40},
    "output_tokens": 5,
    "output_tokens_details": {"thinking_tokens": 4},
    "service_tier": "standard",
}
# As a server may write it: with spaces, escapes, and numbers in their own way.
WRITTEN = b"""{ "id": "msg_9", "type": "message", "model": "claude-x",
 "content" : [ {"type": "thinking", "thinking": "Hm \\u2026", "signature": "c2ln\\/+="} ,
  {"type":"text","text":"Let me [see]."}, {"type":"tool_use","id":"toolu_1","name":"f","input": { "x" : 1.0 }} ],
 "stop_reason": "tool_use", "usage": %s}"""


def answer_of(*chunks: Any) -> Answer:
    return ANTHROPIC.answer(ANTHROPIC.streamed(*chunks), ANTHROPIC.stream)


def test_a_whole_answer_comes_as_one_piece_its_blocks_as_they_were_written() -> None:
    replied = reply(WRITTEN % orjson.dumps(USAGE), headers="request-id: req_9\r\n")
    assert ANTHROPIC.received(replied, ANTHROPIC.plain) == [
        Answer(
            text="Let me [see].",
            refusal=None,
            tool_calls=(CalledTool("toolu_1", "f", '{ "x" : 1.0 }'),),
            reasoning=('{"type": "thinking", "thinking": "Hm \\u2026", "signature": "c2ln\\/+="}',),
            finish_reason="tool_calls",
            model="claude-x",
            usage=Usage(input=1110, output=5, cached=1000, cache_write=100, cache_write_1h=40, reasoning=4),
            usage_reported=USAGE,
            provider_ids={"response": "msg_9", "request": "req_9"},
        )
    ]


def test_a_stream_gives_pieces_and_then_the_same_answer() -> None:
    chunks = (
        {**start(), "message": {**start()["message"], "usage": {**USAGE, "output_tokens": 1}}},
        {"type": "ping"},
        block(0, type="thinking", thinking="", signature=""),
        delta(0, "thinking", thinking="Hm "),
        delta(0, "thinking", thinking="…"),
        delta(0, "signature", signature="c2ln/+="),
        stopped(0),
        block(1, type="text", text=""),
        delta(1, "text", text="Let me "),
        delta(1, "text", text="[see]."),
        stopped(1),
        block(2, type="tool_use", id="toolu_1", name="f", input={}),
        delta(2, "input_json", partial_json=""),
        delta(2, "input_json", partial_json='{ "x" '),
        delta(2, "input_json", partial_json=": 1.0 }"),
        stopped(2),
        *ended("tool_use", 5),
    )
    replied = ANTHROPIC.streamed(*chunks)
    begun, *pieces, answer = ANTHROPIC.received(replied, ANTHROPIC.stream)
    assert isinstance(begun, UsageSoFar)
    assert (begun.usage.input, begun.usage.cached, begun.usage.output) == (1110, 1000, 1)
    assert pieces == [
        ReasoningPiece(begins=True),
        ReasoningPiece(text="Hm "),
        ReasoningPiece(text="…"),
        ReasoningPiece(signature="c2ln/+="),
        TextPiece("Let me "),
        TextPiece("[see]."),
        CallPiece(0, "toolu_1", "f"),
        CallPiece(0, arguments='{ "x" '),
        CallPiece(0, arguments=": 1.0 }"),
    ]
    whole = ANTHROPIC.answer(reply(WRITTEN % orjson.dumps(USAGE)), ANTHROPIC.plain)
    assert isinstance(answer, Answer)
    assert (answer.text, answer.tool_calls, answer.usage) == (whole.text, whole.tool_calls, whole.usage)
    assert [orjson.loads(one) for one in answer.reasoning] == [orjson.loads(one) for one in whole.reasoning]
    assert answer.usage_reported == USAGE


def test_what_is_no_text_nor_call_nor_open_thought_holds_back_what_comes_behind_it() -> None:
    chunks = (
        start(),
        block(0, type="redacted_thinking", data="c2VjcmV0"),
        stopped(0),
        block(1, type="text", text="So."),
        stopped(1),
        *ended("end_turn", 5),
    )
    _, *pieces, _ = ANTHROPIC.received(ANTHROPIC.streamed(*chunks), ANTHROPIC.stream)
    assert pieces == [ReasoningPiece(), TextPiece("So.")], "a sign without words, in its place"


def test_where_a_text_is_from_and_where_the_next_one_begins_holds_back_what_comes_behind_it() -> None:
    """No piece of text says either, and who shows pieces would take two texts for one."""
    chunks = (
        start(),
        block(0, type="text", text=""),
        delta(0, "text", text="So."),
        delta(0, "citations", citation={"type": "char_location", "cited_text": "x"}),
        block(1, type="text", text=""),
        delta(1, "text", text="Or so."),
        *ended("end_turn"),
    )
    _, *pieces, _ = ANTHROPIC.received(ANTHROPIC.streamed(*chunks), ANTHROPIC.stream)
    assert pieces == [TextPiece("So."), ReasoningPiece(), ReasoningPiece(), TextPiece("Or so.")]


def test_what_a_cut_stream_has_used_is_known_from_its_beginning() -> None:
    async def run() -> Piece:
        async with serving(ANTHROPIC.cut(*ANTHROPIC.begun)) as server:
            provider = Anthropic(base_url=server.base_url, api_key=KEY)
            pieces = provider.call(ANTHROPIC.stream)
            first = await anext(pieces)
            assert await anext(pieces) == TextPiece("Hel")
            with pytest.raises(ProviderFailed, match="broke"):
                await anext(pieces)
            await provider.close()
        return first

    assert asyncio.run(run()) == UsageSoFar(
        Usage(input=3, output=1), {"input_tokens": 3, "output_tokens": 1}, "claude-x"
    )


@pytest.mark.parametrize(
    ("stop_reason", "finish"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("refusal", "content_filter"),
        ("something_new", "something_new"),
    ],
)
def test_each_stop_reason_has_its_meaning(stop_reason: str, finish: str) -> None:
    assert answer_of(*ANTHROPIC.begun, *ended(stop_reason)).finish_reason == finish
    whole = json_reply(message({"type": "text", "text": "Hel"}, stop_reason=stop_reason))
    assert ANTHROPIC.answer(whole, ANTHROPIC.plain).finish_reason == finish


def test_the_sequence_that_ended_an_answer_is_kept() -> None:
    end = {"stop_reason": "stop_sequence", "stop_sequence": "\n\nHuman:"}
    whole = json_reply(message({"type": "text", "text": "Hel"}, **end))
    for answer in (
        answer_of(*ANTHROPIC.begun, *ended("stop_sequence", stop_sequence=end["stop_sequence"])),
        ANTHROPIC.answer(whole, ANTHROPIC.plain),
    ):
        assert (answer.finish_reason, answer.stop_sequence) == ("stop", "\n\nHuman:")


def test_why_it_was_refused_is_kept() -> None:
    details = {"type": "refusal", "category": "bio", "explanation": "This was declined."}
    for answer in (
        answer_of(*ANTHROPIC.begun, *ended("refusal", stop_details=details)),
        ANTHROPIC.answer(json_reply(message(stop_reason="refusal", stop_details=details)), ANTHROPIC.plain),
    ):
        assert (answer.refusal, answer.finish_reason) == ("This was declined.", "content_filter")


def test_calls_side_by_side_are_told_apart() -> None:
    pieces = ANTHROPIC.received(
        ANTHROPIC.streamed(
            start(),
            block(1, type="tool_use", id="a", name="f", input={}),
            block(2, type="tool_use", id="b", name="g", input={}),
            delta(2, "input_json", partial_json='{"x":1}'),
            delta(1, "input_json", partial_json='{"y":2}'),
            *ended("end_turn"),
        ),
        ANTHROPIC.stream,
    )
    assert pieces[1:-1] == [
        CallPiece(0, "a", "f"),
        CallPiece(1, "b", "g"),
        CallPiece(1, arguments='{"x":1}'),
        CallPiece(0, arguments='{"y":2}'),
    ]
    answer = pieces[-1]
    assert isinstance(answer, Answer)
    assert answer.tool_calls == (CalledTool("a", "f", '{"y":2}'), CalledTool("b", "g", '{"x":1}'))
    assert answer.finish_reason == "tool_calls"


def test_a_call_without_arguments_has_an_empty_object() -> None:
    answer = answer_of(start(), block(0, type="tool_use", id="a", name="f", input={}), *ended("tool_use"))
    assert answer.tool_calls == (CalledTool("a", "f", "{}"),)
    spoken = answer_of(start(), block(0, type="tool_use", id="a", name="f", input={"x": 1}), *ended("tool_use"))
    assert spoken.tool_calls == (CalledTool("a", "f", '{"x":1}'),)


def test_thinking_between_texts_keeps_all_blocks_in_their_order() -> None:
    thinking = {"type": "thinking", "thinking": "a", "signature": "b"}
    redacted = {"type": "redacted_thinking", "data": "c"}
    content = [thinking, {"type": "text", "text": "One. "}, redacted, {"type": "text", "text": "Two."}]
    answer = ANTHROPIC.answer(json_reply(message(*content)), ANTHROPIC.plain)
    assert answer.text == "One. Two."
    assert [orjson.loads(one) for one in answer.reasoning] == content
    streamed = answer_of(start(), *(block(number, **one) for number, one in enumerate(content)), *ended("end_turn"))
    assert streamed.reasoning == answer.reasoning


def test_texts_without_anything_in_them_do_not_count_as_an_order() -> None:
    thinking = {"type": "thinking", "thinking": "a", "signature": "b"}
    empty = {"type": "text", "text": "\n"}
    call = {"type": "tool_use", "id": "a", "name": "f", "input": {}}
    answer = ANTHROPIC.answer(json_reply(message(empty, thinking, call)), ANTHROPIC.plain)
    assert [orjson.loads(one) for one in answer.reasoning] == [thinking]


def test_an_answer_without_thinking_has_no_reasoning() -> None:
    call = {"type": "tool_use", "id": "a", "name": "f", "input": {}}
    text = {"type": "text", "text": "So.", "citations": None}
    assert ANTHROPIC.answer(json_reply(message(call, text)), ANTHROPIC.plain).reasoning == ()


def test_blocks_of_other_kinds_are_kept_with_all_around_them() -> None:
    cited = {"type": "char_location", "cited_text": "x"}
    chunks = (
        start(),
        block(0, type="server_tool_use", id="s", name="web_search", input={}),
        delta(0, "input_json", partial_json='{"query":"x"}'),
        block(1, type="compaction", content=None),
        {
            "type": "content_block_delta",
            "index": 1,
            "delta": {"type": "compaction_delta", "content": "y", "encrypted_content": "z"},
        },
        block(2, type="text", text="Hi", citations=None),
        delta(2, "citations", citation=cited),
        delta(2, "something_new", text="z"),
        {"type": "something_new"},
        *ended("end_turn"),
    )
    assert [orjson.loads(one) for one in answer_of(*chunks).reasoning] == [
        {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"query": "x"}},
        {"type": "compaction", "content": "y", "encrypted_content": "z"},
        {"type": "text", "text": "Hi", "citations": [cited]},
    ]


@pytest.mark.parametrize(
    ("said", "context"),
    [
        ({}, {}),
        ({"service_tier": "standard", "speed": "standard"}, {}),
        ({"speed": "fast"}, {"speed": "fast"}),
        ({"service_tier": "batch"}, {"processing": "batch"}),
        ({"service_tier": "priority"}, {"service_tier": "priority"}),
    ],
)
def test_how_it_was_served_is_told_in_the_words_of_price_tables(said: dict[str, str], context: dict[str, str]) -> None:
    usage = {"input_tokens": 1, "output_tokens": 1, **said}
    answer = ANTHROPIC.answer(json_reply(message(usage=usage)), ANTHROPIC.plain)
    assert answer.pricing_context == context


def test_a_stream_may_be_broken_anywhere_into_packets() -> None:
    data = ANTHROPIC.events(start(), block(0, type="text", text=""), delta(0, "text", text="ä→😀"), *ended("end_turn"))

    async def run(size: int) -> list[Piece]:
        def answer(_: httpx2.Request) -> httpx2.Response:
            async def body() -> Any:
                for begin in range(0, len(data), size):
                    yield data[begin : begin + size]

            return httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=body())

        async with httpx2.AsyncClient(transport=httpx2.MockTransport(answer)) as client:
            provider = Anthropic(base_url="http://here", api_key=None, client=client)
            return [piece async for piece in provider.call(ANTHROPIC.stream)]

    for size in range(1, 40):
        assert asyncio.run(run(size))[1] == TextPiece("ä→😀")


def test_a_whole_answer_to_a_streaming_request_is_taken() -> None:
    whole = json_reply(message({"type": "text", "text": "Hi"}))
    assert ANTHROPIC.answer(whole, ANTHROPIC.stream).text == "Hi"


def test_with_a_stop_reason_the_answer_is_whole() -> None:
    finished = (*ANTHROPIC.begun, ended("end_turn")[0])
    assert ANTHROPIC.answer(ANTHROPIC.cut(*finished, then="reset"), ANTHROPIC.stream).text == "Hel"
    assert ANTHROPIC.answer(ANTHROPIC.streamed(*finished), ANTHROPIC.stream).text == "Hel"


def test_a_server_that_does_not_hang_up_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    silent = ANTHROPIC.cut(*ANTHROPIC.begun, *ended("end_turn"), then="silence")
    assert ANTHROPIC.answer(silent, ANTHROPIC.stream).text == "Hel"
    monkeypatch.setattr("clew.providers.transport.AFTER_FINISH_SECONDS", 0.05)
    forgets = ANTHROPIC.cut(*ANTHROPIC.begun, ended("end_turn")[0], then="silence")
    assert ANTHROPIC.answer(forgets, ANTHROPIC.stream).text == "Hel"


@pytest.mark.parametrize("prefix", ["", "/v1", "/some/prefix", "/some/prefix/v1/"])
def test_the_request_is_the_body_as_it_is_and_says_which_version_of_the_api_it_is_for(prefix: str) -> None:
    async def run(body: bytes, api_key: str | None) -> str:
        async with serving(json_reply(message())) as server:
            provider = Anthropic(base_url=server.base_url.removesuffix("/v1") + prefix, api_key=api_key)
            async for _ in provider.call(body):
                pass
            await provider.close()
            assert server.bodies == [body]
            return server.heads[0]

    head = asyncio.run(run(ANTHROPIC.plain, f"{KEY}\n"))
    assert head.startswith(f"post {prefix.removesuffix('/').removesuffix('/v1')}/v1/messages http/1.1\r\n")
    assert "\r\nanthropic-version: 2026-10-21\r\n" in head
    assert f"\r\nauthorization: bearer {KEY}\r\n" in head
    assert "anthropic-beta" not in head
    assert "authorization" not in asyncio.run(run(ANTHROPIC.plain, None))
    binding = b'{"thinking":{"type":"adaptive",' + BLOCK_BINDING + b'},"messages":[]}'
    assert "\r\nanthropic-beta: thinking-binding-controls-2026-08-01\r\n" in asyncio.run(run(binding, KEY))


def test_models_are_listed() -> None:
    async def run(replied: Reply) -> list[ModelInfo]:
        async with serving(replied) as server:
            provider = Anthropic(base_url=server.base_url, api_key=KEY)
            try:
                return await provider.models()
            finally:
                await provider.close()
                assert server.heads[0].startswith("get /v1/models?limit=1000 http/1.1\r\n")

    listed = {"data": [{"id": "a", "created_at": "1970-01-01T00:00:07Z"}, {"id": "b"}, {"name": "odd"}]}
    assert asyncio.run(run(json_reply(listed))) == [ModelInfo("a", 7, "anthropic"), ModelInfo("b", 0, "anthropic")]
    with pytest.raises(ProviderFailed, match="a list of models that is none"):
        asyncio.run(run(json_reply({"data": 1})))


def test_json_is_cut_where_its_values_end() -> None:
    text = ' { "a" : "}" , "content": [ ] ,"b":{"c":[1,{"d":"]"}]}, "e" :1.50 } '
    assert members_of(text) == {"a": '"}"', "content": "[ ]", "b": '{"c":[1,{"d":"]"}]}', "e": "1.50"}
    assert members_of("{}") == {}
    assert raw_blocks(text) == []
    assert raw_blocks('{"content":[ {"a":"\\"]"},\n[1 , 2] ,"x" ]}') == ['{"a":"\\"]"}', "[1 , 2]", '"x"']
