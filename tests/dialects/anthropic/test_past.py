"""What was ever shown through Anthropic's API is shown again, byte for byte, as of the position it was shown at."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

import httpx2
import pytest
from anthropic import Anthropic, BadRequestError, NotFoundError
from anthropic.types import Message

from clew.events.model import ModelCalled
from tests.dialects.anthropic.conftest import TOOL, ask, assistant, said, user
from tests.dialects.anthropic.test_errors import fault
from tests.dialects.conftest import Server
from tests.dialects.sse import stream

pytestmark = pytest.mark.slow

Seen = dict[int, list[tuple[str, int, bytes]]]


def look_around(http: httpx2.Client, seen: Seen, messages: list[str]) -> None:
    """Everything that can be read, remembered by the position that it was shown at."""
    paths = ["/v1/threads", "/v1/threads?limit=1", *(f"/v1/messages/{id}" for id in messages)]
    for one in http.get("/v1/threads").json()["data"]:
        path = f"/v1/threads/{one['id']}"
        paths += [path, f"{path}/messages", f"{path}/messages?order=desc&limit=2"]
    for path in paths:
        response = http.get(path)
        position = int(response.headers["clew-position"])
        seen.setdefault(position, []).append((path, response.status_code, response.content))


def test_the_past_is_shown_again_byte_for_byte(http: httpx2.Client, server: Server) -> None:
    seen: Seen = {}
    messages: list[str] = []

    def turn(history: list[Any], model: str = "echo", headers: dict[str, str] | None = None) -> httpx2.Response:
        response = ask(http, history, headers, model=model, tools=[TOOL])
        assert response.status_code == 200, response.text
        messages.append(response.json()["id"])
        look_around(http, seen, messages)
        return response

    history = [user("Think about the past")]
    first = turn(history, "signs-and-calls")
    call = first.json()["content"][-1]
    history += [
        assistant(first.json()["content"]),
        user([{"type": "tool_result", "tool_use_id": call["id"], "content": "rain"}]),
    ]
    second = turn(history)
    turn([*history, assistant(second.json()["content"]), user("More")])
    turn([*history[:2], user([{**history[2]["content"][0], "content": "sun"}])], "looks-up")
    path = f"{server.base_url}/threads/{first.headers['x-thread-id']}"
    kept = http.get(f"/v1/threads/{first.headers['x-thread-id']}/messages").json()["data"]
    httpx2.delete(f"{path}/messages/{kept[0]['id']}")
    look_around(http, seen, messages)
    httpx2.delete(path)
    look_around(http, seen, messages)
    assert len(seen) == 6
    for position, answers_then in seen.items():
        for path, status, body in answers_then:
            by_path = httpx2.get(f"{server.url}/at/{position}/anthropic{path}")
            assert (by_path.status_code, without_request(by_path.content)) == (status, without_request(body)), path
            by_header = http.get(path, headers={"Clew-As-Of": str(position)})
            assert (by_header.status_code, without_request(by_header.content)) == (status, without_request(body)), path


def without_request(body: bytes) -> bytes:
    """An error names the request that it answers."""
    return body.partition(b',"request_id"')[0]


def test_the_sdk_is_pointed_at_the_past(client: Anthropic, server: Server) -> None:
    raw = client.messages.with_raw_response.create(model="echo", max_tokens=9, messages=[user("A, in the past")])
    thread_id, first = raw.headers["x-thread-id"], raw.parse()
    history = [user("A, in the past"), assistant(first.content), user("B")]
    second = client.messages.create(model="echo", max_tokens=9, messages=history)
    with server.engine.log.reading() as reader:
        version = next(one.version for one in reader.stream(thread_id) if one.event.kind == "run.completed")
    time.sleep(0.001)
    now = datetime.now(UTC).isoformat()
    httpx2.delete(f"{server.base_url}/threads/{thread_id}")
    told = ["A, in the past", "You said: A, in the past", "B", "You said: B"]
    for point, texts in ((f"v{version}", told[:2]), (now, told)):
        with Anthropic(base_url=f"{server.url}/at/{point}/anthropic", api_key="x", max_retries=0) as past:
            listed: Any = past.get(f"/v1/threads/{thread_id}/messages", cast_to=object)
            assert [said(message) for message in listed["data"]] == texts
            with pytest.raises(BadRequestError, match="read-only"):
                past.messages.create(model="echo", max_tokens=9, messages=[user("C")])
    with Anthropic(base_url=f"{server.url}/at/{now}/anthropic", api_key="x", max_retries=0) as past:
        assert said(past.get(f"/v1/messages/{second.id}", cast_to=Message)) == "You said: B"
    before = first.id
    with server.engine.log.reading() as reader:
        begun = reader.stream(thread_id)[0].position
    with (
        Anthropic(base_url=f"{server.url}/at/{begun}/anthropic", api_key="x", max_retries=0) as past,
        pytest.raises(NotFoundError),
    ):
        past.get(f"/v1/messages/{before}", cast_to=Message)


def test_what_is_deleted_or_was_never_to_be_kept_is_read_by_nobody(http: httpx2.Client, server: Server) -> None:
    first = ask(http, [user("Delete me")])
    thread_id, id = first.headers["x-thread-id"], first.json()["id"]
    position = http.get(f"/v1/messages/{id}").headers["clew-position"]
    httpx2.delete(f"{server.base_url}/threads/{thread_id}")
    about = {"model": "echo", "inputs": "Keep nothing", "store": False}
    httpx2.post(f"{server.mistral_url}/v1/conversations", json=about)
    with server.engine.log.reading() as reader:
        events = [one.event for one in reader.follow(int(position), 100)]
    [unkept] = [one.model_call_id.replace("mc_", "msg_") for one in events if isinstance(one, ModelCalled)]
    for message_id in (id, unkept):
        for path in (f"/v1/messages/{message_id}", f"/v1/messages/{message_id}/events"):
            assert fault(http.get(path)) == (404, "not_found_error", f"message: {message_id}")
        continued = {"type": "continue", "previous_message_id": message_id}
        assert ask(http, [user("More")], thread=continued).status_code == 404
    assert said(http.get(f"/v1/messages/{id}", headers={"Clew-As-Of": position}).json()) == "You said: Delete me"
    assert http.get(f"/v1/messages/{unkept}", headers={"Clew-As-Of": position}).status_code == 404


def test_the_past_takes_nothing_new_but_counts(http: httpx2.Client, server: Server) -> None:
    first = ask(http, [user("Nothing new")])
    for headers in ({}, {"x-thread-id": first.headers["x-thread-id"]}):
        for more in ({}, {"stream": True}, {"thread": {"type": "create"}}):
            response = ask(http, [user("x")], {"Clew-As-Of": "1", **headers}, **more)
            status, kind, message = fault(response)
            assert (status, kind) == (400, "invalid_request_error")
            assert "read-only" in message
    continued = {"type": "continue", "previous_message_id": first.json()["id"]}
    by_path = httpx2.post(
        f"{server.url}/at/1/anthropic/v1/messages",
        json={"model": "echo", "max_tokens": 9, "messages": [user("x")], "thread": continued},
    )
    assert fault(by_path)[:2] == (400, "invalid_request_error")
    counting = {"model": "echo", "messages": [user("Hi")]}
    assert http.post("/v1/messages/count_tokens", json=counting, headers={"Clew-As-Of": "1"}).status_code == 200
    assert ask(http, [user("And now")], {"x-thread-id": first.headers["x-thread-id"]}).status_code == 200


@pytest.mark.parametrize("point", ["yesterday", "999999999", "v0", "v999"])
def test_a_point_that_is_none_is_told(point: str, http: httpx2.Client) -> None:
    thread_id = ask(http, [user("Which point")]).headers["x-thread-id"]
    status, kind, message = fault(http.get(f"/v1/threads/{thread_id}", headers={"Clew-As-Of": point}))
    assert (status, kind) == (400, "invalid_request_error")
    assert message.startswith(f"Clew-As-Of: {point!r} names no point.")


def test_a_stream_of_the_past_ends_at_its_point(http: httpx2.Client, server: Server) -> None:
    first = ask(http, [user("A stream")])
    thread_id, message_id = first.headers["x-thread-id"], first.json()["id"]
    with server.engine.log.reading() as reader:
        events = reader.stream(thread_id)
    path = f"/v1/messages/{message_id}/events"

    def seen(headers: dict[str, str] | None = None) -> list[str]:
        return [frame.event for frame in stream(http, "GET", path, headers=headers) if frame.event != "ping"]

    whole = seen()
    assert whole == [
        "message_start",
        *("content_block_start", "content_block_delta", "content_block_stop"),
        *("message_delta", "message_stop"),
    ]
    for recorded in events:
        kinds = [one.event.kind for one in events[: recorded.version]]
        then = {"Clew-As-Of": str(recorded.position)}
        if "model.called" not in kinds:
            assert fault(http.get(path, headers=then))[0] == 404
            continue
        answered = kinds.index("model.answered") if "model.answered" in kinds else len(kinds)
        shown = 4 if "message.appended" in kinds[answered:] else 1
        assert seen(then) == (whole if "run.completed" in kinds else whole[:shown])


def test_a_message_that_was_still_being_answered_then_says_so(http: httpx2.Client, server: Server) -> None:
    first = ask(http, [user("Not yet")])
    with server.engine.log.reading() as reader:
        [asked] = [one for one in reader.stream(first.headers["x-thread-id"]) if one.event.kind == "model.called"]
    then = http.get(f"/v1/messages/{first.json()['id']}", headers={"Clew-As-Of": str(asked.position)})
    status, kind, message = fault(then)
    assert (status, kind) == (400, "invalid_request_error")
    assert "still being answered" in message
