"""The same over HTTP: the audit, the exact prompt, the difference."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.rigs.processes import Server

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx2.Client]:
    folder: Path = tmp_path_factory.mktemp("http")
    with (
        Server(folder / "threads.db", ("--default-provider", "scripted")) as server,
        httpx2.Client(base_url=server.url, timeout=30) as client,
    ):
        yield client


def held(client: httpx2.Client, said: str) -> tuple[str, str]:
    """A thread, and a run on it that is over."""
    assistant = client.post("/v1/assistants", json={"model": "echo", "instructions": "Listen."}).json()
    body = {"assistant_id": assistant["id"], "thread": {"messages": [{"role": "user", "content": said}]}}
    run = client.post("/v1/threads/runs", json=body).json()
    end = time.monotonic() + 20
    while run["status"] in ("queued", "in_progress"):
        assert time.monotonic() < end
        time.sleep(0.02)
        run = client.get(f"/v1/threads/{run['thread_id']}/runs/{run['id']}").json()
    assert run["status"] == "completed"
    return run["thread_id"], run["id"]


def test_a_prompt_is_proven_by_the_id_of_its_step_and_by_its_number(client: httpx2.Client) -> None:
    _, run_id = held(client, "Hello")
    [step] = client.get(f"/clew/v1/runs/{run_id}").json()["steps"]
    found = client.get(f"/clew/v1/runs/{run_id}/steps/{step['step_id']}/prompt").json()
    assert found["proven"]
    assert hashlib.sha256(found["body"].encode()).hexdigest() == found["digest"]
    assert client.get(f"/clew/v1/runs/{run_id}/steps/1/prompt").json() == found


def test_it_stays_proven_when_the_message_is_edited_later(client: httpx2.Client) -> None:
    thread_id, run_id = held(client, "Before")
    message = client.get(f"/v1/threads/{thread_id}/messages", params={"order": "asc"}).json()["data"][0]
    edit = {"kind": "message.edited", "message_id": message["id"], "content": "After"}
    assert client.post(f"/clew/v1/threads/{thread_id}/events", json=edit).is_success
    found = client.get(f"/clew/v1/runs/{run_id}/steps/1/prompt").json()
    assert found["proven"]
    assert "Before" in found["body"]
    assert "After" not in found["body"]


def test_steps_and_runs_that_there_are_not_are_not_found(client: httpx2.Client) -> None:
    _, run_id = held(client, "Hello")
    _, other = held(client, "Hello")
    [step] = client.get(f"/clew/v1/runs/{other}").json()["steps"]
    for path in (f"{run_id}/steps/2", f"{run_id}/steps/step_x", "run_x/steps/1", f"{run_id}/steps/{step['step_id']}"):
        assert client.get(f"/clew/v1/runs/{path}/prompt").status_code == 404


def test_an_audit_tells_who_held_the_run_and_that_its_prompt_is_proven(client: httpx2.Client) -> None:
    _, run_id = held(client, "Hello")
    told = client.get(f"/clew/v1/runs/{run_id}/audit").json()
    assert [one["how"] for one in told["workers"]] == ["completed"]
    assert [step["proven"] for step in told["steps"]] == [True]
    assert told["items"][0]["text"] == "Hello"


def test_a_difference_is_found_or_refused(client: httpx2.Client) -> None:
    thread_id, run_id = held(client, "Hello")
    other, _ = held(client, "Good bye")
    found = client.get("/clew/v1/diff", params={"a": thread_id, "b": other}).json()
    assert [item["change"] for item in found["items"]] == ["changed", "changed"]
    then = client.get("/clew/v1/diff", params={"a": f"{thread_id}@v1", "b": thread_id}).json()
    assert [item["change"] for item in then["items"]] == ["added", "added"]
    assert client.get("/clew/v1/diff", params={"a": thread_id, "b": run_id}).status_code == 400
    assert client.get("/clew/v1/diff", params={"a": thread_id, "b": "thread_x"}).status_code == 404
