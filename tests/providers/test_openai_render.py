"""What is sent: the bytes of a request, and a real conversation played back."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest

from clew.errors import ProviderFailed
from clew.events.content import File, Image, JsonObject, Other, Refusal, Text, text
from clew.events.items import Item, MessageItem, Place, ReasoningItem, SummaryItem, ToolCallItem, ToolResultItem
from clew.events.message import Role
from clew.events.run import RunConfig, Sampling, Tool, ToolChoice
from clew.providers.base import Answer, CallPiece, Prompt, TextPiece
from clew.providers.openai import OpenAI
from clew.providers.openai_render import RENDERER, asks_for_stream, render

RECORDED = Path(__file__).parent / "recorded/openai-chat-1.json"
SHARED = Path(__file__).resolve().parents[2].parent / "shared"
RIG = SHARED / "rigs/recorded_upstream.py"
TALKS = SHARED / "data/tau-bench/airline-gpt-4o.jsonl.gz"
HERE = Place("thread_1", 1)


def config(**more: Any) -> RunConfig:
    return RunConfig(provider="openai", model="gpt-x", asked_model="openai/gpt-x", **more)


def message(role: Role, content: Any, model_call_id: str | None = None) -> MessageItem:
    content = text(content) if isinstance(content, str) else content
    return MessageItem(HERE, "msg_1", role, content, model_call_id, 0)


def called(id: str, name: str, arguments: str, model_call_id: str) -> ToolCallItem:
    return ToolCallItem(HERE, id, name, arguments, model_call_id, 0)


def result(id: str, output: str) -> ToolResultItem:
    return ToolResultItem(HERE, id, output, False, 0)


def messages_of(*items: Item, instructions: str = "") -> Any:
    return orjson.loads(render(Prompt(config(instructions=instructions), items)))["messages"]


PARAMETERS: JsonObject = {
    "type": "object",
    "properties": {"z": {"type": "string"}, "stream": True, "a": {"maximum": 1.5}},
}
EVERYTHING = Prompt(
    config=config(
        instructions='Be "brief" → é.',
        tools=(
            Tool(type="function", name="get_weather", description="Weather", parameters=PARAMETERS, strict=True),
            Tool(type="function", name="now"),
        ),
        tool_choice=ToolChoice(mode="function", name="now"),
        parallel_tool_calls=False,
        response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}},
        sampling=Sampling(temperature=0.1, top_p=1, reasoning_effort="low"),
        stream=True,
    ),
    items=(
        SummaryItem(HERE, text("Before: they said hello."), 0),
        message("user", (Text(type="text", text="Look: "), Image(type="image", url="https://x/y.png", detail="low"))),
        ReasoningItem(HERE, "anthropic", ('{"signature":"s"}',), "call_1", 0),
        message("assistant", "I will look.", "call_1"),
        called("t1", "get_weather", '{ "z" : "Paris" }', "call_1"),
        called("t2", "now", "", "call_1"),
        result("t1", "sunny\n"),
        result("t2", ""),
        called("t3", "now", "{}", "call_2"),
        result("t3", "noon"),
        message("assistant", (Refusal(type="refusal", text="I cannot."),), "call_3"),
        message("system", "Speak French."),
        message("user", (Image(type="image", data="aGk=", media_type="image/jpeg"), Image(type="image", file_id="f1"))),
        message("user", (File(type="file", data="aGk=", media_type="application/pdf", filename="a.pdf"),)),
    ),
    max_output_tokens=77,
)


def test_the_bytes_of_a_request_never_change() -> None:
    assert RENDERER == "openai-chat/1"
    assert render(EVERYTHING) == RECORDED.read_bytes()


def test_a_small_request_says_no_more_than_it_must() -> None:
    assert (
        render(Prompt(config(tool_choice=ToolChoice(mode="auto"), parallel_tool_calls=False), [message("user", "Hi")]))
        == b'{"model":"gpt-x","messages":[{"role":"user","content":"Hi"}]}'
    )


def test_only_a_request_for_a_stream_is_taken_for_one() -> None:
    tool = Tool(type="function", name="f", parameters={"stream": True, "stream_options": {"include_usage": True}})
    prompt = Prompt(config(tools=(tool,)), [message("user", '"stream":true,"stream_options":{"include_usage":true}}')])
    assert b'"stream":true,"stream_options":{"include_usage":true}}' in render(prompt)
    assert not asks_for_stream(render(prompt))
    assert asks_for_stream(render(EVERYTHING))


@pytest.mark.parametrize("mode", ["auto", "none", "required"])
def test_a_tool_choice_without_a_name_is_a_word(mode: Any) -> None:
    tools = (Tool(type="function", name="f"),)
    body = orjson.loads(render(Prompt(config(tools=tools, tool_choice=ToolChoice(mode=mode)), [])))
    assert body["tool_choice"] == mode
    assert "parallel_tool_calls" not in body


def test_what_one_model_call_gave_is_one_message() -> None:
    one = {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    two = {"id": "b", "type": "function", "function": {"name": "g", "arguments": "{}"}}
    said: list[Item] = [
        message("assistant", "So.", "call_1"),
        called("a", "f", "{}", "call_1"),
        called("b", "g", "{}", "call_1"),
    ]
    assert messages_of(*said) == [{"role": "assistant", "content": "So.", "tool_calls": [one, two]}]
    assert messages_of(called("a", "f", "{}", "call_1"), called("b", "g", "{}", "call_2")) == [
        {"role": "assistant", "content": None, "tool_calls": [one]},
        {"role": "assistant", "content": None, "tool_calls": [two]},
    ]


def test_messages_of_no_model_call_stay_apart() -> None:
    assert messages_of(message("assistant", "One."), message("assistant", ""), message("user", "Two.")) == [
        {"role": "assistant", "content": "One."},
        {"role": "assistant", "content": ""},
        {"role": "user", "content": "Two."},
    ]


def test_what_chat_completions_do_not_know_is_left_out() -> None:
    other = Other(type="other", provider="anthropic", block='{"type":"search"}')
    assert messages_of(message("user", (other, Text(type="text", text="Hi")))) == [{"role": "user", "content": "Hi"}]


def test_a_prompt_that_no_json_can_hold_is_refused() -> None:
    tool = Tool(type="function", name="f", parameters={"maximum": 2**70})
    with pytest.raises(ProviderFailed) as caught:
        render(Prompt(config(tools=(tool,)), []))
    assert (caught.value.code, caught.value.retryable) == ("invalid_prompt", False)


@asynccontextmanager
async def upstream() -> AsyncIterator[OpenAI]:
    """The provider that plays real conversations back, and a client of it."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen([sys.executable, str(RIG), "--port", str(port)])
    provider = OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key=None)
    try:
        async with asyncio.timeout(30):
            while True:
                try:
                    await provider.models()
                except ProviderFailed:
                    await asyncio.sleep(0.05)
                else:
                    break
        yield provider
    finally:
        await provider.close()
        process.terminate()
        process.wait()


@pytest.mark.skipif(not (RIG.exists() and TALKS.exists()), reason=f"the recorded conversations are not in {SHARED}")
@pytest.mark.parametrize("streamed", [False, True])
def test_a_real_conversation_is_led_to_its_end(streamed: bool) -> None:
    lines = gzip.decompress(TALKS.read_bytes()).splitlines()
    talk = json.loads(lines[1])
    instructions = f"{json.loads(lines[0])['system']}\nconversation: {talk['task_id']}-{talk['trial']}"

    async def run() -> int:
        steps = 0
        async with upstream() as provider:
            items: list[Item] = []
            for number, recorded in enumerate(talk["messages"]):
                if recorded["role"] == "assistant":
                    body = provider.render(Prompt(config(instructions=instructions, stream=streamed), items))
                    pieces = [piece async for piece in provider.call(body)]
                    answer = pieces[-1]
                    assert isinstance(answer, Answer)
                    assert_as_recorded(answer, recorded)
                    assert answer.usage is not None
                    assert 0 < answer.usage.cached < answer.usage.input
                    assert_previews(pieces[:-1], answer if streamed else None)
                    items += items_of(answer, f"call_{number}")
                    steps += 1
                elif recorded["role"] == "user":
                    items.append(message("user", recorded["content"]))
                else:
                    items.append(result(recorded["tool_call_id"], recorded["content"]))
        return steps

    assert asyncio.run(run()) > 3


def assert_as_recorded(answer: Answer, recorded: Any) -> None:
    assert (answer.text or "") == (recorded["content"] or "")
    calls = [(call["id"], call["function"]) for call in recorded.get("tool_calls") or ()]
    assert calls == [(c.tool_call_id, {"name": c.name, "arguments": c.arguments}) for c in answer.tool_calls]
    assert answer.finish_reason == ("tool_calls" if calls else "stop")


def assert_previews(pieces: list[Any], answer: Answer | None) -> None:
    """The pieces put together are the answer; without a stream there are none."""
    if answer is None:
        assert pieces == []
        return
    assert "".join(piece.text for piece in pieces if isinstance(piece, TextPiece)) == (answer.text or "")
    for index, call in enumerate(answer.tool_calls):
        own = [piece for piece in pieces if isinstance(piece, CallPiece) and piece.index == index]
        assert (own[0].tool_call_id, own[0].name) == (call.tool_call_id, call.name)
        assert "".join(piece.arguments for piece in own) == call.arguments


def items_of(answer: Answer, model_call_id: str) -> list[Item]:
    items: list[Item] = []
    if answer.text:
        items.append(message("assistant", answer.text, model_call_id))
    items += [called(call.tool_call_id, call.name, call.arguments, model_call_id) for call in answer.tool_calls]
    return items
