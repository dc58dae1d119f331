"""Whatever fails, and however a client asks: the log of a server tells where, and never in anybody's own words."""

from __future__ import annotations

import re
import socket
from pathlib import Path
from typing import Any

import httpx2
import pytest

from clew.serving.known_words import shown_place
from tests.rigs.indiscreet import ENDING, FAILING
from tests.rigs.output import SCRIPTED, SECRET, Heard, heard, stopped, until, with_provider
from tests.rigs.raw_server import json_reply

pytestmark = pytest.mark.slow

INDISCREET = (*SCRIPTED, "--tools", "tests.rigs.indiscreet:TOOLS")
KEY = "sk-live-0123456789abcdef"


def calls(one: Heard, tool: str) -> tuple[str, str]:
    """Begin a run that calls a tool."""
    with httpx2.Client(base_url=f"{one.server.url}/v1", timeout=20) as http:
        tools = [{"type": "function", "function": {"name": tool}}]
        assistant = http.post("/assistants", json={"model": "echo", "tools": tools}).json()["id"]
        thread = {"messages": [{"role": "user", "content": f"{tool} {SECRET}"}]}
        run = http.post("/threads/runs", json={"assistant_id": assistant, "thread": thread}).json()
    return run["thread_id"], run["id"]


def end_of(one: Heard, tool: str) -> str:
    thread_id, run_id = calls(one, tool)
    path = f"{one.server.url}/v1/threads/{thread_id}/runs/{run_id}"
    until(lambda: httpx2.get(path).json()["status"] in ("completed", "failed"))
    status: str = httpx2.get(path).json()["status"]
    return status


def all_of(one: Heard) -> str:
    said = "\n".join([*one.printed(), *one.logged()])
    assert "moon" not in said, [line for line in said.splitlines() if "moon" in line]
    return said


# Code of others


def test_what_fails_in_code_of_others_is_told_by_its_kind_and_place(tmp_path: Path) -> None:
    with heard(tmp_path / "threads.db", *INDISCREET) as one:
        for tool in FAILING:
            end_of(one, tool.__name__)
        stopped(one)
        said = all_of(one)
    for what in (
        "broke off",
        "an error ended a thread",
        "Task exception was never retrieved",
        "_GatheringFuture exception was never retrieved",
        "Exception in callback",
        "an error came where nothing can be raised",
        "Python warns of something",
    ):
        assert re.search(rf"Z (ERROR|WARNING) [^\n]*{what}", said), what
    assert re.search(r"indiscreet\.py:\d+ in _fail\nExceptionGroup\n", said)
    assert re.search(r"after, or because of:\n  \S+indiscreet\.py:\d+ in _fail\nKeyError\n", said)
    assert "a line of a tool could not be written: TypeError" in said
    assert "Traceback" not in said


@pytest.mark.parametrize(("tool", "kind"), [("too_long_0", "FileNotFoundError"), ("too_long_1", "OperationalError")])
def test_a_probe_that_fails_is_told_without_its_words(tmp_path: Path, tool: str, kind: str) -> None:
    with heard(tmp_path / "threads.db", *INDISCREET) as one:
        calls(one, tool)
        until(lambda: "so a person is to settle the call" in "".join(one.logged()))
        stopped(one)
        assert kind in all_of(one)


@pytest.mark.parametrize("tool", [one.__name__ for one in ENDING])
def test_what_ends_the_process_is_told_likewise(tmp_path: Path, tool: str) -> None:
    with heard(tmp_path / "threads.db", *INDISCREET) as one:
        calls(one, tool)
        process = one.server.process
        assert process is not None
        assert process.wait(20) == 1
        said = all_of(one)
    assert "CRITICAL an error ends this process" in said
    assert "Traceback" not in said


def test_a_coroutine_that_cannot_be_closed_is_told_likewise(tmp_path: Path) -> None:
    with heard(tmp_path / "threads.db", *INDISCREET) as one:
        assert end_of(one, "never_ends") == "completed"
        stopped(one)
        assert re.search(r"could not be closed\n(  .*\n)+ValueError$", all_of(one))


# Names that clients choose


@pytest.mark.parametrize(
    ("method", "path", "body", "told"),
    [
        ("POST", "/v1/threads", {"metadata": {"ada.moon-HIV": 5}}, "/v1/threads 400 … invalid_type at metadata.*.*"),
        ("POST", "/v1/threads", {"moon": 5}, "/v1/threads 400 … unknown_parameter at *"),
        (
            "POST",
            "/v1/threads",
            {"messages": [{"role": "user", "content": [{"type": "text", "text": "x", "moon": 1}]}]},
            "/v1/threads 400 … unknown_parameter at messages[0].content[0].*",
        ),
        (
            "POST",
            "/mistral/v1/conversations",
            {"model": "echo", "inputs": "x", "moon": 1},
            "/mistral/v1/conversations 422 extra_forbidden at body.*",
        ),
        ("PUT", "/clew/v1/budgets/moon", {"moon": 1}, "/clew/v1/budgets/* 400 Invalid at scope"),
        ("GET", "/v1/files/moon.pdf", None, "/v1/files/* 400 … unsupported_value"),
        ("GET", f"/v1/threads/{KEY}", None, "/v1/threads/* 400 … invalid_value at thread_id"),
        ("GET", "/v1/threads?after=moon", None, "/v1/threads 400 … invalid_value at after"),
        ("GET", "/at/moon/v1/threads", None, "/at/*/v1/threads 400 … invalid_value at *"),
        ("GET", "/moon/moon", None, "/*/* 404"),
        ("MOON", "/v1/threads", None, None),
    ],
)
def test_names_that_a_client_chose_are_not_told(
    tmp_path: Path, method: str, path: str, body: Any, told: str | None
) -> None:
    with heard(tmp_path / "threads.db", *SCRIPTED) as one:
        httpx2.request(method, one.server.url + path, json=body)
        stopped(one)
        assert KEY not in all_of(one)
        if told is not None:
            [(asked, where, rest)] = one.requests()
            assert f"{asked} {where} {rest}" == f"{method} {told}".replace("…", "invalid_request_error")


def test_ids_that_clew_made_are_told_in_paths(tmp_path: Path) -> None:
    with heard(tmp_path / "threads.db", *SCRIPTED) as one:
        thread_id = httpx2.post(f"{one.server.url}/v1/threads").json()["id"]
        conversation_id = thread_id.replace("thread_", "conv_")
        paths = [f"/v1/threads/{thread_id}", f"/mistral/v1/conversations/{conversation_id}", "/at/v1/v1/threads"]
        for path in paths:
            httpx2.get(one.server.url + path)
        stopped(one)
        assert [path for _, path, _ in one.requests()[1:]] == paths


def test_the_names_of_all_parameters_are_known(tmp_path: Path) -> None:
    with heard(tmp_path / "threads.db", *SCRIPTED) as one:
        paths = httpx2.get(f"{one.server.url}/clew/v1/openapi.json").json()["paths"]
    asked = {
        parameter["name"]
        for endpoints in paths.values()
        for endpoint in endpoints.values()
        for parameter in endpoint.get("parameters", ())
    }
    assert len(asked) > 30
    assert {name for name in asked if shown_place(name) == "*"} == set()


# What is no request, and what failed elsewhere


def test_whoever_sends_what_is_no_http_is_told(tmp_path: Path) -> None:
    with heard(tmp_path / "threads.db", *SCRIPTED) as one:
        port = httpx2.URL(one.server.url).port
        assert port is not None
        with socket.create_connection(("127.0.0.1", port), timeout=5) as odd:
            peer = odd.getsockname()[1]
            odd.sendall(f"\x16\x03\x01 {SECRET}\r\n\r\n".encode())
            assert b" 400 " in odd.recv(100)
        with socket.create_connection(("127.0.0.1", port), timeout=5) as odd:
            other = odd.getsockname()[1]
            asked = "GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"
            odd.sendall(asked.encode())
            assert b" 200 " in odd.recv(100)
        stopped(one)
        all_of(one)
        assert [line.split("Z ", 1)[1] for line in one.logged()] == [
            f"WARNING no HTTP request came from 127.0.0.1:{peer}; it is answered with 400",
            f"WARNING 127.0.0.1:{other} asked for another protocol than HTTP/1.1, which there is not",
        ]


@pytest.mark.parametrize("stream", [False, True])
def test_a_provider_that_fails_is_no_fault_of_the_server(tmp_path: Path, stream: bool) -> None:
    never = json_reply({"error": {"message": SECRET}}, 501)

    def talk(base_url: str) -> None:
        with heard(tmp_path / "threads.db", environment={"CLEW_OPENAI_BASE_URL": base_url}) as one:
            body = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": SECRET}], "stream": stream}
            status = httpx2.post(f"{one.server.url}/anthropic/v1/messages", json=body, timeout=20).status_code
            assert status == (200 if stream else 500)
            stopped(one)
            levels = [line.split()[1] for line in one.logged()]
            assert set(levels[:-1]) == {"WARNING"}, one.logged()
            assert levels[-1] == "INFO" if stream else "WARNING"
            assert "Rejected" not in all_of(one)

    with_provider([never] * 8, talk)
