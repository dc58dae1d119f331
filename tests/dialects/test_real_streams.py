"""What real providers stream, streamed on to every official SDK: the pieces make the answer."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from anthropic import Anthropic as AnthropicSDK
from mistralai.client import Mistral as MistralSDK
from openai import OpenAI as OpenAISDK

from clew.providers.anthropic import Anthropic
from clew.providers.base import Provider
from clew.providers.mistral import Mistral
from clew.providers.openai import OpenAI
from tests.dialects.conftest import Server
from tests.dialects.test_real_answers import BOTH, FACE, HIGH, LOST, LOW, escaped
from tests.dialects.tongues import FUNCTION, TOOL, user
from tests.providers.kinds import ANTHROPIC, EVERY, Kind, block, chunk, delta, ended, start, stopped
from tests.rigs.exact_upstream import Upstream, upstream
from tests.rigs.raw_server import Reply, reply, slow_stream

pytestmark = pytest.mark.slow

# The text of the pieces, that of the whole answer, and the calls: name and arguments of both.
Heard = tuple[str, str, list[tuple[str, str]], list[tuple[str, str]]]


def by_openai(url: str, http: httpx2.Client) -> Heard:
    sdk: Any = OpenAISDK(base_url=f"{url}/openai/v1", api_key="x", max_retries=0, http_client=http).beta
    assistant = sdk.assistants.create(model="m", tools=[FUNCTION]).id
    texts, whole, calls = "", "", []
    pieces: dict[int, tuple[str, str]] = {}
    with sdk.threads.create_and_run_stream(assistant_id=assistant, thread={"messages": [user("Hi")]}) as stream:
        for event in stream:
            if event.event == "thread.message.delta":
                texts += _text(event.data.delta)
            elif event.event == "thread.message.completed":
                whole += _text(event.data)
            elif event.event == "thread.run.step.delta" and event.data.delta.step_details.type == "tool_calls":
                for call in event.data.delta.step_details.tool_calls:
                    name, arguments = pieces.get(call.index, ("", ""))
                    pieces[call.index] = (call.function.name or name, arguments + (call.function.arguments or ""))
            elif event.event == "thread.run.requires_action":
                of = event.data.required_action.submit_tool_outputs.tool_calls
                calls = [(call.function.name, call.function.arguments) for call in of]
    return texts, whole, list(pieces.values()), calls


def _text(message: Any) -> str:
    return "".join(part.text.value for part in message.content)


def by_mistral(url: str, http: httpx2.Client) -> Heard:
    talks: Any = MistralSDK(
        api_key="k", server_url=f"{url}/mistral", client=http, async_client=httpx2.AsyncClient(verify=False)
    ).beta.conversations
    texts, thread = "", ""
    pieces: dict[str, tuple[str, str]] = {}
    with talks.start_stream(model="m", inputs="Hi", tools=[FUNCTION]) as stream:
        for event in stream:
            data = event.data
            if data.type == "conversation.response.started":
                thread = data.conversation_id
            elif data.type == "message.output.delta":
                texts += data.content
            elif data.type == "function.call.delta":
                name, arguments = pieces.get(data.tool_call_id, (data.name, ""))
                pieces[data.tool_call_id] = name, arguments + data.arguments
    entries = talks.get_history(conversation_id=thread).entries
    whole = "".join(str(entry.content) for entry in entries if entry.type == "message.output")
    calls = [(entry.name, entry.arguments) for entry in entries if entry.type == "function.call"]
    return texts, whole, list(pieces.values()), calls


def by_anthropic(url: str, http: httpx2.Client) -> Heard:
    sdk: Any = AnthropicSDK(base_url=f"{url}/anthropic", api_key="k", max_retries=0, http_client=http)
    texts = ""
    pieces: dict[int, tuple[str, str]] = {}
    with sdk.messages.stream(model="m", max_tokens=99, messages=[user("Hi")], tools=[TOOL]) as stream:
        for event in stream:
            if event.type == "content_block_start" and event.content_block.type == "tool_use":
                pieces[event.index] = (event.content_block.name, "")
            elif event.type == "content_block_delta" and event.delta.type == "text_delta":
                texts += event.delta.text
            elif event.type == "content_block_delta" and event.delta.type == "input_json_delta":
                pieces[event.index] = (pieces[event.index][0], pieces[event.index][1] + event.delta.partial_json)
        content = stream.get_final_message().content
    whole = "".join(part.text for part in content if part.type == "text")
    calls = [(part.name, json.dumps(part.input)) for part in content if part.type == "tool_use"]
    return texts, whole, list(pieces.values()), calls


HEAR: dict[str, Callable[[str, httpx2.Client], Heard]] = {
    "openai": by_openai,
    "mistral": by_mistral,
    "anthropic": by_anthropic,
}
SPOKEN = pytest.mark.parametrize(("tongue", "kind"), BOTH)
CLASSES: dict[str, Callable[..., Provider]] = {"openai": OpenAI, "mistral": Mistral, "anthropic": Anthropic}
Hear = Callable[[str, Kind, Reply], Heard]


@pytest.fixture(scope="module")
def hear(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hear]:
    """What an SDK hears when a provider says this."""
    stores: Path = tmp_path_factory.mktemp("stores")
    with upstream() as openai, upstream() as mistral, upstream() as anthropic, httpx2.Client(timeout=30) as http:
        upstreams: dict[str, Upstream] = {"openai": openai, "mistral": mistral, "anthropic": anthropic}
        servers = {}
        try:
            for kind in EVERY:
                provider = CLASSES[kind.name](base_url=f"{upstreams[kind.name].url}/v1", api_key="k")
                servers[kind.name] = Server(stores / kind.name, providers={kind.name: provider}).start()

            def heard(tongue: str, kind: Kind, replied: Reply) -> Heard:
                upstreams[kind.name].says(replied)
                return HEAR[tongue](servers[kind.name].url, http)

            yield heard
        finally:
            for server in servers.values():
                server.stop()


def in_pieces(kind: Kind, *pieces: str) -> list[Any]:
    if kind is ANTHROPIC:
        deltas = [delta(0, "text", text=piece) for piece in pieces]
        return [start(), block(0, type="text", text=""), *deltas, stopped(0), *ended("end_turn")]
    return [*(chunk("", content=piece) for piece in pieces), chunk("stop", content="")]


@SPOKEN
def test_a_slow_answer_with_reasons_that_are_none_comes_whole(hear: Hear, tongue: str, kind: Kind) -> None:
    chunks = in_pieces(kind, "Hel", "lo")
    if kind is ANTHROPIC:
        chunks.insert(3, {"type": "message_delta", "delta": {"stop_reason": ""}, "usage": {"output_tokens": 0}})
    slow = slow_stream(kind.events(*chunks[:2]), kind.events(*chunks[2:]) + kind.end_mark, pause_seconds=0.2)
    assert hear(tongue, kind, slow) == ("Hello", "Hello", [], [])


@SPOKEN
def test_halves_of_characters_are_joined_or_replaced(hear: Hear, tongue: str, kind: Kind) -> None:
    data = escaped(*in_pieces(kind, "Hi " + HIGH, LOW + "! " + HIGH)) + kind.end_mark
    text = f"Hi {FACE}! {LOST}"
    assert hear(tongue, kind, reply(data, content_type="text/event-stream")) == (text, text, [], [])


@SPOKEN
def test_an_answer_that_came_at_once_is_streamed_on_whole(hear: Hear, tongue: str, kind: Kind) -> None:
    at_once = reply(json.dumps(kind.whole("Hello")).encode(), content_type="application/json")
    assert hear(tongue, kind, at_once)[1] == "Hello"


WRITTEN = '{"city": "Paris", "n": 1180591620717411303424, "d": 0.10}'


def odd_call(kind: Kind) -> list[Any]:
    """A new id with each piece, the name with each piece, and all of it once more at the end."""
    cut = [WRITTEN[at : at + 9] for at in range(0, len(WRITTEN), 9)]
    if kind is ANTHROPIC:
        begun = block(0, type="tool_use", id="toolu_1", name="get_weather", input={})
        deltas = [delta(0, "input_json", partial_json=piece) for piece in [*cut, WRITTEN]]
        return [start(), begun, *deltas, stopped(0), *ended("tool_use")]

    def part(number: int, arguments: str) -> dict[str, Any]:
        function = {"name": "get_weather", "arguments": arguments}
        return {"index": 0, "id": f"call_{number}", "type": "function", "function": function}

    parts = [part(number, piece) for number, piece in enumerate(cut)]
    nothing: list[Any] = [[None], [{"index": 0, "function": None}]]
    calls: list[list[Any]] = [*([one] for one in parts), *nothing, [part(0, WRITTEN)]]
    return [*(chunk(tool_calls=entries) for entries in calls), chunk("tool_calls")]


@SPOKEN
def test_a_call_that_comes_in_odd_pieces_comes_once(hear: Hear, tongue: str, kind: Kind) -> None:
    _, _, pieces, calls = hear(tongue, kind, kind.streamed(*odd_call(kind)))
    assert pieces == [("get_weather", WRITTEN)]
    assert [(name, json.loads(arguments)) for name, arguments in calls] == [("get_weather", json.loads(WRITTEN))]
    if tongue != "anthropic":
        # Of Anthropic's the SDK makes an object, in which a number is what Python makes of it.
        assert calls == pieces
