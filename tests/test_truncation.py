"""Truncation from the command line, on a server that runs: set, forked, replayed, and told in audits."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from openai import OpenAI

from clew.errors import Misconfigured
from clew.settings import Settings
from clew.wiring import make_engine
from tests.rigs.commands import refused, shown, verified
from tests.rigs.processes import Server

pytestmark = pytest.mark.slow

SAID = "Tell me more of the labyrinth, the bull in it, the thread and the girl who spun it, please. "


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    environment = {"CLEW_TRUNCATION": "token_budget:4000"}
    store = tmp_path_factory.mktemp("store") / "threads.db"
    with Server(store, ("--default-provider", "scripted"), environment) as running:
        yield running


@pytest.fixture
def client(server: Server) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{server.url}/v1", api_key="x", max_retries=0, _strict_response_validation=True) as strict:
        yield strict


def a_talk(client: OpenAI, turns: int = 12) -> tuple[str, str]:
    assistant = client.beta.assistants.create(model="gpt-4o", instructions="Tell.")
    thread = client.beta.threads.create(
        messages=[{"role": "user", "content": f"{number}: {SAID * 2}"} for number in range(turns)]
    )
    return thread.id, assistant.id


def run(client: OpenAI, thread_id: str, assistant_id: str) -> str:
    made = client.beta.threads.runs.create_and_poll(thread_id=thread_id, assistant_id=assistant_id, poll_interval_ms=20)
    assert made.status == "completed"
    return made.id


def audit(server: Server, run_id: str) -> Any:
    return json.loads(shown("audit", run_id, "--json", store=server.store))


def differing(made: Any) -> set[str]:
    """Settings of the two runs that differ; the provider is named when a run is made anew, which changes nothing."""
    return {setting["name"] for setting in made["diff"]["settings"]} - {"asked_model"}


def test_a_thread_is_told_to_summarise_and_its_audit_shows_the_summary(server: Server, client: OpenAI) -> None:
    thread_id, assistant_id = a_talk(client)
    assert "none of its own" in shown("truncation", thread_id, "--url", server.url)
    assert shown("truncation", thread_id, "summarise:300", "--url", server.url).strip() == "summarise:300"
    run_id = run(client, thread_id, assistant_id)
    told = shown("audit", run_id, store=server.store)
    for words in ("summarise is 300", "items from now on", "Summary of the conversation so far"):
        assert words in told
    steps = audit(server, run_id)["steps"]
    assert [(step["purpose"], step["proven"]) for step in steps] == [("summary", True), ("answer", True)]
    for number in ("1", "2"):
        shown("prompt", run_id, number, store=server.store)
    verified(server.store)
    again = shown("truncation", thread_id, "default", "--url", server.url, "--json")
    assert json.loads(again)["truncation"] is None


@pytest.mark.parametrize("strategy", ["none", "last_messages:2", "clear_tool_results:1", "summarise:300"])
def test_a_run_is_made_anew_under_any_strategy(server: Server, client: OpenAI, strategy: str) -> None:
    thread_id, assistant_id = a_talk(client)
    run_id = run(client, thread_id, assistant_id)
    of_server = audit(server, run_id)["config"]["truncation"]
    assert (of_server["strategy"], of_server["n"]) == ("token_budget", 4000)
    arguments = ("--with", f"truncation={strategy}", "--url", server.url, "--json")
    made = json.loads(shown("replay", run_id, *arguments, store=server.store))
    assert made["status"] == "completed"
    truncation = audit(server, made["run_id"])["config"]["truncation"]
    name, _, number = strategy.partition(":")
    assert (truncation["strategy"], str(truncation["n"] or "")) == (name, number)
    assert differing(made) == {"truncation"}


def test_a_run_that_is_made_anew_otherwise_keeps_its_strategy(server: Server, client: OpenAI) -> None:
    thread_id, assistant_id = a_talk(client)
    run_id = run(client, thread_id, assistant_id)
    arguments = ("--with", "instructions=Be brief.", "--url", server.url, "--json")
    made = json.loads(shown("replay", run_id, *arguments, store=server.store))
    assert differing(made) == {"instructions"}


def test_a_fork_is_given_a_strategy(server: Server, client: OpenAI) -> None:
    thread_id, _ = a_talk(client, 1)
    made = json.loads(shown("fork", thread_id, "--truncation", "last_messages:1", "--url", server.url, "--json"))
    assert shown("truncation", made["thread_id"], "--url", server.url).strip() == "last_messages:1"


def test_what_is_no_strategy_is_refused_in_one_line(server: Server, client: OpenAI) -> None:
    thread_id, _ = a_talk(client, 1)
    for arguments in (["truncation", thread_id, "x"], ["fork", thread_id, "--truncation", "last_messages"]):
        assert "write auto, none" in refused(*arguments, "--url", server.url)


def test_a_server_with_a_strategy_that_is_none_does_not_start() -> None:
    with pytest.raises(Misconfigured, match="CLEW_TRUNCATION is 'last_messages': last_messages needs a number"):
        make_engine(Settings(store=":memory:", default_provider="scripted", truncation="last_messages"))
