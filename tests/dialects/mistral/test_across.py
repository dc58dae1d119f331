"""One thread, every dialect: what is made through one API is read, gone on with and forked through the other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from mistralai.client import Mistral
from openai import OpenAI

from clew.ids import reprefixed
from tests.dialects.conftest import Server
from tests.dialects.mistral.conftest import TOOL, result

pytestmark = pytest.mark.slow


@pytest.fixture
def openai(server: Server) -> Iterator[Any]:
    """The other SDK, checking every answer against its own models."""
    with OpenAI(base_url=server.base_url, api_key="x", max_retries=0, _strict_response_validation=True) as client:
        yield client.beta


def begun_elsewhere(openai: Any, model: str = "echo", **more: Any) -> tuple[str, str]:
    """A thread with a run on it, and its assistant."""
    assistant = openai.assistants.create(model=model, name="Ada", instructions="Be kind.", **more)
    messages = [{"role": "user", "content": "Hello"}]
    run = openai.threads.create_and_run_poll(
        assistant_id=assistant.id, thread={"messages": messages, "metadata": {"from": "openai"}}
    )
    return run.thread_id, assistant.id


def test_a_thread_is_a_conversation_of_the_same_identity(openai: Any, talks: Any) -> None:
    thread_id, assistant_id = begun_elsewhere(openai)
    conversation_id = reprefixed(thread_id, "conv")
    assert conversation_id in [one.id for one in talks.list(metadata={"from": "openai"})]
    kept = talks.get(conversation_id=conversation_id)
    assert (kept.agent_id, kept.metadata) == (reprefixed(assistant_id, "ag"), {"from": "openai"})
    history = talks.get_history(conversation_id=conversation_id).entries
    assert [(entry.type, entry.content) for entry in history] == [
        ("message.input", "Hello"),
        ("message.output", "You said: Hello"),
    ]
    assert history[1].agent_id == kept.agent_id
    messages = openai.threads.messages.list(thread_id, order="asc").data
    assert [entry.id for entry in history] == [message.id for message in messages]


def test_a_thread_is_gone_on_with_and_read_back_where_it_began(openai: Any, talks: Any, server: Server) -> None:
    thread_id, _ = begun_elsewhere(openai)
    conversation_id = reprefixed(thread_id, "conv")
    further = talks.append(conversation_id=conversation_id, inputs="And?")
    assert [output.content for output in further.outputs] == ["You said: And?"]
    sent: Any = server.provider.sent[-1]
    assert (sent["instructions"], [item["text"] for item in sent["items"]]) == (
        "Be kind.",
        ["Hello", "You said: Hello", "And?"],
    )
    messages = openai.threads.messages.list(thread_id, order="asc").data
    assert [message.content[0].text.value for message in messages] == [
        "Hello",
        "You said: Hello",
        "And?",
        "You said: And?",
    ]
    assert [run.status for run in openai.threads.runs.list(thread_id).data] == ["completed", "completed"]


def test_a_thread_of_an_assistant_that_is_gone_goes_on_as_it_ran(openai: Any, talks: Any, server: Server) -> None:
    thread_id, assistant_id = begun_elsewhere(openai, temperature=0.3)
    openai.assistants.delete(assistant_id)
    kept = talks.get(conversation_id=reprefixed(thread_id, "conv"))
    assert (kept.model, kept.instructions, kept.completion_args.temperature) == ("fake/echo", "Be kind.", 0.3)
    talks.append(conversation_id=kept.id, inputs="And?")
    assert (server.provider.sent[-1]["instructions"], server.provider.sent[-1]["temperature"]) == ("Be kind.", 0.3)


def test_a_thread_that_nobody_ran_anything_on_is_read_and_says_so(openai: Any, talks: Any) -> None:
    thread = openai.threads.create(messages=[{"role": "user", "content": "Hello"}])
    conversation_id = reprefixed(thread.id, "conv")
    assert talks.get(conversation_id=conversation_id).model == ""
    assert [entry.content for entry in talks.get_history(conversation_id=conversation_id).entries] == ["Hello"]
    with pytest.raises(Exception, match="Nothing was ever said of which model"):
        talks.append(conversation_id=conversation_id, inputs="And?")


def test_a_thread_begins_again_and_the_first_one_does_not_know(openai: Any, talks: Any) -> None:
    thread_id, _ = begun_elsewhere(openai)
    conversation_id = reprefixed(thread_id, "conv")
    first = talks.get_history(conversation_id=conversation_id).entries[0]
    again = talks.restart(conversation_id=conversation_id, from_entry_id=first.id, inputs="Otherwise")
    said = openai.threads.messages.list(reprefixed(again.conversation_id, "thread"), order="asc").data
    assert [message.content[0].text.value for message in said] == ["Hello", "Otherwise", "You said: Otherwise"]
    assert len(openai.threads.messages.list(thread_id).data) == 2


def test_calls_that_wait_are_answered_from_either_side(openai: Any, talks: Any) -> None:
    thread_id, _ = begun_elsewhere(openai, "weather", tools=[TOOL])
    conversation_id = reprefixed(thread_id, "conv")
    [_, call] = talks.get_history(conversation_id=conversation_id).entries
    assert (call.type, call.name) == ("function.call", "get_weather")
    answered = talks.append(conversation_id=conversation_id, inputs=[result(call, "sun")])
    assert answered.outputs[0].content == "It is sun."
    assert openai.threads.runs.list(thread_id).data[0].status == "completed"

    begun = talks.start(model="weather", inputs="Weather?", tools=[TOOL])
    thread_id = reprefixed(begun.conversation_id, "thread")
    [run] = openai.threads.runs.list(thread_id).data
    assert run.status == "requires_action"
    [call] = run.required_action.submit_tool_outputs.tool_calls
    outputs = [{"tool_call_id": call.id, "output": "rain"}]
    openai.threads.runs.submit_tool_outputs_and_poll(run_id=run.id, thread_id=thread_id, tool_outputs=outputs)
    last = talks.get_history(conversation_id=begun.conversation_id).entries[-1]
    assert last.content == "It is rain."


def test_what_waits_to_be_allowed_is_answered_in_its_stead_elsewhere(openai: Any, talks: Any) -> None:
    pay = {"type": "function", "function": {"name": "pay", "parameters": {"type": "object"}}}
    begun = talks.start(model="pays", inputs="Pay!", tools=[pay])
    thread_id = reprefixed(begun.conversation_id, "thread")
    [run] = openai.threads.runs.list(thread_id).data
    [call] = run.required_action.submit_tool_outputs.tool_calls
    outputs = [{"tool_call_id": call.id, "output": "paid in cash"}]
    openai.threads.runs.submit_tool_outputs_and_poll(run_id=run.id, thread_id=thread_id, tool_outputs=outputs)
    kinds = [
        (entry.type, getattr(entry, "confirmation_status", None))
        for entry in talks.get_history(conversation_id=begun.conversation_id).entries
    ]
    assert kinds == [
        ("message.input", None),
        ("function.call", None),
        ("function.result", None),
        ("message.output", None),
    ]


def test_a_conversation_is_a_thread_that_runs_take_turns_on(openai: Any, talks: Any) -> None:
    begun = talks.start(model="echo", inputs="Hello", metadata={"user": "ada", "n": 3})
    thread_id = reprefixed(begun.conversation_id, "thread")
    assert openai.threads.retrieve(thread_id).metadata == {"user": "ada", "n": "3"}
    openai.threads.messages.create(thread_id, role="user", content="From there")
    assistant = openai.assistants.create(model="echo")
    openai.threads.runs.create_and_poll(thread_id=thread_id, assistant_id=assistant.id)
    further = talks.append(conversation_id=begun.conversation_id, inputs="From here")
    assert further.outputs[0].agent_id is None
    history = talks.get_history(conversation_id=begun.conversation_id).entries
    assert [entry.content for entry in history] == [
        *("Hello", "You said: Hello", "From there", "You said: From there", "From here", "You said: From here"),
    ]
    openai.threads.update(thread_id, metadata={"user": "bea", "n": "three"})
    assert talks.get(conversation_id=begun.conversation_id).metadata == {"user": "bea", "n": "three"}
    assert talks.get(conversation_id=begun.conversation_id).model == "echo"


def test_an_agent_is_an_assistant_and_the_other_way_round(openai: Any, agents: Any, server: Server) -> None:
    agent = agents.create(model="echo", name="Ada", instructions="Be kind.", tools=[TOOL], metadata={"n": 3})
    assistant = openai.assistants.retrieve(reprefixed(agent.id, "asst"))
    assert (assistant.name, assistant.instructions, assistant.metadata) == ("Ada", "Be kind.", {"n": "3"})
    openai.assistants.update(assistant.id, instructions="Be brief.")
    changed = agents.get(agent_id=agent.id)
    assert (changed.version, changed.instructions, changed.metadata) == (1, "Be brief.", {"n": 3})
    made = openai.assistants.create(model="echo", tools=[TOOL])
    shown = agents.get(agent_id=reprefixed(made.id, "ag"))
    assert (shown.name, shown.version, shown.tools[0].function.name) == ("", 0, "get_weather")
    assert reprefixed(made.id, "ag") in [one.id for one in agents.list()]
    openai.assistants.delete(made.id)
    with pytest.raises(Exception, match="No agent"):
        agents.get(agent_id=shown.id)


def test_what_was_edited_and_removed_elsewhere_is_so_here(openai: Any, talks: Any, server: Server) -> None:
    begun = talks.start(model="echo", inputs="Hello")
    thread_id = reprefixed(begun.conversation_id, "thread")
    first, second = talks.get_history(conversation_id=begun.conversation_id).entries
    edit = {"kind": "message.edited", "message_id": first.id, "content": "Good morning"}
    httpx2.post(f"{server.url}/clew/v1/threads/{thread_id}/events", json=edit).raise_for_status()
    openai.threads.messages.delete(second.id, thread_id=thread_id)
    history = talks.get_history(conversation_id=begun.conversation_id).entries
    assert [entry.content for entry in history] == ["Good morning"]
    again = talks.restart(conversation_id=begun.conversation_id, from_entry_id=first.id, inputs="And?")
    entries = talks.get_history(conversation_id=again.conversation_id).entries
    # It begins where the message was said, and says what it said then.
    assert [entry.content for entry in entries] == ["Hello", "And?", "You said: And?"]


def test_what_a_fork_says_otherwise_it_says_in_its_forks(openai: Any, talks: Any, server: Server) -> None:
    begun = talks.start(model="echo", inputs="Hello")
    talks.append(conversation_id=begun.conversation_id, inputs="And?")
    entries = talks.get_history(conversation_id=begun.conversation_id).entries
    thread_id = reprefixed(begun.conversation_id, "thread")
    edits = [
        {"kind": "replace", "message_id": entries[0].id, "content": "Good morning"},
        {"kind": "drop", "message_id": entries[1].id},
        {"kind": "drop", "message_id": entries[3].id},
    ]
    url = f"{server.url}/clew/v1/threads/{thread_id}/fork"
    fork = httpx2.post(url, json={"edits": edits}).json()["thread_id"]
    openai.threads.messages.update(entries[0].id, thread_id=fork, metadata={"seen": "yes"})
    again = talks.restart(conversation_id=reprefixed(fork, "conv"), from_entry_id=entries[2].id, inputs="Well?")
    shown = talks.get_history(conversation_id=again.conversation_id).entries
    assert [entry.content for entry in shown] == ["Good morning", "And?", "Well?", "You said: Well?"]
    message = openai.threads.messages.retrieve(entries[0].id, thread_id=reprefixed(again.conversation_id, "thread"))
    assert message.metadata == {"seen": "yes"}


def test_the_past_of_one_is_the_past_of_the_other(openai: Any, talks: Any, server: Server) -> None:
    thread_id, _ = begun_elsewhere(openai)
    answer = openai.threads.messages.with_raw_response.list(thread_id)
    position = answer.headers["clew-position"]
    talks.append(conversation_id=reprefixed(thread_id, "conv"), inputs="And?")
    with Mistral(api_key="k", server_url=f"{server.url}/at/{position}/mistral") as past:
        history = past.beta.conversations.get_history(conversation_id=reprefixed(thread_id, "conv"))
        assert len(history.entries) == 2
    talks.delete(conversation_id=reprefixed(thread_id, "conv"))
    with OpenAI(base_url=f"{server.url}/at/{position}/v1", api_key="x", max_retries=0) as before:
        assert len(before.beta.threads.messages.list(thread_id).data) == 2
