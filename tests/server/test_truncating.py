"""Truncation in Clew's own API, and which of those who may say something about it has its way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.dialects.conftest import Server

POLLING = {"X-Stainless-Poll-Helper": "true"}


def thread_of(native: httpx2.Client, truncation: Any = None) -> str:
    made = native.post("/threads", json={"truncation": truncation}).json()
    native.post(
        f"/threads/{made['thread_id']}/events", json={"kind": "message.appended", "role": "user", "content": "Hi"}
    ).raise_for_status()
    return str(made["thread_id"])


def assistant_of(native: httpx2.Client, openai: httpx2.Client, truncation: Any = None) -> str:
    assistant_id = str(openai.post("/assistants", json={"model": "echo"}).json()["id"])
    if truncation is not None:
        change = {"kind": "assistant.changed", "truncation": truncation}
        native.post(f"/assistants/{assistant_id}/events", json=change).raise_for_status()
    return assistant_id


def run_of(openai: httpx2.Client, thread_id: str, assistant_id: str, **more: Any) -> dict[str, Any]:
    run = openai.post(f"/threads/{thread_id}/runs", json={"assistant_id": assistant_id, **more})
    run.raise_for_status()
    made: dict[str, Any] = run.json()
    while made["status"] in ("queued", "in_progress"):
        made = openai.get(f"/threads/{thread_id}/runs/{made['id']}", headers=POLLING).json()
    return made


def strategy_of(native: httpx2.Client, run: dict[str, Any]) -> tuple[Any, ...]:
    """As the run's configuration in the log has it."""
    found = native.get(f"/runs/{run['id']}/audit").json()["config"]["truncation"]
    return found["strategy"], found["n"], found["provider"], found["model"]


LAST = {"type": "last_messages", "last_messages": 3}


@pytest.mark.parametrize(
    ("run", "thread", "assistant", "chosen"),
    [
        ({}, None, None, ("auto", None, None, None)),
        ({}, None, "token_budget:900", ("token_budget", 900, None, None)),
        ({}, "clear_tool_results:2", "token_budget:900", ("clear_tool_results", 2, None, None)),
        ({"truncation_strategy": LAST}, "clear_tool_results:2", "none", ("last_messages", 3, None, None)),
        ({"truncation_strategy": {"type": "auto"}}, "none", "none", ("auto", None, None, None)),
        ({"clew_truncation": "summarise:8000"}, "none", None, ("summarise", 8000, None, None)),
        ({"clew_truncation": "summarise@small"}, None, None, ("summarise", None, "fake", "small")),
        ({"clew_truncation": "summarise@fake/small"}, None, None, ("summarise", None, "fake", "small")),
    ],
)
def test_the_first_that_says_something_has_its_way(
    native: httpx2.Client,
    openai: httpx2.Client,
    run: dict[str, Any],
    thread: str | None,
    assistant: str | None,
    chosen: tuple[Any, ...],
) -> None:
    made = run_of(openai, thread_of(native, thread), assistant_of(native, openai, assistant), **run)
    assert made["status"] == "completed"
    assert strategy_of(native, made) == chosen


def test_the_server_has_its_way_where_nobody_else_says_anything(tmp_path: Path) -> None:
    with Server(tmp_path / "own.db", truncation="last_messages:7") as server:
        base = server.base_url
        with (
            httpx2.Client(base_url=base.replace("/openai/v1", "/clew/v1")) as native,
            httpx2.Client(base_url=base) as openai,
        ):
            made = run_of(openai, thread_of(native), assistant_of(native, openai))
            assert made["truncation_strategy"] == {"type": "last_messages", "last_messages": 7}
            with_thread = openai.post(
                "/threads/runs",
                json={
                    "assistant_id": assistant_of(native, openai),
                    "thread": {"messages": [{"role": "user", "content": "Hi"}]},
                },
            ).json()
            assert with_thread["truncation_strategy"]["last_messages"] == 7
            own = run_of(openai, thread_of(native, "none"), assistant_of(native, openai))
            assert strategy_of(native, own)[0] == "none"


def test_a_strategy_that_openai_has_no_word_for_stands_beside_its_own(
    native: httpx2.Client, openai: httpx2.Client
) -> None:
    made = run_of(openai, thread_of(native, "token_budget:900"), assistant_of(native, openai))
    assert made["truncation_strategy"] == {
        "type": "auto",
        "last_messages": None,
        "clew_truncation": "token_budget:900",
    }
    plain = run_of(openai, thread_of(native), assistant_of(native, openai))
    assert plain["truncation_strategy"] == {"type": "auto", "last_messages": None}


def test_a_thread_is_changed_and_shows_what_it_was(native: httpx2.Client) -> None:
    thread_id = thread_of(native, {"strategy": "summarise", "n": 900, "model": "fake/small"})
    path = f"/threads/{thread_id}"

    def shown(point: str | None = None) -> Any:
        headers = {"Clew-As-Of": point} if point else {}
        return native.get(path, headers=headers).json()["truncation"]

    assert shown() == "summarise:900@fake/small"
    [changed] = native.post(f"{path}/events", json={"kind": "thread.changed", "truncation": "auto"}).json()
    assert changed["data"] == {"truncation": {"strategy": "auto"}} or changed["data"] == {"truncation": {}}
    assert shown() == "auto"
    native.post(f"{path}/events", json={"kind": "thread.changed", "metadata": {"a": "b"}}).raise_for_status()
    assert shown() == "auto"
    native.post(f"{path}/events", json={"kind": "thread.changed", "truncation": "default"}).raise_for_status()
    assert shown() is None
    assert shown("v1") == "summarise:900@fake/small"
    assert shown(f"v{changed['version']}") == "auto"


def test_a_change_that_changes_nothing_appends_nothing(native: httpx2.Client) -> None:
    thread_id = thread_of(native)
    assert native.post(f"/threads/{thread_id}/events", json={"kind": "thread.changed"}).json() == []


@pytest.mark.parametrize(("given", "has"), [(None, "none"), ("last_messages:4", "last_messages:4"), ("default", None)])
def test_a_fork_has_its_parents_strategy_unless_it_is_given_another(
    native: httpx2.Client, given: str | None, has: str | None
) -> None:
    parent = thread_of(native, "none")
    made = native.post(f"/threads/{parent}/fork", json={"truncation": given}).json()
    assert native.get(f"/threads/{made['thread_id']}").json()["truncation"] == has
    assert native.get(f"/threads/{parent}").json()["truncation"] == "none"


def test_an_assistant_is_changed_and_its_other_settings_stay(native: httpx2.Client, openai: httpx2.Client) -> None:
    assistant_id = assistant_of(native, openai)
    path = f"/assistants/{assistant_id}/events"
    changed = native.post(path, json={"kind": "assistant.changed", "truncation": "clear_tool_results:0"}).json()
    assert changed == {"assistant_id": assistant_id, "version": 2, "truncation": "clear_tool_results:0"}
    openai.post(f"/assistants/{assistant_id}", json={"name": "Ada"}).raise_for_status()
    made = run_of(openai, thread_of(native), assistant_id)
    assert strategy_of(native, made)[:2] == ("clear_tool_results", 0)
    assert native.post(path, json={"kind": "assistant.changed", "truncation": "default"}).json()["truncation"] is None
    nobodys = native.post("/assistants/asst_0/events", json={"kind": "assistant.changed", "truncation": "auto"})
    assert nobodys.status_code == 404


WRONG = [
    "x",
    "last_messages",
    "token_budget:0",
    "auto:3",
    "none@gpt-4o",
    "summarise:0",
    "last_messages:-1",
    "summarise:",
    "",
    {"strategy": "last_messages"},
    {"strategy": "auto", "n": 3},
]


@pytest.mark.parametrize("wrong", WRONG, ids=str)
def test_what_is_no_strategy_is_refused_with_how_to_write_one(
    native: httpx2.Client, openai: httpx2.Client, wrong: Any
) -> None:
    thread_id, assistant_id = thread_of(native), assistant_of(native, openai)
    refusals = [
        native.post("/threads", json={"truncation": wrong}),
        native.post(f"/threads/{thread_id}/events", json={"kind": "thread.changed", "truncation": wrong}),
        native.post(f"/threads/{thread_id}/fork", json={"truncation": wrong}),
        native.post(f"/assistants/{assistant_id}/events", json={"kind": "assistant.changed", "truncation": wrong}),
    ]
    for refused in refusals:
        assert refused.status_code == 400, refused.text
        assert "write auto, none, last_messages:20" in refused.json()["error"]["message"]
    if isinstance(wrong, str):
        told = openai.post(f"/threads/{thread_id}/runs", json={"assistant_id": assistant_id, "clew_truncation": wrong})
        assert told.status_code == 400
        assert told.json()["error"]["param"] == "clew_truncation"
        assert "rite auto, none" in told.json()["error"]["message"]
