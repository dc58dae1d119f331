"""Forking: a thread goes on otherwise from where it stood, through API, command line and the official SDK."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from openai import OpenAI
from typer.testing import CliRunner

from clew.cli import app
from tests.rigs.commands import refused, typed
from tests.rigs.processes import Server

pytestmark = pytest.mark.slow

TOOL = {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {}}}}


@pytest.fixture
def server(lasting_store: str) -> Iterator[Server]:
    with Server(lasting_store, ("--default-provider", "scripted")) as running:
        yield running


@pytest.fixture
def client(server: Server) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{server.url}/v1", api_key="x", max_retries=0, _strict_response_validation=True) as strict:
        yield strict


def fork(server: Server, thread_id: str, **wanted: Any) -> dict[str, Any]:
    answer = httpx2.post(f"{server.url}/clew/v1/threads/{thread_id}/fork", json=wanted)
    answer.raise_for_status()
    made: dict[str, Any] = answer.json()
    return made


def said(client: OpenAI, thread_id: str) -> list[str]:
    messages = client.beta.threads.messages.list(thread_id, order="asc", limit=100)
    return [part.text.value for message in messages for part in message.content if part.type == "text"]


def a_talk(client: OpenAI) -> tuple[str, str]:
    assistant = client.beta.assistants.create(model="echo")
    thread = client.beta.threads.create(messages=[{"role": "user", "content": "one"}])
    client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id, poll_interval_ms=20)
    client.beta.threads.messages.create(thread.id, role="user", content="two")
    return thread.id, assistant.id


def test_a_fork_goes_on_otherwise_and_its_parent_does_not_know(server: Server, client: OpenAI) -> None:
    thread_id, assistant_id = a_talk(client)
    before = said(client, thread_id)
    first = next(iter(client.beta.threads.messages.list(thread_id, order="asc")))
    made = fork(server, thread_id, edits=[{"kind": "replace", "message_id": first.id, "content": "ONE"}])
    assert said(client, made["thread_id"]) == ["ONE", *before[1:]]
    run = client.beta.threads.runs.create_and_poll(
        thread_id=made["thread_id"], assistant_id=assistant_id, instructions="Be brief.", poll_interval_ms=20
    )
    assert run.status == "completed"
    assert len(said(client, made["thread_id"])) == len(before) + 1
    assert said(client, thread_id) == before
    shown = httpx2.get(f"{server.url}/clew/v1/threads/{made['thread_id']}").json()
    assert (shown["forked_from"], shown["forked_at"]) == (thread_id, made["forked_at"])


def test_a_fork_of_the_past_of_a_fork(server: Server, client: OpenAI) -> None:
    thread_id, _ = a_talk(client)
    child = fork(server, thread_id, edits=[{"kind": "say", "role": "user", "content": "three"}])
    grandchild = fork(server, child["thread_id"], version=1)
    assert said(client, child["thread_id"])[-1] == "three"
    assert said(client, grandchild["thread_id"]) == said(client, thread_id)
    early = fork(server, thread_id, version=2)
    assert said(client, early["thread_id"]) == ["one"]


def test_a_run_that_waited_is_forked_with_another_result(server: Server, client: OpenAI) -> None:
    assistant = client.beta.assistants.create(model="echo", tools=[TOOL])  # type: ignore[list-item]
    thread = client.beta.threads.create(messages=[{"role": "user", "content": "What is the weather in Lisbon?"}])
    run = client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id, poll_interval_ms=20)
    assert run.status == "requires_action"
    assert run.required_action is not None
    call = run.required_action.submit_tool_outputs.tool_calls[0]
    hail = fork(server, thread.id, edits=[{"kind": "answer", "tool_call_id": call.id, "output": "hail"}])
    nothing = fork(server, thread.id)
    for made in (hail, nothing):
        going_on = client.beta.threads.runs.create_and_poll(
            thread_id=made["thread_id"], assistant_id=assistant.id, poll_interval_ms=20, tools=[]
        )
        assert going_on.status == "completed"
    assert client.beta.threads.runs.retrieve(run.id, thread_id=thread.id).status == "requires_action"


def test_a_message_is_put_between_what_a_fork_inherited(server: Server, client: OpenAI) -> None:
    thread_id, assistant_id = a_talk(client)
    before = said(client, thread_id)
    last = next(iter(client.beta.threads.messages.list(thread_id)))
    made = fork(server, thread_id, edits=[{"kind": "insert", "before": last.id, "content": "one and a half"}])
    expected = [*before[:-1], "one and a half", before[-1]]
    assert said(client, made["thread_id"]) == expected
    pages = client.beta.threads.messages.list(made["thread_id"], order="asc", limit=1)
    assert [part.text.value for message in pages for part in message.content if part.type == "text"] == expected
    run = client.beta.threads.runs.create_and_poll(
        thread_id=made["thread_id"], assistant_id=assistant_id, poll_interval_ms=20
    )
    prompt = httpx2.get(f"{server.url}/clew/v1/runs/{run.id}/steps/1/prompt").json()
    assert prompt["proven"]
    assert [message["content"] for message in json.loads(prompt["body"])["messages"]] == expected
    assert said(client, thread_id) == before


def test_a_fork_runs_at_once_with_another_assistant_model_and_instructions(server: Server, client: OpenAI) -> None:
    thread_id, assistant_id = a_talk(client)
    other = client.beta.assistants.create(model="other", instructions="Be brief.", temperature=0.5)
    made = fork(server, thread_id, run={"assistant_id": other.id})
    first = client.beta.threads.runs.poll(made["run_id"], thread_id=made["thread_id"], poll_interval_ms=20)
    assert (first.status, first.assistant_id, first.model, first.instructions, first.temperature) == (
        ("completed", other.id, "other", "Be brief.", 0.5)
    )
    changes = {"model": "third", "instructions": "Be long.", "truncation": {"strategy": "last_messages", "n": 1}}
    made = fork(server, thread_id, run=changes)
    second = client.beta.threads.runs.poll(made["run_id"], thread_id=made["thread_id"], poll_interval_ms=20)
    assert (second.status, second.assistant_id, second.model, second.instructions) == (
        ("completed", assistant_id, "third", "Be long.")
    )
    assert second.truncation_strategy is not None
    assert second.truncation_strategy.last_messages == 1


def test_the_same_key_forks_once(server: Server, client: OpenAI) -> None:
    thread_id, _ = a_talk(client)
    path, key = f"{server.url}/clew/v1/threads/{thread_id}/fork", {"Idempotency-Key": "k"}
    one, other = (httpx2.post(path, json={"run": {}}, headers=key).json() for _ in range(2))
    assert one == other
    assert one["run_id"]
    assert httpx2.post(path, json={"run": {"model": "x"}}, headers=key).status_code == 400


def test_what_is_not_there_is_not_forked(server: Server, client: OpenAI) -> None:
    thread_id, _ = a_talk(client)
    path = f"{server.url}/clew/v1/threads"
    assert httpx2.post(f"{path}/thread_000000000000000000000000/fork").status_code == 404
    assert httpx2.post(f"{path}/{thread_id}/fork", json={"version": 999}).status_code == 404
    nothing = "msg_000000000000000000000000"
    for lost in (
        {"kind": "drop", "message_id": nothing},
        {"kind": "replace", "message_id": nothing, "content": "x"},
        {"kind": "insert", "before": nothing, "content": "x"},
        {"kind": "answer", "tool_call_id": "call_x", "output": "x"},
    ):
        assert httpx2.post(f"{path}/{thread_id}/fork", json={"edits": [lost]}).status_code == 404
    for wrong in ({"version": 0}, {"edits": [{"kind": "turn"}]}, {"run": {"truncation": {"strategy": "x"}}}, {"x": 1}):
        assert httpx2.post(f"{path}/{thread_id}/fork", json=wrong).status_code == 400
    assert httpx2.post(f"{path}/{thread_id}/fork", json={"run": {"assistant_id": "asst_x"}}).status_code == 404


def test_the_command_line_forks_on_a_server_that_runs(server: Server, client: OpenAI) -> None:
    thread_id, _ = a_talk(client)
    done = CliRunner().invoke(app, ["fork", f"{thread_id}@v2", "--say", "otherwise", "--url", server.url, "--json"])
    assert done.exit_code == 0, done.output
    assert said(client, json.loads(done.output)["thread_id"]) == ["one", "otherwise"]
    one, *_ = client.beta.threads.messages.list(thread_id, order="asc")
    done = CliRunner().invoke(
        app,
        ["fork", thread_id, "--insert", f"{one.id}=zero", "--run", "--model", "other", "--url", server.url, "--json"],
    )
    made = json.loads(done.output)
    assert made["status"] == "completed"
    assert said(client, made["thread_id"]) == ["zero", *said(client, thread_id), "You said: two"]


def test_the_command_line_says_what_is_wrong(server: Server, client: OpenAI) -> None:
    thread_id, _ = a_talk(client)
    for arguments, told in (
        ((f"{thread_id}@x",), "is no thread"),
        ((f"{thread_id}@v99",), "no version has the id"),
        ((thread_id, "--replace", "x"), "lacks a `=`"),
        ((thread_id, "--model", "x"), "add --run"),
        ((thread_id, "--run", "--truncation", "last_messages:x"), "write auto, none, last_messages:20"),
        ((thread_id, "--run", "--truncation", "none:3"), "takes no number"),
        (("thread_000000000000000000000000", "--run"), "no thread has the id"),
    ):
        assert told in refused("fork", *arguments, "--url", server.url)


def test_lists_show_where_a_fork_comes_from(server: Server, client: OpenAI) -> None:
    thread_id, _ = a_talk(client)
    child = fork(server, thread_id, version=2)["thread_id"]
    fork(server, child, version=1)
    listed = httpx2.get(f"{server.url}/clew/v1/threads").json()
    assert [(one["forked_from"], one["forked_at"]) for one in listed] == [(child, 1), (thread_id, 2), (None, None)]
    shown = typed("threads", store=server.store).stdout
    assert f"{thread_id}@v2" in shown
    assert f"{child}@v1" in shown
