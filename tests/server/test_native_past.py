"""Clew's own API reads the past, too: whatever it showed at a position, it shows again as of that position."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import httpx2
import pytest

from tests.dialects.conftest import Server
from tests.dialects.sse import stream

pytestmark = pytest.mark.slow

POLLING = {"X-Stainless-Poll-Helper": "true"}


@dataclass
class Talk:
    """A thread with an edit, a removal, and a run that waits for its client in between, and what was seen of it."""

    native: httpx2.Client
    openai: httpx2.Client
    thread_id: str = ""
    run_id: str = ""
    seen: dict[int, dict[str, Any]] = field(default_factory=dict)

    def hold(self) -> None:
        self.thread_id = self.native.post("/threads", json={"metadata": {"a": "b"}}).json()["thread_id"]
        self.look()
        first, second, third = (self.append(kind="message.appended", role="user", content=said) for said in "abc")
        self.append(kind="message.edited", message_id=first, content="A")
        self.append(kind="message.changed", message_id=second, metadata={"n": "1"})
        self.append(kind="message.removed", message_id=third)
        self.append(kind="thread.changed", metadata={"a": "c"})
        assistant = self.openai.post("/assistants", json={"model": "two-tools"}).json()["id"]
        run = self.openai.post(f"/threads/{self.thread_id}/runs", json={"assistant_id": assistant}).json()
        self.run_id = run["id"]
        path = f"/threads/{self.thread_id}/runs/{self.run_id}"
        while run["required_action"] is None:
            run = self.openai.get(path, headers=POLLING).json()
        self.look()
        self.openai.post(f"{path}/cancel")
        while run["status"] != "cancelled":
            run = self.openai.get(path, headers=POLLING).json()
        self.look()
        self.openai.delete(f"/threads/{self.thread_id}")

    def append(self, **event: Any) -> str:
        made = self.native.post(f"/threads/{self.thread_id}/events", json=event).json()
        self.look()
        return str(made[0]["data"].get("message_id"))

    def look(self) -> None:
        position = httpx2.get(str(self.native.base_url).replace("/clew/v1/", "/healthz")).json()["position"]
        self.seen[position] = {path: self.native.get(path).json() for path in self.paths()}

    def paths(self) -> list[str]:
        thread = f"/threads/{self.thread_id}"
        items = [f"{thread}/items", f"{thread}/items?limit=1", f"{thread}/items?order=asc&after={self.thread_id}:2"]
        paths = [
            "/threads?limit=3",
            f"/threads?after={self.thread_id}",
            thread,
            *items,
            f"{thread}/events?limit=4",
            f"{thread}/events?after=4",
        ]
        if self.run_id:
            run = f"/runs/{self.run_id}"
            paths += [run, f"{run}/audit", f"{run}/steps/1/prompt"]
            paths += [f"/diff?a={self.thread_id}@v2&b={self.thread_id}", f"/diff?a={self.run_id}&b={self.run_id}"]
        return paths


@pytest.fixture
def talk(native: httpx2.Client, openai: httpx2.Client) -> Talk:
    made = Talk(native, openai)
    made.hold()
    return made


def test_what_was_seen_is_seen_again(talk: Talk, native: httpx2.Client) -> None:
    assert native.get(f"/threads/{talk.thread_id}").status_code == 404
    for position, seen in talk.seen.items():
        below = str(native.base_url).replace("/clew/v1", f"/at/{position}/clew/v1")
        for path, shown in seen.items():
            assert native.get(path, headers={"Clew-As-Of": str(position)}).json() == shown, path
            assert httpx2.get(f"{below.rstrip('/')}{path}").json() == shown, path


def test_a_version_is_a_point_for_a_thread_and_for_its_run(talk: Talk, native: httpx2.Client) -> None:
    said = [item["content"][0]["text"] for item in items(native, talk.thread_id, "v5")]
    assert said == ["A", "b", "c"]
    assert [item["content"][0]["text"] for item in items(native, talk.thread_id, "v4")] == ["a", "b", "c"]
    events = native.get(f"/threads/{talk.thread_id}/events").json()["events"]
    queued = next(event for event in events if event["kind"] == "run.queued")
    at = {"Clew-As-Of": f"v{queued['version']}"}
    assert native.get(f"/runs/{talk.run_id}", headers=at).json()["run"]["status"] == "queued"
    assert native.get(f"/runs/{talk.run_id}/audit", headers=at).json()["steps"] == []
    before = {"Clew-As-Of": f"v{queued['version'] - 1}"}
    assert native.get(f"/runs/{talk.run_id}", headers=before).status_code == 404


def items(native: httpx2.Client, thread_id: str, point: str) -> list[dict[str, Any]]:
    answer = native.get(f"/threads/{thread_id}/items?order=asc", headers={"Clew-As-Of": point})
    found: list[dict[str, Any]] = answer.json()["items"]
    return found


def test_a_feed_of_the_past_ends_at_its_point(talk: Talk, native: httpx2.Client) -> None:
    path = f"/threads/{talk.thread_id}/events"
    past = {"Accept": "text/event-stream", "Clew-As-Of": "v6"}
    frames = stream(native, "GET", path, headers=past)
    events = native.get(path).json()["events"][:6]
    assert [frame.data for frame in frames] == events
    assert [frame.id for frame in stream(native, "GET", path, headers={**past, "Last-Event-ID": "4"})] == ["5", "6"]
    assert native.get(path, headers={**past, "Last-Event-ID": "6"}).status_code == 204


@pytest.mark.parametrize("where", ["header", "path"])
def test_points_that_are_none_and_writes_into_the_past_are_refused(
    where: str, server: Server, native: httpx2.Client, talk: Talk
) -> None:
    def ask(method: str, path: str, point: str, **more: Any) -> tuple[int, dict[str, Any]]:
        if where == "header":
            answer = native.request(method, path, headers={"Clew-As-Of": point}, **more)
        else:
            base = str(native.base_url).replace("/clew/v1/", f"/at/{point}/clew/v1")
            answer = httpx2.request(method, base + path, **more)
        return answer.status_code, answer.json()["error"]

    with server.engine.log.reading() as reader:
        head = reader.head()
    for point, why in (("nonsense", "write a position"), ("99999999", "still to come"), ("v1", "no thread is asked")):
        status, error = ask("GET", "/threads", point)
        assert (status, error["type"]) == (400, "NoSuchPoint")
        assert why in error["message"]
        assert error["where"] == ("Clew-As-Of" if where == "header" else "/at/")
    for path, body in (
        ("/threads", {}),
        (f"/threads/{talk.thread_id}/events", {"kind": "thread.changed", "metadata": {}}),
    ):
        status, error = ask("POST", path, "1", json=body)
        assert (status, error["type"]) == (400, "PastIsReadOnly")
        assert "read-only" in error["message"]
    assert ask("GET", "/projections", "1")[0] == 400
    with server.engine.log.reading() as reader:
        assert reader.head() == head


def test_the_header_is_documented(native: httpx2.Client) -> None:
    document = native.get("/openapi.json").json()
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            names = {parameter["name"] for parameter in operation.get("parameters", [])}
            assert "Clew-As-Of" in names, json.dumps([path, method])
