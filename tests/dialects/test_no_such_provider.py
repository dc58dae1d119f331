"""A model of a provider that is not configured is refused in every API, with the setting, and nothing is appended."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from tests.dialects.conftest import Server

MODEL = "anthropic/claude-opus-5-5"
SETTING = "CLEW_ANTHROPIC_API_KEY is not set"
SUMMARY = f"summarise:500@{MODEL}"
BODY = {"model": MODEL, "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}


@pytest.fixture
def http(server: Server) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=server.url, timeout=20) as client:
        yield client


@pytest.fixture
def names(http: httpx2.Client) -> dict[str, str]:
    """What the paths and bodies below name: an assistant, a run of it that is over, and a conversation."""
    assistant = http.post("/v1/assistants", json={"model": "echo"}).json()["id"]
    thread = {"messages": [{"role": "user", "content": "Hi"}]}
    run = http.post("/v1/threads/runs", json={"assistant_id": assistant, "thread": thread}).json()
    path = f"/v1/threads/{run['thread_id']}/runs/{run['id']}"
    while http.get(path, headers={"X-Stainless-Poll-Helper": "true"}).json()["status"] != "completed":
        pass
    agent = http.post("/mistral/v1/agents", json={"model": "echo", "name": "Ada"}).json()["id"]
    begun = http.post("/mistral/v1/conversations", json={"agent_id": agent, "inputs": "Hi"}).json()
    return {
        "assistant": assistant,
        "thread": run["thread_id"],
        "run": run["id"],
        "agent": agent,
        "conversation": begun["conversation_id"],
    }


def filled(value: Any, names: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: filled(one, names) for key, one in value.items()}
    return value.format(**names) if isinstance(value, str) else value


def refused(http: httpx2.Client, names: dict[str, str], method: str, path: str, body: Any) -> tuple[int, Any]:
    """Status and body of the refusal, of which nothing is in the log."""
    before = http.get("/healthz").json()["position"]
    answer = http.request(method, path.format(**names), json=filled(body, names))
    assert http.get("/healthz").json()["position"] == before, "nothing was appended"
    return answer.status_code, answer.json()


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/v1/assistants", {"model": MODEL}, "model"),
        ("/v1/assistants/{assistant}", {"model": MODEL}, "model"),
        ("/v1/threads/{thread}/runs", {"assistant_id": "{assistant}", "model": MODEL}, "model"),
        ("/v1/threads/runs", {"assistant_id": "{assistant}", "model": MODEL, "stream": True}, "model"),
        ("/v1/threads/{thread}/runs", {"assistant_id": "{assistant}", "clew_truncation": SUMMARY}, "clew_truncation"),
        ("/openai/v1/assistants", {"model": MODEL}, "model"),
    ],
)
def test_openai(http: httpx2.Client, names: dict[str, str], path: str, body: Any, param: str) -> None:
    status, found = refused(http, names, "POST", path, body)
    error = found["error"]
    assert (status, error["type"], error["param"]) == (400, "invalid_request_error", param)
    assert error["code"] == "provider_not_configured"
    assert SETTING in error["message"]
    assert error["message"].startswith(f"Invalid '{param}': '{MODEL}' needs the provider anthropic, and ")
    assert "openai" not in error["message"], "there is no server of the operator's that might have it"


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/agents", {"model": MODEL, "name": "Bea"}),
        ("PATCH", "/agents/{agent}", {"model": MODEL}),
        ("POST", "/conversations", {"model": MODEL, "inputs": "Hi"}),
        ("POST", "/conversations", {"model": MODEL, "inputs": "Hi", "stream": True, "store": False}),
    ],
)
def test_mistral(http: httpx2.Client, names: dict[str, str], method: str, path: str, body: Any) -> None:
    status, found = refused(http, names, method, f"/mistral/v1{path}", body)
    assert (status, found["object"], found["type"]) == (400, "error", "invalid_request_error")
    assert found["code"] == "provider_not_configured"
    assert SETTING in found["message"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/messages", BODY),
        ("/v1/messages", {**BODY, "stream": True}),
        ("/v1/messages/count_tokens", {"model": MODEL, "messages": BODY["messages"]}),
    ],
)
def test_anthropic(http: httpx2.Client, names: dict[str, str], path: str, body: Any) -> None:
    status, found = refused(http, names, "POST", f"/anthropic{path}", body)
    assert (status, found["type"], found["error"]["type"]) == (400, "error", "invalid_request_error")
    assert found["error"]["message"].startswith(f"model: '{MODEL}' needs the provider anthropic, and {SETTING}")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/threads/{thread}/fork", {"run": {"model": MODEL}}),
        ("/threads/{thread}/fork", {"run": {"truncation": SUMMARY}}),
        ("/threads/{thread}/fork", {"truncation": SUMMARY}),
        ("/runs/{run}/rerun", {"model": MODEL}),
        ("/runs/{run}/rerun", {"truncation": SUMMARY}),
        ("/threads", {"truncation": SUMMARY}),
        ("/threads", {"truncation": {"strategy": "summarise", "model": "claude", "provider": "anthropic"}}),
        ("/threads/{thread}/events", {"kind": "thread.changed", "truncation": SUMMARY}),
        ("/assistants/{assistant}/events", {"kind": "assistant.changed", "truncation": SUMMARY}),
    ],
)
def test_clews_own_api(http: httpx2.Client, names: dict[str, str], path: str, body: Any) -> None:
    status, found = refused(http, names, "POST", f"/clew/v1{path}", body)
    assert (status, found["error"]["type"]) == (400, "NoSuchProvider")
    assert SETTING in found["error"]["message"]
    assert (found["error"]["provider"], found["error"]["key_setting"]) == ("anthropic", "CLEW_ANTHROPIC_API_KEY")


@pytest.mark.parametrize("query", [f"model={MODEL}", f"truncation={SUMMARY}"])
def test_what_if(http: httpx2.Client, names: dict[str, str], query: str) -> None:
    status, found = refused(http, names, "GET", f"/clew/v1/what-if?thread_id={{thread}}&{query}", None)
    assert (status, found["error"]["type"]) == (400, "NoSuchProvider")


def test_a_model_that_cannot_be_called_is_none_of_the_models_there_are(http: httpx2.Client) -> None:
    for path in ("/v1/models", "/anthropic/v1/models"):
        assert [one["id"] for one in http.get(path).json()["data"]] == ["echo"]
        assert http.get(f"{path}/{MODEL}").status_code == 404
        assert http.get(f"{path}/echo").status_code == 200


def test_what_is_no_provider_of_clews_goes_to_the_default_one(http: httpx2.Client) -> None:
    for model in ("meta-llama/Llama-3", "deepseek/deepseek-v4"):
        begun = http.post("/mistral/v1/conversations", json={"model": model, "inputs": "Hi"}).json()
        assert begun["outputs"][0]["content"] == "You said: Hi"
