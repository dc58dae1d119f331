"""What goes wrong is said as Mistral's API says it, names what is wrong, and breaks no client."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import httpx2
import pytest
from mistralai.client import Mistral
from mistralai.client.errors import HTTPValidationError, SDKError

from tests.dialects.conftest import Server
from tests.dialects.mistral.conftest import TOOL


def fault(response: httpx2.Response) -> tuple[int, str, str | None]:
    """Status, type and code of an error that is an object with all its keys."""
    error = response.json()
    assert set(error) == {"object", "message", "type", "param", "code"}
    assert (error["object"], bool(error["message"])) == ("error", True)
    return response.status_code, error["type"], error["code"]


def places(response: httpx2.Response) -> list[list[str | int]]:
    """Where a request was wrong."""
    assert response.status_code == 422, response.text
    detail = response.json()["detail"]
    assert all(set(one) == {"loc", "msg", "type"} for one in detail)
    return [one["loc"] for one in detail]


HOSTED: list[dict[str, Any]] = [
    {"type": "web_search"},
    {"type": "web_search_premium"},
    {"type": "code_interpreter"},
    {"type": "image_generation"},
    {"type": "document_library", "library_ids": ["l1"]},
    {"type": "connector", "connector_id": "c1"},
]


@pytest.mark.parametrize("tool", HOSTED, ids=lambda tool: str(tool["type"]))
def test_tools_of_mistrals_own_servers_are_refused_by_name(tool: dict[str, Any], http: httpx2.Client) -> None:
    start = http.post("/conversations", json={"model": "echo", "inputs": "x", "tools": [TOOL, tool]})
    assert places(start) == [["body", "tools", 1, "type"]]
    assert tool["type"] in start.json()["detail"][0]["msg"]
    assert places(http.post("/agents", json={"model": "echo", "name": "A", "tools": [tool]})) == [
        ["body", "tools", 0, "type"]
    ]


@pytest.mark.parametrize(
    ("about", "where"),
    [
        ({"guardrails": [{"block_on_error": True}]}, ["guardrails"]),
        ({"completion_args": {"prediction": {"type": "content", "content": "x"}}}, ["completion_args", "prediction"]),
        ({"inputs": [{"role": "assistant", "content": "So", "prefix": True}]}, ["inputs", 0, "prefix"]),
        ({"agent_version": 1}, ["agent_version"]),
        ({"completion_args": {"response_format": {"type": "json_schema"}}},
         ["completion_args", "response_format", "json_schema"]),
    ],
)  # fmt: skip
def test_what_is_not_offered_is_named(about: dict[str, Any], where: list[str | int], http: httpx2.Client) -> None:
    assert places(http.post("/conversations", json={"model": "echo", "inputs": "x", **about})) == [["body", *where]]


def test_what_is_not_offered_of_agents_is_named(http: httpx2.Client) -> None:
    agent = http.post("/agents", json={"model": "echo", "name": "A"}).json()
    patched = http.patch(f"/agents/{agent['id']}", json={"deployment_chat": True})
    assert places(patched) == [["body", "deployment_chat"]]
    assert http.patch(f"/agents/{agent['id']}", json={"deployment_chat": False}).status_code == 200


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({}, ["inputs"]),
        ({"inputs": 7}, ["inputs"]),
        ({"inputs": ["x"]}, ["inputs", 0]),
        ({"inputs": [{"type": "made.up"}]}, ["inputs", 0]),
        ({"inputs": [{"type": "message.input", "role": "system", "content": "x"}]}, ["inputs", 0, "role"]),
        ({"inputs": [{"role": "user", "content": [{"type": "smell"}]}]}, ["inputs", 0, "content", 0]),
        ({"inputs": [{"role": "user", "content": "x", "colour": "red"}]}, ["inputs", 0, "colour"]),
        ({"inputs": "x", "completion_args": {"temperature": "warm"}}, ["completion_args", "temperature"]),
        ({"inputs": "x", "completion_args": {"temperature": 7}}, ["completion_args", "temperature"]),
        ({"inputs": "x", "handoff_execution": "nobody"}, ["handoff_execution"]),
        ({"inputs": "x", "tools": [{"type": "function", "function": {"name": "a b"}}]},
         ["tools", 0, "function", "name"]),
        ({"inputs": "x", "threads": 3}, ["threads"]),
    ],
)  # fmt: skip
def test_a_body_that_is_wrong_is_told_where(body: dict[str, Any], where: list[str | int], http: httpx2.Client) -> None:
    assert ["body", *where] in places(http.post("/conversations", json={"model": "echo", **body}))


@pytest.mark.parametrize(
    ("path", "where"),
    [
        ("/conversations?page=-1", ["query", "page"]),
        ("/conversations?page=x", ["query", "page"]),
        ("/conversations?page_size=0", ["query", "page_size"]),
        ("/conversations?metadata=[1]", ["query", "metadata"]),
        ("/conversations?metadata={", ["query", "metadata"]),
        ("/agents?page_size=1001", ["query", "page_size"]),
    ],
)
def test_a_parameter_that_is_wrong_is_told(path: str, where: list[str], http: httpx2.Client) -> None:
    assert places(http.get(path)) == [where]


ELSEWHERE: list[tuple[dict[str, Any], list[str]]] = [
    ({"type": "image_url", "image_url": "file-nope"}, ["image_url"]),
    ({"type": "image_url", "image_url": {"url": "cat.png"}}, ["image_url", "url"]),
    ({"type": "document_url", "document_url": "file-x"}, ["document_url"]),
    ({"type": "document_url", "document_url": ""}, ["document_url"]),
]


@pytest.mark.parametrize(("chunk", "where"), ELSEWHERE)
def test_an_id_is_no_url(chunk: dict[str, Any], where: list[str], http: httpx2.Client) -> None:
    inputs = [{"role": "user", "content": [{"type": "text", "text": "Look:"}, chunk]}]
    before = http.get("/conversations").json()
    answer = http.post("/conversations", json={"model": "echo", "inputs": inputs})
    assert places(answer) == [["body", "inputs", 0, "content", 1, *where]]
    assert answer.json()["detail"][0]["type"] == "url_parsing"
    assert http.get("/conversations").json() == before


def test_urls_and_content_itself_are_taken(http: httpx2.Client) -> None:
    for url in ("http://x/a.png", "HTTPS://x/a.png", "data:image/png;base64,AAAA", "QUJD" * 30, "gs://bucket/a.png"):
        for chunk in ({"type": "image_url", "image_url": url}, {"type": "document_url", "document_url": url}):
            inputs = [{"role": "user", "content": [chunk]}]
            assert http.post("/conversations", json={"model": "echo", "inputs": inputs}).status_code == 200, chunk


def test_versions_and_aliases_must_be_given(http: httpx2.Client) -> None:
    agent = http.post("/agents", json={"model": "echo", "name": "A"}).json()["id"]
    assert places(http.patch(f"/agents/{agent}/version")) == [["query", "version"]]
    assert places(http.put(f"/agents/{agent}/aliases?alias=Prod&version=0")) == [["query", "alias"]]
    assert places(http.put(f"/agents/{agent}/aliases?alias=prod")) == [["query", "version"]]


def test_bodies_that_are_none_or_too_large(http: httpx2.Client) -> None:
    assert places(http.post("/conversations", content=b"{")) == [["body"]]
    assert fault(http.post("/conversations", content=b"x" * 2_000_001)) == (
        *(413, "invalid_request_error", "request_too_large"),
    )
    deep: Any = "x"
    for _ in range(70):
        deep = [deep]
    assert places(http.post("/conversations", json={"model": "echo", "inputs": "x", "metadata": {"a": deep}})) == [
        ["body", "metadata"]
    ]


def test_what_is_not_here_is_not_found(http: httpx2.Client) -> None:
    gone = "conv_06Z8ixdFfoDgvSh1Rx32mrga"
    for method, path in (
        ("GET", ""), ("DELETE", ""), ("GET", "/history"), ("GET", "/messages"), ("GET", "/events"),
    ):  # fmt: skip
        response = http.request(method, f"/conversations/{gone}{path}")
        assert fault(response) == (404, "not_found", "conversation_not_found")
        assert gone in response.json()["message"]
    assert http.post(f"/conversations/{gone}", json={"inputs": "x"}).status_code == 404
    assert http.post(f"/conversations/{gone}/restart", json={"from_entry_id": "msg_1"}).status_code == 404
    for other in ("thread_06Z8ixdFfoDgvSh1Rx32mrga", "conv_a-b", "conv_", "x"):
        assert fault(http.get(f"/conversations/{other}")) == (404, "not_found", "conversation_not_found")
    assert fault(http.get("/libraries")) == (404, "not_found", "unknown_url")
    assert fault(http.patch("/conversations")) == (404, "not_found", "unknown_url")


@pytest.mark.parametrize(
    ("model", "status", "code"),
    [("fails", 424, "rate_limit_exceeded"), ("breaks", 424, "broken_stream"), ("none/such", 424, "server_error")],
)
def test_a_model_that_does_not_answer(model: str, status: int, code: str, http: httpx2.Client) -> None:
    response = http.post("/conversations", json={"model": model, "inputs": "Hello", "metadata": {"model": model}})
    if model == "none/such":
        # A name with a slash that is no provider's is a model's.
        assert response.json()["outputs"][0]["content"] == "You said: Hello"
        return
    assert fault(response) == (status, "model_call_failed", code)
    assert "append without inputs" in response.json()["message"]
    # What was said is kept, and asked again by an append of nothing.
    [kept] = http.get("/conversations", params={"metadata": f'{{"model":"{model}"}}'}).json()
    history = http.get(f"/conversations/{kept['id']}/history").json()["entries"]
    assert [entry["content"] for entry in history] == ["Hello"]
    assert http.post(f"/conversations/{kept['id']}", json={}).status_code == status


def test_nothing_to_answer(http: httpx2.Client) -> None:
    assert fault(http.post("/conversations", json={"model": "echo", "inputs": []})) == (
        *(400, "invalid_request_error", "nothing_to_answer"),
    )


def test_a_conversation_answers_one_at_a_time(server: Server, http: httpx2.Client) -> None:
    begun = http.post("/conversations", json={"model": "echo", "inputs": "Hello"}).json()
    path = f"/conversations/{begun['conversation_id']}"
    thread = begun["conversation_id"].replace("conv_", "thread_")
    assistant = httpx2.post(f"{server.base_url}/assistants", json={"model": "waits"}).json()["id"]
    httpx2.post(f"{server.base_url}/threads/{thread}/runs", json={"assistant_id": assistant})
    assert fault(http.post(path, json={"inputs": "And?"})) == (409, "conflict", "conversation_busy")
    server.loop.call_soon_threadsafe(server.provider.go.set)
    with http.stream("GET", f"{path}/events") as response:
        response.read()
    server.loop.call_soon_threadsafe(server.provider.go.clear)
    assert http.post(path, json={"inputs": "And?"}).status_code == 200


def test_sent_twice_is_done_once(http: httpx2.Client) -> None:
    headers = {"Idempotency-Key": "once"}
    body = {"model": "weather", "inputs": "Weather?", "tools": [TOOL]}
    first = http.post("/conversations", json=body, headers=headers).json()
    assert http.post("/conversations", json=body, headers=headers).json() == first
    path = f"/conversations/{first['conversation_id']}"
    answer = {
        "inputs": [
            {"type": "function.result", "tool_call_id": one["tool_call_id"], "result": "sun"}
            for one in first["outputs"]
        ]
    }
    second = http.post(path, json=answer, headers=headers).json()
    assert http.post(path, json=answer, headers=headers).json() == second
    assert fault(http.post(path, json={"inputs": "x"}, headers=headers)) == (
        *(400, "invalid_request_error", "idempotency_key_reused"),
    )
    restart = {"from_entry_id": first["outputs"][0]["id"]}
    again = http.post(f"{path}/restart", json=restart, headers=headers).json()
    assert http.post(f"{path}/restart", json=restart, headers=headers).json() == again
    assert len(http.get(f"{path}/history").json()["entries"]) == 4


def test_keys(tmp_path: Any) -> None:
    with Server(tmp_path / "keys.db", api_key="right") as server:
        with httpx2.Client(base_url=f"{server.mistral_url}/v1") as http:
            for headers in ({}, {"Authorization": "Bearer wrong"}):
                assert fault(http.get("/conversations", headers=headers)) == (401, "unauthorized", None)
        with Mistral(api_key="right", server_url=server.mistral_url) as client:
            assert client.beta.conversations.list() == []
        with Mistral(api_key="wrong", server_url=server.mistral_url) as client, pytest.raises(SDKError) as raised:
            client.beta.conversations.list()
        assert raised.value.status_code == 401


def test_the_sdk_reads_every_error(talks: Any, server: Server) -> None:
    with pytest.raises(HTTPValidationError) as invalid:
        talks.start(model="echo", inputs="x", tools=[{"type": "web_search"}])
    assert invalid.value.data.detail[0].loc == ["body", "tools", 0, "type"]  # type: ignore[index]
    asked: tuple[tuple[Callable[[], Any], int], ...] = (
        (lambda: talks.start(model="fails", inputs="x"), 424),
        (lambda: talks.get(conversation_id="conv_06Z8ixdFfoDgvSh1Rx32mrga"), 404),
        (lambda: talks.start(model="echo", inputs=[]), 400),
    )
    for ask, status in asked:
        with pytest.raises(SDKError) as raised:
            ask()
        assert raised.value.status_code == status

    async def so_too() -> None:
        async with Mistral(api_key="k", server_url=server.mistral_url) as client:
            with pytest.raises(SDKError):
                await client.beta.conversations.start_async(model="fails", inputs="x")

    asyncio.run(so_too())
