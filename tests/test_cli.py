"""The command line, as a person types it: what it shows, in text and as JSON, and how it refuses."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import clew
from clew.cli import MODULES_OF_COMMANDS, commands_of
from clew.engine.counting import new_message
from clew.engine.engine import Engine
from clew.events.content import text
from clew.events.run import RunConfig
from clew.ids import new_id
from clew.rules.commands import CreateThread, QueueRun
from tests.rigs.commands import refused, shown, typed

pytestmark = pytest.mark.slow

_DEMO_SECONDS_MAX = 15.0


async def hold_a_conversation(engine: Engine) -> tuple[str, str]:
    thread_id, run_id = new_id("thread"), new_id("run")
    config = RunConfig(provider="scripted", model="echo", asked_model="echo", instructions="Listen.", stream=True)
    run = QueueRun(thread_id=thread_id, run_id=run_id, dialect="test", config=config, expires_at=None, metadata={})
    command = CreateThread(
        thread_id=thread_id,
        tenant="default",
        dialect="test",
        metadata={"user": "ada"},
        tool_resources={},
        messages=(new_message("user", text("Hello [bold]there[/]")),),
        run=run,
    )
    await engine.desk.on_thread(thread_id, lambda: command, new=True)
    async for heard in engine.feed.follow(thread_id, 0):
        if getattr(getattr(heard, "event", None), "kind", "") == "run.completed":
            break
    return thread_id, run_id


@pytest.fixture
def kept(tmp_path: Path) -> tuple[Path, str, str]:
    """A store with one conversation: its path, the thread, the run."""
    store = tmp_path / "threads.db"

    async def main() -> tuple[str, str]:
        async with clew.open(str(store)) as engine:
            return await hold_a_conversation(engine)

    return (store, *asyncio.run(main()))


def test_every_command_is_found_in_the_modules_that_are_said_to_make_it() -> None:
    for modules in set(MODULES_OF_COMMANDS.values()):
        named = [name for name, its in MODULES_OF_COMMANDS.items() if its == modules]
        assert sorted(commands_of(*modules)) == sorted(named)
    told = {module for modules in MODULES_OF_COMMANDS.values() for module in modules}
    folder = Path(clew.__file__).parent / "cli"
    assert told == {file.stem for file in folder.glob("*.py") if "\ndef add_to(" in file.read_text()}


def test_threads_lists_them_and_finds_by_metadata(kept: tuple[Path, str, str]) -> None:
    store, thread_id, _ = kept
    assert thread_id in shown("threads", store=store)
    assert thread_id in shown("threads", "--metadata", "user=ada", store=store)
    assert thread_id not in shown("threads", "--metadata", "user=bob", store=store)
    (found,) = json.loads(shown("threads", "--json", store=store))
    assert found["metadata"] == {"user": "ada"}


def test_show_prints_what_was_said_with_its_brackets(kept: tuple[Path, str, str]) -> None:
    store, thread_id, run_id = kept
    told = shown("show", thread_id, store=store)
    assert "Hello [bold]there[/]" in told
    assert run_id in told
    found = json.loads(shown("show", thread_id, "--json", store=store))
    assert [item["type"] for item in found["items"]] == ["message", "message"]


def test_the_past_is_shown_as_of_a_version_a_position_or_a_time(kept: tuple[Path, str, str]) -> None:
    store, thread_id, run_id = kept
    lines = [json.loads(line) for line in shown("events", thread_id, "--json", store=store).splitlines()]
    at = datetime.fromtimestamp(lines[1]["at"] // 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    at += f".{lines[1]['at'] % 1_000_000:06}Z"
    for named in ([f"{thread_id}@v3"], [f"{thread_id}@3"], [thread_id, "--as-of", "v3"], [f"{thread_id}@{at}"]):
        found = json.loads(shown("show", *named, "--json", store=store))
        # All of the first append is at one time: thread, message, run.
        assert found["version"] == 3
        assert [item["content"][0]["text"] for item in found["items"]] == ["Hello [bold]there[/]"]
        assert [run["status"] for run in found["runs"]] == ["queued"]
    assert "version 1," in shown("show", f"{thread_id}@v1", store=store)
    for named in (["--as-of", "4"], [f"{thread_id}@v4"], [thread_id, "--as-of", "4"]):
        told = [json.loads(line) for line in shown("events", *named, "--json", store=store).splitlines()]
        assert told == lines[:4]
    assert json.loads(shown("audit", run_id, "--as-of", "v3", "--json", store=store))["status"] == "queued"
    for point, messages, runs in (("1", 0, 0), ("2", 1, 0), (at, 1, 1)):
        (listed,) = json.loads(shown("threads", "--as-of", point, "--json", store=store))
        assert (listed["thread_id"], listed["stats"]["messages"], listed["stats"]["runs"]) == (
            thread_id,
            messages,
            runs,
        )
    (now,) = json.loads(shown("threads", "--json", store=store))
    assert now["stats"]["messages"] == 2
    assert now["stats"]["output_tokens"] > 0
    # Whole, however narrow the terminal is.
    assert thread_id in shown("threads", store=store)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("show", "THREAD@v99"), "is at v"),
        (("show", "THREAD@yesterday"), "write a position (1234), a version of the thread (v12) or a time"),
        (("show", "THREAD@0"), "no thread has the id"),
        (("show", "THREAD@1", "--as-of", "2"), "name one"),
        (("threads", "--as-of", "v1"), "no thread is asked for"),
        (("threads", "--as-of", "2999-01-01T00:00:00Z"), "still to come"),
        (("events", "--as-of", "1", "--follow"), "leave out --follow"),
    ],
)
def test_points_that_are_none_are_refused(kept: tuple[Path, str, str], arguments: tuple[str, ...], told: str) -> None:
    store, thread_id, _ = kept
    assert told in refused(*(one.replace("THREAD", thread_id) for one in arguments), store=store)


def test_events_prints_a_thread_or_all_of_the_log(kept: tuple[Path, str, str]) -> None:
    store, thread_id, _ = kept
    lines = [json.loads(line) for line in shown("events", thread_id, "--json", store=store).splitlines()]
    assert [line["version"] for line in lines] == list(range(1, len(lines) + 1))
    assert [lines[0]["kind"], lines[-1]["kind"]] == ["thread.created", "run.completed"]
    assert len(shown("events", store=store).splitlines()) == len(lines)
    assert len(shown("events", "--after", "3", store=store).splitlines()) == len(lines) - 3


def test_audit_tells_what_was_shown_answered_and_used(kept: tuple[Path, str, str]) -> None:
    store, _, run_id = kept
    told = shown("audit", run_id, store=store)
    for word in ("completed", "step 1", "1 items", "tokens in", "You said: Hello"):
        assert word in told
    found: dict[str, Any] = json.loads(shown("audit", run_id, "--json", store=store))
    (step,) = found["steps"]
    assert step["manifest"]["items"] == 1
    assert step["attempts"][0]["outcome"] == "answered"


def test_projections_are_listed_rebuilt_and_up_with_the_log(kept: tuple[Path, str, str]) -> None:
    store, thread_id, _ = kept
    assert {p["name"] for p in json.loads(shown("projections", "list", "--json"))} >= {"thread_view", "run_board"}
    before = shown("show", thread_id, store=store)
    shown("projections", "rebuild", "--all", store=store)
    assert shown("show", thread_id, store=store) == before
    assert {p["behind"] for p in json.loads(shown("projections", "status", "--json", store=store))} == {0}


def test_doctor_finds_an_event_that_was_changed_behind_its_back(kept: tuple[Path, str, str]) -> None:
    store, thread_id, _ = kept
    assert "BAD" not in shown("doctor", store=store)
    with sqlite3.connect(store) as connection:
        connection.execute("update events set state = replace(state, 'Hello', 'Hullo') where originator_version = 2")
    connection.close()
    done = typed("doctor", "--json", store=store)
    assert done.returncode == 1
    bad = {check["check"]: check["found"] for check in json.loads(done.stdout) if not check["ok"]}
    # What a thread is recognised by was made of what the message said before.
    assert set(bad) == {"chains", "read models"}
    assert bad["read models"].startswith(f"history_marks {thread_id}")
    assert f"event 2 of {thread_id}" in bad["chains"]


def test_chat_keeps_what_is_said(tmp_path: Path) -> None:
    done = typed("chat", store=tmp_path / "chat.db", said="Good morning\nAnd good night\n")
    assert done.returncode == 0, done.stderr
    assert "You said: Good morning" in done.stdout
    (thread,) = json.loads(shown("threads", "--json", store=tmp_path / "chat.db"))
    told = shown("show", thread["thread_id"], store=tmp_path / "chat.db")
    assert "And good night" in told


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("threads",), "there is no such file"),
        (("audit", "run_x"), "there is no such file"),
        (("projections", "rebuild", "nothing"), "no projection is called 'nothing'"),
        (("serve", "--port", "99999"), "port 99999 does not exist"),
        (("serve", "--host", "0.0.0.0"), "CLEW_API_KEY"),
        (("serve", "--tools", "nonsense"), "write module:name"),
        (("serve", "--default-provider", "nobody"), "no provider is called 'nobody'"),
    ],
)
def test_what_the_user_can_mend_is_refused_in_one_line(tmp_path: Path, arguments: tuple[str, ...], told: str) -> None:
    assert told in refused(*arguments, store=tmp_path / "none.db")


def test_files_of_others_are_refused_and_stay_as_they_are(tmp_path: Path) -> None:
    text_file, other = tmp_path / "notes.txt", tmp_path / "other.db"
    text_file.write_text("not a database, and longer than a header would be " * 3)
    with sqlite3.connect(other) as connection:
        connection.execute("create table theirs (x)")
    connection.close()
    before = text_file.read_bytes(), other.read_bytes()
    assert "not an SQLite database" in refused("serve", "--port", "0", store=text_file)
    assert "another program's" in refused("serve", "--port", "0", store=other)
    assert "another program's" in refused("threads", store=other)
    assert (text_file.read_bytes(), other.read_bytes()) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["notes.txt", "other.db"]


def test_unknown_threads_and_runs_are_named(kept: tuple[Path, str, str]) -> None:
    store, _, _ = kept
    assert "no thread has the id 'thread_x'" in refused("show", "thread_x", store=store)
    assert "no thread has the id 'thread_x'" in refused("events", "thread_x", store=store)
    assert "no run has the id 'run_x'" in refused("audit", "run_x", store=store)


def test_the_demo_survives_its_crash_in_time() -> None:
    began = time.monotonic()
    told = shown("demo")
    assert time.monotonic() - began < _DEMO_SECONDS_MAX
    assert "bookings made: 1" in told
    assert "after the worker before it was lost" in told
    assert "is completed" in told
