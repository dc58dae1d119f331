"""What servers and workers print and log, as whole processes: what an operator needs, and never what anybody said."""

from __future__ import annotations

import os
import re
import sqlite3
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import httpx2
import pytest

from tests.rigs.commands import refused
from tests.rigs.output import NEVER, NO, SCRIPTED, SECRET, UNSET, a_run, heard, stopped, until, with_provider
from tests.rigs.processes import Server, clew

pytestmark = pytest.mark.slow

# At start


def test_a_server_says_at_start_where_it_is_and_which_providers_it_has(tmp_path: Path) -> None:
    store = tmp_path / "threads.db"
    environment = {
        "CLEW_OPENAI_BASE_URL": "http://ada:pass-of-ada@127.0.0.1:9/v1?key=hidden",
        "CLEW_OPENAI_API_KEY": "sk-of-openai",
        "CLEW_MISTRAL_BASE_URL": "http://[::1]:9",
        "CLEW_DEFAULT_PROVIDER": "mistral",
    }
    with heard(store, environment=environment) as one:
        stopped(one)
        assert one.printed() == [
            f"Clew serves {one.server.url}/v1  (store {store})",
            "  openai: http://127.0.0.1:9/v1, with a key",
            "  anthropic: not configured, CLEW_ANTHROPIC_API_KEY is not set",
            "  mistral: http://[::1]:9, without a key, the default",
            "  scripted: needs no key",
            "  log level: info",
        ]
        assert "sk-of" not in "\n".join(one.logged())


def test_without_a_key_the_server_says_so_at_start(tmp_path: Path) -> None:
    with heard(tmp_path / "threads.db", "--log-level", "warning") as one:
        stopped(one)
        assert "  openai: not configured, CLEW_OPENAI_API_KEY is not set, the default" in one.printed()
        assert "  log level: warning" in one.printed()


def test_a_worker_says_the_same(postgres_dsn: str) -> None:
    environment = {**UNSET, "CLEW_ANTHROPIC_API_KEY": "sk-of-anthropic"}
    process = clew("work", "--store", postgres_dsn, environment=environment, stdout=subprocess.PIPE)
    assert process.stdout is not None
    with process.stdout:
        try:
            told = [process.stdout.readline()]
            process.terminate()
            told += process.stdout.readlines()
        finally:
            process.kill()
            process.wait(20)
    lines = [line.decode().rstrip() for line in told]
    assert lines[0].startswith("Clew works on ")
    assert lines[2] == "  anthropic: https://api.anthropic.com, with a key"
    assert lines[5] == "  log level: info"


def test_a_level_that_is_none_is_refused(tmp_path: Path) -> None:
    told = refused("serve", "--port", "0", "--log-level", "loud", store=tmp_path / "threads.db")
    assert told == "clew: the log level 'loud' is none of debug, info, warning, error\n"


# Requests


def ask(url: str) -> None:
    """A request of each kind."""
    with httpx2.Client(base_url=url, timeout=20) as http:
        http.post("/v1/threads", json={"messages": [{"role": "user", "content": SECRET}]}, params={"q": SECRET})
        http.post("/openai/v1/threads", json={"messages": [{"role": "nobody", "content": SECRET}]})
        http.post("/v1/threads", json={SECRET: SECRET})
        http.post("/v1/threads", content=b"x" * 2_100_000)
        http.get("/v1/nothing/of%20the%0akind")
        http.get("/v1/" + "x" * 500)
        http.get("/at/0/v1/threads")
        http.post("/mistral/v1/conversations", json={"model": "echo", "inputs": [{"role": "x", "content": SECRET}]})
        http.post("/mistral/v1/conversations", json={"model": "scripted/echo", "inputs": SECRET})
        http.post("/anthropic/v1/messages", json={"model": "echo", "messages": SECRET})
        http.get("/anthropic/v1/messages/msg_x")
        http.get("/clew/v1/threads", params={"limit": SECRET})
        http.get("/clew/v1/threads/thread_x")
        http.get("/clew/v1/none")
        http.get("/favicon.ico")
        body = {
            "model": "scripted/echo",
            "max_tokens": 9,
            "stream": True,
            "messages": [{"role": "user", "content": SECRET}],
        }
        http.post("/anthropic/v1/messages", json=body)


def test_every_request_is_told_in_one_line(tmp_path: Path) -> None:
    with heard(tmp_path / "threads.db", *SCRIPTED) as one:
        ask(one.server.url)
        stopped(one)
        assert one.requests() == [
            ("POST", "/v1/threads", "200"),
            ("POST", "/openai/v1/threads", "400 invalid_request_error invalid_value at messages[0].role"),
            ("POST", "/v1/threads", "400 invalid_request_error unknown_parameter at *"),
            ("POST", "/v1/threads", "413 invalid_request_error request_too_large"),
            ("GET", "/v1/*/*", "404"),
            ("GET", "/v1/*", "404 invalid_request_error"),
            ("GET", "/at/0/v1/threads", "200"),
            ("POST", "/mistral/v1/conversations", "422 literal_error at body.inputs.0.role"),
            ("POST", "/mistral/v1/conversations", "200"),
            ("POST", "/anthropic/v1/messages", "400 invalid_request_error"),
            ("GET", "/anthropic/v1/messages/*", "404 not_found_error"),
            ("GET", "/clew/v1/threads", "400 Invalid at limit"),
            ("GET", "/clew/v1/threads/*", "404 NotFound"),
            ("GET", "/clew/v1/*", "404"),
            ("GET", "/favicon.ico", "404"),
            ("POST", "/anthropic/v1/messages", "200"),
        ]
        for line in one.logged():
            assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z INFO .* \d+\.\d ms req_\w{32}.*", line), line


def test_the_id_of_a_request_is_the_one_that_its_answer_has(tmp_path: Path) -> None:
    with heard(tmp_path / "threads.db", *SCRIPTED) as one:
        ids = []
        for path in ("/v1/threads", "/mistral/v1/agents", "/clew/v1/threads", "/nowhere"):
            ids.append(httpx2.get(one.server.url + path).headers["x-request-id"])
        ids.append(httpx2.get(f"{one.server.url}/anthropic/v1/threads").headers["request-id"])
        stopped(one)
        assert [line.split(" ms ")[1].split()[0] for line in one.logged()] == ids


def test_a_request_with_a_wrong_key_is_told_without_the_key(tmp_path: Path) -> None:
    with heard(tmp_path / "threads.db", *SCRIPTED, environment={"CLEW_API_KEY": "sk-the-right-key-0000"}) as one:
        for path in ("/v1/threads", "/mistral/v1/agents", "/anthropic/v1/threads", "/clew/v1/threads"):
            httpx2.get(one.server.url + path, headers={"authorization": "Bearer sk-a-wrong-key-00000000"})
        stopped(one)
        assert [rest for _, _, rest in one.requests()] == [
            "401 invalid_request_error invalid_api_key",
            "401 unauthorized",
            "401 authentication_error",
            "401",
        ]
        assert "sk-" not in "\n".join(one.logged())


def test_a_stream_is_told_when_it_ends(tmp_path: Path) -> None:
    with heard(tmp_path / "threads.db", *SCRIPTED) as one, httpx2.Client(base_url=one.server.url) as http:
        thread_id = http.post("/v1/threads").json()["id"]
        path = f"/clew/v1/threads/{thread_id}/events"
        with http.stream("GET", path, headers={"accept": "text/event-stream"}) as stream:
            pieces = stream.iter_bytes()
            assert next(pieces).startswith(b"retry: ")
            time.sleep(0.5)
            assert [path for _, path, _ in one.requests()] == ["/v1/threads"]
        until(lambda: len(one.requests()) == 2)
        assert one.requests()[1] == ("GET", path, "200")
        milliseconds = re.search(r"(\d+\.\d) ms", one.logged()[1])
        assert milliseconds is not None
        assert float(milliseconds[1]) > 400


@pytest.mark.parametrize(
    ("options", "environment", "told"),
    [
        (("--log-level", "debug"), {}, ["/healthz", "/v1/threads"]),
        ((), {"CLEW_LOG_LEVEL": "DEBUG"}, ["/healthz", "/v1/threads"]),
        (("--log-level", "info"), {"CLEW_LOG_LEVEL": "error"}, ["/v1/threads"]),
        (("--log-level", "warning"), {}, []),
    ],
)
def test_how_much_is_told_is_said_by_the_level(
    tmp_path: Path, options: Sequence[str], environment: dict[str, str], told: list[str]
) -> None:
    with heard(tmp_path / "threads.db", *SCRIPTED, *options, environment=environment) as one:
        httpx2.get(f"{one.server.url}/v1/threads")
        stopped(one)
        assert sorted({path for _, path, _ in one.requests()}) == told


# Never what anybody said, and never in anybody's way


def test_what_was_said_is_nowhere_in_what_the_server_says(tmp_path: Path) -> None:
    def talk(base_url: str) -> None:
        environment = {
            "CLEW_OPENAI_BASE_URL": base_url,
            "CLEW_OPENAI_API_KEY": "sk-of-openai",
            "CLEW_LOG_LEVEL": "debug",
        }
        with heard(tmp_path / "threads.db", environment=environment) as one:
            ask(one.server.url)
            a_run(one.server, "gpt-4o", metadata={"about": SECRET}, instructions=SECRET)
            with httpx2.Client(base_url=one.server.url) as http:
                http.post("/v1/threads", headers={"idempotency-key": SECRET, "clew-as-of": SECRET}, json={})
                http.post("/anthropic/v1/messages", headers={"x-thread-id": SECRET, "anthropic-beta": SECRET}, json={})
                http.get("/clew/v1/what-if", params={"truncation": SECRET})
                http.get("/clew/v1/ledger", params={"group_by": SECRET})
            stopped(one)
            said = "\n".join([*one.printed(), *one.logged()])
            assert len(one.requests()) > 20
            for word in ("moon", "sk-of-openai"):
                assert word not in said

    with_provider([NO, NEVER], talk)


def test_a_server_whose_log_nobody_reads_answers_all_the_same(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    try:
        with Server(tmp_path / "threads.db", (*SCRIPTED, "--log-level", "info"), UNSET, stderr=writing) as server:
            os.close(writing)
            with httpx2.Client(base_url=server.url, timeout=5) as http:
                for _ in range(1_500):
                    assert http.get("/v1/threads?limit=1").status_code == 200
            began = time.monotonic()
            server.stop()
            assert time.monotonic() - began < 10
    finally:
        os.close(reading)


def test_a_fault_of_ours_is_told_with_its_request_and_its_place(tmp_path: Path) -> None:
    store = tmp_path / "threads.db"
    with heard(store, *SCRIPTED) as one:
        with sqlite3.connect(store) as connection:
            connection.execute("drop table threads")
        connection.close()
        for path in ("/v1/threads", "/clew/v1/threads"):
            assert httpx2.get(one.server.url + path).status_code == 500
        stopped(one)
        text = "\n".join(one.logged())
    for path in ("/v1/threads", "/clew/v1/threads"):
        assert re.search(rf"ERROR GET {path} 500 \d+\.\d ms req_", text)
    assert text.count("OperationalError: no such table: threads") == 2
    assert "thread_view.py" in text
