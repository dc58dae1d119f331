"""One thread, every API: what one official SDK made another lists, reads, goes on with, forks and looks back at.

For Anthropic's and every other, either way round; OpenAI and Mistral are in `mistral/test_across.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations
from typing import Any

import httpx2
import pytest
from anthropic import BadRequestError

from tests.dialects.conftest import Server
from tests.dialects.tongues import FUNCTION, INSTRUCTIONS, TONGUES, ByAnthropic, Tongue, identity

PAIRS = [
    pytest.param(one, other, id=f"{one}-then-{other}")
    for one, other in permutations(TONGUES, 2)
    if ByAnthropic.name in (one, other)
]
HELLO = [("user", "Hello"), ("assistant", "You said: Hello")]


@pytest.fixture(scope="module")
def http() -> Iterator[httpx2.Client]:
    """One for all SDKs: reading the system's certificates for each would take longer than the tests do."""
    with httpx2.Client(timeout=30) as client:
        yield client


@pytest.fixture
def speak(server: Server, http: httpx2.Client) -> Any:
    """Gives the SDK of a name, for the server as it is or as it was at a point."""

    def of(name: str, at: str | None = None) -> Tongue:
        return TONGUES[name](server.url if at is None else f"{server.url}/at/{at}", http)

    return of


def now(server: Server, http: httpx2.Client) -> str:
    """The position of the newest event."""
    return http.get(f"{server.url}/v1/threads").headers["clew-position"]


def shown(server: Server) -> list[str]:
    """What the model was shown last."""
    items: Any = server.provider.sent[-1]["items"]
    return [item.get("text") or item.get("output") or item["name"] for item in items]


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_a_thread_is_listed_read_and_gone_on_with(first: str, second: str, speak: Any, server: Server) -> None:
    one, other = speak(first), speak(second)
    thread = one.begin("Hello")
    assert thread in other.listed()
    assert other.read(thread) == one.read(thread) == HELLO
    assert other.go_on(thread, "And?") == "You said: And?"
    assert shown(server) == ["Hello", "You said: Hello", "And?"]
    assert server.provider.sent[-1]["instructions"] == INSTRUCTIONS
    assert one.go_on(thread, "So?") == "You said: So?"
    assert shown(server)[-2:] == ["You said: And?", "So?"]
    whole = [*HELLO, ("user", "And?"), ("assistant", "You said: And?"), ("user", "So?"), ("assistant", "You said: So?")]
    assert one.read(thread) == other.read(thread) == whole


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_a_thread_is_forked_and_knows_nothing_of_it(first: str, second: str, speak: Any, server: Server) -> None:
    one, other = speak(first), speak(second)
    thread = one.begin("Hello")
    one.go_on(thread, "And?")
    before = one.read(thread)
    fork = other.fork(thread, 2, "Otherwise")
    assert fork != thread
    assert shown(server) == ["Hello", "You said: Hello", "Otherwise"]
    forked = [*HELLO, ("user", "Otherwise"), ("assistant", "You said: Otherwise")]
    for tongue in (one, other):
        assert tongue.read(fork) == forked
        assert tongue.read(thread) == before
        assert fork in tongue.listed()
    assert one.go_on(fork, "Further") == "You said: Further", "the first may go on with it, too"


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_the_past_of_one_is_the_past_of_the_other(
    first: str, second: str, speak: Any, server: Server, http: httpx2.Client
) -> None:
    one, other = speak(first), speak(second)
    before = now(server, http)
    thread = one.begin("Hello")
    then = now(server, http)
    other.go_on(thread, "And?")
    later = now(server, http)
    speak("openai").beta.threads.delete(f"thread_{thread}")
    for name in (first, second):
        with pytest.raises(Exception, match=r"404|No thread|No conversation|not found"):
            speak(name).read(thread)
        assert thread not in speak(name).listed()
        assert thread not in speak(name, before).listed()
        assert speak(name, then).read(thread) == HELLO
        assert thread in speak(name, then).listed()
        assert [text for _, text in speak(name, later).read(thread)][2:] == ["And?", "You said: And?"]
        with pytest.raises(Exception, match="past"):
            speak(name, later).go_on(thread, "Now?")


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_calls_that_wait_are_answered_by_another(first: str, second: str, speak: Any, server: Server) -> None:
    one, other = speak(first), speak(second)
    thread = one.begin("Weather?", "two-tools")
    asked = one.calls(thread)
    assert [(name, arguments, output) for _, name, arguments, output in asked] == [
        ("get_weather", {"city": "Paris"}, None),
        ("get_weather", {"city": "Rome"}, None),
    ]
    assert other.calls(thread) == asked
    assert other.answer(thread, ["rain", "sun"]) == "It is rain and sun."
    assert shown(server) == ["Weather?", "get_weather", "get_weather", "rain", "sun"]
    answered = [(*call[:3], output) for call, output in zip(asked, ("rain", "sun"), strict=True)]
    assert one.calls(thread) == other.calls(thread) == answered
    whole = [("user", "Weather?"), ("assistant", "It is rain and sun.")]
    assert one.read(thread) == other.read(thread) == whole
    one.go_on(thread, "Thanks")
    assert shown(server)[-2:] == ["It is rain and sun.", "Thanks"]


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_what_was_edited_and_removed_elsewhere_is_so_here(
    first: str, second: str, speak: Any, server: Server, http: httpx2.Client
) -> None:
    one, other = speak(first), speak(second)
    thread = one.begin("Hello")
    one.go_on(thread, "And?")
    beta = speak("openai").beta
    ids = [message.id for message in beta.threads.messages.list(f"thread_{thread}", order="asc")]
    edit = {"kind": "message.edited", "message_id": ids[0], "content": "Good morning"}
    http.post(f"{server.url}/clew/v1/threads/thread_{thread}/events", json=edit).raise_for_status()
    beta.threads.messages.delete(ids[2], thread_id=f"thread_{thread}")
    left = [("user", "Good morning"), ("assistant", "You said: Hello"), ("assistant", "You said: And?")]
    assert one.read(thread) == left
    assert other.read(thread) == left
    other.go_on(thread, "So?")
    assert shown(server) == ["Good morning", "You said: Hello", "You said: And?", "So?"]


def test_a_run_that_another_answers_is_still_the_run_that_was_begun(speak: Any) -> None:
    openai, anthropic = speak("openai"), speak("anthropic")
    assistant = openai.beta.assistants.create(model="weather", tools=[FUNCTION])
    run = openai.beta.threads.create_and_run_poll(
        assistant_id=assistant.id,
        thread={"messages": [{"role": "user", "content": "Weather?"}]},
        max_completion_tokens=1_000,
        metadata={"of": "openai"},
    )
    assert anthropic.answer(identity(run.thread_id, "thread"), ["rain"]) == "It is rain."
    ended = openai.beta.threads.runs.retrieve(run.id, thread_id=run.thread_id)
    kept = (ended.assistant_id, ended.max_completion_tokens, ended.metadata)
    assert kept == (assistant.id, 1_000, {"of": "openai"})
    assert (ended.model, ended.status) == ("echo", "completed"), "which model answers is for each request to say"
    last = openai.beta.threads.messages.list(run.thread_id).data[0]
    assert last.assistant_id == assistant.id


@pytest.mark.parametrize("model", ["echo", "weather"])
def test_an_agent_does_not_hand_over_where_nobody_knows_of_agents(model: str, speak: Any, server: Server) -> None:
    mistral, anthropic = speak("mistral"), speak("anthropic")
    other = mistral.agents.create(model="echo", name="Bea")
    agent = mistral.agents.create(model=model, name="Ada", tools=[FUNCTION], handoffs=[other.id])
    begun = mistral.talks.start(agent_id=agent.id, inputs="Weather?")
    assert server.provider.sent[-1]["tools"] == ["get_weather", "hand_over_to_bea"]
    thread = identity(begun.conversation_id, "conv")
    if model == "weather":
        assert anthropic.answer(thread, ["rain"]) == "It is rain."
    else:
        assert anthropic.go_on(thread, "And?") == "You said: And?"
    assert server.provider.sent[-1]["tools"] == ["get_weather"]
    mistral.go_on(thread, "So?")
    assert server.provider.sent[-1]["tools"] == ["get_weather", "hand_over_to_bea"], "it is the agent's still"


@pytest.mark.parametrize("first", TONGUES)
def test_a_call_is_answered_otherwise_in_a_fork(first: str, speak: Any, server: Server) -> None:
    thread = speak(first).begin("Weather?", "weather")
    speak(first).answer(thread, ["rain"])
    mistral, anthropic = speak("mistral"), speak("anthropic")
    [call] = [entry for entry in mistral.entries(thread) if entry.type == "function.call"]
    otherwise = {"type": "function.result", "tool_call_id": call.tool_call_id, "result": "snow"}
    again = mistral.talks.restart(conversation_id=f"conv_{thread}", from_entry_id=call.id, inputs=[otherwise])
    assert again.outputs[-1].content == "It is snow."
    told = [{"role": one["role"], "content": one["content"]} for one in anthropic.messages(thread)][:3]
    told[2]["content"][0]["content"] = "hail"
    fork = anthropic.sent(thread, told, model="echo")
    for id, output in ((identity(again.conversation_id, "conv"), "snow"), (fork, "hail"), (thread, "rain")):
        for name in TONGUES:
            # What a run did before a fork is in no run of the fork's own.
            if name != "openai" or id == thread:
                assert [one[3] for one in speak(name).calls(id)] == [output]
            assert speak(name).read(id) == [("user", "Weather?"), ("assistant", f"It is {output}.")]


@pytest.mark.parametrize("first", ["openai", "mistral"])
def test_who_went_on_meanwhile_is_told_to_whoever_goes_on_from_before(first: str, speak: Any) -> None:
    one, anthropic = speak(first), speak("anthropic")
    thread = one.begin("Hello")
    before = anthropic.get(f"/v1/threads/thread_{thread}")["last_message_id"]
    one.go_on(thread, "And?")
    newest = anthropic.get(f"/v1/threads/thread_{thread}")["last_message_id"]
    with pytest.raises(BadRequestError, match=newest) as refused:
        anthropic.continued(before, [{"role": "user", "content": "So?"}])
    assert refused.value.body["error"]["details"]["error_code"] == "thread_already_continued"  # type: ignore[index]
    assert anthropic.go_on(thread, "So?") == "You said: So?"


@pytest.mark.parametrize("first", ["openai", "mistral"])
def test_a_call_whose_run_was_cancelled_elsewhere_is_answered_all_the_same(
    first: str, speak: Any, server: Server
) -> None:
    one, openai, anthropic = speak(first), speak("openai"), speak("anthropic")
    thread = one.begin("Weather?", "weather")
    run = openai.waits(thread)
    openai.beta.threads.runs.cancel(run.id, thread_id=run.thread_id)
    assert openai.beta.threads.runs.poll(run_id=run.id, thread_id=run.thread_id).status == "cancelled"
    [(id, _, _, told)] = anthropic.calls(thread)
    assert told == "The run was cancelled before this call was answered."
    result = {"type": "tool_result", "tool_use_id": id, "content": "rain"}
    assert anthropic.sent(thread, [{"role": "user", "content": [result]}], model="echo") == thread
    assert shown(server) == ["Weather?", "get_weather", "rain"]
    assert one.read(thread)[-1] == ("assistant", "It is rain.")
    for tongue in (speak("mistral"), anthropic):
        assert [call[3] for call in tongue.calls(thread)] == ["rain"]
