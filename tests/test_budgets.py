"""Budgets from the outside: through API and command line, what an official SDK sees of them, and the past of it all."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from openai import OpenAI

from tests.rigs.commands import refused, shown, typed, verified
from tests.rigs.processes import Server

pytestmark = pytest.mark.slow

DAILY = {"scope": "tenant", "subject": "default", "period": "day", "unit": "tokens", "limit": 150}
WEATHER: Any = {
    "type": "function",
    "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
}
_WITHIN_SECONDS = 15.0


@pytest.fixture
def server(lasting_store: str) -> Iterator[Server]:
    with Server(lasting_store, ("--default-provider", "scripted")) as running:
        yield running


@pytest.fixture
def client(server: Server) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{server.url}/v1", api_key="x", max_retries=0, _strict_response_validation=True) as strict:
        yield strict


@pytest.fixture
def native(server: Server) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=f"{server.url}/clew/v1", timeout=10) as client:
        yield client


def put(native: httpx2.Client, name: str, **wanted: Any) -> dict[str, Any]:
    answer = native.put(f"/budgets/{name}", json=wanted)
    assert answer.status_code == 200, answer.text
    made: dict[str, Any] = answer.json()
    return made


def a_run(client: OpenAI, said: str = "Hello there.", **assistant: Any) -> Any:
    made = client.beta.assistants.create(model="echo", **assistant)
    thread = client.beta.threads.create(messages=[{"role": "user", "content": said}])
    return client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=made.id, poll_interval_ms=20)


def test_an_sdk_sees_a_run_that_met_a_budget_as_one_that_met_a_quota(client: OpenAI, native: httpx2.Client) -> None:
    put(native, "daily", **DAILY)
    run = a_run(client, "What is the weather in Lisbon?", tools=[WEATHER])
    assert run.status == "requires_action"
    calls = run.required_action.submit_tool_outputs.tool_calls
    outputs: Any = [{"tool_call_id": call.id, "output": "sunny " * 60} for call in calls]
    run = client.beta.threads.runs.submit_tool_outputs_and_poll(
        run_id=run.id, thread_id=run.thread_id, tool_outputs=outputs, poll_interval_ms=20
    )
    assert run.status == "failed"
    assert run.last_error is not None
    assert run.usage is not None
    assert run.last_error.code == "rate_limit_exceeded"
    assert run.last_error.message.startswith("the budget daily of tenant default is 150 tokens a day; ")
    assert run.usage.total_tokens > 0, "what its first call used"
    [step] = client.beta.threads.runs.steps.list(run.id, thread_id=run.thread_id).data
    assert step.usage is not None
    assert step.usage.total_tokens == run.usage.total_tokens


def test_a_stream_ends_with_the_failure(client: OpenAI, native: httpx2.Client) -> None:
    put(native, "nothing", **{**DAILY, "limit": 0})
    assistant = client.beta.assistants.create(model="echo")
    thread: Any = {"messages": [{"role": "user", "content": "Hello."}]}
    events = list(client.beta.threads.create_and_run(assistant_id=assistant.id, thread=thread, stream=True))
    assert [event.event for event in events][-2:] == ["thread.run.in_progress", "thread.run.failed"]
    ended: Any = events[-1].data
    assert ended.last_error.code == "rate_limit_exceeded"


def test_api_and_audit_tell_where_budgets_stand_and_when_they_were_reached(
    client: OpenAI, native: httpx2.Client
) -> None:
    put(native, "watch", **{**DAILY, "limit": "1", "hard": False})
    put(native, "daily", **DAILY)
    put(native, "each", scope="thread", period="total", unit="tokens", limit=10_000)
    run = a_run(client)
    assert run.status == "completed"
    daily, each, watch = native.get("/budgets").json()
    assert (daily["budget_id"], daily["version"], daily["hard"], daily["reached"]) == ("daily", 1, True, [])
    standing = daily["standing"]
    spent = run.usage.total_tokens
    assert (standing["subject"], standing["spent"], standing["reserved"]) == ("default", str(spent), "0")
    assert standing["left"] == str(150 - spent)
    assert standing["until"] - standing["since"] == 86_400_000_000
    assert (each["subject"], each["standing"]) == (None, None)
    asked = native.get("/budgets/each", params={"subject": run.thread_id}).json()
    assert (asked["standing"]["spent"], asked["standing"]["since"]) == (str(spent), None)
    [warning] = watch["reached"]
    assert (warning["run_id"], warning["thread_id"], warning["hard"]) == (run.id, run.thread_id, False)
    notes = [note["what"] for note in native.get(f"/runs/{run.id}/audit").json()["notes"]]
    assert any(note.startswith("warning: the budget watch of tenant default (0 of 1 tokens spent") for note in notes)


def test_what_budgets_were_is_read_as_of_any_point(
    server: Server, client: OpenAI, native: httpx2.Client, lasting_store: str
) -> None:
    seen: dict[int, Any] = {}

    def look() -> None:
        position = httpx2.get(f"{server.url}/healthz").json()["position"]
        found = native.get("/budgets").json()
        for one in found:
            if one["standing"] is not None:
                one["standing"]["reserved"] = None  # This is only known of now.
        seen[position] = found

    look()
    put(native, "daily", **DAILY)
    look()
    a_run(client)
    look()
    put(native, "daily", **{**DAILY, "limit": 1})
    look()
    a_run(client)
    look()
    assert native.delete("/budgets/daily").json() == {"budget_id": "daily", "removed": True}
    look()
    assert [len(found) for found in seen.values()] == [0, 1, 1, 1, 1, 0]
    for position, found in seen.items():
        assert httpx2.get(f"{server.url}/at/{position}/clew/v1/budgets").json() == found
        assert native.get("/budgets", headers={"Clew-As-Of": str(position)}).json() == found
        told = json.loads(shown("budgets", "--json", "--as-of", str(position), store=lasting_store))
        assert told == found
    position = next(position for position, found in seen.items() if found)
    denied = httpx2.put(f"{server.url}/at/{position}/clew/v1/budgets/daily", json=DAILY)
    assert denied.status_code == 400
    assert "the past is read-only" in denied.text


def test_what_is_no_budget_is_refused_and_says_why(native: httpx2.Client) -> None:
    for name, wanted, why in (
        ("daily", {**DAILY, "scope": "world"}, "scope: Input should be 'run', 'thread', 'assistant' or 'tenant'"),
        ("daily", {**DAILY, "limit": "lots"}, "'lots' is no decimal number"),
        ("daily", {**DAILY, "limit": 1.5}, "limit"),
        ("daily", {**DAILY, "limit": True}, "limit"),
        ("daily", {**DAILY, "limit": "1.5"}, "a limit has whole tokens, not 1.5"),
        ("daily", {**DAILY, "colour": "red"}, "colour: Extra inputs are not permitted"),
        ("a budget", DAILY, "a name has up to 64 letters"),
    ):
        answer = native.put(f"/budgets/{name}", json=wanted)
        assert answer.status_code == 400, answer.text
        assert why in answer.json()["error"]["message"]
    for answer in (native.get("/budgets/daily"), native.delete("/budgets/daily")):
        assert answer.status_code == 404
        assert answer.json()["error"]["message"] == "no budget has the id 'daily'"


def test_setting_what_is_set_makes_no_version(native: httpx2.Client) -> None:
    assert put(native, "daily", **DAILY)["version"] == 1
    assert put(native, "daily", **{**DAILY, "limit": "150.0"})["version"] == 1
    assert put(native, "daily", **{**DAILY, "limit": 151})["version"] == 2


def test_every_run_that_met_a_budget_would_do_so_again(
    client: OpenAI, native: httpx2.Client, lasting_store: str
) -> None:
    put(native, "watch", **{**DAILY, "limit": 1, "hard": False})
    put(native, "daily", **{**DAILY, "limit": 60})
    ended = [a_run(client, instructions="Be kind.").status for _ in range(4)]
    assert ended[0] == "completed"
    assert ended[-1] == "failed"
    verified(lasting_store)
    assert "BAD" not in (told := typed("doctor", store=lasting_store).stdout), told


def test_the_command_line_sets_and_removes_beside_a_server(server: Server, client: OpenAI, lasting_store: str) -> None:
    """A file belongs to its server, which is asked; into a database it is written."""
    options = ("--scope", "tenant", "--subject", "default", "--period", "day", "--unit", "tokens")
    told = typed("budgets", "set", "daily", "0", *options, "--url", server.url, store=lasting_store)
    assert told.returncode == 0, told.stderr
    assert told.stdout == "daily: 0 tokens per day for default, hard\n"
    # Another process hears of it a moment later.
    end = time.monotonic() + _WITHIN_SECONDS
    while a_run(client).status != "failed":
        assert time.monotonic() < end
    table = shown("budgets", store=lasting_store)
    assert "tenant default" in table
    assert "0 tokens" in table
    told = typed("budgets", "remove", "daily", "--url", server.url, store=lasting_store)
    assert told.returncode == 0, told.stderr
    while a_run(client).status != "completed":
        assert time.monotonic() < end
    assert "no budgets" in shown("budgets", store=lasting_store)


def test_the_command_line_sets_where_no_server_is(lasting_store: str) -> None:
    shown(
        "budgets",
        "set",
        "x",
        "1.50",
        "--scope",
        "run",
        "--period",
        "run",
        "--unit",
        "USD",
        "--warn",
        store=lasting_store,
    )
    [found] = json.loads(shown("budgets", "--json", store=lasting_store))
    assert {name: found[name] for name in ("budget_id", "subject", "limit", "hard", "standing")} == {
        "budget_id": "x",
        "subject": None,
        "limit": "1.5",
        "hard": False,
        "standing": None,
    }
    assert "each run" in shown("budgets", store=lasting_store)
    shown("budgets", "remove", "x", store=lasting_store)
    assert refused("budgets", "remove", "x", store=lasting_store) == "clew: no budget has the id 'x'\n"
    wrong = ("budgets", "set", "x", "1", "--scope", "world", "--period", "day", "--unit", "USD")
    assert "scope: Input should be 'run', 'thread'" in refused(*wrong, store=lasting_store)
