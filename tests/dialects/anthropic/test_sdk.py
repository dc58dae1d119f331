"""Anthropic's own client, unchanged and in its strict mode, gets everything that it expects."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from anthropic import Anthropic, AsyncAnthropic, BadRequestError, beta_async_tool, beta_tool
from pydantic import BaseModel

from tests.dialects.anthropic.conftest import TOOL, assistant, said, sdk, user
from tests.dialects.conftest import Server

PNG = "iVBORw0KGgo="


@beta_tool
def get_weather(city: str) -> str:
    """The weather in a city.

    Args:
        city: Which one.
    """
    return f"sunny in {city}"


@beta_async_tool(name="get_weather")
async def get_weather_later(city: str) -> str:
    """The weather in a city.

    Args:
        city: Which one.
    """
    return f"sunny in {city}"


def test_models(client: Anthropic) -> None:
    listed = client.models.list()
    assert [model.id for model in listed] == ["echo", "fake/echo"]
    assert [model.id for model in client.models.list(limit=1)] == ["echo", "fake/echo"], "it pages to the end"
    assert client.models.list(limit=1, before_id="fake/echo").data[0].id == "echo"
    assert client.models.retrieve("fake/echo").display_name == "echo"


def test_a_message(client: Anthropic, server: Server) -> None:
    message = client.messages.create(
        model="echo", max_tokens=64, system="Be kind.", messages=[user("Hello")], stop_sequences=["END"]
    )
    assert said(message) == "You said: Hello"
    assert (message.stop_reason, message.stop_sequence, message.model) == ("end_turn", None, "echo")
    assert message._request_id is not None
    usage = message.usage
    assert (usage.input_tokens, usage.cache_read_input_tokens, usage.output_tokens) == (16, 4, 5)
    assert usage.output_tokens_details is not None
    assert usage.output_tokens_details.thinking_tokens == 2
    assert server.provider.sent[-1]["instructions"] == "Be kind."
    again = client.get(f"/v1/messages/{message.id}", cast_to=type(message))
    assert again == message


def test_a_message_is_streamed(client: Anthropic) -> None:
    with client.messages.stream(model="echo", max_tokens=64, messages=[user("Hello")]) as stream:
        assert "".join(stream.text_stream) == "You said: Hello"
        final = stream.get_final_message()
    assert said(final) == "You said: Hello"
    assert (final.usage.input_tokens, final.usage.cache_read_input_tokens) == (16, 4)
    events = client.messages.create(model="echo", max_tokens=64, messages=[user("Hello")], stream=True)
    assert [event.type for event in events][-2:] == ["message_delta", "message_stop"]


def test_a_tool_is_called_and_answered(client: Anthropic, server: Server) -> None:
    history: list[Any] = [user("Weather?")]
    asked = client.messages.create(model="two-tools", max_tokens=64, messages=history, tools=[TOOL])
    assert asked.stop_reason == "tool_use"
    calls = [block for block in asked.content if block.type == "tool_use"]
    assert [call.input for call in calls] == [{"city": "Paris"}, {"city": "Rome"}]
    results = [{"type": "tool_result", "tool_use_id": call.id, "content": "rain"} for call in calls]
    history += [assistant(asked.content), user([*results, {"type": "text", "text": "Be quick."}])]
    answered = client.messages.create(model="echo", max_tokens=9, messages=history, tools=[TOOL])
    assert said(answered) == "It is rain and rain."
    sent = server.provider.sent[-1]
    assert sent["model"] == "echo", "another model may go on with the same run"
    assert [item["kind"] for item in sent["items"]] == [  # type: ignore[attr-defined]
        *("message", "call", "call", "result", "result", "message")
    ]


def test_the_tool_runner_uses_threads(client: Anthropic) -> None:
    runner = client.beta.messages.tool_runner(
        model="talks-and-calls", max_tokens=64, tools=[get_weather], messages=[user("Weather?")]
    )
    assert [message.stop_reason for message in runner] == ["tool_use", "end_turn"]
    assert said(runner.until_done()) == "It is sunny in Paris."


def test_the_tool_runner_streams(client: Anthropic) -> None:
    runner = client.beta.messages.tool_runner(
        model="two-tools", max_tokens=64, tools=[get_weather], messages=[user("Weather?")], stream=True
    )
    finals = [stream.get_final_message() for stream in runner]
    assert [final.stop_reason for final in finals] == ["tool_use", "end_turn"]
    assert said(finals[-1]) == "It is sunny in Paris and sunny in Rome."


def test_without_threads_the_runner_is_known_again(client: Anthropic) -> None:
    before = threads(client)
    runner = client.beta.messages.tool_runner(
        model="weather", max_tokens=64, tools=[get_weather], messages=[user("Weather?")], thread=False
    )
    assert said(runner.until_done()) == "It is sunny in Paris."
    assert threads(client) == before + 1


def threads(client: Anthropic) -> int:
    count, page = 0, None
    while True:
        query: dict[str, Any] = {"limit": 100, **({"page": page} if page else {})}
        listed: Any = client.get("/v1/threads", cast_to=object, options={"params": query})
        count, page = count + len(listed["data"]), listed["next_page"]
        if page is None:
            return count


def test_a_thread_is_sent_to_and_forked(client: Anthropic, server: Server) -> None:
    thread = client.beta.messages.thread(model="echo", max_tokens=64, system="Be kind.", messages=[user("One")])
    assert said(thread.send()) == "You said: One"
    assert said(thread.send(user("Two"))) == "You said: Two"
    fork = thread.fork()
    assert said(fork.send(user("Else"))) == "You said: Else"
    assert said(thread.send(user("Three"))) == "You said: Three"
    texts = [item["text"] for item in server.provider.sent[-1]["items"]]  # type: ignore[attr-defined]
    assert texts == ["One", "You said: One", "Two", "You said: Two", "Three"], "the fork is not in it"
    assert server.provider.sent[-1]["instructions"] == "Be kind.", "kept from the first turn"


def test_a_thread_streams(client: Anthropic) -> None:
    thread = client.beta.messages.thread(model="echo", max_tokens=64)
    with thread.stream(user("One")) as stream:
        assert "".join(stream.text_stream) == "You said: One"
    with thread.stream(user("Two")) as stream:
        stream.until_done()
    assert [message["role"] for message in thread.messages] == ["user", "assistant"] * 2


class Answer(BaseModel):
    city: str


def test_an_answer_in_a_form(client: Anthropic, server: Server) -> None:
    with pytest.raises(ValueError, match="JSON"):
        # The play says what it says; what was asked of it is what counts.
        client.messages.parse(model="echo", max_tokens=64, messages=[user("Where?")], output_format=Answer)
    form = server.provider.sent[-1]["response_format"]
    assert form["type"] == "json_schema"  # type: ignore[index]
    assert form["json_schema"]["schema"]["properties"] == {"city": {"title": "City", "type": "string"}}  # type: ignore[index]


def test_thinking_comes_and_goes_back_byte_for_byte(client: Anthropic, server: Server) -> None:
    history: list[Any] = [user("Think")]
    asked = client.messages.create(
        model="signs-and-calls", max_tokens=2_000, messages=history, tools=[TOOL], thinking={"type": "adaptive"}
    )
    assert [block.type for block in asked.content] == ["thinking", "text", "redacted_thinking", "tool_use"]
    assert asked.content[0].model_dump(exclude_none=True) == {
        "type": "thinking",
        "thinking": "Hm, hm.",
        "signature": "c2lnbmVk",
    }
    call = next(block for block in asked.content if block.type == "tool_use")
    history += [
        assistant(asked.content),
        user([{"type": "tool_result", "tool_use_id": call.id, "content": "rain"}]),
    ]
    raw = client.messages.with_raw_response.create(model="signs", max_tokens=2_000, messages=history, tools=[TOOL])
    assert [block.type for block in raw.parse().content] == ["thinking", "text"]
    events: Any = client.get(f"/v1/threads/{raw.headers['x-thread-id']}/messages", cast_to=object)
    assert [message["role"] for message in events["data"]] == ["user", "assistant", "user", "assistant"]
    assert [block["type"] for block in events["data"][1]["content"]] == [block.type for block in asked.content]


def test_a_stream_of_thinking_is_the_message(client: Anthropic) -> None:
    for model in ("signs", "signs-and-calls"):
        with client.messages.stream(model=model, max_tokens=64, messages=[user("Think")], tools=[TOOL]) as stream:
            kinds = [event.type for event in stream]
            final = stream.get_final_message()
        assert "thinking" in kinds
        assert "signature" in kinds
        whole = client.get(f"/v1/messages/{final.id}", cast_to=type(final))
        assert [block.model_dump(exclude={"parsed_output"}) for block in final.content] == [
            block.model_dump() for block in whole.content
        ]


def test_pictures_documents_and_what_nobody_here_knows(client: Anthropic, server: Server) -> None:
    content: list[Any] = [
        {"type": "text", "text": "What is this?", "cache_control": {"type": "ephemeral"}},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}},
        {"type": "image", "source": {"type": "url", "url": "https://example.org/a.png"}},
        {
            "type": "document",
            "source": {"type": "base64", "media_type": "application/pdf", "data": PNG},
            "title": "A",
        },
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "Hi"}, "context": "why"},
        {"type": "search_result", "source": "a", "title": "b", "content": [{"type": "text", "text": "c"}]},
    ]
    raw = client.messages.with_raw_response.create(model="echo", max_tokens=64, messages=[user(content)])
    kept: Any = client.get(f"/v1/threads/{raw.headers['x-thread-id']}/messages", cast_to=object)
    told = [{**block} for block in content]
    told[0].pop("cache_control")
    assert kept["data"][0]["content"] == told


def test_a_refusal_and_an_answer_cut_short(client: Anthropic) -> None:
    refused = client.messages.create(model="refuses", max_tokens=64, messages=[user("Do it")])
    assert (refused.stop_reason, said(refused)) == ("refusal", "I would rather not.")
    assert refused.stop_details is not None
    cut = client.messages.create(model="long", max_tokens=64, messages=[user("Tell me")])
    assert (cut.stop_reason, said(cut)) == ("max_tokens", "It was a dark")


def test_an_answer_that_a_stop_sequence_ended(client: Anthropic) -> None:
    asked: Any = {"model": "stops", "max_tokens": 64, "messages": [user("Tell me")], "stop_sequences": ["Fin", " and"]}
    message = client.messages.create(**asked)
    assert (message.stop_reason, message.stop_sequence, said(message)) == ("stop_sequence", " and", "It was a dark")
    with client.messages.stream(**asked) as stream:
        streamed = stream.get_final_message()
    assert (streamed.stop_reason, streamed.stop_sequence) == ("stop_sequence", " and")
    assert client.get(f"/v1/messages/{message.id}", cast_to=type(message)) == message


def test_counting(client: Anthropic) -> None:
    few = client.messages.count_tokens(model="echo", messages=[user("Hello")]).input_tokens
    more = client.messages.count_tokens(
        model="echo", messages=[user("Hello"), assistant("Hi"), user("And?")], system="Be kind.", tools=[TOOL]
    ).input_tokens
    assert 0 < few < more
    assert client.beta.messages.count_tokens(model="echo", messages=[user("Hello")]).input_tokens == few


def test_servers_own_tools_are_steps_of_one_message(client: Anthropic) -> None:
    plain = client.messages.create(model="looks-up", max_tokens=64, messages=[user("clew?")])
    assert [block.type for block in plain.content] == ["text"], "clients of the plain API know no such blocks"
    knows = ["mcp-client-2025-11-20"]
    told = client.beta.messages.create(model="looks-up", max_tokens=64, messages=[user("clew?")], betas=knows)
    assert [block.type for block in told.content] == ["mcp_tool_use", "mcp_tool_result", "text"]
    assert told.usage.iterations is not None
    assert len(told.usage.iterations) == 2
    for history in (plain.content, told.content):
        again = [user("clew?"), assistant(history), user("More")]
        raw = client.beta.messages.with_raw_response.create(model="echo", max_tokens=64, messages=again)
        listed: Any = client.get(f"/v1/threads/{raw.headers['x-thread-id']}/messages", cast_to=object)
        assert [message["role"] for message in listed["data"]] == ["user", "assistant", "user", "assistant"]


def test_several_at_once(server: Server) -> None:
    async def play() -> None:
        async with AsyncAnthropic(
            base_url=f"{server.url}/anthropic", api_key="x", max_retries=0, _strict_response_validation=True
        ) as client:
            messages = await asyncio.gather(
                *(client.messages.create(model="echo", max_tokens=9, messages=[user(f"Hello {n}")]) for n in range(8))
            )
            assert [said(message) for message in messages] == [f"You said: Hello {n}" for n in range(8)]
            async with client.messages.stream(model="echo", max_tokens=9, messages=[user("Hello")]) as stream:
                assert said(await stream.get_final_message()) == "You said: Hello"
            runner = client.beta.messages.tool_runner(
                model="weather", max_tokens=64, tools=[get_weather_later], messages=[user("Weather?")]
            )
            assert said(await runner.until_done()) == "It is sunny in Paris."
            thread = client.beta.messages.thread(model="echo", max_tokens=64)
            await thread.send(user("One"))
            assert said(await thread.send(user("Two"))) == "You said: Two"

    asyncio.run(play())


def test_both_headers_bear_the_key(tmp_path: Any) -> None:
    with Server(tmp_path / "keys.db", api_key="sk-right") as server:
        for headers in ({"authorization": "Bearer sk-right"}, {"x-api-key": "sk-right"}):
            with sdk(server, default_headers={"authorization": "", **headers}) as client:
                assert said(client.messages.create(model="echo", max_tokens=9, messages=[user("Hi")]))


def test_what_is_not_offered_is_refused_by_name(client: Anthropic) -> None:
    with pytest.raises(BadRequestError, match="mcp_servers"):
        client.beta.messages.create(
            model="echo",
            max_tokens=9,
            messages=[user("Hi")],
            mcp_servers=[{"type": "url", "name": "a", "url": "https://example.org"}],
        )
