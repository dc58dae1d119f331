"""Messages that name a file: no file can be uploaded yet, so each is refused where it is appended, and not left out."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from openai import BadRequestError, OpenAI

from clew.engine.counting import new_message
from clew.events.content import File, Image, Text
from clew.ids import DEFAULT_TENANT, new_id
from clew.rules.commands import CreateThread
from tests.dialects.conftest import Server
from tests.dialects.faults import fault

TEXT = {"type": "text", "text": "What is this?"}
PICTURE = {"type": "image_file", "image_file": {"file_id": "file-abc"}}
SAID = {"role": "user", "content": [TEXT, TEXT, PICTURE]}


@pytest.fixture
def http(server: Server) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=server.url, timeout=20) as client:
        yield client


@pytest.fixture
def names(http: httpx2.Client) -> dict[str, str]:
    thread = http.post("/v1/threads", json={"messages": [{"role": "user", "content": "Hi"}]}).json()["id"]
    message = http.get(f"/v1/threads/{thread}/messages").json()["data"][0]["id"]
    assistant = http.post("/v1/assistants", json={"model": "echo"}).json()["id"]
    begun = http.post("/mistral/v1/conversations", json={"model": "echo", "inputs": "Hi"}).json()
    return {
        "thread": thread,
        "message": message,
        "assistant": assistant,
        "conversation": begun["conversation_id"],
        "entry": begun["outputs"][0]["id"],
    }


def filled(value: Any, names: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: filled(one, names) for key, one in value.items()}
    if isinstance(value, list):
        return [filled(one, names) for one in value]
    return value.format(**names) if isinstance(value, str) else value


def refused(http: httpx2.Client, names: dict[str, str], path: str, body: Any) -> httpx2.Response:
    """The refusal, of which nothing is in the log."""
    before = http.get("/healthz").json()["position"]
    answer = http.post(path.format(**names), json=filled(body, names))
    assert http.get("/healthz").json()["position"] == before, "nothing was appended"
    return answer


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/threads/{thread}/messages", SAID, "content[2].image_file.file_id"),
        ("/threads", {"messages": [SAID]}, "messages[0].content[2].image_file.file_id"),
        (
            "/threads/{thread}/runs",
            {"assistant_id": "{assistant}", "additional_messages": [{"role": "user", "content": "Hm"}, SAID]},
            "additional_messages[1].content[2].image_file.file_id",
        ),
        (
            "/threads/runs",
            {"assistant_id": "{assistant}", "thread": {"messages": [SAID]}, "stream": True},
            "thread.messages[0].content[2].image_file.file_id",
        ),
    ],
)
def test_openai(http: httpx2.Client, names: dict[str, str], path: str, body: Any, param: str) -> None:
    for mount in ("/v1", "/openai/v1"):
        answer = refused(http, names, mount + path, body)
        assert fault(answer) == (400, "No file found with id 'file-abc'.", param, None)


def test_openais_sdk_is_told_which_file_it_was(client: OpenAI) -> None:
    with pytest.raises(BadRequestError, match=r"No file found with id 'file-abc'\.") as raised:
        client.beta.threads.create(messages=[SAID])  # type: ignore[list-item]
    assert raised.value.param == "messages[0].content[2].image_file.file_id"


@pytest.mark.parametrize("chunk", [{"type": "file"}, {"type": "tool_file", "tool": "image_generation"}])
@pytest.mark.parametrize("entry", [{"type": "message.input", "role": "user"}, {"type": "message.output"}])
@pytest.mark.parametrize(
    ("path", "more"),
    [
        ("", {"model": "echo"}),
        ("/{conversation}", {}),
        ("/{conversation}", {"store": False}),
        ("/{conversation}/restart", {"from_entry_id": "{entry}"}),
    ],
)
def test_mistral(
    http: httpx2.Client, names: dict[str, str], path: str, more: Any, entry: dict[str, str], chunk: dict[str, str]
) -> None:
    said = {**entry, "content": [{"type": "text", "text": "Look"}, {**chunk, "file_id": "file_1"}]}
    inputs = [{"role": "user", "content": "Hm"}, said]
    answer = refused(http, names, f"/mistral/v1/conversations{path}", {"inputs": inputs, **more})
    assert answer.status_code == 422
    [detail] = answer.json()["detail"]
    assert detail["loc"] == ["body", "inputs", 1, "content", 1, "file_id"]
    assert detail["msg"] == "No file has the id 'file_1'."


@pytest.mark.parametrize("kind", ["image", "document"])
def test_anthropic(http: httpx2.Client, names: dict[str, str], kind: str) -> None:
    block = {"type": kind, "source": {"type": "file", "file_id": "file_1"}}
    body = {"model": "echo", "max_tokens": 9, "messages": [{"role": "user", "content": [TEXT, block]}]}
    answer = refused(http, names, "/anthropic/v1/messages", body)
    assert answer.status_code == 400
    assert answer.json()["error"]["message"].startswith("messages.0.content.1.source: a file that was uploaded")


@pytest.mark.parametrize("part", [{"type": "image", "file_id": "file_1"}, {"type": "file", "file_id": "file_1"}])
@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/threads/{thread}/events", {"kind": "message.appended", "role": "user"}),
        ("/threads/{thread}/events", {"kind": "message.edited", "message_id": "{message}"}),
        ("/threads/{thread}/fork", {"kind": "say"}),
        ("/threads/{thread}/fork", {"kind": "replace", "message_id": "{message}"}),
        ("/threads/{thread}/fork", {"kind": "insert", "before": "{message}"}),
    ],
)
def test_clews_own_api(
    http: httpx2.Client, names: dict[str, str], path: str, body: dict[str, Any], part: dict[str, str]
) -> None:
    said = {**body, "content": [TEXT, part]}
    answer = refused(http, names, f"/clew/v1{path}", {"edits": [said]} if path.endswith("/fork") else said)
    error = answer.json()["error"]
    assert (answer.status_code, error["type"], error["noun"], error["id"]) == (404, "NotFound", "file", "file_1")


# What an older Clew took


@pytest.fixture
def old(server: Server) -> str:
    """A thread with such messages, as they were taken before."""
    thread_id = new_id("thread")
    content = (
        Text(type="text", text="Look"),
        Image(type="image", file_id="file_1"),
        File(type="file", file_id="file_2"),
    )
    command = CreateThread(
        thread_id=thread_id,
        tenant=DEFAULT_TENANT,
        dialect="openai",
        metadata={},
        tool_resources={},
        messages=(new_message("user", content),),
    )
    appending = server.engine.desk.on_thread(thread_id, lambda: command, new=True)
    asyncio.run_coroutine_threadsafe(appending, server.loop).result(10)
    return thread_id


def test_a_thread_that_names_files_is_read_in_every_api(http: httpx2.Client, old: str) -> None:
    [message] = http.get(f"/v1/threads/{old}/messages").json()["data"]
    assert message["content"][1] == {"type": "image_file", "image_file": {"file_id": "file_1", "detail": "auto"}}
    assert message["content"][2]["text"]["value"] == "[file file_2]"
    conversation = old.replace("thread_", "conv_")
    [entry] = http.get(f"/mistral/v1/conversations/{conversation}/history").json()["entries"]
    assert [chunk["text"] for chunk in entry["content"]] == ["Look", "[image file_1]", "[file file_2]"]
    [said] = http.get(f"/anthropic/v1/threads/{old}/messages").json()["data"]
    assert said["content"][1] == {"type": "image", "source": {"type": "file", "file_id": "file_1"}}
    [item] = http.get(f"/clew/v1/threads/{old}/items").json()["items"]
    assert [part["file_id"] for part in item["content"][1:]] == ["file_1", "file_2"]


def test_such_a_thread_goes_on_and_is_forked_but_says_nothing_of_the_kind_again(http: httpx2.Client, old: str) -> None:
    assistant = http.post("/v1/assistants", json={"model": "echo"}).json()["id"]
    run = http.post(f"/v1/threads/{old}/runs", json={"assistant_id": assistant}).json()
    while run["status"] in ("queued", "in_progress"):
        run = http.get(f"/v1/threads/{old}/runs/{run['id']}", headers={"X-Stainless-Poll-Helper": "true"}).json()
    assert run["status"] == "completed"
    forked = http.post(f"/clew/v1/threads/{old}/fork", json={"edits": [{"kind": "say", "content": "And?"}]})
    assert forked.status_code == 200
    [said, *_] = http.get(f"/anthropic/v1/threads/{old}/messages").json()["data"]
    body = {"model": "echo", "max_tokens": 9, "messages": [{"role": "user", "content": said["content"]}]}
    answer = http.post("/anthropic/v1/messages", json=body)
    assert (answer.status_code, "a file that was uploaded" in answer.text) == (400, True)
