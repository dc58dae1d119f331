"""Threads: a response is continued once, whenever that is; what goes wrong is said in the API's own codes."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import httpx2
import pytest
from anthropic import Anthropic, BadRequestError, NotFoundError

from tests.dialects.anthropic.conftest import TOOL, ask, assistant, said, sdk, user
from tests.dialects.conftest import Server
from tests.dialects.faults import GONE

CREATE: Any = {"type": "create"}


def go_on(message_id: str) -> Any:
    return {"type": "continue", "previous_message_id": message_id}


def code(response: httpx2.Response) -> tuple[int, str, str]:
    error = response.json()["error"]
    return response.status_code, error["type"], error["details"]["error_code"]


def texts(server: Server) -> list[str]:
    """What the model was shown last."""
    items: Any = server.provider.sent[-1]["items"]
    return [item.get("text") or item.get("output") or item["name"] for item in items]


def test_only_what_is_new_is_sent(http: httpx2.Client, server: Server) -> None:
    first = ask(http, [user("One")], thread=CREATE, system="Be kind.", tools=[TOOL]).json()
    second = ask(http, [user("Two")], thread=go_on(first["id"]))
    assert said(second.json()) == "You said: Two"
    assert texts(server) == ["One", "You said: One", "Two"]
    assert server.provider.sent[-1]["instructions"] == "Be kind."
    assert server.provider.sent[-1]["tools"] == ["get_weather"]
    third = ask(http, [user("Three")], thread=go_on(second.json()["id"]), max_tokens=7)
    assert third.headers["x-thread-id"] == second.headers["x-thread-id"]
    assert texts(server)[-3:] == ["Two", "You said: Two", "Three"]


def test_a_response_is_continued_once(http: httpx2.Client) -> None:
    first = ask(http, [user("One")], thread=CREATE).json()
    second = ask(http, [user("Two")], thread=go_on(first["id"])).json()
    again = ask(http, [user("Else")], thread=go_on(first["id"]))
    assert code(again) == (400, "invalid_request_error", "thread_already_continued")
    assert second["id"] in again.json()["error"]["message"], "it says where to go on"


def test_what_is_not_held(http: httpx2.Client) -> None:
    for unknown in (f"msg_{GONE}", "msg_", "nonsense", f"thread_{GONE}"):
        found = ask(http, [user("Two")], thread=go_on(unknown))
        assert code(found) == (404, "not_found_error", "thread_not_found")


def test_the_sdk_sends_everything_again_where_it_must(client: Anthropic, server: Server) -> None:
    thread = client.beta.messages.thread(model="echo", max_tokens=9, messages=[user("One")])
    thread.send()
    held = thread.previous_message_id
    with sdk(server) as other:
        other.beta.messages.create(
            model="echo", max_tokens=9, messages=[user("Between")], thread=go_on(str(held)), betas=THREADS
        )
    assert said(thread.send(user("Two"))) == "You said: Two"
    assert texts(server) == ["One", "You said: One", "Two"], "what came between is in another thread"


THREADS = ["message-threads-2026-08-12"]


def test_fields_that_a_thread_keeps(http: httpx2.Client) -> None:
    first = ask(http, [user("One")], thread=CREATE, system="Be kind.", tools=[TOOL]).json()
    changes: list[dict[str, Any]] = [{"system": "Be cruel."}, {"tools": []}]
    for change in changes:
        found = ask(http, [user("Two")], thread=go_on(first["id"]), **change)
        assert code(found) == (400, "invalid_request_error", "thread_fingerprint_mismatch")
        assert next(iter(change)) in found.json()["error"]["message"]
    same = ask(http, [user("Two")], thread=go_on(first["id"]), system="Be kind.", model="repeats", temperature=0.5)
    assert same.status_code == 200, same.text


def test_what_does_not_go_together_with_threads(http: httpx2.Client) -> None:
    more: dict[str, Any] = {"context_management": {"edits": []}, "fallbacks": "default"}
    found = ask(http, [user("One")], thread=CREATE, **more)
    assert code(found) == (400, "invalid_request_error", "thread_unsupported_request")
    assert found.json()["error"]["details"]["unsupported"] == ["context_management", "fallbacks"]
    plain = ask(http, [user("One")], context_management={"edits": []})
    assert plain.status_code == 400
    assert plain.json()["error"]["message"] == "context_management: this is not offered by this server"
    cached = ask(http, [user("One")], thread=CREATE, cache_control={"type": "ephemeral"}, thinking={"type": "disabled"})
    assert cached.status_code == 200, "the real API takes these two without threads only"


def test_two_at_once(http: httpx2.Client, server: Server) -> None:
    first = ask(http, [user("One")], thread=CREATE).json()
    server.provider.go.clear()
    late: list[httpx2.Response] = []

    def wait() -> None:
        late.append(ask(http, [user("Two")], thread=go_on(first["id"]), model="waits"))

    waiting = threading.Thread(target=wait)
    waiting.start()
    until_sent(server, "Two")
    both = ask(http, [user("Else")], thread=go_on(first["id"]))
    assert code(both) == (400, "invalid_request_error", "thread_continue_in_flight")
    server.loop.call_soon_threadsafe(server.provider.go.set)
    waiting.join(20)
    assert said(late[0].json()) == "Well, now."


def until_sent(server: Server, text: str) -> None:
    async def sent() -> None:
        while not server.provider.sent or text not in texts(server):
            await asyncio.sleep(0.005)

    asyncio.run_coroutine_threadsafe(asyncio.wait_for(sent(), 10), server.loop).result()


def test_a_turn_that_failed_can_be_sent_again(http: httpx2.Client, server: Server) -> None:
    first = ask(http, [user("One")], thread=CREATE).json()
    failed = ask(http, [user("Two")], thread=go_on(first["id"]), model="fails")
    assert failed.status_code == 429
    assert failed.json()["error"]["type"] == "rate_limit_error"
    assert failed.headers["x-should-retry"] == "false", "it was tried as often as makes sense"
    again = ask(http, [user("Two")], thread=go_on(first["id"]))
    assert texts(server) == ["One", "You said: One", "Two"], "it is not said twice"
    assert again.headers["x-thread-id"] == failed.headers.get("x-thread-id", again.headers["x-thread-id"])
    ask(http, [user("Two")], thread=go_on(again.json()["id"]), model="fails")
    otherwise = ask(http, [user("Else")], thread=go_on(again.json()["id"]))
    assert texts(server)[-1] == "Else"
    assert texts(server).count("Two") == 1
    assert otherwise.headers["x-thread-id"] != again.headers["x-thread-id"], "a fork, without what failed"


def test_results_of_tools_are_all_that_is_sent(http: httpx2.Client, server: Server) -> None:
    asked = ask(http, [user("Weather?")], thread=CREATE, model="two-tools", tools=[TOOL]).json()
    ids = [block["id"] for block in asked["content"]]
    one = [{"type": "tool_result", "tool_use_id": ids[0], "content": "rain"}]
    missing = ask(http, [user(one)], thread=go_on(asked["id"]))
    assert missing.status_code == 400
    assert f"were found without `tool_result` blocks immediately after: {ids[1]}" in missing.text
    strange = [
        *one,
        {"type": "tool_result", "tool_use_id": "toolu_x", "content": "?"},
        {**one[0], "tool_use_id": ids[1]},
    ]
    assert (
        "messages.0.content.1: unexpected `tool_use_id`" in ask(http, [user(strange)], thread=go_on(asked["id"])).text
    )
    both = [*one, {"type": "tool_result", "tool_use_id": ids[1], "content": "hail", "is_error": True}]
    answered = ask(http, [user(both)], thread=go_on(asked["id"]))
    assert said(answered.json()) == "It is rain and hail."
    results = [item for item in server.provider.sent[-1]["items"] if item["kind"] == "result"]  # type: ignore[attr-defined]
    assert [item["is_error"] for item in results] == [False, True]


def test_results_may_be_more_than_text(http: httpx2.Client) -> None:
    asked = ask(http, [user("Weather?")], model="weather", tools=[TOOL])
    id = asked.json()["content"][0]["id"]
    picture = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}}
    shown = [{"type": "text", "text": "look"}, picture]
    history = [
        user("Weather?"),
        assistant(asked.json()["content"]),
        user([{"type": "tool_result", "tool_use_id": id, "content": shown}]),
    ]
    answered = ask(http, history, tools=[TOOL])
    listed = http.get(f"/v1/threads/{answered.headers['x-thread-id']}/messages").json()["data"]
    assert listed[2]["content"] == [{"type": "tool_result", "tool_use_id": id, "content": shown, "is_error": False}]


def test_whoever_goes_on_without_results_ends_the_run_that_waits(http: httpx2.Client, server: Server) -> None:
    asked = ask(http, [user("Weather?")], model="weather", tools=[TOOL])
    history = [user("Weather?"), assistant(asked.json()["content"]), user("Never mind")]
    answered = ask(http, history, tools=[TOOL], model="repeats")
    assert said(answered.json()) == "You said: Never mind"
    assert answered.headers["x-thread-id"] == asked.headers["x-thread-id"]
    assert "The run was cancelled before this call was answered." in texts(server)
    history += [assistant(answered.json()["content"]), user("Go on")]
    further = ask(http, history, tools=[TOOL], model="repeats")
    assert further.headers["x-thread-id"] == asked.headers["x-thread-id"], "the history that was sent is known again"
    listed = http.get(f"/v1/threads/{asked.headers['x-thread-id']}/messages").json()["data"]
    as_read = [{"role": one["role"], "content": one["content"]} for one in listed]
    assert as_read[2]["content"][0]["is_error"], "who reads the thread is told what the model was told"
    reread = ask(http, [*as_read, user("And on")], tools=[TOOL], model="repeats")
    assert reread.headers["x-thread-id"] == asked.headers["x-thread-id"], "and so is what was read here"


def test_a_header_names_the_thread(http: httpx2.Client, server: Server) -> None:
    first = ask(http, [user("One")], system="Be kind.")
    named = {"x-thread-id": first.headers["x-thread-id"]}
    delta = ask(http, [user("Two")], named, system="Be brief.")
    assert texts(server) == ["One", "You said: One", "Two"], "only what is new was sent"
    whole = ask(
        http, [user("One"), assistant("You said: One"), user("Two"), assistant("You said: Two"), user("Three")], named
    )
    assert texts(server)[-1] == "Three"
    assert len(texts(server)) == 5
    edited = ask(http, [user("One"), assistant("You said: One"), user("Other")], named)
    assert texts(server) == ["One", "You said: One", "Other"]
    ids = [response.headers["x-thread-id"] for response in (first, delta, whole, edited)]
    assert ids[0] == ids[1] == ids[2] != ids[3]
    gone = ask(http, [user("One")], {"x-thread-id": f"thread_{GONE}"})
    assert (gone.status_code, gone.json()["error"]["type"]) == (404, "not_found_error")


def test_the_same_key_is_answered_the_same(http: httpx2.Client) -> None:
    first = ask(http, [user("One")], {"idempotency-key": "k1"})
    again = ask(http, [user("One")], {"idempotency-key": "k1"})
    assert first.json() == again.json()
    assert first.headers["x-thread-id"] == again.headers["x-thread-id"]
    other = ask(http, [user("Other")], {"idempotency-key": "k1"})
    assert other.status_code == 400


def test_the_same_key_goes_on_once_in_whichever_way(http: httpx2.Client, server: Server) -> None:
    """Also when the thread has gone on since: the key says that the request is the one from then."""
    first = ask(http, [user("One, with a key")])
    whole = [user("One, with a key"), assistant(first.json()["content"]), user("Two")]
    named = {"x-thread-id": first.headers["x-thread-id"]}
    second = ask(http, whole, {"idempotency-key": "k2"})
    third = ask(http, [user("Three")], {"idempotency-key": "k3"}, thread=go_on(second.json()["id"]))
    fourth = ask(http, [user("Four")], {"idempotency-key": "k4", **named})
    sent = len(server.provider.sent)
    again = [
        ask(http, whole, {"idempotency-key": "k2"}),
        ask(http, [user("Three")], {"idempotency-key": "k3"}, thread=go_on(second.json()["id"])),
        ask(http, [user("Four")], {"idempotency-key": "k4", **named}),
    ]
    assert [one.json() for one in again] == [one.json() for one in (second, third, fourth)]
    assert {one.headers["x-thread-id"] for one in again} == {first.headers["x-thread-id"]}
    assert len(server.provider.sent) == sent, "the model was not asked again"


def test_the_same_key_waits_for_the_answer_that_is_on_its_way(http: httpx2.Client, server: Server) -> None:
    first = ask(http, [user("One")], thread=CREATE).json()
    server.provider.go.clear()
    late: list[httpx2.Response] = []

    def wait() -> None:
        key = {"idempotency-key": "on its way"}
        late.append(ask(http, [user("Two, later")], key, thread=go_on(first["id"]), model="waits"))

    both = [threading.Thread(target=wait) for _ in range(2)]
    both[0].start()
    until_sent(server, "Two, later")
    both[1].start()
    server.loop.call_soon_threadsafe(server.provider.go.set)
    for one in both:
        one.join(20)
    assert late[0].json() == late[1].json()
    assert said(late[0].json()) == "Well, now."


def test_a_retry_of_the_sdk_is_answered_with_what_the_first_came_to(http: httpx2.Client, server: Server) -> None:
    first = ask(http, [user("Once")])
    history = [user("Once"), assistant(first.json()["content"]), user("Two")]
    second = ask(http, history)
    sent = len(server.provider.sent)
    retried = ask(http, history, {"x-stainless-retry-count": "1"})
    assert retried.json() == second.json()
    assert len(server.provider.sent) == sent, "the model was not asked again"
    asked_again = ask(http, history)
    assert asked_again.json()["id"] != second.json()["id"], "whoever asks again wants another answer"
    assert asked_again.headers["x-thread-id"] != second.headers["x-thread-id"]


def test_a_retry_of_what_was_only_new_is_answered_with_what_the_first_came_to(
    http: httpx2.Client, server: Server
) -> None:
    first = ask(http, [user("Once, by name")])
    named = {"x-thread-id": first.headers["x-thread-id"]}
    retry = {**named, "x-stainless-retry-count": "1"}
    asked = ask(
        http, [user([{"type": "text", "text": "Weather"}, {"type": "text", "text": "?"}])], named, model="weather"
    )
    [call] = asked.json()["content"]
    result = user(
        [{"type": "tool_result", "tool_use_id": call["id"], "content": "rain"}, {"type": "text", "text": "!"}]
    )
    sent = len(server.provider.sent)
    again = ask(
        http, [user([{"type": "text", "text": "Weather"}, {"type": "text", "text": "?"}])], retry, model="weather"
    )
    assert again.json() == asked.json()
    answered = ask(http, [result], named)
    assert said(answered.json()) == "It is rain."
    assert ask(http, [result], retry).json() == answered.json()
    assert len(server.provider.sent) == sent + 1, "the model was not asked again"
    kept = len(http.get(f"/v1/threads/{first.headers['x-thread-id']}/messages").json()["data"])
    failed = ask(http, [user("Fail")], named, model="fails")
    assert failed.status_code == 429
    assert said(ask(http, [user("Fail")], retry).json()) == "It is rain.", "what failed is tried again, and said once"
    assert said(ask(http, [user("Fail")], named, model="repeats").json()) == "You said: Fail", "said anew, it is new"
    assert len(http.get(f"/v1/threads/{first.headers['x-thread-id']}/messages").json()["data"]) == kept + 4


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_a_thread_goes_on_after_a_restart(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    store: Any = tmp_path / "clew.db" if kind == "sqlite" else request.getfixturevalue("postgres_dsn")
    with Server(store) as server, sdk(server) as client:
        first = client.beta.messages.create(
            model="weather", max_tokens=9, messages=[user("Weather?")], tools=[TOOL], thread=CREATE, betas=THREADS
        )
        [call] = [block for block in first.content if block.type == "tool_use"]
    with Server(store) as server, sdk(server) as client:
        result: Any = {"type": "tool_result", "tool_use_id": call.id, "content": "rain"}
        second = client.beta.messages.create(
            model="echo", max_tokens=9, messages=[user([result])], thread=go_on(first.id), betas=THREADS
        )
        assert said(second) == "It is rain."
    with Server(store) as server, sdk(server) as client:
        with pytest.raises(BadRequestError, match="already been continued"):
            client.beta.messages.create(
                model="echo", max_tokens=9, messages=[user("x")], thread=go_on(first.id), betas=THREADS
            )
        third = client.beta.messages.create(
            model="repeats", max_tokens=9, messages=[user("Thanks")], thread=go_on(second.id), betas=THREADS
        )
        assert said(third) == "You said: Thanks"
        assert texts(server) == ["Weather?", "get_weather", "rain", "It is rain.", "Thanks"]
        with pytest.raises(NotFoundError):
            client.get("/v1/messages/msg_0", cast_to=object)
