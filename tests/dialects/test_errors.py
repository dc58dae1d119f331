"""Every refusal, to the letter: clients match these texts and branch on these codes."""

from __future__ import annotations

import logging
import socket
import sqlite3
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest

from tests.dialects.conftest import Server
from tests.dialects.faults import GONE, fault

MB = 1_000_000
MESSAGE = {"role": "user", "content": "Hi"}


def test_headers_of_every_answer(http: httpx2.Client) -> None:
    headers = http.post("/threads").headers
    assert headers["openai-version"] == "2020-10-01"
    assert headers["x-request-id"].startswith("req_")
    assert int(headers["openai-processing-ms"]) >= 0


@pytest.fixture
def waiting(http: httpx2.Client, thread_id: str, assistant_id: str) -> dict[str, Any]:
    """A run that waits for the outputs of two calls."""
    body = {"assistant_id": assistant_id, "model": "two-tools"}
    run = http.post(f"/threads/{thread_id}/runs", json=body).json()
    return polled(http, run, "requires_action")


def polled(http: httpx2.Client, run: dict[str, Any], status: str) -> dict[str, Any]:
    deadline = time.monotonic() + 5
    while run["status"] != status:
        assert time.monotonic() < deadline, run["status"]
        answer = http.get(f"/threads/{run['thread_id']}/runs/{run['id']}", headers={"X-Stainless-Poll-Helper": "true"})
        run = answer.json()
    return run


def path_of(run: dict[str, Any]) -> str:
    return f"/threads/{run['thread_id']}/runs/{run['id']}"


def test_a_thread_takes_one_run_at_a_time(http: httpx2.Client, waiting: dict[str, Any]) -> None:
    thread_id, run_id = waiting["thread_id"], waiting["id"]
    message = http.post(f"/threads/{thread_id}/messages", json={"role": "user", "content": "And?"})
    assert fault(message) == (400, f"Can't add messages to {thread_id} while a run {run_id} is active.", None, None)
    run = http.post(f"/threads/{thread_id}/runs", json={"assistant_id": waiting["assistant_id"]})
    assert fault(run) == (400, f"Thread {thread_id} already has an active run {run_id}.", None, None)


def test_a_run_needs_something_to_run_on(http: httpx2.Client, assistant_id: str) -> None:
    wanted = "Run creation requires a Thread with a user message or an assistant with instructions."
    empty = http.post("/threads").json()["id"]
    for answer in (
        http.post(f"/threads/{empty}/runs", json={"assistant_id": assistant_id}),
        http.post("/threads/runs", json={"assistant_id": assistant_id}),
    ):
        assert fault(answer) == (400, wanted, None, "invalid_thread")


def test_outputs_are_taken_when_they_are_waited_for(http: httpx2.Client, waiting: dict[str, Any]) -> None:
    calls = [call["id"] for call in waiting["required_action"]["submit_tool_outputs"]["tool_calls"]]
    submit = f"{path_of(waiting)}/submit_tool_outputs"
    some = http.post(submit, json={"tool_outputs": [{"tool_call_id": calls[0], "output": "1"}]})
    assert fault(some) == (400, f"Expected tool outputs for call_ids {calls}, got {calls[:1]}", None, None)
    every = {"tool_outputs": [{"tool_call_id": call, "output": "1"} for call in calls]}
    queued = http.post(submit, json=every)
    assert queued.json()["status"] == "queued"
    polled(http, waiting, "completed")
    late = http.post(submit, json=every)
    assert fault(late) == (400, 'Runs in status "completed" do not accept tool outputs.', None, None)
    cancel = http.post(f"{path_of(waiting)}/cancel")
    assert fault(cancel) == (400, "Cannot cancel run with status 'completed'.", None, None)


def test_a_run_in_progress_is_left_alone(http: httpx2.Client, thread_id: str, assistant_id: str) -> None:
    body = {"assistant_id": assistant_id, "model": "waits"}
    run = http.post(f"/threads/{thread_id}/runs", json=body).json()
    while http.get(path_of(run)).json()["status"] != "in_progress":
        time.sleep(0.01)
    changed = http.post(path_of(run), json={"metadata": {"a": "1"}})
    assert fault(changed) == (400, "Cannot update run with status 'in_progress'.", None, None)
    submit = http.post(f"{path_of(run)}/submit_tool_outputs", json={"tool_outputs": []})
    assert fault(submit) == (400, 'Runs in status "in_progress" do not accept tool outputs.', None, None)
    assert http.post(f"{path_of(run)}/cancel").json()["status"] == "cancelling"
    polled(http, run, "cancelled")
    assert http.post(path_of(run), json={"metadata": {"a": "1"}}).json()["metadata"] == {"a": "1"}


@pytest.mark.parametrize(
    ("method", "path", "noun", "id"),
    [
        ("GET", "/assistants/asst_{gone}", "assistant", "asst_{gone}"),
        ("POST", "/assistants/asst_{gone}", "assistant", "asst_{gone}"),
        ("DELETE", "/assistants/asst_{gone}", "assistant", "asst_{gone}"),
        ("GET", "/threads/thread_{gone}", "thread", "thread_{gone}"),
        ("POST", "/threads/thread_{gone}", "thread", "thread_{gone}"),
        ("DELETE", "/threads/thread_{gone}", "thread", "thread_{gone}"),
        ("GET", "/threads/thread_{gone}/messages", "thread", "thread_{gone}"),
        ("GET", "/threads/{thread}/messages/msg_{gone}", "message", "msg_{gone}"),
        ("POST", "/threads/{thread}/messages/msg_{gone}", "message", "msg_{gone}"),
        ("DELETE", "/threads/{thread}/messages/msg_{gone}", "message", "msg_{gone}"),
        ("GET", "/threads/{thread}/messages?after=msg_{gone}", "message", "msg_{gone}"),
        ("GET", "/threads/thread_{gone}/runs", "thread", "thread_{gone}"),
        ("GET", "/threads/{thread}/runs/run_{gone}", "run", "run_{gone}"),
        ("POST", "/threads/{thread}/runs/run_{gone}", "run", "run_{gone}"),
        ("POST", "/threads/{thread}/runs/run_{gone}/cancel", "run", "run_{gone}"),
        ("GET", "/threads/{thread}/runs/run_{gone}/steps", "run", "run_{gone}"),
        ("GET", "/threads/{thread}/runs/run_{gone}/events", "run", "run_{gone}"),
    ],
)
def test_what_is_not_there(http: httpx2.Client, thread_id: str, method: str, path: str, noun: str, id: str) -> None:
    body: dict[str, Any] = {"json": {"metadata": {}}} if method == "POST" else {}
    answer = http.request(method, path.format(thread=thread_id, gone=GONE), **body)
    assert fault(answer) == (404, f"No {noun} found with id '{id.format(gone=GONE)}'.", None, None)


def test_what_is_another_threads_is_not_there(http: httpx2.Client, thread_id: str, waiting: dict[str, Any]) -> None:
    other = http.post("/threads", json={"messages": [{"role": "user", "content": "Mine"}]}).json()["id"]
    message_id = http.get(f"/threads/{other}/messages").json()["data"][0]["id"]
    assert http.get(f"/threads/{thread_id}/messages/{message_id}").status_code == 404
    assert http.delete(f"/threads/{thread_id}/messages/{message_id}").status_code == 404
    assert http.get(f"/threads/{other}/runs/{waiting['id']}").status_code == 404
    step_id = http.get(f"{path_of(waiting)}/steps").json()["data"][0]["id"]
    missing = http.get(f"{path_of(waiting)}/steps/step_{GONE}")
    assert fault(missing) == (404, f"No run step found with id 'step_{GONE}'.", None, None)
    assert http.get(f"{path_of(waiting)}/steps/{step_id}").status_code == 200


def test_an_unknown_assistant_runs_nothing(http: httpx2.Client, thread_id: str) -> None:
    run = http.post(f"/threads/{thread_id}/runs", json={"assistant_id": f"asst_{GONE}"})
    assert fault(run) == (404, f"No assistant found with id 'asst_{GONE}'.", None, None)


def test_what_was_deleted_is_gone(http: httpx2.Client, thread_id: str, assistant_id: str) -> None:
    gone = http.delete(f"/threads/{thread_id}").json()
    assert gone == {"id": thread_id, "object": "thread.deleted", "deleted": True}
    assert http.get(f"/threads/{thread_id}").status_code == 404
    assert http.post(f"/threads/{thread_id}/messages", json={"role": "user", "content": "x"}).status_code == 404
    assert http.delete(f"/assistants/{assistant_id}").json()["object"] == "assistant.deleted"
    assert http.get(f"/assistants/{assistant_id}").status_code == 404


def test_an_empty_list_has_no_first_and_no_last(http: httpx2.Client) -> None:
    thread_id = http.post("/threads").json()["id"]
    empty: dict[str, Any] = {"object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False}
    assert http.get(f"/threads/{thread_id}/messages").json() == empty


@pytest.mark.parametrize("body", [b"{", b"{'a': 1}", b'{"a": "\\ud800"}', b'{"a": "\xff"}', b'{"a": NaN}', b"[" * 5000])
def test_what_is_not_json(http: httpx2.Client, body: bytes) -> None:
    status, message, param, code = fault(http.post("/threads", content=body))
    assert (status, param, code) == (400, None, "invalid_json")
    assert message.startswith("Invalid body: failed to parse JSON value. Please check the value")


def test_odd_texts_come_back_as_they_were(http: httpx2.Client, thread_id: str) -> None:
    odd = "a\0b \ufffe 🧶 \u202e"
    made = http.post(f"/threads/{thread_id}/messages", json={"role": "user", "content": odd, "metadata": {odd: odd}})
    assert made.json()["content"][0]["text"]["value"] == odd
    assert http.get(f"/threads/{thread_id}/messages/{made.json()['id']}").json()["metadata"] == {odd: odd}
    assert http.post(f"/threads/{thread_id}", json={"metadata": {odd: odd}}).json()["metadata"] == {odd: odd}


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/nothing"), ("PUT", "/threads"), ("GET", "/threads/runs/x/y/z"), ("DELETE", "/models/echo")],
)
def test_an_unknown_url(http: httpx2.Client, method: str, path: str) -> None:
    expected = (404, f"Invalid URL ({method} /openai/v1{path})", None, None)
    assert fault(http.request(method, path)) == expected


def test_both_mounts_are_the_same(http: httpx2.Client, server: Server, thread_id: str) -> None:
    plain = server.base_url.replace("/openai/v1", "/v1")
    assert httpx2.get(f"{plain}/threads/{thread_id}").json()["id"] == thread_id


def test_an_unknown_model(http: httpx2.Client) -> None:
    expected = (404, "The model 'gpt-0' does not exist", "model", "model_not_found")
    assert fault(http.get("/models/gpt-0")) == expected


def test_a_body_that_is_too_large(http: httpx2.Client) -> None:
    expected = (413, "Request body too large. At most 2000000 bytes are accepted.", None, "request_too_large")
    assert fault(http.post("/threads", content=b" " * (2 * MB + 1))) == expected
    pieces = (b" " * MB for _ in range(4))
    assert fault(http.post("/threads", content=pieces)) == expected


def test_keys(tmp_path: Path) -> None:
    with Server(tmp_path / "clew.db", api_key="sk-the-right-key-1234") as server:
        url = f"{server.base_url}/assistants"
        assert httpx2.get(url, headers={"Authorization": "Bearer sk-the-right-key-1234"}).status_code == 200
        wrong = httpx2.get(url, headers={"Authorization": "Bearer sk-quite-another-abcd"})
        message = (
            "Incorrect API key provided: sk-…abcd."
            " You can find your API key at https://platform.openai.com/account/api-keys."
        )
        assert fault(wrong) == (401, message, None, "invalid_api_key")
        assert "…" in fault(httpx2.get(url, headers={"Authorization": "Bearer short"}))[1]
        assert "short" not in httpx2.get(url, headers={"Authorization": "Bearer short"}).text
        assert httpx2.get(url).status_code == 401
        assert httpx2.get(f"{server.base_url}/nowhere").status_code == 401


def test_repeated_outputs_have_the_first_outcome_though_the_run_has_gone_on(
    http: httpx2.Client, thread_id: str
) -> None:
    tool = {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}
    assistant = http.post("/assistants", json={"model": "weather", "tools": [tool]}).json()["id"]
    run = http.post(f"/threads/{thread_id}/runs", json={"assistant_id": assistant}).json()
    path = f"/threads/{thread_id}/runs/{run['id']}"
    deadline = time.monotonic() + 20
    while (run := http.get(path).json())["status"] != "requires_action":
        assert time.monotonic() < deadline, run
    calls = run["required_action"]["submit_tool_outputs"]["tool_calls"]
    body = {"tool_outputs": [{"tool_call_id": call["id"], "output": "hail"} for call in calls]}
    key = {"Idempotency-Key": run["id"]}
    first = http.post(f"{path}/submit_tool_outputs", json=body, headers=key).json()
    while http.get(path).json()["status"] in ("queued", "in_progress"):
        assert time.monotonic() < deadline
    assert http.post(f"{path}/submit_tool_outputs", json=body, headers=key).json() == first


def test_a_repeated_request_has_the_first_outcome(http: httpx2.Client, thread_id: str, assistant_id: str) -> None:
    key = {"Idempotency-Key": "one"}
    bodies: dict[str, Any] = {
        "/threads": {"metadata": {"n": "1"}},
        f"/threads/{thread_id}/messages": {"role": "user", "content": "Once"},
        "/assistants": {"model": "echo"},
        "/threads/runs": {"assistant_id": assistant_id, "thread": {"messages": [MESSAGE]}},
        f"/threads/{thread_id}/runs": {"assistant_id": assistant_id},
    }
    for path, body in bodies.items():
        first, again = (http.post(path, json=body, headers=key) for _ in range(2))
        assert first.status_code == 200
        assert again.json() == first.json()
        other = http.post(path, json={**body, "metadata": {"other": "body"}}, headers=key)
        status, _, _, code = fault(other)
        assert (status, code) == (400, "idempotency_key_reused")
    contents = [message["content"] for message in http.get(f"/threads/{thread_id}/messages").json()["data"]]
    assert len(contents) == 2


def test_threads_are_found_by_their_metadata(http: httpx2.Client) -> None:
    made = [http.post("/threads", json={"metadata": {"team": "blue", "n": str(n)}}).json()["id"] for n in range(3)]
    found = http.get("/threads", params={"metadata[team]": "blue"}).json()
    assert [thread["id"] for thread in found["data"]] == made[::-1]
    found = http.get("/threads", params={"metadata[team]": "blue", "metadata[n]": "1"}).json()
    assert [thread["id"] for thread in found["data"]] == [made[1]]
    page = http.get("/threads", params={"metadata[team]": "blue", "limit": 1, "after": made[2]}).json()
    assert ([thread["id"] for thread in page["data"]], page["has_more"]) == ([made[1]], True)


def test_a_fault_of_ours_is_logged_and_told(
    http: httpx2.Client, server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def breaks(*_: object, **__: object) -> None:
        raise sqlite3.OperationalError("something unforeseen")

    monkeypatch.setattr(server.engine.desk, "on_thread", breaks)
    with caplog.at_level(logging.ERROR):
        answer = http.post("/threads")
        deadline = time.monotonic() + 5
        while not caplog.text and time.monotonic() < deadline:
            time.sleep(0.01)  # A request is logged when its answer is sent.
    assert answer.status_code == 500
    assert answer.json()["error"]["type"] == "server_error"
    assert "unforeseen" not in answer.text
    assert answer.headers["x-should-retry"] == "false"
    assert "something unforeseen" in caplog.text


def test_a_client_that_leaves_in_the_middle_is_no_error(
    http: httpx2.Client, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    place = urlsplit(server.base_url)
    with caplog.at_level(logging.WARNING):
        with socket.create_connection((place.hostname, place.port)) as connection:
            connection.sendall(b"POST /v1/threads HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        time.sleep(0.1)
    assert http.get("/assistants").status_code == 200
    assert caplog.text == ""
