"""A response as it comes: its grammar, what ends it, and attaching to it again."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest

from tests.dialects.conftest import Server
from tests.dialects.mistral.conftest import TOOL, result
from tests.dialects.sse import Frame, frames, stream


def begun(http: httpx2.Client, model: str, **more: Any) -> list[Frame]:
    return stream(http, "POST", "/conversations", json={"model": model, "inputs": "Hello", "stream": True, **more})


def conversation_of(found: list[Frame]) -> str:
    return str(found[0].data["conversation_id"])


def kinds(found: list[Frame]) -> list[str]:
    """The events in order, deltas in a row as one."""
    names = [frame.event for frame in found]
    return [name for place, name in enumerate(names) if not place or name != names[place - 1]]


def test_every_event_says_its_type_twice_and_nothing_follows_the_last(http: httpx2.Client) -> None:
    found = begun(http, "echo")
    assert all(frame.event == frame.data["type"] for frame in found)
    assert kinds(found) == ["conversation.response.started", "message.output.delta", "conversation.response.done"]
    with http.stream("POST", "/conversations", json={"model": "echo", "inputs": "x", "stream": True}) as response:
        body = response.read()
    assert b"[DONE]" not in body
    assert body.rstrip().endswith(b"}")


def test_the_deltas_are_the_message(http: httpx2.Client) -> None:
    found = begun(http, "echo")
    deltas = [frame.data for frame in found if frame.event == "message.output.delta"]
    assert len(deltas) > 2
    assert "".join(delta["content"] for delta in deltas) == "You said: Hello"
    [same] = {(delta["id"], delta["output_index"], delta["content_index"]) for delta in deltas}
    history = http.get(f"/conversations/{conversation_of(found)}/history").json()["entries"]
    assert (history[1]["id"], history[1]["content"]) == (same[0], "You said: Hello")
    assert found[-1].data["usage"]["total_tokens"] == 25


def test_calls_come_in_fragments_each_at_a_place_of_its_own(http: httpx2.Client) -> None:
    found = begun(http, "two-tools", tools=[TOOL])
    calls: dict[int, str] = {}
    for frame in found:
        if frame.event == "function.call.delta":
            place = frame.data["output_index"]
            calls[place] = calls.get(place, "") + frame.data["arguments"]
    assert list(calls.values()) == ['{"city":"Paris"}', '{"city":"Rome"}']
    assert sorted(calls) == list(calls)
    history = http.get(f"/conversations/{conversation_of(found)}/history").json()["entries"]
    streamed = {frame.data["id"] for frame in found if frame.event == "function.call.delta"}
    assert streamed == {entry["id"] for entry in history[1:]}


def test_places_grow_over_all_answers_of_a_response(http: httpx2.Client) -> None:
    found = begun(http, "looks-up", tools=[{"type": "function", "function": {"name": "look_up", "parameters": {}}}])
    assert kinds(found) == [
        "conversation.response.started",
        "tool.execution.started",
        "tool.execution.done",
        "message.output.delta",
        "conversation.response.done",
    ]
    places = [frame.data["output_index"] for frame in found if "output_index" in frame.data]
    assert places == sorted(places)
    assert len(set(places)) == 2


def test_an_answer_that_is_cut_off_is_one(http: httpx2.Client) -> None:
    found = begun(http, "long")
    assert found[-1].event == "conversation.response.done"


@pytest.mark.parametrize(("model", "code"), [("fails", 424), ("breaks", 424)])
def test_a_failure_ends_the_stream_as_data(model: str, code: int, http: httpx2.Client) -> None:
    found = begun(http, model)
    assert found[-1].event == "conversation.response.error"
    assert found[-1].data["code"] == code
    assert "did not answer" in found[-1].data["message"]
    assert not any(frame.event == "conversation.response.done" for frame in found)


def test_another_attempt_is_another_output(http: httpx2.Client) -> None:
    found = begun(http, "breaks-once", inputs="whole")
    texts: dict[tuple[int, str], str] = {}
    for frame in found:
        if frame.event == "message.output.delta":
            place = (frame.data["output_index"], frame.data["id"])
            texts[place] = texts.get(place, "") + frame.data["content"]
    assert list(texts.values())[-1] == "Whole again."
    assert len({place for place, _ in texts}) == len(texts)
    history = http.get(f"/conversations/{conversation_of(found)}/history").json()["entries"]
    assert [entry["content"] for entry in history] == ["whole", "Whole again."]


def test_a_cancelled_answer_ends_its_stream(http: httpx2.Client, server: Server) -> None:
    body = {"model": "waits", "inputs": "Hello", "stream": True}
    with http.stream("POST", "/conversations", json=body) as response:
        coming = frames(response)
        started = next(coming)
        assert next(coming).event == "message.output.delta"
        thread_id = started.data["conversation_id"].replace("conv_", "thread_")
        [run] = httpx2.get(f"{server.base_url}/threads/{thread_id}/runs").json()["data"]
        httpx2.post(f"{server.base_url}/threads/{thread_id}/runs/{run['id']}/cancel")
        rest = list(coming)
    assert (rest[-1].event, rest[-1].data["code"]) == ("conversation.response.error", 409)


def test_a_stream_that_was_dropped_goes_on_where_it_broke_off(http: httpx2.Client, server: Server) -> None:
    body = {"model": "waits", "inputs": "Hello", "stream": True}
    with http.stream("POST", "/conversations", json=body) as response:
        coming = frames(response)
        started = next(coming)
        assert next(coming).data["content"] == "Well"
    path = f"/conversations/{started.data['conversation_id']}/events"
    with http.stream("GET", path, headers={"Last-Event-ID": str(started.id)}) as response:
        again = frames(response)
        # What had not come to its end begins again.
        assert next(again).data["content"] == "Well"
        server.loop.call_soon_threadsafe(server.provider.go.set)
        rest = list(again)
    server.loop.call_soon_threadsafe(server.provider.go.clear)
    assert [frame.data["content"] for frame in rest if frame.event == "message.output.delta"] == [", now.", ""]
    assert rest[-1].event == "conversation.response.done"


def test_a_response_is_told_again_the_same_from_any_of_its_events(http: httpx2.Client) -> None:
    for model, more in (
        ("echo", {}),
        ("two-tools", {"tools": [TOOL]}),
        ("looks-up", {"tools": [{"type": "function", "function": {"name": "look_up", "parameters": {}}}]}),
        ("fails", {}),
    ):
        found = begun(http, model, **more)
        recorded = [frame for frame in found if frame.id is not None]
        path = f"/conversations/{conversation_of(found)}/events"
        for place, frame in enumerate(recorded):
            rest = stream(http, "GET", path, headers={"Last-Event-ID": frame.id})
            assert [one.id for one in rest] == [one.id for one in recorded[place + 1 :]]
            places = [one.data.get("output_index") for one in rest]
            assert places == [one.data.get("output_index") for one in recorded[place + 1 :]]


def test_the_newest_response_is_the_one_that_is_told(http: httpx2.Client) -> None:
    found = begun(http, "weather", tools=[TOOL])
    conversation = conversation_of(found)
    answers = [result(frame.data, "sun") for frame in found if frame.event == "function.call.delta"][:1]
    second = stream(http, "POST", f"/conversations/{conversation}", json={"inputs": answers, "stream": True})
    assert kinds(second) == kinds(begun(http, "echo"))
    told = stream(http, "GET", f"/conversations/{conversation}/events")
    recorded = [frame for frame in second if frame.id is not None]
    assert [frame.id for frame in told] == [frame.id for frame in recorded]
    assert "".join(frame.data["content"] for frame in told if frame.event == "message.output.delta") == "It is sun."


def test_there_is_nothing_to_attach_to_before_the_first(http: httpx2.Client, server: Server) -> None:
    thread = httpx2.post(f"{server.base_url}/threads").json()["id"]
    assert http.get(f"/conversations/{thread.replace('thread_', 'conv_')}/events").status_code == 404
    [started, *_] = begun(http, "echo")
    path = f"/conversations/{started.data['conversation_id']}/events"
    assert http.get(path, params={"starting_after": "yesterday"}).json()["code"] == "no_such_event"


def test_the_sdk_reads_every_kind_of_stream(talks: Any) -> None:
    first = talks.start(model="echo", inputs="Hello")
    for ask in (
        talks.start_stream(model="talks-and-calls", inputs="Weather?", tools=[TOOL]),
        talks.append_stream(conversation_id=first.conversation_id, inputs="And?"),
        talks.restart_stream(
            conversation_id=first.conversation_id, from_entry_id=first.outputs[0].id, inputs="Otherwise"
        ),
        talks.start_stream(model="fails", inputs="Hello"),
    ):
        with ask as events:
            read = list(events)
        assert all(event.event == event.data.type for event in read)
        assert read[-1].event in ("conversation.response.done", "conversation.response.error")
