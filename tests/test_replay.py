"""`clew replay`: played again, verified against today's engine, and made anew with other settings."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from openai import OpenAI
from openai.types.beta.threads.run_submit_tool_outputs_params import ToolOutput

from tests.rigs.commands import typed
from tests.rigs.processes import Server

pytestmark = pytest.mark.slow

TOOL = {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {}}}}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with Server(tmp_path / "threads.db", ("--default-provider", "scripted")) as running:
        yield running


def a_run_with_a_call(server: Server) -> tuple[str, str]:
    with OpenAI(base_url=f"{server.url}/v1", api_key="x", max_retries=0) as client:
        assistant = client.beta.assistants.create(model="echo", tools=[TOOL])  # type: ignore[list-item]
        thread = client.beta.threads.create(messages=[{"role": "user", "content": "What is the weather in Lisbon?"}])
        run = client.beta.threads.runs.create_and_poll(
            thread_id=thread.id, assistant_id=assistant.id, poll_interval_ms=20
        )
        assert run.required_action is not None
        calls = run.required_action.submit_tool_outputs.tool_calls
        outputs: list[ToolOutput] = [{"tool_call_id": call.id, "output": "hail"} for call in calls]
        run = client.beta.threads.runs.submit_tool_outputs_and_poll(
            run_id=run.id,
            thread_id=thread.id,
            tool_outputs=outputs,
            poll_interval_ms=20,
        )
        assert run.status == "completed"
        return thread.id, run.id


def test_a_run_is_played_again_and_verified(server: Server) -> None:
    _, run_id = a_run_with_a_call(server)
    played = typed("replay", run_id, "--json", store=server.store)
    assert played.returncode == 0, played.stderr
    kinds = [json.loads(line)["kind"] for line in played.stdout.splitlines()]
    assert kinds[0] == "run.queued"
    assert kinds[-1] == "run.completed"
    verified = typed("replay", "--verify", "--all", "--json", store=server.store)
    assert verified.returncode == 0, verified.stdout
    assert json.loads(verified.stdout)["different"] == []


@pytest.mark.parametrize("step", ["1", "2"])
def test_a_run_is_made_anew_with_what_was_recorded(server: Server, step: str) -> None:
    """Also when its assistant is another one now, or none."""
    thread_id, run_id = a_run_with_a_call(server)
    with OpenAI(base_url=f"{server.url}/v1", api_key="x", max_retries=0) as client:
        run = client.beta.threads.runs.retrieve(run_id, thread_id=thread_id)
        client.beta.assistants.delete(run.assistant_id)
    arguments = ("--with", "instructions=Be brief.", "--from", step, "--url", server.url, "--json")
    done = typed("replay", run_id, *arguments, store=server.store)
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)
    assert made["status"] == "completed"
    assert made["missing"] == []
    assert made["thread_id"] != thread_id
    assert [one["name"] for one in made["diff"]["settings"]] == ["instructions"]
    assert made["diff"]["items"] == []


def test_calls_of_a_client_are_made_up_or_asked_for_at_the_terminal(server: Server) -> None:
    _, run_id = a_run_with_a_call(server)
    again = ("replay", run_id, "--with", "model=other", "--url", server.url, "--json", "--tools")
    for tools, typed_in, result in (("stub=snow", "", "snow"), ("again", "fog\n", "fog")):
        done = typed(*again, tools, store=server.store, said=typed_in)
        assert done.returncode == 0, done.stderr
        made = json.loads(done.stdout)
        assert made["status"] == "completed"
        [call] = made["diff"]["calls"]
        assert (call["a_result"], call["b_result"]) == ("hail", result)
    unanswered = json.loads(typed(*again, "again", store=server.store).stdout)
    assert unanswered["status"] == "requires_action"
    assert "get_weather" in typed(*again, "again", store=server.store).stderr


def test_what_cannot_be_made_anew_is_refused(server: Server) -> None:
    _, run_id = a_run_with_a_call(server)
    for arguments in (
        ["--with", "colour=red"],
        ["--with", "model=echo", "--from", "9"],
        ["--with", "truncation=x"],
        ["--with", "truncation=last_messages"],
        ["--with", "assistant=asst_x"],
        ["--with", "model=echo", "--tools", "none"],
        ["--tools", "again"],
    ):
        done = typed("replay", run_id, *arguments, "--url", server.url, store=server.store)
        assert done.returncode == 2, done.stdout
        assert done.stderr.count("\n") == 1
