"""What comes in which order in a stream, and that a stream can be left and taken up again."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import httpx2
import pytest
from openai._streaming import SSEDecoder

from clew.dialects.openai_assistants.streaming import DONE, RETRY, STILL_HERE
from clew.serving.streaming import frame
from tests.dialects.conftest import Server
from tests.dialects.sse import Frame, frames, order, stream

BEGIN = "run.created run.queued run.in_progress"
MESSAGE = "step.created step.in_progress message.created message.in_progress message.delta* message.completed"
SAID = MESSAGE.replace("step.", "run.step.") + " run.step.completed"
CALLED = "run.step.created run.step.in_progress run.step.delta*"
UNFINISHED = SAID.replace(" message.completed run.step.completed", "")


def body(model: str, **more: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": f"Good morning to {model}"}]
    return {"model": model, "stream": True, "thread": {"messages": messages}, **more}


@pytest.fixture
def assistant_id(http: httpx2.Client) -> str:
    tools = [{"type": "function", "function": {"name": name}} for name in ("get_weather", "look_up")]
    made = http.post("/assistants", json={"model": "echo", "tools": tools}).json()
    return str(made["id"])


def run_of(found: list[Frame]) -> tuple[str, str]:
    run = next(frame.data for frame in found if frame.event == "thread.run.created")
    return run["thread_id"], run["id"]


def submit(http: httpx2.Client, found: list[Frame]) -> list[Frame]:
    thread_id, run_id = run_of(found)
    calls = found[-2].data["required_action"]["submit_tool_outputs"]["tool_calls"]
    outputs = [{"tool_call_id": call["id"], "output": f"sun {n}"} for n, call in enumerate(calls)]
    path = f"/threads/{thread_id}/runs/{run_id}/submit_tool_outputs"
    return stream(http, "POST", path, json={"tool_outputs": outputs, "stream": True})


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("echo", f"{BEGIN} {SAID} run.completed done"),
        ("refuses", f"{BEGIN} {SAID} run.completed done"),
        ("weather", f"{BEGIN} {CALLED} run.requires_action done"),
        ("two-tools", f"{BEGIN} {CALLED} run.requires_action done"),
        ("talks-and-calls", f"{BEGIN} {SAID} {CALLED} run.requires_action done"),
        ("long", f"{BEGIN} {SAID.replace('message.completed', 'message.incomplete')} run.incomplete done"),
        ("fails", f"{BEGIN} run.failed done"),
        ("breaks", f"{BEGIN} {UNFINISHED} message.incomplete run.step.failed run.failed done"),
        (
            "breaks-once",
            f"{BEGIN} {UNFINISHED} message.incomplete run.step.failed {SAID} run.completed done",
        ),
    ],
)
def test_the_order_of_events(http: httpx2.Client, assistant_id: str, model: str, expected: str) -> None:
    found = stream(http, "POST", "/threads/runs", json=body(model, assistant_id=assistant_id))
    assert order(found) == f"created {expected}"
    # Whoever comes afterwards is told the same, without what was dropped: only what counts is in the log.
    thread_id, run_id = run_of(found)
    again = stream(http, "GET", f"/threads/{thread_id}/runs/{run_id}/events")
    dropped = f"{UNFINISHED} message.incomplete run.step.failed "
    assert order(again) == expected.replace(dropped, "")


def test_a_run_on_a_thread_that_is_there(http: httpx2.Client, assistant_id: str) -> None:
    thread = http.post("/threads", json={"messages": [{"role": "user", "content": "Hello"}]}).json()
    found = stream(http, "POST", f"/threads/{thread['id']}/runs", json={"assistant_id": assistant_id, "stream": True})
    assert order(found) == f"{BEGIN} {SAID} run.completed done"


def test_submitting_outputs_goes_on_where_the_run_stood(http: httpx2.Client, assistant_id: str) -> None:
    first = stream(http, "POST", "/threads/runs", json=body("two-tools", assistant_id=assistant_id))
    second = submit(http, first)
    assert order(second) == f"run.step.completed run.queued run.in_progress {SAID} run.completed done"
    step = second[0].data
    assert [call["function"]["output"] for call in step["step_details"]["tool_calls"]] == ["sun 0", "sun 1"]
    assert step["usage"]["total_tokens"] == 25
    assert second[-2].data["usage"]["total_tokens"] == 50


def test_a_tool_of_the_servers_own_needs_no_client(http: httpx2.Client, server: Server, assistant_id: str) -> None:
    found = stream(http, "POST", "/threads/runs", json=body("looks-up", assistant_id=assistant_id))
    assert order(found) == f"created {BEGIN} {CALLED} run.step.completed {SAID} run.completed done"
    [ended] = [frame.data for frame in found if frame.event == "thread.run.step.completed"][:1]
    assert ended["step_details"]["tool_calls"][0]["function"]["output"] == "clew means something"


def test_a_run_is_cancelled_while_it_speaks(http: httpx2.Client, assistant_id: str) -> None:
    found: list[Frame] = []
    with http.stream("POST", "/threads/runs", json=body("waits", assistant_id=assistant_id)) as response:
        for frame in frames(response):
            found.append(frame)
            if frame.event == "thread.message.delta":
                thread_id, run_id = run_of(found)
                cancelled = http.post(f"/threads/{thread_id}/runs/{run_id}/cancel").json()
                assert cancelled["status"] == "cancelling"
    expected = f"created {BEGIN} {UNFINISHED} run.cancelling message.incomplete run.step.cancelled run.cancelled done"
    assert order(found) == expected
    incomplete = next(frame.data for frame in found if frame.event == "thread.message.incomplete")
    assert incomplete["incomplete_details"] == {"reason": "run_cancelled"}
    assert incomplete["content"][0]["text"]["value"] == "Well"


def test_deltas_are_as_openai_sends_them(http: httpx2.Client, assistant_id: str) -> None:
    found = stream(http, "POST", "/threads/runs", json=body("echo", assistant_id=assistant_id))
    deltas = [frame.data for frame in found if frame.event == "thread.message.delta"]
    assert {delta["object"] for delta in deltas} == {"thread.message.delta"}
    parts = [delta["delta"]["content"][0] for delta in deltas]
    assert parts[0] == {"index": 0, "type": "text", "text": {"value": "You", "annotations": []}}
    assert parts[1] == {"index": 0, "type": "text", "text": {"value": " said:"}}
    found = stream(http, "POST", "/threads/runs", json=body("weather", assistant_id=assistant_id))
    created = next(frame.data for frame in found if frame.event == "thread.run.step.created")
    assert created["step_details"] == {"type": "tool_calls", "tool_calls": []}
    calls = [
        frame.data["delta"]["step_details"]["tool_calls"][0]
        for frame in found
        if frame.event == "thread.run.step.delta"
    ]
    assert calls[0]["function"] == {"name": "get_weather", "arguments": "", "output": None}
    assert calls[1] == {"index": 0, "type": "function", "function": {"arguments": '{"city":'}}


def test_objects_in_frames_are_those_of_a_get(http: httpx2.Client, assistant_id: str) -> None:
    first = stream(http, "POST", "/threads/runs", json=body("weather", assistant_id=assistant_id))
    thread_id, run_id = run_of(first)
    assert http.get(f"/threads/{thread_id}/runs/{run_id}").json() == first[-2].data
    second = submit(http, first)
    assert http.get(f"/threads/{thread_id}/runs/{run_id}").json() == second[-2].data
    steps = {
        frame.data["id"]: {**frame.data, "expires_at": None}
        for frame in second
        if frame.event == "thread.run.step.completed"
    }
    listed = http.get(f"/threads/{thread_id}/runs/{run_id}/steps").json()["data"]
    assert {step["id"]: step for step in listed} == steps
    [message] = [frame.data for frame in second if frame.event == "thread.message.completed"]
    assert http.get(f"/threads/{thread_id}/messages/{message['id']}").json() == message


def test_a_stream_is_taken_up_behind_any_frame(http: httpx2.Client, assistant_id: str) -> None:
    first = stream(http, "POST", "/threads/runs", json=body("talks-and-calls", assistant_id=assistant_id))
    submit(http, first)
    thread_id, run_id = run_of(first)
    path = f"/threads/{thread_id}/runs/{run_id}/events"
    whole = stream(http, "GET", path)
    assert order(whole).endswith("run.completed done")
    assert order(whole).count("requires_action") == 1
    for index, seen in enumerate(whole[:-1]):
        assert seen.id is not None
        assert stream(http, "GET", path, params={"starting_after": seen.id}) == whole[index + 1 :]
        assert stream(http, "GET", path, headers={"Last-Event-ID": seen.id}) == whole[index + 1 :]
    version = first[1].id
    assert version is not None
    behind = stream(http, "GET", path, params={"starting_after": version.partition("-")[0]})
    assert behind == whole[2:]


def test_frames_that_were_seen_live_have_the_ids_of_the_replay(http: httpx2.Client, assistant_id: str) -> None:
    live = stream(http, "POST", "/threads/runs", json=body("echo", assistant_id=assistant_id))
    thread_id, run_id = run_of(live)
    replayed = {frame.id: frame for frame in stream(http, "GET", f"/threads/{thread_id}/runs/{run_id}/events")}
    for shown in live[1:]:
        if shown.id is not None:
            assert replayed[shown.id] == shown


def test_who_comes_late_sees_all_of_the_answer_on_its_way(
    http: httpx2.Client, server: Server, assistant_id: str
) -> None:
    late: list[Frame] = []
    with http.stream("POST", "/threads/runs", json=body("waits", assistant_id=assistant_id)) as response:
        first: list[Frame] = []
        for frame in frames(response):
            first.append(frame)
            if frame.event == "thread.message.delta":
                break
        thread_id, run_id = run_of(first)
    path = f"/threads/{thread_id}/runs/{run_id}/events"
    with http.stream("GET", path) as response:
        for frame in frames(response):
            late.append(frame)
            if frame.event == "thread.message.delta":
                loop = server.loop
                loop.call_soon_threadsafe(server.provider.go.set)
    server.loop.call_soon_threadsafe(server.provider.go.clear)
    assert order(late) == f"{BEGIN} {SAID} run.completed done"
    deltas = [frame.data["delta"]["content"][0] for frame in late if frame.event == "thread.message.delta"]
    assert "".join(delta["text"]["value"] for delta in deltas) == "Well, now."


def test_a_stream_is_taken_up_after_a_restart(tmp_path: Path) -> None:
    store = tmp_path / "clew.db"
    with Server(store) as before, httpx2.Client(base_url=before.base_url, timeout=10) as http:
        made = http.post("/assistants", json={"model": "weather"}).json()
        first = stream(http, "POST", "/threads/runs", json=body("weather", assistant_id=made["id"]))
    thread_id, run_id = run_of(first)
    with Server(store) as after, httpx2.Client(base_url=after.base_url, timeout=10) as http:
        path = f"/threads/{thread_id}/runs/{run_id}/events"
        again = stream(http, "GET", path)
        assert order(again) == f"{BEGIN} {CALLED} run.requires_action done"
        assert again[-2] == first[-2]
        second = submit(http, first)
        assert order(second).endswith("run.completed done")


def test_a_client_that_leaves_does_not_stop_the_run(http: httpx2.Client, assistant_id: str) -> None:
    with http.stream("POST", "/threads/runs", json=body("echo", assistant_id=assistant_id)) as response:
        run = next(frame.data for frame in frames(response) if frame.event == "thread.run.created")
    path = f"/threads/{run['thread_id']}/runs/{run['id']}"
    deadline = time.monotonic() + 5
    while http.get(path).json()["status"] != "completed":
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_poll_helper_waits_for_the_end(http: httpx2.Client, server: Server, assistant_id: str) -> None:
    run = http.post("/threads/runs", json={**body("waits", assistant_id=assistant_id), "stream": False}).json()
    path = f"/threads/{run['thread_id']}/runs/{run['id']}"
    plain = http.get(path)
    assert plain.headers["openai-poll-after-ms"] == "200"
    polling = {"X-Stainless-Poll-Helper": "true"}
    started = time.monotonic()
    waited = http.get(path, headers=polling)
    assert waited.json()["status"] == "in_progress"
    assert waited.headers["openai-poll-after-ms"] == "20"
    assert time.monotonic() - started > 0.9
    threading.Timer(0.2, lambda: server.loop.call_soon_threadsafe(server.provider.go.set)).start()
    started = time.monotonic()
    ended = http.get(path, headers=polling)
    assert ended.json()["status"] == "completed"
    assert "openai-poll-after-ms" not in ended.headers
    assert 0.1 < time.monotonic() - started < 0.9
    server.loop.call_soon_threadsafe(server.provider.go.clear)


def test_what_is_no_event_is_none_to_openais_decoder() -> None:
    """Its decoder takes a blank line for an event as soon as it has seen an id or a retry."""
    wire = RETRY + STILL_HERE + frame("thread.run.created", {"a": 1}, "1-0") + STILL_HERE + STILL_HERE + DONE
    decoded = list(SSEDecoder().iter_bytes(iter([wire])))
    assert [one.event for one in decoded] == ["thread.run.created", "done"]
    assert decoded[0].retry == 1000
