"""Whoever sends his whole history again is known by it, however he writes it; whoever changes it gets a fork.

Conversations are made up, held through the API without a word of threads, and written otherwise before each turn in
every way that means nothing. Only what is new is appended; the model is shown what a client with one long list has.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any

import httpx2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clew.server.app import make_app
from clew.settings import Settings
from clew.wiring import make_engine
from clew_projections import recognition
from tests.dialects.anthropic.conftest import TOOL, ask, assistant, said, user
from tests.dialects.conftest import Server
from tests.dialects.fakes import Fake

pytestmark = pytest.mark.slow

MODELS = ("echo", "repeats", "signs", "weather", "two-tools", "talks-and-calls", "signs-and-calls", "long", "refuses")


@dataclass
class Talk:
    """A client that keeps its history in a list, and writes it as it likes."""

    http: httpx2.AsyncClient
    random: Random
    system: str
    history: list[Any] = field(default_factory=list)
    threads: list[str] = field(default_factory=list)
    matched: list[int] = field(default_factory=list)

    async def turn(self) -> None:
        """Say something, or answer what was called, and hear the answer."""
        calls = [block["id"] for block in self._last() if block["type"] == "tool_use"]
        content: list[Any] = [
            {"type": "tool_result", "tool_use_id": id, "content": f"{self.random.random()}"} for id in calls
        ]
        if not calls or self.random.random() < 0.3:
            content += [text(f"{self.random.random()}") for _ in range(self.random.randrange(1, 3))]
        self.history.append(user(content))
        response = await self.http.post("/v1/messages", json=self.request())
        assert response.status_code == 200, response.text
        self.history.append(assistant(response.json()["content"]))
        self.threads.append(response.headers["x-thread-id"])

    def _last(self) -> list[Any]:
        content: list[Any] = self.history[-1]["content"] if self.history else []
        return content

    def request(self) -> dict[str, Any]:
        return {
            "model": self.random.choice(MODELS),
            "max_tokens": 100,
            "system": self.system,
            "tools": [TOOL],
            "messages": [one for message in self.history for one in self.written(message)],
        }

    def written(self, message: Any) -> Iterator[Any]:
        """The same message, written otherwise."""
        blocks = [self.block(block) for block in message["content"]]
        dropped = ("thinking", "redacted_thinking")
        if self.random.random() < 0.3:
            blocks = [block for block in blocks if block["type"] not in dropped]
        if message["role"] == "user" and len(blocks) > 1 and self.random.random() < 0.3:
            place = self.random.randrange(1, len(blocks))
            yield user(blocks[:place])
            yield user(blocks[place:])
        elif [block["type"] for block in blocks] == ["text"] and self.random.random() < 0.5:
            yield {"role": message["role"], "content": blocks[0]["text"]}
        else:
            yield {"role": message["role"], "content": blocks}

    def block(self, block: Any) -> Any:
        made = dict(reversed(block.items())) if self.random.random() < 0.5 else dict(block)
        if made["type"] in ("text", "tool_use", "tool_result") and self.random.random() < 0.2:
            made["cache_control"] = {"type": "ephemeral"}
        if made["type"] == "text" and self.random.random() < 0.3:
            made["citations"] = None
        elif made["type"] == "text":
            made.pop("citations", None)
        if made["type"] == "tool_result" and self.random.random() < 0.5:
            made["content"] = [text(made["content"])]
        if made["type"] == "tool_use" and self.random.random() < 0.3:
            made["caller"] = {"type": "direct"}
        return made


def text(value: str) -> Any:
    return {"type": "text", "text": value}


@asynccontextmanager
async def served() -> AsyncIterator[tuple[httpx2.AsyncClient, Fake]]:
    provider = Fake()
    known: Any = {"fake": provider, "anthropic": provider}
    engine = make_engine(Settings(store=":memory:", default_provider="fake"), providers=known)
    await engine.start()
    transport = httpx2.ASGITransport(app=make_app(engine))
    async with httpx2.AsyncClient(transport=transport, base_url="http://clew/anthropic") as http:
        yield http, provider
    await engine.stop()


async def items(http: httpx2.AsyncClient, thread_id: str) -> list[Any]:
    """What is in a thread as it is read."""
    found: list[Any] = []
    page = None
    while True:
        query = {"limit": "100", **({"page": page} if page else {})}
        listed = (await http.get(f"/v1/threads/{thread_id}/messages", params=query)).json()
        found += [block for message in listed["data"] for block in message["content"]]
        page = listed["next_page"]
        if page is None:
            return found


@settings(max_examples=20)
@given(st.randoms(use_true_random=False), st.integers(1, 6))
def test_a_history_is_known_again_however_it_is_written(random: Random, turns: int) -> None:
    async def play() -> None:
        async with served() as (http, _):
            talk = Talk(http, random, system=random.choice(("", "Be kind.")))
            for _ in range(turns):
                await talk.turn()
            assert len(set(talk.threads)) == 1, "all of it is one thread"
            told = [bare(block) for message in talk.history for block in message["content"]]
            assert [bare(block) for block in await items(http, talk.threads[0])] == told, "nothing is there twice"

    asyncio.run(play())


def bare(block: Any) -> Any:
    shown = {key: value for key, value in block.items() if value is not None and key not in ("cache_control", "caller")}
    if block["type"] == "tool_result":
        content = block["content"]
        shown["content"] = [text(content)] if isinstance(content, str) else content
        shown["is_error"] = bool(block.get("is_error"))
    return shown


@settings(max_examples=20)
@given(st.randoms(use_true_random=False), st.integers(2, 5))
def test_an_edited_history_is_a_fork_where_it_was_edited(random: Random, turns: int) -> None:
    async def play() -> None:
        async with served() as (http, _):
            talk = Talk(http, random, system="")
            for _ in range(turns):
                await talk.turn()
            before = await items(http, talk.threads[0])
            place = edited(talk)
            await talk.turn()
            assert talk.threads[-1] != talk.threads[0]
            fork = (await http.get(f"/v1/threads/{talk.threads[-1]}")).json()
            answered = any(message["role"] == "assistant" for message in talk.history[:place])
            if answered:
                assert fork["forked_from"]["thread_id"] == talk.threads[0], "what was known is not written again"
            else:
                assert fork["forked_from"] is None, "nothing of ours is left in what is known"
            assert await items(http, talk.threads[0]) == before, "the thread itself does not know"
            kept = [one for one in await items(http, talk.threads[-1]) if "before this call" not in str(one)]
            told = [block for message in talk.history for block in message["content"]]
            assert without_thinking(kept) == without_thinking(told), "what was not known is brought along"

    asyncio.run(play())


def without_thinking(blocks: list[Any]) -> list[Any]:
    """The client may have dropped it where it was to be brought along."""
    return [bare(block) for block in blocks if "thinking" not in block["type"]]


def edited(talk: Talk) -> int:
    """Change a text somewhere in the history; gives the place of its message."""
    places = [
        (number, block)
        for number, message in enumerate(talk.history)
        for block in message["content"]
        if block["type"] in ("text", "tool_result")
    ]
    number, block = talk.random.choice(places)
    block["text" if block["type"] == "text" else "content"] = "Something else"
    return number


def test_a_history_is_known_as_far_as_it_goes_also_where_it_parts_long_ago(http: httpx2.Client, server: Server) -> None:
    history: list[Any] = []
    for turn in range(12):
        history.append(user(f"Long ago {turn}"))
        answered = ask(http, history)
        history.append(assistant(answered.json()["content"]))
    history[4] = user("Otherwise")
    edited = ask(http, [*history, user("And on")])
    parent = http.get(f"/v1/threads/{edited.headers['x-thread-id']}").json()["forked_from"]
    assert parent["thread_id"] == answered.headers["x-thread-id"]
    shown: Any = server.provider.sent[-1]["items"]
    assert len(shown) == 25
    assert shown[4]["text"] == "Otherwise"


def test_two_who_say_the_same_stay_apart(http: httpx2.Client) -> None:
    same = [user("Hello, who are you?")]
    ada, bob = ask(http, same), ask(http, same)
    assert ada.headers["x-thread-id"] != bob.headers["x-thread-id"]
    assert said(ada.json()) == said(bob.json()), "not even what they were answered tells them apart"
    history = [*same, assistant(ada.json()["content"])]
    asks_ada = ask(http, [*history, user("I am Ada.")])
    asks_bob = ask(http, [*history, user("I am Bob.")])
    told = {}
    for name, response in (("Ada", asks_ada), ("Bob", asks_bob)):
        listed = http.get(f"/v1/threads/{response.headers['x-thread-id']}/messages").json()["data"]
        told[name] = str(listed)
    assert "Bob" not in told["Ada"]
    assert "Ada" not in told["Bob"]
    again = [*history, user("I am Ada."), assistant(asks_ada.json()["content"]), user("Still me.")]
    assert ask(http, again).headers["x-thread-id"] == asks_ada.headers["x-thread-id"], "from here on she is known"


def test_a_user_that_is_named_is_told_apart_at_once(http: httpx2.Client) -> None:
    first = ask(http, [user("Good evening")], metadata={"user_id": "ada"})
    history = [user("Good evening"), assistant(first.json()["content"]), user("More")]
    other = ask(http, history, metadata={"user_id": "bob"})
    same = ask(http, history, metadata={"user_id": "ada"})
    assert other.headers["x-thread-id"] != first.headers["x-thread-id"]
    assert same.headers["x-thread-id"] == first.headers["x-thread-id"]


def test_other_instructions_are_another_conversation(http: httpx2.Client, server: Server) -> None:
    first = ask(http, [user("Good night")], system="Be kind.")
    history = [user("Good night"), assistant(first.json()["content"]), user("More")]
    other = ask(http, history, system=[{"type": "text", "text": "Be cruel."}])
    blocks = [{"type": "text", "text": "Be kind.", "cache_control": {"type": "ephemeral"}}]
    same = ask(http, history, system=blocks, model="repeats")
    assert other.headers["x-thread-id"] != first.headers["x-thread-id"]
    assert same.headers["x-thread-id"] == first.headers["x-thread-id"], "another model changes nothing"


def test_a_history_from_elsewhere_arrives_whole(http: httpx2.Client, server: Server) -> None:
    used = {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {"city": "Paris"}}
    thought = {"type": "thinking", "thinking": "", "signature": "c2ln"}
    history = [
        {"role": "system", "content": "Talk like a pirate."},
        user("Weather?"),
        assistant([thought, text("Let me look."), used]),
        user([{"type": "tool_result", "tool_use_id": "toolu_1", "content": "rain", "is_error": True}, text("Well?")]),
    ]
    answered = ask(http, history, tools=[TOOL])
    sent: Any = server.provider.sent[-1]["items"]
    kinds = ["message", "message", "other", "message", "call", "result", "message"]
    assert [item["kind"] for item in sent] == kinds
    listed = http.get(f"/v1/threads/{answered.headers['x-thread-id']}/messages").json()["data"]
    assert [message["role"] for message in listed] == [
        "system",
        *("user", "assistant") * 1,
        "user",
        "user",
        "assistant",
    ]
    assert [bare(block) for block in listed[2]["content"]] == [thought, text("Let me look."), used]
    further = [*history, assistant(answered.json()["content"]), user("Go on")]
    assert ask(http, further, tools=[TOOL]).headers["x-thread-id"] == answered.headers["x-thread-id"]


def test_a_call_from_elsewhere_may_stand_before_what_is_said_with_it(http: httpx2.Client, server: Server) -> None:
    used = {"type": "tool_use", "id": "toolu_2", "name": "get_weather", "input": {}}
    history = [
        user("Weather, and why?"),
        assistant([used, text("I am looking.")]),
        user([{"type": "tool_result", "tool_use_id": "toolu_2", "content": "rain"}]),
    ]
    answered = ask(http, history, tools=[TOOL])
    assert said(answered.json()) == "It is rain."
    sent: Any = server.provider.sent[-1]["items"]
    assert [item["kind"] for item in sent] == ["message", "call", "message", "result"]
    further = [*history, assistant(answered.json()["content"]), user("Go on")]
    assert ask(http, further, tools=[TOOL]).headers["x-thread-id"] == answered.headers["x-thread-id"]


def test_a_call_from_elsewhere_that_nobody_answered_is_passed_over(http: httpx2.Client, server: Server) -> None:
    used = {"type": "tool_use", "id": "toolu_9", "name": "get_weather", "input": {}}
    answered = ask(http, [user("Weather?"), assistant([used]), user("Never mind")], model="repeats")
    assert said(answered.json()) == "You said: Never mind"
    results: Any = [item for item in server.provider.sent[-1]["items"] if item["kind"] == "result"]  # type: ignore[attr-defined]
    assert results[0]["is_error"]
    missing = ask(http, [user([{"type": "tool_result", "tool_use_id": "toolu_0", "content": "?"}])])
    assert "unexpected `tool_use_id` found" in missing.text


def test_how_it_was_recognised_is_in_the_log(http: httpx2.Client, server: Server) -> None:
    first = ask(http, [user("Think of me")], model="signs")
    thread_id = first.headers["x-thread-id"]
    history = [user("Think of me"), assistant(first.json()["content"]), user("More")]
    second = ask(http, history)
    history += [assistant(second.json()["content"]), user("Even more")]
    history[1] = assistant([block for block in history[1]["content"] if block["type"] == "text"])
    third = ask(http, history)
    ask(http, [user("And")], {"x-thread-id": thread_id})
    ask(http, [user("So on")], thread={"type": "continue", "previous_message_id": third.json()["id"]})
    events = httpx2.get(f"{server.url}/clew/v1/threads/{thread_id}/events?limit=1000").json()["events"]
    by = [event["data"].get("matched_by") for event in events if event["kind"] == "run.queued"]
    assert by == [None, "prefix", "prefix_without_thinking", "header"]


def test_what_was_edited_in_place_is_known_by_its_name_only(http: httpx2.Client, server: Server) -> None:
    first = ask(http, [user("Say it")])
    thread_id = first.headers["x-thread-id"]
    said_at_first = http.get(f"/v1/threads/{thread_id}/messages").json()["data"][0]["id"]
    body = {"kind": "message.edited", "message_id": said_at_first, "content": "Say it otherwise"}
    assert httpx2.post(f"{server.url}/clew/v1/threads/{thread_id}/events", json=body).status_code == 200
    history = [user("Say it"), assistant(first.json()["content"]), user("More")]
    as_it_was = ask(http, history)
    fork = http.get(f"/v1/threads/{as_it_was.headers['x-thread-id']}").json()
    assert fork["forked_from"]["thread_id"] == thread_id, "a fork of what the client knows"
    named = ask(http, [user("More")], {"x-thread-id": thread_id})
    assert named.headers["x-thread-id"] == thread_id
    shown: Any = server.provider.sent[-1]["items"]
    assert shown[0]["text"] == "Say it otherwise"


@pytest.mark.parametrize("number", [1.0, -3.0, 12345678901, 0.5])
def test_numbers_are_as_every_language_writes_them(number: float) -> None:
    as_float = recognition.called("a", "b", {"n": [number]})
    as_whole = recognition.called("a", "b", {"n": [int(number) if float(number).is_integer() else number]})
    assert as_float == as_whole


def test_a_mark_for_the_cache_is_none_where_it_is_an_argument() -> None:
    with_mark = recognition.called("a", "b", {"cache_control": {"type": "ephemeral"}})
    assert with_mark != recognition.called("a", "b", {})
    marked: Any = {"type": "search_result", "content": [{**text("x"), "cache_control": {"type": "ephemeral"}}]}
    plain: Any = {"type": "search_result", "content": "x"}
    assert recognition.said("user", marked) == recognition.said("user", plain)
