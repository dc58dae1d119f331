"""A message as it comes: its grammar, what ends it, and attaching to it again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import pytest
from anthropic import Anthropic, APIStatusError, AsyncAnthropic, AsyncStream, Stream
from anthropic.types import Message, RawMessageStreamEvent

from tests.dialects.anthropic.conftest import TOOL, assistant, said, user
from tests.dialects.anthropic.test_encoder import blocks_of, ends, folded
from tests.dialects.conftest import Server
from tests.dialects.sse import Frame, frames, order, stream

CALLED = ("anthropic",)
KNOWS = {"anthropic-beta": "mcp-client-2025-11-20"}
FIRST = "message_start ping"
LAST = "message_delta message_stop"
BLOCK = "content_block_start content_block_delta content_block_stop"


def begun(http: httpx2.Client, model: str, headers: dict[str, str] | None = None, **more: Any) -> list[Frame]:
    body = {"model": model, "max_tokens": 99, "messages": [user("Hello")], "stream": True, "tools": [TOOL], **more}
    return stream(http, "POST", "/v1/messages", json=body, headers=headers)


def without_pings(found: Sequence[Frame]) -> list[Frame]:
    return [frame for frame in found if frame.event != "ping"]


def message_of(found: Sequence[Frame]) -> str:
    return str(found[0].data["message"]["id"])


def seen_again(http: httpx2.Client, message_id: str, after: str | None = None) -> list[Frame]:
    headers = {"last-event-id": after} if after is not None else {}
    return stream(http, "GET", f"/v1/messages/{message_id}/events", headers=headers)


@pytest.mark.parametrize(
    ("model", "events"),
    [
        ("echo", f"{FIRST} {BLOCK} {LAST}"),
        ("two-tools", f"{FIRST} {BLOCK} {BLOCK} {LAST}"),
        ("talks-and-calls", f"{FIRST} {BLOCK} {BLOCK} {LAST}"),
        ("signs", f"{FIRST} {BLOCK} {BLOCK} {LAST}"),
        ("signs-and-calls", f"{FIRST} {BLOCK} {BLOCK} content_block_start content_block_stop {BLOCK} {LAST}"),
        ("looks-up", f"{FIRST} {BLOCK} content_block_start content_block_stop {BLOCK} {LAST}"),
        ("long", f"{FIRST} {BLOCK} {LAST}"),
        ("refuses", f"{FIRST} {BLOCK} {LAST}"),
    ],
)
def test_a_stream_is_the_message(model: str, events: str, http: httpx2.Client) -> None:
    found = begun(http, model, KNOWS)
    ends(found)
    assert order(found) == events
    kept = http.get(f"/v1/messages/{message_of(found)}").json()
    final = folded(found)
    assert blocks_of(final.content) == blocks_of(kept["content"])
    assert (final.id, final.stop_reason, final.model) == (kept["id"], kept["stop_reason"], model)
    assert final.usage.output_tokens == kept["usage"]["output_tokens"]


def test_nothing_comes_behind_the_last_event(http: httpx2.Client) -> None:
    body = {"model": "echo", "max_tokens": 9, "messages": [user("Hello")], "stream": True}
    answered = http.post("/v1/messages", json=body)
    assert answered.headers["request-id"].startswith("req_")
    assert answered.text.endswith('event: message_stop\ndata: {"type":"message_stop"}\n\n')


@pytest.mark.parametrize(
    ("model", "kind", "told"),
    [
        ("fails", "rate_limit_error", "the provider says no"),
        ("breaks", "api_error", "the stream broke"),
        ("breaks-once", "api_error", "is being asked again"),
    ],
)
def test_an_answer_that_cannot_be_ends_its_stream_with_an_error(
    model: str, kind: str, told: str, http: httpx2.Client, client: Anthropic
) -> None:
    found = begun(http, model, messages=[user(f"An error of {model}")])
    last = found[-1]
    assert (last.event, last.data["type"], last.data["error"]["type"]) == ("error", "error", kind)
    assert told in last.data["error"]["message"]
    assert last.data["request_id"].startswith("req_")
    assert not any(frame.event == "message_stop" for frame in found)
    ask = partial(client.messages.create, model=model, max_tokens=9, messages=[user(f"Again {model}")], stream=True)
    with pytest.raises(APIStatusError, match=told) as raised:
        list(ask())
    assert raised.value.type == kind


def test_what_broke_off_is_whole_for_whoever_attaches_or_asks_with_the_same_key(http: httpx2.Client) -> None:
    key = {"idempotency-key": "broke off"}
    found = begun(http, "breaks-once", key, messages=[user("Break off")])
    assert found[-1].event == "error"
    shown = [frame.data["delta"]["text"] for frame in found if frame.event == "content_block_delta"]
    assert shown == ["I was about"]
    for again in (
        seen_again(http, message_of(found)),
        begun(http, "breaks-once", key, messages=[user("Break off")]),
    ):
        ends(again)
        assert message_of(again) == message_of(found)
        assert said({"content": blocks_of(folded(again).content)}) == "Whole again."


def test_a_cancelled_answer_ends_its_stream(http: httpx2.Client, server: Server) -> None:
    body = {"model": "waits", "max_tokens": 9, "messages": [user("Cancel me")], "stream": True}
    with http.stream("POST", "/v1/messages", json=body) as response:
        coming = frames(response)
        until(coming, "content_block_delta")
        runs = f"{server.base_url}/threads/{response.headers['x-thread-id']}/runs"
        [run] = httpx2.get(runs).json()["data"]
        httpx2.post(f"{runs}/{run['id']}/cancel")
        rest = list(coming)
    assert (rest[-1].event, rest[-1].data["error"]["type"]) == ("error", "invalid_request_error")
    assert "cancelled by somebody else" in rest[-1].data["error"]["message"]


def until(coming: Iterator[Frame], event: str) -> Frame:
    return next(frame for frame in coming if frame.event == event)


def test_a_stream_that_was_dropped_goes_on_where_it_broke_off(http: httpx2.Client, server: Server) -> None:
    body = {"model": "waits", "max_tokens": 9, "messages": [user("Drop me")], "stream": True}
    with http.stream("POST", "/v1/messages", json=body, headers={"idempotency-key": "dropped"}) as response:
        coming = frames(response)
        start = until(coming, "message_start")
        assert until(coming, "content_block_delta").data["delta"]["text"] == "Well"
    path = f"/v1/messages/{message_of([start])}/events"

    def attach(method: str, path: str, let_go: Callable[[], object] = lambda: None, **request: Any) -> list[Frame]:
        with http.stream(method, path, **request) as response:
            again = frames(response)
            first = until(again, "content_block_delta")
            assert first.data["delta"]["text"] == "Well", "what had not come to its end begins again"
            let_go()
            return [first, *again]

    def let_go() -> None:
        server.loop.call_soon_threadsafe(server.provider.go.set)

    found = attach("GET", path, let_go, headers={"last-event-id": str(start.id)})
    texts = [frame.data["delta"]["text"] for frame in found if frame.event == "content_block_delta"]
    assert texts == ["Well", ", now."]
    assert found[-1].event == "message_stop"
    same = stream(http, "GET", path, params={"starting_after": str(start.id)})
    assert said({"content": blocks_of(folded([start, *same]).content)}) == "Well, now."
    repeated = stream(http, "POST", "/v1/messages", json=body, headers={"idempotency-key": "dropped"})
    assert folded(repeated).to_dict() == folded([start, *same]).to_dict()
    server.loop.call_soon_threadsafe(server.provider.go.clear)


@pytest.mark.parametrize(
    "model", ["echo", "two-tools", "signs-and-calls", "looks-up", "fails", "refuses", "talks-and-calls"]
)
def test_a_message_is_told_again_the_same_from_any_of_its_events(model: str, http: httpx2.Client) -> None:
    found = begun(http, model, KNOWS)
    every = with_ids(seen_again(http, message_of(found)))
    assert set(with_ids(found)) <= set(every), "the ids are those of the first time"
    for place, (id, _, _) in enumerate(every):
        assert with_ids(seen_again(http, message_of(found), id)) == every[place + 1 :]


def with_ids(found: Sequence[Frame]) -> list[tuple[str | None, str, int | None]]:
    """Which events they are, and of which block."""
    return [(frame.id, frame.event, frame.data.get("index")) for frame in found if frame.id is not None]


def test_each_answer_of_a_thread_can_be_attached_to(http: httpx2.Client) -> None:
    asked = begun(http, "weather")
    [call] = [block for block in folded(asked).content if block.type == "tool_use"]
    history = [
        user("Hello"),
        assistant(blocks_of(folded(asked).content)),
        user([{"type": "tool_result", "tool_use_id": call.id, "content": "rain"}]),
    ]
    answered = begun(http, "echo", messages=history)
    assert message_of(asked) != message_of(answered)
    for found, text in ((asked, ""), (answered, "It is rain.")):
        again = folded(seen_again(http, message_of(found)))
        assert said({"content": blocks_of(again.content)}) == text
        assert again.to_dict() == folded(found).to_dict()


def test_there_is_nothing_to_attach_to_where_nobody_answered(http: httpx2.Client) -> None:
    thread = begun(http, "echo")
    listed = http.get("/v1/threads", params={"limit": 1}).json()["data"][0]["id"]
    [asked, _] = http.get(f"/v1/threads/{listed}/messages").json()["data"]
    for message_id in (asked["id"], "msg_06Z8ixdFfoDgvSh1Rx32mrga", "thread_1"):
        found = http.get(f"/v1/messages/{message_id}/events")
        assert (found.status_code, found.json()["error"]["type"]) == (404, "not_found_error")
    path = f"/v1/messages/{message_of(thread)}/events"
    for where, wrong in (
        ("last-event-id", http.get(path, headers={"last-event-id": "yesterday"})),
        ("starting_after", http.get(path, params={"starting_after": "7"})),
    ):
        assert (wrong.status_code, wrong.json()["error"]["type"]) == (400, "invalid_request_error")
        assert wrong.json()["error"]["message"].startswith(f"{where}: ")


def test_the_sdk_attaches_with_its_own_means(client: Anthropic, server: Server) -> None:
    message = client.messages.create(model="two-tools", max_tokens=9, messages=[user("Attach")], tools=[TOOL])
    path = f"/v1/messages/{message.id}/events"
    events = client.get(path, cast_to=Message, stream=True, stream_cls=Stream[RawMessageStreamEvent])
    assert [event.type for event in events][-2:] == ["message_delta", "message_stop"]

    async def so_too() -> list[str]:
        async with AsyncAnthropic(base_url=f"{server.url}/anthropic", api_key="x", max_retries=0) as later:
            coming = await later.get(path, cast_to=Message, stream=True, stream_cls=AsyncStream[RawMessageStreamEvent])
            return [event.type async for event in coming]

    assert asyncio.run(so_too())[-1] == "message_stop"


def test_a_stream_can_be_attached_to_after_a_restart(tmp_path: Path) -> None:
    store = tmp_path / "clew.db"
    with Server(store, CALLED) as server, httpx2.Client(base_url=f"{server.url}/anthropic", timeout=20) as http:
        found = begun(http, "signs-and-calls", {"idempotency-key": "k"})
    with Server(store, CALLED) as server, httpx2.Client(base_url=f"{server.url}/anthropic", timeout=20) as http:
        assert folded(seen_again(http, message_of(found))).to_dict() == folded(found).to_dict()
        again = begun(http, "signs-and-calls", {"idempotency-key": "k"})
        assert folded(again).to_dict() == folded(found).to_dict()
        assert server.provider.sent == [], "the model was not asked again"


def test_a_server_that_leaves_says_so_and_the_answer_comes_from_the_next(tmp_path: Path) -> None:
    store = tmp_path / "clew.db"
    body: dict[str, Any] = {"model": "waits", "max_tokens": 9, "messages": [user("Wait")], "stream": True}
    key = {"idempotency-key": "k"}
    found: list[Frame] = []
    with (
        Server(store, CALLED, grace_seconds=0.1) as server,
        httpx2.stream("POST", f"{server.url}/anthropic/v1/messages", json=body, headers=key, timeout=20) as response,
    ):
        coming = frames(response)
        found.append(until(coming, "message_start"))
        until(coming, "content_block_delta")
        server.loop.call_soon_threadsafe(server.engine.begin_to_stop)
        found += coming
    assert (found[-1].event, found[-1].data["error"]["type"]) == ("error", "overloaded_error")
    with Server(store, CALLED) as server, httpx2.Client(base_url=f"{server.url}/anthropic", timeout=20) as http:
        server.loop.call_soon_threadsafe(server.provider.go.set)
        again = stream(http, "POST", "/v1/messages", json=body, headers=key)
    assert message_of(again) == message_of(found)
    assert said({"content": blocks_of(folded(again).content)}) == "Well, now."


def test_whoever_asks_another_server_with_the_same_key_hears_the_same_answer(postgres_dsn: str) -> None:
    body: dict[str, Any] = {"model": "waits", "max_tokens": 9, "messages": [user("Wait")], "stream": True}
    with Server(postgres_dsn, CALLED) as one, Server(postgres_dsn, CALLED) as other:
        streams: list[tuple[Frame, Frame, Iterator[Frame]]] = []
        with ExitStack() as stack:
            for server in (one, other):
                asked = httpx2.stream(
                    "POST", f"{server.url}/anthropic/v1/messages", json=body, headers={"idempotency-key": "k"}
                )
                coming = frames(stack.enter_context(asked))
                streams.append((until(coming, "message_start"), until(coming, "content_block_delta"), coming))
            for server in (one, other):
                server.loop.call_soon_threadsafe(server.provider.go.set)
            heard = [[start, piece, *rest] for start, piece, rest in streams]
        assert len(one.provider.sent) + len(other.provider.sent) == 1, "the model was asked once"
    for start, piece, *rest in heard:
        assert (message_of([start]), piece.data["delta"]["text"]) == (message_of(heard[0]), "Well")
        assert rest[-1].event == "message_stop"
