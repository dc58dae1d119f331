"""What goes wrong is said as Anthropic's API says it, names what is wrong, and what is not offered is refused."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import anthropic
import httpx2
import pytest
from anthropic import Anthropic

from tests.dialects.anthropic.conftest import TOOL, ask, assistant, sdk, user
from tests.dialects.anthropic.test_threads import until_sent
from tests.dialects.conftest import Server
from tests.dialects.faults import GONE

HI = [user("Hi")]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One store: what is refused comes to none."""
    with Server(tmp_path_factory.mktemp("store") / "clew.db", ("anthropic",)) as running:
        yield running


def fault(response: httpx2.Response) -> tuple[int, str, str]:
    """Status, type and message of an error that has the API's form and no more."""
    body = response.json()
    assert set(body) == {"type", "error", "request_id"}, body
    assert body["type"] == "error"
    assert body["request_id"] == response.headers["request-id"]
    assert set(body["error"]) <= {"type", "message", "details"}
    return response.status_code, body["error"]["type"], body["error"]["message"]


def is_refused(response: httpx2.Response, field: str) -> None:
    """It is a wrong request, and the message begins with where it is wrong."""
    status, kind, message = fault(response)
    assert (status, kind) == (400, "invalid_request_error"), message
    assert message.startswith(f"{field}: "), message


NOT_OFFERED: dict[str, Any] = {
    "billing_policy": {},
    "compaction": {"type": "summarize"},
    "container": "container_1",
    "context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]},
    "diagnostics": {"previous_message_id": None},
    "fallback_credit_token": "x",
    "fallbacks": [{"model": "m"}],
    "inference_geo": "eu",
    "mcp_servers": [{"type": "url", "name": "a", "url": "https://example.org"}],
    "top_k": 5,
    "speed": "fast",
    "service_tier": "standard_only",
    "output_config.task_budget": {"type": "tokens", "total": 1000},
    "max_tokens": 0,
}


@pytest.mark.parametrize("field", NOT_OFFERED)
def test_what_is_not_offered_is_named(field: str, http: httpx2.Client) -> None:
    outer, _, inner = field.partition(".")
    value = {inner: NOT_OFFERED[field]} if inner else NOT_OFFERED[field]
    found = ask(http, HI, **{outer: value})
    is_refused(found, field)
    assert found.json()["error"]["message"].endswith("is not offered by this server")
    if field not in ("service_tier", "max_tokens"):
        body = {"model": "echo", "messages": HI, outer: value}
        is_refused(http.post("/v1/messages/count_tokens", json=body), field)


SERVER_TOOLS = (
    *("web_search_20250305", "web_fetch_20250910", "code_execution_20250825", "bash_20250124"),
    *("text_editor_20250728", "computer_20251124", "memory_20250818", "tool_search_tool_bm25_20251119"),
    *("mcp_toolset", "advisor_20260301"),
)


@pytest.mark.parametrize("type_of_tool", SERVER_TOOLS)
def test_tools_that_only_anthropic_has_are_refused_by_name(type_of_tool: str, http: httpx2.Client) -> None:
    found = ask(http, HI, tools=[TOOL, {"type": type_of_tool, "name": "x"}])
    is_refused(found, "tools.1")
    assert type_of_tool in found.json()["error"]["message"]


@pytest.mark.parametrize("name", ["defer_loading", "input_examples", "allowed_callers"])
def test_what_only_anthropics_tools_can_do_is_refused(name: str, http: httpx2.Client) -> None:
    value: Any = {"defer_loading": True, "input_examples": [{"city": "Paris"}], "allowed_callers": ["code"]}[name]
    is_refused(ask(http, HI, tools=[{**TOOL, name: value}]), f"tools.0.{name}")
    nothing: Any = {"defer_loading": False, "input_examples": [], "allowed_callers": ["direct"]}[name]
    assert ask(http, HI, tools=[{**TOOL, name: nothing}]).status_code == 200


@pytest.mark.parametrize(
    "kind",
    ["compaction", "fallback", "container_upload", "tool_addition", "tool_removal", "mcp_tool_listing"],
)
def test_blocks_of_what_is_not_offered_are_refused(kind: str, http: httpx2.Client) -> None:
    found = ask(http, [user([{"type": "text", "text": "Hi"}, {"type": kind}])])
    is_refused(found, "messages.0.content.1")
    assert kind in found.json()["error"]["message"]


def test_files_that_were_uploaded_elsewhere_are_refused_wherever_they_stand(http: httpx2.Client) -> None:
    picture = {"type": "image", "source": {"type": "file", "file_id": "file_1"}}
    is_refused(ask(http, [user([picture])]), "messages.0.content.0.source")
    document = {"type": "document", "source": {"type": "content", "content": [picture]}}
    is_refused(ask(http, [user([document])]), "messages.0.content.0.source.content.0.source")
    call = {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {}}
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": [picture]}
    found = ask(http, [*HI, assistant([call]), user([result])], tools=[TOOL])
    is_refused(found, "messages.2.content.0.content.0.source")


@pytest.mark.parametrize(
    ("messages", "field"),
    [
        ([], "messages"),
        ([user("Hi"), assistant("Let me")], "messages"),
        ([user([{"type": "thinking", "thinking": "x", "signature": "y"}])], "messages.0.content.0"),
        ([assistant([{"type": "tool_result", "tool_use_id": "x"}])], "messages.0.content.0"),
        ([user([{"type": "tool_use", "id": "x", "name": "y", "input": {}}])], "messages.0.content.0"),
        (
            [{"role": "system", "content": [{"type": "image", "source": {"type": "url", "url": "x"}}]}],
            "messages.0.content.0",
        ),
        ([user([{"type": "text", "text": "x", "citations": [{"type": "y"}]}])], "messages.0.content.0.citations"),
        ([user([{"type": "tool_result", "tool_use_id": "nobody's"}])], "messages.0.content.0"),
    ],
)
def test_histories_that_cannot_be(messages: Any, field: str, http: httpx2.Client) -> None:
    is_refused(ask(http, messages), field)


@pytest.mark.parametrize(
    ("headers", "told"),
    [
        ({"anthropic-version": "2031-01-01"}, "anthropic-version: "),
        ({"anthropic-beta": "message-threads-2026-08-12, sorcery-2026-01-01"}, "`sorcery-2026-01-01`"),
        ({"anthropic-workspace-id": "w"}, "anthropic-workspace-id: "),
        ({"anthropic-user-profile-id": "u"}, "anthropic-user-profile-id: "),
        ({"x-thread-id": "thread_"}, "thread: thread_"),
    ],
)
def test_headers_that_are_wrong(headers: dict[str, str], told: str, http: httpx2.Client) -> None:
    status, _, message = fault(ask(http, HI, headers))
    assert status == (404 if "x-thread-id" in headers else 400)
    assert told in message


def test_what_the_newest_version_of_the_api_no_longer_takes(http: httpx2.Client) -> None:
    newest = {"anthropic-version": "2026-10-21"}
    is_refused(ask(http, HI, newest, temperature=0.5), "temperature")
    is_refused(ask(http, HI, newest, top_p=0.5), "top_p")
    assert ask(http, HI, {"anthropic-version": "2023-06-01"}, temperature=0.5, top_p=0.5).status_code == 200


OTHER_PATHS = (
    *("POST /v1/messages/batches", "GET /v1/messages/batches/msgbatch_1", "POST /v1/files", "GET /v1/files/file_1"),
    *("GET /v1/skills", "POST /v1/complete", "GET /v1/organizations/me", "POST /v1/environments", "GET /v1/agents"),
    *("DELETE /v1/messages/msg_1", "GET /v1/messages/count_tokens/x", "POST /v1/threads", "PATCH /v1/models", "GET /"),
)


@pytest.mark.parametrize("asked", OTHER_PATHS)
def test_what_else_the_api_has_is_not_here(asked: str, http: httpx2.Client) -> None:
    method, path = asked.split()
    status, kind, message = fault(http.request(method, path))
    assert (status, kind) == (404, "not_found_error")
    assert message == f"{method} /anthropic{path} is not offered by this server."


def test_the_sdk_is_told_of_what_is_not_here(client: Anthropic) -> None:
    asked: tuple[Callable[[], Any], ...] = (
        lambda: client.beta.files.list(),
        lambda: client.messages.batches.list(),
        lambda: client.beta.skills.list(),
        lambda: client.messages.batches.create(
            requests=[{"custom_id": "a", "params": {"model": "echo", "max_tokens": 9, "messages": HI}}]
        ),
    )
    for ask_for in asked:
        with pytest.raises(anthropic.NotFoundError, match="not offered by this server") as raised:
            ask_for()
        assert raised.value.type == "not_found_error"


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/v1/threads?limit=0", "limit"),
        ("/v1/threads?limit=ten", "limit"),
        ("/v1/threads?limit=101", "limit"),
        ("/v1/threads?page=x", "page"),
        ("/v1/models?limit=1001", "limit"),
        ("/v1/models?after_id=x", "after_id"),
        ("/v1/models?before_id=x", "before_id"),
    ],
)
def test_lists_that_cannot_be(path: str, field: str, http: httpx2.Client) -> None:
    is_refused(http.get(path), field)


def test_pages_of_messages_that_cannot_be(http: httpx2.Client) -> None:
    path = f"/v1/threads/{ask(http, HI).headers['x-thread-id']}/messages"
    for query, field in (("order=up", "order"), ("page=7", "page"), ("limit=-1", "limit")):
        is_refused(http.get(f"{path}?{query}"), field)


def test_what_is_not_there(http: httpx2.Client) -> None:
    for path, named in (
        (f"/v1/threads/thread_{GONE}", f"thread: thread_{GONE}"),
        (f"/v1/threads/thread_{GONE}/messages", f"thread: thread_{GONE}"),
        ("/v1/threads/conv_1", "thread: conv_1"),
        (f"/v1/messages/msg_{GONE}", f"message: msg_{GONE}"),
        ("/v1/messages/x", "message: x"),
        ("/v1/models/nobody/knows", "model: nobody/knows"),
    ):
        assert fault(http.get(path)) == (404, "not_found_error", named)


def test_bodies_that_are_none_or_too_large(http: httpx2.Client) -> None:
    for body in (b"{", b"\xff", b"nonsense"):
        status, kind, message = fault(http.post("/v1/messages", content=body))
        assert (status, kind) == (400, "invalid_request_error")
        assert message == "The request body is not valid JSON."
    assert fault(http.post("/v1/messages", content=b"[1]"))[:2] == (400, "invalid_request_error")
    assert fault(http.post("/v1/messages", content=b""))[:2] == (400, "invalid_request_error")

    def too_much() -> Iterator[bytes]:
        for _ in range(33):
            yield b" " * 1024 * 1024

    assert fault(http.post("/v1/messages", content=too_much()))[:2] == (413, "request_too_large")


def test_what_is_nested_too_deeply(http: httpx2.Client) -> None:
    deep: Any = {}
    for _ in range(70):
        deep = {"a": deep}
    is_refused(ask(http, HI, tools=[{**TOOL, "input_schema": deep}]), "tools.0.input_schema")
    call = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": deep}
    is_refused(ask(http, [*HI, assistant([call]), *HI]), "messages.1.content.0.tool_use.input")


@pytest.mark.parametrize(
    ("model", "status", "kind", "retries"),
    [
        ("fails", 429, "rate_limit_error", "false"),
        ("breaks", 500, "api_error", "false"),
    ],
)
def test_a_model_that_does_not_answer(model: str, status: int, kind: str, retries: str, http: httpx2.Client) -> None:
    found = ask(http, [user(f"{model} it")], model=model)
    assert fault(found)[:2] == (status, kind)
    assert found.headers["x-should-retry"] == retries, "it was tried as often as makes sense"


def test_a_run_that_somebody_cancelled(http: httpx2.Client, server: Server) -> None:
    late: list[httpx2.Response] = []

    def wait() -> None:
        late.append(ask(http, [user("Cancel this one")], model="waits"))

    waiting = threading.Thread(target=wait)
    waiting.start()
    until_sent(server, "Cancel this one")
    thread_id = http.get("/v1/threads", params={"limit": 1}).json()["data"][0]["id"]
    runs = f"{server.base_url}/threads/{thread_id}/runs"
    httpx2.post(f"{runs}/{httpx2.get(runs).json()['data'][0]['id']}/cancel")
    waiting.join(20)
    status, kind, message = fault(late[0])
    assert (status, kind) == (400, "invalid_request_error")
    assert "cancelled by somebody else" in message
    assert late[0].headers["x-should-retry"] == "false"


def test_a_key_is_for_one_request(http: httpx2.Client) -> None:
    key = {"idempotency-key": "one request"}
    assert ask(http, HI, key).status_code == 200
    is_refused(ask(http, HI, key, max_tokens=7), "idempotency-key")


def test_keys(tmp_path: Any) -> None:
    with Server(tmp_path / "keys.db", api_key="sk-right") as server:
        with httpx2.Client(base_url=f"{server.url}/anthropic") as http:
            assert fault(ask(http, HI)) == (401, "authentication_error", "x-api-key header is required")
            for headers in ({"authorization": "Bearer wrong"}, {"x-api-key": "wrong"}):
                assert fault(ask(http, HI, headers)) == (401, "authentication_error", "invalid x-api-key")
        with sdk(server) as client, pytest.raises(anthropic.AuthenticationError):
            client.messages.create(model="echo", max_tokens=9, messages=[user("Hi")])


def test_the_sdk_knows_every_error_by_its_class(client: Anthropic) -> None:
    def of(model: str, **more: Any) -> Callable[[], Any]:
        about: dict[str, Any] = {"model": model, "max_tokens": 9, "messages": [user(f"For {model}")], **more}
        return lambda: client.messages.create(**about)

    expected: tuple[tuple[Callable[[], Any], type[anthropic.APIStatusError], str], ...] = (
        (of("echo", messages=[]), anthropic.BadRequestError, "invalid_request_error"),
        (lambda: client.models.retrieve("nobody"), anthropic.NotFoundError, "not_found_error"),
        (of("fails"), anthropic.RateLimitError, "rate_limit_error"),
        (of("breaks"), anthropic.InternalServerError, "api_error"),
    )
    for asked, its_class, kind in expected:
        with pytest.raises(its_class) as raised:
            asked()
        assert raised.value.type == kind
        assert raised.value.request_id is not None
