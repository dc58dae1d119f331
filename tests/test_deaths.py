"""Servers whose tools end the process, or try to: each run ends, the model is told, and the server stays up."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import pytest
from openai import OpenAI

from tests.rigs import leftovers, misbehaving
from tests.rigs.commands import refused, verified
from tests.rigs.processes import Server
from tests.rigs.runs import begin, deeds, ended, events, is_over, last_words, script, until

pytestmark = pytest.mark.slow

_DEADLY = ("dies", "segfaults", "dies_idempotent", "dies_once", "dies_and_so_does_its_probe", "slow_and_innocent")
_NAMES = (*(function.__name__ for function in misbehaving.FAILURES), *_DEADLY)
_BESIDE = "slow_and_innocent+dies"
_RESTARTS_MAX = 20
_STARTS_MAX = 5
_ASKED_MAX = 10


@contextlib.contextmanager
def serving(store: str, folder: Path, **environment: str) -> Iterator[Server]:
    """A server that may die as soon as it is up; `keep_up` starts it again."""
    rules = script(folder / "script.json", (*_NAMES, _BESIDE))
    options = ["--script", str(rules), "--tools", "tests.rigs.misbehaving:TOOLS", "--lease-seconds", "1"]
    server = Server(store, options, {"CLEW_DEEDS": str(folder / "deeds.txt"), **environment})
    server.start()
    try:
        yield server
    finally:
        server.stop()


@contextlib.contextmanager
def speaking(server: Server) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{server.url}/v1", api_key="x", max_retries=0, timeout=5) as client:
        yield client


def is_up(server: Server) -> bool:
    return server.process is not None and server.process.poll() is None


def keep_up_until_over(server: Server, client: OpenAI, *runs: Any) -> int:
    """Start the server whenever it has died, until these runs have ended; how often that was."""
    restarts = 0

    def over() -> bool:
        nonlocal restarts
        if not is_up(server):
            restarts += 1
            assert restarts <= _RESTARTS_MAX, "it does not stay up"
            with contextlib.suppress(RuntimeError):
                server.start()
        # It may die before it answers.
        with contextlib.suppress(Exception):
            return all(is_over(client, run) for run in runs)
        return False

    until("the ends of the runs", over, seconds=60)
    return restarts


def replayed(server: Server) -> None:
    assert verified(server.store)["different"] == []


def test_a_process_that_dies_in_a_pure_tool_does_not_die_of_it_for_ever(lasting_store: str, tmp_path: Path) -> None:
    with serving(lasting_store, tmp_path) as server, speaking(server) as client:
        run = begin(client, "use dies", ["dies"])
        assert keep_up_until_over(server, client, run) == _STARTS_MAX
        assert deeds(server) == ["dies"] * _STARTS_MAX
        told = "dies was started 5 times and the process ended each time; it is not started again"
        assert ended(client, run).status == "completed"
        assert last_words(client, run.thread_id) == f"heard: {told}"
        [failed] = [event for event in events(server, run.thread_id) if event["kind"] == "tool.failed"]
        assert (failed["data"]["reason"], failed["data"]["output"]) == ("error", told)
        assert is_up(server)
        replayed(server)


@pytest.mark.parametrize(
    ("name", "heard"),
    [
        ("segfaults", "heard: segfaults was started 5 times and the process ended each time; it is not started again"),
        (
            "dies_idempotent",
            "heard: It is not known whether the call of dies_idempotent happened: dies_idempotent was started 5 times "
            "and the process ended each time.",
        ),
        ("dies_once", "heard: dies_once was started 5 times and nothing came of it; it is not started again"),
    ],
)
def test_whatever_ends_the_process_is_given_up_as_its_effect_says(name: str, heard: str, tmp_path: Path) -> None:
    with serving(str(tmp_path / "threads.db"), tmp_path) as server, speaking(server) as client:
        run = begin(client, f"use {name}", [name])
        assert keep_up_until_over(server, client, run) == _STARTS_MAX
        assert deeds(server) == [name] * _STARTS_MAX
        assert last_words(client, run.thread_id) == heard
        assert is_up(server)
        replayed(server)


def test_a_probe_that_ends_the_process_is_not_asked_for_ever_and_a_person_is(tmp_path: Path) -> None:
    with serving(str(tmp_path / "threads.db"), tmp_path) as server, speaking(server) as client:
        run = begin(client, "use dies_and_so_does_its_probe", ["dies_and_so_does_its_probe"])

        def settled() -> bool:
            if not is_up(server):
                with contextlib.suppress(RuntimeError):
                    server.start()
            if deeds(server).count("asked") < _ASKED_MAX:
                return False
            call = next(event for event in events(server, run.thread_id) if event["kind"] == "tool.in_doubt")
            path = f"{server.url}/clew/v1/runs/{run.id}/tool_calls/{call['data']['tool_call_id']}/settle"
            return httpx2.post(path, json={"outcome": "happened", "output": "it did"}).status_code == 200

        until("the settlement", partial(_or_died, settled), seconds=60)
        assert ended(client, run).status == "completed"
        assert last_words(client, run.thread_id) == "heard: it did"
        assert deeds(server) == ["dies", *["asked"] * _ASKED_MAX]
        assert is_up(server)
        replayed(server)


def _or_died(look: Callable[[], bool]) -> bool:
    """False where the server died while it was asked."""
    try:
        return look()
    except (httpx2.TransportError, StopIteration):
        return False


def test_calls_and_runs_beside_the_one_that_ends_the_process_come_to_their_end(
    lasting_store: str, tmp_path: Path
) -> None:
    with serving(lasting_store, tmp_path) as server, speaking(server) as client:
        innocent = begin(client, "use slow_and_innocent", ["slow_and_innocent"])
        both = begin(client, f"use {_BESIDE}", ["slow_and_innocent", "dies"])
        assert keep_up_until_over(server, client, innocent, both) == _STARTS_MAX
        assert last_words(client, innocent.thread_id) == "heard: the innocent one came to its end"
        results = [
            event["data"]["output"]
            for event in events(server, both.thread_id)
            if event["kind"] in ("tool.returned", "tool.failed")
        ]
        assert "the innocent one came to its end" in results
        assert any("dies was started 5 times" in result for result in results)
        replayed(server)


def test_a_server_stays_up_whatever_its_tools_raise_or_return(lasting_store: str, tmp_path: Path) -> None:
    expected = {function.__name__: words for function, words in misbehaving.FAILURES.items()}
    with serving(lasting_store, tmp_path) as server, speaking(server) as client:
        assert server.process is not None
        born = server.process.pid
        runs = {name: begin(client, f"use {name}", [name]) for name in expected}
        for name, run in runs.items():
            assert ended(client, run).status == "completed", name
            heard = last_words(client, run.thread_id)
            assert [words for words in expected[name] if words not in heard] == [], name
        assert (server.process.pid, is_up(server)) == (born, True)
        replayed(server)


def _heard_of(client: OpenAI, name: str) -> str:
    return last_words(client, ended(client, begin(client, f"use {name}", [name])).thread_id)


def test_a_server_does_not_notice_what_its_tools_leave_behind(tmp_path: Path) -> None:
    names = [function.__name__ for function in (*leftovers.LEFT, *leftovers.BROKEN)]
    rules = script(tmp_path / "script.json", [*names, "blocks", "never_says_why", "looks"])
    options = ["--script", str(rules), "--tools", "tests.rigs.leftovers:TOOLS"]
    with Server(tmp_path / "threads.db", options) as server, speaking(server) as client:
        assert server.process is not None
        born = server.process.pid
        for name in names:
            assert _heard_of(client, name) == "heard: left"
            # A call beside it may be lost with the loop.
            until("a loop that lasts", lambda: _heard_of(client, "looks") == "heard: seen")
        for name in ("blocks", "never_says_why"):
            run = begin(client, f"use {name}", [name])
            began = time.monotonic()
            assert httpx2.get(f"{server.url}/healthz", timeout=1).status_code == 200
            assert ended(client, run).status == "completed"
            assert time.monotonic() - began < 4
            heard = last_words(client, run.thread_id)
            assert f"heard: {name} " in heard
            assert "within 0.5 seconds" in heard
        assert _heard_of(client, "looks") == "heard: seen"
        assert (server.process.pid, is_up(server)) == (born, True)
        began = time.monotonic()
        server.stop()
        assert time.monotonic() - began < 8
        replayed(server)


def test_a_pure_call_whose_tool_is_gone_after_the_process_ended_has_failed(tmp_path: Path) -> None:
    with serving(str(tmp_path / "threads.db"), tmp_path) as server, speaking(server) as client:
        run = begin(client, "use dies", ["dies"])
        until("the end of the process", lambda: not is_up(server))
        server.options = server.options[:2]
        server.start()
        assert ended(client, run).status == "completed"
        assert last_words(client, run.thread_id) == "heard: the tool dies is not available on this server any more"
        replayed(server)


def test_a_process_that_dies_in_each_model_call_asks_as_often_as_at_any_other_fault(tmp_path: Path) -> None:
    attempts_max = 6
    with socket.create_server(("127.0.0.1", 0)) as silent:
        model = {"CLEW_OPENAI_BASE_URL": f"http://127.0.0.1:{silent.getsockname()[1]}/v1", "CLEW_OPENAI_API_KEY": "x"}
        with serving(str(tmp_path / "threads.db"), tmp_path, **model) as server, speaking(server) as client:
            assistant = client.beta.assistants.create(model="openai/silent", instructions="Speak.")
            run = client.beta.threads.create_and_run(
                assistant_id=assistant.id, thread={"messages": [{"role": "user", "content": "Hello"}]}
            )
            for attempt in range(1, attempts_max + 1):
                until("the call", partial(_is_called, server, run.thread_id, attempt))
                server.kill()
                server.start()
            over = ended(client, run)
            assert over.status == "failed"
            assert over.last_error is not None
            assert "attempt 6, the last one" in over.last_error.message
            assert _is_called(server, run.thread_id, attempts_max)
            replayed(server)


def _is_called(server: Server, thread_id: str, times: int) -> bool:
    """Whether the model was called so often."""
    called = [event for event in events(server, thread_id) if event["kind"] == "model.called"]
    return len(called) == times


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("def (", "tools_of_ours cannot be imported: "),
        ("raise ValueError('no\\nkey')", "tools_of_ours cannot be imported: "),
        ("import sys; sys.exit('no key')", "tools_of_ours cannot be imported: "),
        ("import nothing_like_it", "tools_of_ours cannot be imported: "),
        ("raise BaseExceptionGroup('no keys', [SystemExit()])", "tools_of_ours cannot be imported: "),
        ("def __getattr__(name): raise type('Odd', (BaseException,), {})(name)", "Odd: "),
        (
            "import clew\ntool = clew.tool(effect='bogus')(print)",
            "the tool print: effect is 'bogus'; it takes one of ",
        ),
        ("tool = []", "there is no tool in this list"),
    ],
)
def test_a_module_of_tools_that_cannot_be_used_is_refused_in_one_line(
    source: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tools_of_ours.py").write_text(source)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.syspath_prepend(str(tmp_path))
    refusal = refused("serve", "--port", "0", "--tools", "tools_of_ours:tool", store=tmp_path / "threads.db")
    assert refusal.startswith(f"clew: --tools 'tools_of_ours:tool': {told}")
