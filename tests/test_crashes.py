"""The server is killed with SIGKILL at the worst moments; afterwards every run goes on, or ends, as it should.

A tool's deed is a line in a file, written and synced by the tool before it is killed, so that the file tells how
often it happened.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from openai import OpenAI

from tests.rigs.processes import Server
from tests.rigs.runs import begin, deeds, ended, kinds, last_words, script, until

pytestmark = pytest.mark.slow

_NAMES = ("undeclared", "repeatable", "told", "probed", "slow", "of_the_client")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    options = ("--script", str(script(tmp_path / "script.json", _NAMES, text="x")), "--tools", "tests.rigs.deeds:TOOLS")
    environment = {"CLEW_DEEDS": str(tmp_path / "deeds.txt"), "CLEW_DEEDS_SECONDS": "60"}
    with Server(tmp_path / "threads.db", options, environment) as server:
        yield server


@pytest.fixture
def client(server: Server) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{server.url}/v1", api_key="x", _strict_response_validation=True) as client:
        yield client


def restart_quick(server: Server) -> None:
    """A new process on the same file, in which deeds take no time."""
    server.kill()
    server.environment = {**server.environment, "CLEW_DEEDS_SECONDS": "0"}
    server.start()


def crash_in_tool(server: Server, client: OpenAI, name: str) -> Any:
    """A run whose tool did its deed, in a server that was killed before the tool returned, and started again."""
    run = begin(client, f"use {name}", _NAMES)
    until("the deed", lambda: deeds(server))
    restart_quick(server)
    return run


def test_a_tool_that_declares_nothing_happens_once_and_its_run_stands_in_doubt_until_it_is_settled(
    server: Server, client: OpenAI
) -> None:
    run = crash_in_tool(server, client, "undeclared")
    until("the doubt", lambda: "tool.in_doubt" in kinds(server, run.thread_id))
    view = httpx2.get(f"{server.url}/clew/v1/runs/{run.id}").json()["run"]
    assert len(view["in_doubt"]) == 1
    assert client.beta.threads.runs.retrieve(run.id, thread_id=run.thread_id).status == "in_progress"
    restart_quick(server)
    assert len(deeds(server)) == 1
    path = f"{server.url}/clew/v1/runs/{run.id}/tool_calls/{view['in_doubt'][0]}/settle"
    settled = httpx2.post(path, json={"outcome": "happened", "output": "it did happen", "by": "Ada"})
    assert settled.status_code == 200
    assert httpx2.post(path, json={"outcome": "happened"}).status_code == 400
    assert ended(client, run).status == "completed"
    assert last_words(client, run.thread_id) == "heard: it did happen"
    assert len(deeds(server)) == 1


def test_a_call_that_did_not_happen_is_made_again(server: Server, client: OpenAI) -> None:
    run = crash_in_tool(server, client, "undeclared")
    until("the doubt", lambda: "tool.in_doubt" in kinds(server, run.thread_id))
    view = httpx2.get(f"{server.url}/clew/v1/runs/{run.id}").json()["run"]
    path = f"{server.url}/clew/v1/runs/{run.id}/tool_calls/{view['in_doubt'][0]}/settle"
    assert httpx2.post(path, json={"outcome": "did_not_happen"}).status_code == 200
    assert ended(client, run).status == "completed"
    assert len(deeds(server)) == 2


def test_an_idempotent_tool_is_called_again_with_the_same_key(server: Server, client: OpenAI) -> None:
    run = crash_in_tool(server, client, "repeatable")
    assert ended(client, run).status == "completed"
    first, second = (line.split() for line in deeds(server))
    assert first[2] == second[2]
    assert (first[3], second[3]) == ("1", "2")


def test_a_tool_with_the_policy_tell_model_lets_the_model_know_that_nobody_knows(
    server: Server, client: OpenAI
) -> None:
    run = crash_in_tool(server, client, "told")
    assert ended(client, run).status == "completed"
    assert "not known whether" in last_words(client, run.thread_id)
    assert len(deeds(server)) == 1


def test_a_probe_settles_what_nobody_saw(server: Server, client: OpenAI) -> None:
    run = crash_in_tool(server, client, "probed")
    assert ended(client, run).status == "completed"
    assert last_words(client, run.thread_id) == "heard: done, as the file says"
    assert len(deeds(server)) == 1


def test_a_tool_with_effect_once_that_takes_too_long_is_in_doubt_too(server: Server, client: OpenAI) -> None:
    restart_quick(server)
    run = begin(client, "use slow", _NAMES)
    until("the doubt", lambda: "tool.in_doubt" in kinds(server, run.thread_id))
    client.beta.threads.runs.cancel(run.id, thread_id=run.thread_id)
    assert ended(client, run).status == "cancelled"
    assert len(deeds(server)) == 1


def test_a_run_that_waits_for_its_client_waits_through_a_crash(server: Server, client: OpenAI) -> None:
    run = begin(client, "use of_the_client", _NAMES)
    waiting = until(
        "the waiting",
        lambda: next(
            (r for r in [client.beta.threads.runs.retrieve(run.id, thread_id=run.thread_id)] if r.required_action), None
        ),
    )
    restart_quick(server)
    call = waiting.required_action.submit_tool_outputs.tool_calls[0]
    client.beta.threads.runs.submit_tool_outputs(
        run.id, thread_id=run.thread_id, tool_outputs=[{"tool_call_id": call.id, "output": "from the client"}]
    )
    assert ended(client, run).status == "completed"
    assert last_words(client, run.thread_id) == "heard: from the client"


def test_a_cancel_that_was_asked_for_before_the_crash_is_carried_out_after_it(server: Server, client: OpenAI) -> None:
    run = begin(client, "use undeclared", _NAMES)
    until("the deed", lambda: deeds(server))
    assert client.beta.threads.runs.cancel(run.id, thread_id=run.thread_id).status == "cancelling"
    restart_quick(server)
    assert ended(client, run).status == "cancelled"
    assert len(deeds(server)) == 1


def test_a_second_server_on_the_same_file_is_refused_in_one_line(server: Server) -> None:
    import subprocess
    import sys

    second = subprocess.run(
        [sys.executable, "-m", "clew", "serve", "--port", "0", "--store", str(server.store)],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert second.returncode == 2
    assert second.stderr.count("\n") == 1
    assert "in use by another Clew process" in second.stderr
