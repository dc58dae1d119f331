"""What was ever shown through Mistral's API is shown again, byte for byte, as of the position at which it was shown."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

import httpx2
import pytest
from mistralai.client import Mistral
from mistralai.client.errors import SDKError

from tests.dialects.conftest import Server
from tests.dialects.mistral.conftest import TOOL, result
from tests.dialects.sse import stream

pytestmark = pytest.mark.slow

Seen = dict[int, list[tuple[str, int, bytes]]]


def look_around(http: httpx2.Client, seen: Seen) -> None:
    """Everything that can be read, remembered by the position that it was shown at."""
    paths = ["/conversations", "/agents", "/agents/pages?page_size=2", '/conversations?metadata={"play":1}']
    for one in http.get("/conversations").json():
        paths += [f"/conversations/{one['id']}{end}" for end in ("", "/history", "/messages")]
    for one in http.get("/agents").json():
        paths += [f"/agents/{one['id']}{end}" for end in ("", "/versions", "/versions/0", "/aliases")]
    for path in paths:
        response = http.get(path)
        position = int(response.headers["clew-position"])
        seen.setdefault(position, []).append((path, response.status_code, response.content))


def test_the_past_is_shown_again_byte_for_byte(http: httpx2.Client, server: Server) -> None:
    seen: Seen = {}
    bea = http.post("/agents", json={"model": "repeats", "name": "Bea"}).json()
    ada = http.post("/agents", json={"model": "hands-over", "name": "Ada", "handoffs": [bea["id"]]}).json()
    look_around(http, seen)
    talk = http.post("/conversations", json={"agent_id": ada["id"], "inputs": "Hello", "metadata": {"play": 1}}).json()
    look_around(http, seen)
    tools = http.post("/conversations", json={"model": "weather", "inputs": "Weather?", "tools": [TOOL]}).json()
    look_around(http, seen)
    answers = [result(one, "sun") for one in tools["outputs"]]
    http.post(f"/conversations/{tools['conversation_id']}", json={"inputs": answers})
    http.patch(f"/agents/{bea['id']}", json={"instructions": "Be brief."})
    http.put(f"/agents/{bea['id']}/aliases?alias=prod&version=1")
    look_around(http, seen)
    path = f"/conversations/{talk['conversation_id']}"
    entry = talk["outputs"][0]["id"]
    http.post(f"{path}/restart", json={"from_entry_id": entry, "inputs": "Otherwise"})
    http.patch(f"/agents/{bea['id']}/version?version=0")
    thread = talk["conversation_id"].replace("conv_", "thread_")
    httpx2.delete(f"{server.base_url}/threads/{thread}/messages/{entry}")
    look_around(http, seen)
    http.delete(f"/agents/{bea['id']}/aliases?alias=prod")
    http.delete(path)
    http.delete(f"/agents/{ada['id']}")
    look_around(http, seen)
    assert len(seen) == 6
    for position, answers_then in seen.items():
        for path, status, body in answers_then:
            by_path = httpx2.get(f"{server.url}/at/{position}/mistral/v1{path}")
            assert (by_path.status_code, by_path.content) == (status, body), f"{path} at {position}"
            by_header = http.get(path, headers={"Clew-As-Of": str(position)})
            assert (by_header.status_code, by_header.content) == (status, body), f"{path} at {position}"


def test_the_sdk_is_pointed_at_the_past(talks: Any, server: Server) -> None:
    begun = talks.start(model="echo", inputs="A")
    talks.append(conversation_id=begun.conversation_id, inputs="B")
    thread = begun.conversation_id.replace("conv_", "thread_")
    with server.engine.log.reading() as reader:
        version = next(one.version for one in reader.stream(thread) if one.event.kind == "run.completed")
    time.sleep(0.001)
    now = datetime.now(UTC).isoformat()
    talks.delete(conversation_id=begun.conversation_id)
    for point, said in ((f"v{version}", ["A", "You said: A"]), (now, ["A", "You said: A", "B", "You said: B"])):
        with Mistral(api_key="k", server_url=f"{server.url}/at/{point}/mistral") as past:
            history = past.beta.conversations.get_history(conversation_id=begun.conversation_id)
            assert [entry.content for entry in history.entries] == said
            with pytest.raises(SDKError) as raised:
                past.beta.conversations.append(conversation_id=begun.conversation_id, inputs="C")
            assert raised.value.status_code == 400
            assert "past_is_read_only" in raised.value.body


def test_the_past_takes_nothing_new(http: httpx2.Client) -> None:
    begun = http.post("/conversations", json={"model": "echo", "inputs": "A"}).json()
    agent = http.post("/agents", json={"model": "echo", "name": "A"}).json()
    path = f"/conversations/{begun['conversation_id']}"
    for method, url, body in (
        ("POST", "/conversations", {"model": "echo", "inputs": "A"}),
        ("POST", path, {"inputs": "B"}),
        ("POST", f"{path}/restart", {"from_entry_id": "msg_1"}),
        ("DELETE", path, None),
        ("POST", "/agents", {"model": "echo", "name": "A"}),
        ("PATCH", f"/agents/{agent['id']}", {"name": "B"}),
        ("PATCH", f"/agents/{agent['id']}/version?version=0", None),
        ("PUT", f"/agents/{agent['id']}/aliases?alias=a&version=0", None),
        ("DELETE", f"/agents/{agent['id']}", None),
    ):
        response = http.request(method, url, json=body, headers={"Clew-As-Of": "1"})
        assert (response.status_code, response.json()["code"]) == (400, "past_is_read_only")
    assert http.get(path).status_code == 200


@pytest.mark.parametrize("point", ["yesterday", "999999999", "v0", "v999"])
def test_a_point_that_is_none_is_told(point: str, http: httpx2.Client) -> None:
    begun = http.post("/conversations", json={"model": "echo", "inputs": "A"}).json()
    response = http.get(f"/conversations/{begun['conversation_id']}", headers={"Clew-As-Of": point})
    assert (response.status_code, response.json()["code"]) == (400, "no_such_point")


def test_a_stream_of_the_past_ends_at_its_point(http: httpx2.Client, server: Server) -> None:
    begun = http.post("/conversations", json={"model": "echo", "inputs": "A"}).json()
    thread = begun["conversation_id"].replace("conv_", "thread_")
    with server.engine.log.reading() as reader:
        events = reader.stream(thread)
    path = f"/conversations/{begun['conversation_id']}/events"
    whole = [frame.event for frame in stream(http, "GET", path)]
    assert whole == ["conversation.response.started", "message.output.delta", "conversation.response.done"]
    for recorded in events:
        then = {"Clew-As-Of": f"v{recorded.version}"}
        kinds = {one.event.kind for one in events[: recorded.version]}
        if "run.queued" not in kinds:
            assert http.get(path, headers=then).status_code == 404
            continue
        shown = whole[: 1 + ("model.answered" in kinds and "message.appended" in _last(events, recorded.version))]
        if recorded.event.kind == "run.completed":
            shown = whole
        assert [frame.event for frame in stream(http, "GET", path, headers=then)] == shown


def _last(events: Any, version: int) -> set[str]:
    """What happened since the model was asked."""
    kinds = [one.event.kind for one in events[:version]]
    return set(kinds[kinds.index("model.answered") :])
