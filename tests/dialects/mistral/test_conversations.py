"""Conversations through the official SDK: begun, gone on with, listed, read, begun again, deleted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import httpx2
import pytest
from mistralai.client import Mistral
from mistralai.client.errors import HTTPValidationError, SDKError

from clew.ids import reprefixed
from tests.dialects.conftest import Server
from tests.dialects.mistral.conftest import TOOL, result


def said(entries: Any) -> list[tuple[str, str]]:
    return [(entry.type, entry.content) for entry in entries]


def test_a_conversation_is_begun_and_gone_on_with(talks: Any, server: Server) -> None:
    first = talks.start(model="echo", instructions="Be kind.", inputs="Hello")
    assert [output.content for output in first.outputs] == ["You said: Hello"]
    assert first.usage.prompt_tokens == 20
    assert first.usage.total_tokens == 25
    second = talks.append(conversation_id=first.conversation_id, inputs="And?")
    assert second.conversation_id == first.conversation_id
    assert [output.content for output in second.outputs] == ["You said: And?"]
    sent = server.provider.sent[-1]
    assert sent["instructions"] == "Be kind."
    shown: Any = sent["items"]
    assert [item["text"] for item in shown] == ["Hello", "You said: Hello", "And?"]


def test_it_is_read_back_entry_by_entry(talks: Any) -> None:
    begun = talks.start(model="echo", inputs="Hello")
    talks.append(conversation_id=begun.conversation_id, inputs="And?")
    history = talks.get_history(conversation_id=begun.conversation_id)
    assert said(history.entries) == [
        ("message.input", "Hello"),
        ("message.output", "You said: Hello"),
        ("message.input", "And?"),
        ("message.output", "You said: And?"),
    ]
    assert history.entries[1].id == begun.outputs[0].id
    messages = talks.get_messages(conversation_id=begun.conversation_id)
    assert said(messages.messages) == said(history.entries)


def test_what_it_is_called_and_made_of_is_kept(talks: Any) -> None:
    begun = talks.start(
        model="echo",
        inputs="Hello",
        instructions="Be kind.",
        name="Trip",
        description="To Lisbon",
        metadata={"user": "ada", "nights": 3, "tags": ["sea"]},
        tools=[TOOL],
        completion_args={"temperature": 0.2, "stop": ["END"], "max_tokens": 99, "tool_choice": "any"},
    )
    kept = talks.get(conversation_id=begun.conversation_id)
    assert (kept.object, kept.id, kept.model) == ("conversation", begun.conversation_id, "echo")
    assert (kept.name, kept.description, kept.instructions) == ("Trip", "To Lisbon", "Be kind.")
    assert kept.metadata == {"user": "ada", "nights": 3, "tags": ["sea"]}
    assert kept.tools[0].function.name == "get_weather"
    args = kept.completion_args
    assert (args.temperature, args.stop, args.max_tokens, args.tool_choice) == (0.2, ["END"], 99, "required")
    assert kept.updated_at > kept.created_at


def test_an_answer_may_be_made_otherwise_once(talks: Any, server: Server) -> None:
    begun = talks.start(model="echo", inputs="A", completion_args={"temperature": 0.2})
    append = talks.append
    append(conversation_id=begun.conversation_id, inputs="B", completion_args={"temperature": 0.9})
    append(conversation_id=begun.conversation_id, inputs="C")
    assert [sent["temperature"] for sent in server.provider.sent[-3:]] == [0.2, 0.9, 0.2]


def test_conversations_are_listed_newest_first_page_by_page(talks: Any) -> None:
    ids = [talks.start(model="echo", inputs="x", metadata={"list": "mine", "n": n}).conversation_id for n in range(3)]
    listed = talks.list(metadata={"list": "mine"})
    assert [one.id for one in listed] == ids[::-1]
    pages = [[one.id for one in talks.list(metadata={"list": "mine"}, page=page, page_size=2)] for page in range(3)]
    assert pages == [[ids[2], ids[1]], [ids[0]], []]
    assert [one.id for one in talks.list(metadata={"list": "mine", "n": 1})] == [ids[1]]


def test_a_deleted_conversation_is_gone(talks: Any) -> None:
    begun = talks.start(model="echo", inputs="Hello")
    talks.delete(conversation_id=begun.conversation_id)
    with pytest.raises(SDKError) as raised:
        talks.get(conversation_id=begun.conversation_id)
    assert raised.value.status_code == 404


def test_entries_of_all_six_kinds_seed_a_history(talks: Any, server: Server) -> None:
    seeded: list[Any] = [
        {"type": "message.input", "role": "user", "content": "What is the weather?"},
        {"type": "message.output", "role": "assistant", "content": "Let me see.", "model": "elsewhere"},
        {"type": "function.call", "tool_call_id": "abc123def", "name": "get_weather", "arguments": {"city": "Rome"}},
        {"type": "function.result", "tool_call_id": "abc123def", "result": "sunny"},
        {"type": "tool.execution", "name": "look_up", "arguments": "{}", "info": {"output": "a word"}},
        {
            "type": "agent.handoff",
            "previous_agent_id": "ag_06835b734cc47dec8000b5f8f860b672",
            "previous_agent_name": "Ada",
            "next_agent_id": "ag_06835b734cc47dec8000b5f8f860b673",
            "next_agent_name": "Bea",
        },
        {"type": "message.input", "role": "user", "content": "And tomorrow?"},
    ]
    begun = talks.start(model="echo", inputs=seeded)
    history = talks.get_history(conversation_id=begun.conversation_id)
    assert [entry.type for entry in history.entries] == [*(one["type"] for one in seeded), "message.output"]
    _, _, call, answer, execution, handoff, *_ = history.entries
    assert (call.name, call.arguments, call.tool_call_id) == ("get_weather", '{"city":"Rome"}', "abc123def")
    assert (answer.result, answer.tool_call_id) == ("sunny", "abc123def")
    assert (execution.name, execution.info) == ("look_up", {"output": "a word"})
    assert handoff.previous_agent_id == "ag_06835b734cc47dec8000b5f8f860b672"
    assert handoff.next_agent_name == "Bea"
    shown = server.provider.sent[-1]["items"]
    assert isinstance(shown, list)
    assert [item["kind"] for item in shown] == [
        *("message", "message", "call", "result", "call", "result", "call", "result", "message"),
    ]


def test_a_call_that_is_brought_along_comes_with_its_result(http: httpx2.Client) -> None:
    call = {"type": "function.call", "tool_call_id": "c1", "name": "f", "arguments": "{}"}
    answered = {"type": "function.result", "tool_call_id": "c1", "result": "42"}
    for inputs, where in (([call], ["body", "inputs", 0]), ([answered], ["body", "inputs", 0, "tool_call_id"])):
        refused = http.post("/conversations", json={"model": "echo", "inputs": inputs})
        assert refused.status_code == 422
        assert refused.json()["detail"][0]["loc"] == where


def test_an_entry_without_a_type_is_known_by_what_is_in_it(http: httpx2.Client) -> None:
    inputs = [
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hi"},
        {"tool_call_id": "c1", "name": "f", "arguments": "{}"},
        {"tool_call_id": "c1", "result": "42"},
    ]
    begun = http.post("/conversations", json={"model": "echo", "inputs": inputs}).json()
    entries = http.get(f"/conversations/{begun['conversation_id']}/history").json()["entries"]
    kinds = [entry["type"] for entry in entries]
    assert kinds == ["message.input", "message.output", "function.call", "function.result", "message.output"]


def test_chunks_of_content_come_back_as_they_were(talks: Any) -> None:
    chunks: list[Any] = [
        {"type": "text", "text": "Look:"},
        {"type": "image_url", "image_url": "data:image/png;base64,AAAA"},
        {"type": "document_url", "document_url": "https://example.com/a.pdf", "document_name": "a.pdf"},
    ]
    begun = talks.start(model="echo", inputs=[{"role": "user", "content": chunks}])
    history = talks.get_history(conversation_id=begun.conversation_id)
    shown = [chunk.model_dump(exclude_unset=True) for chunk in history.entries[0].content]
    assert shown == chunks


def test_a_conversation_begins_again_from_any_entry(talks: Any, server: Server) -> None:
    begun = talks.start(model="echo", inputs="A", name="Trip", metadata={"n": 1})
    talks.append(conversation_id=begun.conversation_id, inputs="B")
    history = talks.get_history(conversation_id=begun.conversation_id)
    again = talks.restart(conversation_id=begun.conversation_id, from_entry_id=history.entries[1].id, inputs="C")
    assert again.conversation_id != begun.conversation_id
    new = talks.get_history(conversation_id=again.conversation_id)
    assert [entry.content for entry in new.entries] == ["A", "You said: A", "C", "You said: C"]
    assert [entry.id for entry in new.entries[:2]] == [entry.id for entry in history.entries[:2]]
    old = talks.get_history(conversation_id=begun.conversation_id)
    assert [entry.content for entry in old.entries] == ["A", "You said: A", "B", "You said: B"]
    kept = talks.get(conversation_id=again.conversation_id)
    assert (kept.name, kept.metadata, kept.model) == ("Trip", {"n": 1}, "echo")
    # Nothing was copied: the new thread has the fork, what is otherwise in it, and its run.
    with server.engine.log.reading() as reader:
        kinds = [one.event.kind for one in reader.stream(reprefixed(again.conversation_id, "thread"))]
    assert kinds[:3] == ["thread.forked", "message.appended", "run.queued"]


def test_one_that_began_again_begins_again_from_what_it_inherited(talks: Any) -> None:
    restart, history = talks.restart, talks.get_history
    begun = talks.start(model="echo", inputs="A")
    entries = history(conversation_id=begun.conversation_id).entries
    second = restart(conversation_id=begun.conversation_id, from_entry_id=entries[1].id, inputs="B")
    third = restart(conversation_id=second.conversation_id, from_entry_id=entries[0].id)
    shown = history(conversation_id=third.conversation_id).entries
    assert [entry.content for entry in shown] == ["A", "You said: A"]
    assert shown[0].id == entries[0].id
    assert shown[1].id != entries[1].id


def test_a_call_is_answered_otherwise_where_it_begins_again(talks: Any) -> None:
    begun = talks.start(model="weather", inputs="Weather?", tools=[TOOL])
    [call] = begun.outputs
    talks.append(conversation_id=begun.conversation_id, inputs=[result(call, "rain")])
    again = talks.restart(conversation_id=begun.conversation_id, from_entry_id=call.id, inputs=[result(call, "sun")])
    assert [output.content for output in again.outputs] == ["It is sun."]
    entries = talks.get_history(conversation_id=again.conversation_id).entries
    assert [entry.type for entry in entries] == ["message.input", "function.call", "function.result", "message.output"]


def test_it_begins_again_from_an_entry_of_its_own_only(talks: Any) -> None:
    one, other = (talks.start(model="echo", inputs=text) for text in "AB")
    for entry_id in (other.outputs[0].id, "msg_none", "fc_06Z8ixdFfoDgvSh1Rx32mrga0", "fc_06Z8ixdFfoDgvSh1Rx32mrgav3"):
        with pytest.raises(SDKError) as raised:
            talks.restart(conversation_id=one.conversation_id, from_entry_id=entry_id)
        assert raised.value.status_code == 404
        assert "entry" in raised.value.body


def test_it_may_begin_again_otherwise(talks: Any, server: Server) -> None:
    begun = talks.start(model="echo", inputs="A", completion_args={"temperature": 0.2})
    again = talks.restart(
        conversation_id=begun.conversation_id,
        from_entry_id=begun.outputs[0].id,
        inputs="B",
        completion_args={"temperature": 0.8},
        metadata={"n": 2},
    )
    kept = talks.get(conversation_id=again.conversation_id)
    assert kept.completion_args.temperature == 0.8
    assert kept.metadata == {"n": 2}
    assert server.provider.sent[-1]["temperature"] == 0.8


def test_nothing_can_be_read_of_what_is_not_to_be_stored(talks: Any, server: Server) -> None:
    begun = talks.start(model="echo", inputs="A secret", store=False, metadata={"only": "once"})
    assert [output.content for output in begun.outputs] == ["You said: A secret"]
    id = begun.conversation_id
    calls: list[Callable[[], Any]] = [
        lambda: talks.get(conversation_id=id),
        lambda: talks.get_history(conversation_id=id),
        lambda: talks.get_messages(conversation_id=id),
        lambda: talks.append(conversation_id=id, inputs="More"),
        lambda: talks.restart(conversation_id=id, from_entry_id=begun.outputs[0].id),
        lambda: talks.delete(conversation_id=id),
    ]
    for ask in calls:
        with pytest.raises(SDKError) as raised:
            ask()
        assert raised.value.status_code == 404
    assert talks.list(metadata={"only": "once"}) == []
    thread_id = reprefixed(id, "thread")
    for path in (
        f"/openai/v1/threads/{thread_id}",
        f"/openai/v1/threads/{thread_id}/messages",
        f"/clew/v1/threads/{thread_id}",
        f"/clew/v1/threads/{thread_id}/items",
        f"/clew/v1/threads/{thread_id}/events",
    ):
        assert httpx2.get(f"{server.url}{path}").status_code == 404, path
    posted = httpx2.post(f"{server.url}/openai/v1/threads/{thread_id}/messages", json={"role": "user", "content": "x"})
    assert posted.status_code == 404
    # What it used is on the bill.
    with server.engine.log.reading() as reader:
        events = reader.stream(thread_id)
    answered: list[Any] = [one.event for one in events if one.event.kind == "model.answered"]
    assert [one.usage.total for one in answered] == [25]


def test_an_answer_that_is_not_to_be_stored_leaves_the_conversation_as_it_was(talks: Any) -> None:
    begun = talks.start(model="echo", inputs="A")
    aside = talks.append(conversation_id=begun.conversation_id, inputs="B", store=False)
    assert [output.content for output in aside.outputs] == ["You said: B"]
    with pytest.raises(SDKError):
        talks.get(conversation_id=aside.conversation_id)
    entries = talks.get_history(conversation_id=begun.conversation_id).entries
    assert [entry.content for entry in entries] == ["A", "You said: A"]


def test_calls_in_what_is_not_stored_are_given_back_and_answered_in_a_new_one(talks: Any) -> None:
    begun = talks.start(model="weather", inputs="Weather?", tools=[TOOL], store=False)
    [call] = begun.outputs
    assert call.type == "function.call"
    brought: list[Any] = [{"role": "user", "content": "Weather?"}, call.model_dump(mode="json"), result(call, "sun")]
    again = talks.start(model="weather", inputs=brought, tools=[TOOL], store=False)
    assert [output.content for output in again.outputs] == ["It is sun."]


def test_thinking_is_a_chunk_of_the_message(tmp_path: Any) -> None:
    with (
        Server(tmp_path / "thinks.db", also_called=("mistral",)) as server,
        Mistral(api_key="k", server_url=server.mistral_url) as client,
    ):
        begun = client.beta.conversations.start(model="thinks", inputs="Well?")
        [output] = begun.outputs
        assert [chunk.type for chunk in output.content] == ["thinking", "text"]
        [entry] = client.beta.conversations.get_history(conversation_id=begun.conversation_id).entries[1:]
        assert entry.content == output.content
        assert output.content[0].thinking[0].text == "Hm."
        # A bare name went to the provider that the API is named after.
        with server.engine.log.reading() as reader:
            events = reader.stream(reprefixed(begun.conversation_id, "thread"))
        queued: list[Any] = [one.event for one in events if one.event.kind == "run.queued"]
        assert [one.config.provider for one in queued] == ["mistral"]


def test_a_model_or_an_agent_it_must_be(talks: Any) -> None:
    for about in ({}, {"model": "echo", "agent_id": "ag_06Z8ixdFfoDgvSh1Rx32mrga"}):
        with pytest.raises(HTTPValidationError) as raised:
            talks.start(inputs="A", **about)
        assert raised.value.data.detail[0].loc == ["body", "model"]  # type: ignore[index]


def test_ten_at_once_lose_nothing(talks: Any, server: Server) -> None:
    async def many() -> list[str]:
        async with Mistral(api_key="k", server_url=server.mistral_url) as client:
            begun = await asyncio.gather(
                *(client.beta.conversations.start_async(model="echo", inputs=f"n{n}") for n in range(10))
            )
            return [str(one.outputs[0].content) for one in begun]

    assert asyncio.run(many()) == [f"You said: n{n}" for n in range(10)]
