"""The tables of the README's "One thread, every API", row by row: what is what elsewhere, and what cannot be said."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from clew.events.run import RunConfig
from clew.ids import reprefixed
from tests.dialects.conftest import Server
from tests.dialects.tongues import INSTRUCTIONS, ByAnthropic, ByMistral, ByOpenAI, Tongue, identity, user

PNG = "iVBORw0KGgo="
PICTURE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
PDF = {"type": "document", "title": "A", "source": {"type": "base64", "media_type": "application/pdf", "data": PNG}}
NOTE = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "a note"}}
CITED = {
    "type": "char_location",
    "cited_text": "x",
    "document_index": 0,
    "document_title": None,
    "start_char_index": 0,
    "end_char_index": 1,
    "file_id": None,
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Its provider goes by the names of Anthropic's and Mistral's, too."""
    with Server(tmp_path_factory.mktemp("store") / "clew.db", ("anthropic", "mistral")) as running:
        yield running


@pytest.fixture(scope="module")
def http() -> Iterator[httpx2.Client]:
    with httpx2.Client(timeout=30) as client:
        yield client


@pytest.fixture
def openai(server: Server, http: httpx2.Client) -> ByOpenAI:
    return ByOpenAI(server.url, http)


@pytest.fixture
def mistral(server: Server, http: httpx2.Client) -> ByMistral:
    return ByMistral(server.url, http)


@pytest.fixture
def anthropic(server: Server, http: httpx2.Client) -> ByAnthropic:
    return ByAnthropic(server.url, http)


def messages(openai: ByOpenAI, thread: str) -> list[Any]:
    return list(openai.beta.threads.messages.list(f"thread_{thread}", order="asc"))


def parts(openai: ByOpenAI, thread: str) -> list[list[Any]]:
    """The content of each message, in OpenAI's words and without what says nothing."""
    return [[part.model_dump(exclude_none=True) for part in one.content] for one in messages(openai, thread)]


def plain(text: str) -> dict[str, Any]:
    return {"type": "text", "text": {"value": text, "annotations": []}}


def test_messages_bear_one_id_but_answers_in_anthropics_api(
    openai: ByOpenAI, mistral: ByMistral, anthropic: ByAnthropic
) -> None:
    thread = openai.begin("Hello")
    said, answer = messages(openai, thread)
    assert [entry.id for entry in mistral.entries(thread)] == [said.id, answer.id]
    heard, replied = anthropic.messages(thread)
    assert heard["id"] == said.id
    assert replied["id"] not in (said.id, answer.id), "it is named after the call of the model"
    for id in (replied["id"], answer.id):
        assert anthropic.get(f"/v1/messages/{id}")["content"][0]["text"] == "You said: Hello", "but goes by both"


def test_a_run_is_one_request_of_anthropics_or_several_while_it_waits_for_results(
    openai: ByOpenAI, anthropic: ByAnthropic
) -> None:
    thread = anthropic.begin("Weather?", "weather")
    anthropic.answer(thread, ["rain"])
    anthropic.go_on(thread, "Thanks")
    runs = openai.beta.threads.runs.list(f"thread_{thread}", order="asc").data
    assert [(run.status, run.model, run.assistant_id) for run in runs] == [
        ("completed", "echo", ""),
        ("completed", "repeats", ""),
    ]
    told = anthropic.messages(thread)
    assert [(one["role"], one["content"][0]["type"]) for one in told] == [
        ("user", "text"),
        ("assistant", "tool_use"),
        ("user", "tool_result"),
        ("assistant", "text"),
        ("user", "text"),
        ("assistant", "text"),
    ]


def test_a_conversation_that_anthropics_sdk_made_is_of_the_model_that_ran_on_it_last(
    mistral: ByMistral, anthropic: ByAnthropic, server: Server
) -> None:
    thread = anthropic.sent(
        None,
        [user("Hello")],
        model="fake/echo",
        thinking={"type": "adaptive"},
        stop_sequences=["END"],
        tool_choice={"type": "tool", "name": "get_weather", "disable_parallel_tool_use": True},
    )
    kept = mistral.talks.get(conversation_id=f"conv_{thread}")
    assert (kept.model, kept.instructions) == ("fake/echo", "Be kind.")
    assert [tool.function.name for tool in kept.tools] == ["get_weather"]
    args = kept.completion_args
    assert (args.max_tokens, args.stop, args.tool_choice) == (99, ["END"], "required")
    mistral.go_on(thread, "And?")
    first, second = configs(server, thread)
    assert (first.thinking, first.parallel_tool_calls, first.truncation.strategy) == (
        {"type": "adaptive"},
        False,
        "none",
    )
    assert (second.thinking, second.parallel_tool_calls, second.truncation.strategy) == (None, True, "auto")


def configs(server: Server, thread: str) -> list[RunConfig]:
    """How each run was to be."""
    found = httpx2.get(f"{server.url}/clew/v1/threads/thread_{thread}/events").json()["events"]
    return [RunConfig.model_validate(one["data"]["config"]) for one in found if one["kind"] == "run.queued"]


def test_what_is_not_shown_of_anthropics_threads_or_as_something_else(
    openai: ByOpenAI, mistral: ByMistral, anthropic: ByAnthropic
) -> None:
    history = [
        {"role": "user", "content": [{"type": "text", "text": "Look"}, PICTURE, PDF, NOTE]},
        {"role": "assistant", "content": [{"type": "text", "text": "I see x", "citations": [CITED]}]},
        {"role": "system", "content": "Be brief."},
        user("So?"),
    ]
    thread = anthropic.sent(None, history, metadata={"user_id": "ada"})
    as_json = '{"type":"document","source":{"type":"text","media_type":"text/plain","data":"a note"}}'
    picture = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}", "detail": "auto"}}
    assert parts(openai, thread) == [
        [plain("Look"), picture, plain("[file A]"), plain(as_json)],
        [plain("I see x")],
        [plain("Be brief.")],
        [plain("So?")],
        [plain("You said: So?")],
    ]
    assert [message.role for message in messages(openai, thread)][2] == "user", "there is no such role as system"
    [run] = openai.beta.threads.runs.list(f"thread_{thread}").data
    assert run.metadata == {"user_id": "ada"}
    assert mistral.talks.get(conversation_id=f"conv_{thread}").metadata is None
    entries = mistral.entries(thread)
    assert [chunk.type for chunk in entries[0].content] == ["text", "image_url", "document_url", "text"]
    assert entries[0].content[-1].text == as_json
    assert (entries[1].type, entries[1].content) == ("message.output", "I see x")
    assert (entries[2].type, entries[2].role) == ("message.input", "user")
    assert anthropic.messages(thread)[1]["content"][0]["citations"] == [CITED]


def test_a_result_says_elsewhere_what_it_says_as_a_text(
    openai: ByOpenAI, mistral: ByMistral, anthropic: ByAnthropic
) -> None:
    thread = anthropic.begin("Weather?", "weather")
    [(id, _, _, _)] = anthropic.calls(thread)
    shown = [{"type": "text", "text": "see"}, PICTURE]
    result = {"type": "tool_result", "tool_use_id": id, "content": shown, "is_error": True}
    anthropic.sent(thread, [{"role": "user", "content": [result]}], model="echo")
    for tongue in (openai, mistral):
        assert [output for _, _, _, output in tongue.calls(thread)] == ["see\n[image]"]
    assert anthropic.messages(thread)[2]["content"] == [result]


def test_calls_that_a_client_brings_along(openai: ByOpenAI, mistral: ByMistral, anthropic: ByAnthropic) -> None:
    call = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": 1}}
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "done"}
    history = [
        user("Do it"),
        {"role": "assistant", "content": [{**call, "caller": {"type": "direct"}}]},
        {"role": "user", "content": [result, {"type": "text", "text": "And?"}]},
    ]
    thread = anthropic.sent(None, history, model="echo")
    assert openai.calls(thread) == [], "they are in no run's steps"
    assert mistral.calls(thread) == [("toolu_1", "f", {"a": 1}, "done")]
    assert anthropic.messages(thread)[1]["content"] == [call], "who called is forgotten"
    begun = mistral.talks.start(
        model="echo",
        inputs=[
            {"type": "function.call", "tool_call_id": "c1", "name": "f", "arguments": "[1]"},
            {"type": "function.result", "tool_call_id": "c1", "result": "done"},
            user("And?"),
        ],
    )
    assert anthropic.calls(identity(begun.conversation_id, "conv")) == [("c1", "f", {"INVALID_JSON": "[1]"}, "done")]


def test_thinking_is_shown_where_it_is_of_that_apis_own_models(
    openai: ByOpenAI, mistral: ByMistral, anthropic: ByAnthropic
) -> None:
    of_anthropic = anthropic.begin("Hello", "signs")
    kinds = [block["type"] for block in anthropic.messages(of_anthropic)[1]["content"]]
    assert kinds == ["thinking", "text"]
    assert mistral.read(of_anthropic)[1] == openai.read(of_anthropic)[1] == ("assistant", "So be it.")
    of_mistral = mistral.begin("Hello", "mistral/thinks")
    assert [chunk.type for chunk in mistral.entries(of_mistral)[1].content] == ["thinking", "text"]
    assert anthropic.read(of_mistral)[1] == openai.read(of_mistral)[1] == ("assistant", "I think so.")
    assert [block["type"] for block in anthropic.messages(of_mistral)[1]["content"]] == ["text"]


def test_what_anthropics_sdk_is_not_told_of_others(
    openai: ByOpenAI, mistral: ByMistral, anthropic: ByAnthropic
) -> None:
    link = {"type": "image_url", "image_url": {"url": "https://x.example/a.png", "detail": "low"}}
    said = {"role": "user", "content": [{"type": "text", "text": "Look"}, link], "metadata": {"seen": "yes"}}
    made = openai.beta.threads.create(messages=[said], metadata={"user": "ada"})
    thread = identity(made.id, "thread")
    assert anthropic.get(f"/v1/threads/thread_{thread}")["metadata"] == {"user": "ada"}
    ours = anthropic.get("/v1/threads", **{"metadata[user]": "ada"})["data"]
    assert thread in [identity(one["id"], "thread") for one in ours]
    [told] = anthropic.messages(thread)
    assert set(told) == {"id", "type", "role", "content", "created_at"}, "no metadata"
    assert told["content"] == [
        {"type": "text", "text": "Look"},
        {"type": "image", "source": {"type": "url", "url": "https://x.example/a.png"}},
    ]
    begun = mistral.talks.start(
        model="echo",
        inputs=[{"role": "user", "content": [{"type": "document_url", "document_url": "https://x.example/d.pdf"}]}],
        metadata={"n": 3},
        name="A name",
    )
    thread = identity(begun.conversation_id, "conv")
    kept = anthropic.get(f"/v1/threads/thread_{thread}")
    assert kept["metadata"] == {"n": "3"}
    assert "A name" not in str(kept)
    as_json = '{"type":"document_url","document_url":"https://x.example/d.pdf"}'
    assert anthropic.messages(thread)[0]["content"] == [{"type": "text", "text": as_json}]


def test_refusals_and_answers_that_broke_off(openai: ByOpenAI, mistral: ByMistral, anthropic: ByAnthropic) -> None:
    refused = openai.begin("Hello", "refuses")
    assert parts(openai, refused)[1] == [{"type": "refusal", "refusal": "I would rather not."}]
    assert [chunk.text for chunk in mistral.entries(refused)[1].content] == ["I would rather not."]
    told = anthropic.messages(refused)[1]
    assert told["content"][0]["text"] == "I would rather not."
    assert anthropic.get(f"/v1/messages/{told['id']}")["stop_reason"] == "refusal"
    cut = openai.begin("Hello", "long")
    assert messages(openai, cut)[1].status == "incomplete"
    assert anthropic.get(f"/v1/messages/{anthropic.messages(cut)[1]['id']}")["stop_reason"] == "max_tokens"


def test_what_the_server_executes(openai: ByOpenAI, mistral: ByMistral, anthropic: ByAnthropic) -> None:
    look_up = {"name": "look_up", "input_schema": {"type": "object"}}
    thread = anthropic.sent(None, [user("What is a clew?")], model="looks-up", tools=[look_up])
    used, came, said = anthropic.messages(thread)[1]["content"]
    assert (used["type"], came["type"], said["type"]) == ("mcp_tool_use", "mcp_tool_result", "text")
    [execution] = [entry for entry in mistral.entries(thread) if entry.type == "tool.execution"]
    assert (execution.name, execution.info["output"]) == ("look_up", "clew means something")
    [(id, name, _, output)] = openai.calls(thread)
    assert (id, name, output) == (used["id"], "look_up", "clew means something")


def test_a_call_to_be_allowed_is_a_call_to_answer(mistral: ByMistral, anthropic: ByAnthropic) -> None:
    pay = {"type": "function", "function": {"name": "pay", "parameters": {"type": "object"}}}
    begun = mistral.talks.start(model="pays", inputs="Pay!", tools=[pay])
    thread = identity(begun.conversation_id, "conv")
    assert mistral.entries(thread)[1].confirmation_status == "pending"
    [(_, name, arguments, output)] = anthropic.calls(thread)
    assert (name, arguments, output) == ("pay", {"amount": 3}, None)
    assert anthropic.answer(thread, ["paid in cash"]) == "It is paid in cash."
    assert [entry.type for entry in mistral.entries(thread)][2] == "function.result"


def test_a_handoff_is_a_call_that_the_server_made(mistral: ByMistral, anthropic: ByAnthropic) -> None:
    bea = mistral.agents.create(model="repeats", name="Bea")
    ada = mistral.agents.create(model="hands-over", name="Ada", handoffs=[bea.id])
    begun = mistral.talks.start(agent_id=ada.id, inputs="Hello")
    thread = identity(begun.conversation_id, "conv")
    assert "agent.handoff" in [entry.type for entry in mistral.entries(thread)]
    kinds = [[block["type"] for block in one["content"]] for one in anthropic.messages(thread)]
    assert kinds == [["text"], ["text", "mcp_tool_use", "mcp_tool_result"], ["text"]]
    assert anthropic.go_on(thread, "And?") == "You said: And?"


def test_what_is_not_stored_is_nowhere(openai: ByOpenAI, mistral: ByMistral, anthropic: ByAnthropic) -> None:
    aside = mistral.talks.start(model="echo", inputs="A secret", store=False)
    thread = identity(aside.conversation_id, "conv")
    for read in (openai.read, mistral.read, anthropic.read):
        with pytest.raises(Exception, match="404"):
            read(thread)
    with pytest.raises(Exception, match="404"):
        anthropic.sent(thread, [user("And?")])
    history = [user("A secret"), {"role": "assistant", "content": "You said: A secret"}, user("And?")]
    assert anthropic.sent(None, history, system="") != thread, "nor is it known again"


def test_strategies_of_truncation(openai: ByOpenAI, anthropic: ByAnthropic, server: Server) -> None:
    assistant = openai.beta.assistants.create(model="echo")
    run = openai.beta.threads.create_and_run_poll(
        assistant_id=assistant.id,
        thread={"messages": [{"role": "user", "content": "Hello"}]},
        truncation_strategy={"type": "last_messages", "last_messages": 1},
    )
    thread = identity(run.thread_id, "thread")
    anthropic.go_on(thread, "And?")
    assert [one.truncation.strategy for one in configs(server, thread)] == ["last_messages", "none"]


def test_ids_have_each_apis_prefix_over_the_same_characters(
    openai: ByOpenAI, mistral: ByMistral, anthropic: ByAnthropic
) -> None:
    made = openai.beta.assistants.create(model="echo", name="Ada")
    begun = mistral.talks.start(agent_id=reprefixed(made.id, "ag"), inputs="Hello")
    thread = reprefixed(begun.conversation_id, "thread")
    assert openai.beta.threads.retrieve(thread).id == thread
    assert anthropic.get(f"/v1/threads/{thread}")["id"] == thread
    assert openai.beta.threads.runs.list(thread).data[0].assistant_id == made.id


def test_a_summary_is_for_models_and_shown_nowhere(
    openai: ByOpenAI, mistral: ByMistral, anthropic: ByAnthropic
) -> None:
    long = [{"role": "user", "content": f"{number}: " + "and so on " * 30} for number in range(8)]
    made = openai.beta.threads.create(messages=long)
    thread = identity(made.id, "thread")
    assistant = openai.beta.assistants.create(model="signs", instructions=INSTRUCTIONS)
    run = openai.beta.threads.runs.create_and_poll(
        thread_id=made.id, assistant_id=assistant.id, extra_body={"clew_truncation": "summarise:500"}
    )
    assert run.status == "completed"
    events = httpx2.get(f"{openai.url}/clew/v1/threads/{made.id}/events").json()["events"]
    assert "thread.compacted" in [event["kind"] for event in events]
    assert openai.read(thread) == mistral.read(thread) == anthropic.read(thread)
    assert len(anthropic.messages(thread)) == len(long) + 1
    told = [{"role": one["role"], "content": one["content"]} for one in anthropic.messages(thread)]
    assert anthropic.sent(None, [*told, user("And?")]) == thread, "who sends again what was read is known again"


@pytest.mark.parametrize("made_by", ["openai", "mistral", "anthropic"])
def test_an_answer_is_streamed_again_in_the_grammar_of_each(
    made_by: str, openai: ByOpenAI, mistral: ByMistral, anthropic: ByAnthropic, server: Server, http: httpx2.Client
) -> None:
    tongues: dict[str, Tongue] = {one.name: one for one in (openai, mistral, anthropic)}
    thread = tongues[made_by].begin("Hello")
    [run] = openai.beta.threads.runs.list(f"thread_{thread}").data
    answer = anthropic.messages(thread)[1]["id"]
    kinds = []
    for path in (
        f"/v1/threads/thread_{thread}/runs/{run.id}/events",
        f"/mistral/v1/conversations/conv_{thread}/events",
        f"/anthropic/v1/messages/{answer}/events",
    ):
        told = http.get(server.url + path)
        assert "You said: Hello" in told.text
        kinds.append([line.removeprefix("event: ") for line in told.text.splitlines() if line.startswith("event: ")])
    assert [(found[0], found[-1]) for found in kinds] == [
        ("thread.run.created", "done"),
        ("conversation.response.started", "conversation.response.done"),
        ("message_start", "message_stop"),
    ]
