"""Calls to chat completions servers, usual and odd, that answer."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx2
import orjson
import pytest

from clew.errors import ProviderFailed
from clew.events.content import JsonObject
from clew.events.usage import Usage
from clew.providers.base import Answer, CalledTool, CallPiece, ModelInfo, Piece, TextPiece
from clew.providers.openai import OpenAI
from tests.providers.calls import KEY, PLAIN, STREAM, answer_of, call, completion, delta, pieces_of, received
from tests.rigs.raw_server import Reply, cut_stream, events, json_reply, reply, serving, stream


def test_a_whole_answer_comes_as_one_piece() -> None:
    usage: JsonObject = {
        "prompt_tokens": 20,
        "completion_tokens": 7,
        "total_tokens": 27,
        "prompt_tokens_details": {"cached_tokens": 12, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 3},
    }
    called = {"id": "call_1", "type": "function", "function": {"name": "get", "arguments": '{ "a":1}'}}
    said = completion("tool_calls", usage, content="Let me see.", tool_calls=[called])
    assert received(json_reply(said, headers="x-request-id: req_9\r\n"), PLAIN) == [
        Answer(
            text="Let me see.",
            refusal=None,
            tool_calls=(CalledTool("call_1", "get", '{ "a":1}'),),
            reasoning=(),
            finish_reason="tool_calls",
            model="gpt-x",
            usage=Usage(input=20, output=7, cached=12, reasoning=3),
            usage_reported=usage,
            provider_ids={"response": "chatcmpl-1", "request": "req_9"},
        )
    ]


def test_a_stream_gives_pieces_and_then_the_same_answer() -> None:
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    pieces = received(
        stream(
            delta(role="assistant", content=""),
            delta(content="Hel"),
            delta(content="lo"),
            delta("stop"),
            {"id": "chatcmpl-1", "model": "gpt-x", "choices": [], "usage": usage},
            headers="x-request-id: req_9\r\n",
        )
    )
    assert pieces[:-1] == [TextPiece("Hel"), TextPiece("lo")]
    assert pieces[-1:] == received(
        json_reply(completion(usage=usage, content="Hello"), headers="x-request-id: req_9\r\n"), PLAIN
    )


def test_a_refusal_and_reasoning_are_kept() -> None:
    answer = answer_of(received(stream(delta(reasoning_content="Hm."), delta(refusal="No."), delta("stop"))))
    assert (answer.text, answer.refusal, answer.reasoning) == (None, "No.", ('{"reasoning_content":"Hm."}',))


def test_tool_calls_are_put_together_by_their_index() -> None:
    pieces = received(
        stream(
            delta(tool_calls=[call(0, "a", "first", "")]),
            delta(tool_calls=[call(1, "b", "second", "")]),
            delta(tool_calls=[call(0, None, None, '{"x"')]),
            delta(tool_calls=[call(0, None, None, ":1}")]),
            delta("tool_calls"),
        )
    )
    assert pieces[:-1] == [
        CallPiece(0, "a", "first"),
        CallPiece(1, "b", "second"),
        CallPiece(0, arguments='{"x"'),
        CallPiece(0, arguments=":1}"),
    ]
    # A call without arguments is left as it came: an empty text.
    assert answer_of(pieces).tool_calls == (CalledTool("a", "first", '{"x":1}'), CalledTool("b", "second", ""))


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param([call(None, "a", "f", "{}"), call(None, "b", "f", "{}")], id="whole calls without index"),
        pytest.param([call(0, "a", "f", "{}"), call(0, "b", "f", "{}")], id="one index for all"),
        pytest.param([call(0, "", "f", "{}"), call(0, "", "f", "{}")], id="one index and empty ids"),
        pytest.param([call(0, "a", "f", "{}"), call(1, "a", "f", "{}")], id="one id for all"),
        pytest.param([call(None, None, "f", {}), call(None, None, "f", {})], id="arguments as objects"),
    ],
)
@pytest.mark.parametrize("streamed", [True, False])
def test_calls_of_odd_servers_are_told_apart(sent: list[Any], streamed: bool) -> None:
    if streamed:
        replied = stream(*(delta(tool_calls=[one]) for one in sent), delta("stop"))
    else:
        replied = json_reply(completion(content=None, tool_calls=sent))
    pieces = received(replied, STREAM if streamed else PLAIN)
    calls = answer_of(pieces).tool_calls
    assert [(called.name, called.arguments) for called in calls] == [("f", "{}"), ("f", "{}")]
    assert len({called.tool_call_id for called in calls}) == 2
    assert all(called.tool_call_id for called in calls)
    assert answer_of(pieces).finish_reason == "tool_calls"
    if streamed:
        assert pieces[:-1] == [CallPiece(n, one.tool_call_id, "f", "{}") for n, one in enumerate(calls)]


def test_line_ends_comments_and_other_fields_do_not_matter() -> None:
    first, last = orjson.dumps(delta(content="a")), orjson.dumps(delta("stop"))
    data = b": keep-alive\r\n\r\nevent: x\r\nid: 7\r\ndata:%s\r\n\r\n\r\n:\n\ndata:   %s\r\n\r\ndata:[DONE]"
    data %= (first, last)
    assert received(reply(data, content_type="text/event-stream"))[0] == TextPiece("a")


def test_a_stream_may_be_broken_anywhere_into_packets() -> None:
    data = events(delta(content="ä→😀"), delta("stop"))

    async def run(size: int) -> list[Piece]:
        def answer(_: httpx2.Request) -> httpx2.Response:
            async def body() -> Any:
                for start in range(0, len(data), size):
                    yield data[start : start + size]

            return httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=body())

        async with httpx2.AsyncClient(transport=httpx2.MockTransport(answer)) as client:
            provider = OpenAI(base_url="http://here/v1", api_key=None, client=client)
            return [piece async for piece in provider.call(STREAM)]

    for size in range(1, 40):
        assert asyncio.run(run(size))[0] == TextPiece("ä→😀")


def test_a_whole_answer_to_a_streaming_request_is_taken() -> None:
    assert answer_of(received(json_reply(completion(content="Hi")))).text == "Hi"


def test_with_a_finish_reason_the_answer_is_whole() -> None:
    assert answer_of(received(stream(delta("stop", content="Hi"), done=False))).text == "Hi"
    assert answer_of(received(cut_stream(delta("stop", content="Hi"), then="reset"))).text == "Hi"


def test_a_server_that_does_not_hang_up_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clew.providers.transport.AFTER_FINISH_SECONDS", 0.05)
    assert answer_of(received(cut_stream(delta("stop", content="Hi"), then="silence"))).text == "Hi"
    done = cut_stream(delta("stop", content="Hi"), b"data: [DONE]\n\n", then="silence")
    assert answer_of(received(done)).text == "Hi"


def test_closing_the_iterator_ends_the_call() -> None:
    async def run() -> None:
        async with serving(cut_stream(delta(content="Hel"), then="silence")) as server:
            provider = OpenAI(base_url=server.base_url, api_key=KEY)
            pieces = provider.call(STREAM)
            assert await anext(pieces) == TextPiece("Hel")
            await pieces.aclose()
            await asyncio.wait_for(server.hung_up.wait(), 5)
            await provider.close()

    asyncio.run(run())


def test_cancelling_the_task_ends_the_call() -> None:
    async def run() -> None:
        async with serving(cut_stream(delta(content="Hel"), then="silence")) as server:
            provider = OpenAI(base_url=server.base_url, api_key=KEY)
            begun = asyncio.Event()

            async def read() -> None:
                async for _ in provider.call(STREAM):
                    begun.set()

            task = asyncio.create_task(read())
            await asyncio.wait_for(begun.wait(), 5)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await asyncio.wait_for(server.hung_up.wait(), 5)
            await provider.close()

    asyncio.run(run())


def test_calls_one_after_the_other_share_a_connection() -> None:
    async def run() -> None:
        whole, streamed = json_reply(completion(content="Hi")), stream(delta("stop", content="Hi"))
        async with serving(whole, streamed, streamed, whole) as server:
            provider = OpenAI(base_url=server.base_url, api_key=KEY)
            for body in (PLAIN, STREAM, STREAM, PLAIN):
                assert answer_of([piece async for piece in provider.call(body)]).text == "Hi"
            await provider.close()
            assert server.connections == 1

    asyncio.run(run())


def test_many_calls_at_once_are_all_answered() -> None:
    async def run() -> None:
        async with serving(stream(delta(content="Hi"), delta("stop"))) as server:
            provider = OpenAI(base_url=server.base_url, api_key=KEY)

            async def one() -> str | None:
                return answer_of([piece async for piece in provider.call(STREAM)]).text

            assert await asyncio.gather(*(one() for _ in range(60))) == ["Hi"] * 60
            await provider.close()

    asyncio.run(run())


def test_the_request_is_the_body_as_it_is() -> None:
    async def run(api_key: str | None) -> str:
        async with serving(json_reply(completion(content="Hi"))) as server:
            await pieces_of(server, PLAIN, api_key=api_key)
            assert server.bodies == [PLAIN]
            return server.heads[0]

    head = asyncio.run(run(f"{KEY}\n"))
    assert head.startswith("post /v1/chat/completions http/1.1\r\n")
    assert "\r\ncontent-type: application/json\r\n" in head
    assert f"\r\nauthorization: bearer {KEY}\r\n" in head
    for none in (None, "", " "):
        assert "authorization" not in asyncio.run(run(none))


def test_a_client_that_was_given_stays_open() -> None:
    async def run() -> None:
        async with serving(json_reply(completion(content="Hi"))) as server, httpx2.AsyncClient() as client:
            await pieces_of(server, PLAIN, client=client)
            assert not client.is_closed

    asyncio.run(run())


def test_models_are_listed() -> None:
    async def run(replied: Reply) -> list[ModelInfo]:
        async with serving(replied) as server:
            provider = OpenAI(base_url=f"{server.base_url}/", api_key=KEY)
            try:
                return await provider.models()
            finally:
                await provider.close()
                assert server.heads[0].startswith("get /v1/models http/1.1\r\n")

    listed = {"data": [{"id": "a", "created": 7, "owned_by": "x"}, {"id": "b"}, {"name": "odd"}]}
    assert asyncio.run(run(json_reply(listed))) == [ModelInfo("a", 7, "x"), ModelInfo("b", 0, "")]
    for replied, code in ((json_reply({"data": 1}), "nonsense"), (json_reply({}, 500), "server_error")):
        with pytest.raises(ProviderFailed) as caught:
            asyncio.run(run(replied))
        assert caught.value.code == code
