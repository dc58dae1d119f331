"""Model calls and runs that fail are told in the log of the process that found it out, with codes and no words."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
from pathlib import Path
from tempfile import TemporaryFile

import httpx2
import pytest

from tests.rigs.output import (
    NEVER,
    NO,
    SCRIPTED,
    SECRET,
    UNSET,
    WARNINGS,
    a_run,
    heard,
    read,
    stopped,
    until,
    with_provider,
)
from tests.rigs.processes import clew
from tests.rigs.raw_server import Reply, serving
from tests.rigs.raw_server import Server as Provider

pytestmark = pytest.mark.slow


def test_each_failed_attempt_at_a_model_call_is_told_and_the_failed_run(tmp_path: Path) -> None:
    def talk(base_url: str) -> None:
        with heard(tmp_path / "threads.db", *WARNINGS, environment={"CLEW_OPENAI_BASE_URL": base_url}) as one:
            run = a_run(one.server, "gpt-4o")
            assert run["status"] == "failed"
            stopped(one)
            place = f"thread={run['thread_id']} run={run['id']}"
            call = f"model call failed: {place} provider=openai model=gpt-4o"
            assert [re.sub(r"^\S+Z WARNING |seconds=\d+\.\d{3}$", "", line) for line in one.logged()] == [
                f"{call} attempt=1 code=rate_limit_exceeded status=429 again=yes ",
                f"{call} attempt=2 code=invalid_prompt status=400 again=no ",
                f"run failed: {place} code=invalid_prompt",
            ]

    with_provider([NO, NEVER], talk)


def test_a_model_call_that_a_dead_process_made_is_told_by_the_next_one(tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(Reply(b"", "silence"), NEVER) as provider:
            await asyncio.to_thread(talk, provider)

    def talk(provider: Provider) -> None:
        store, environment = tmp_path / "threads.db", {"CLEW_OPENAI_BASE_URL": provider.base_url}
        with heard(store, *WARNINGS, environment=environment) as one:
            with httpx2.Client(base_url=f"{one.server.url}/v1") as http:
                assistant = http.post("/assistants", json={"model": "gpt-4o"}).json()["id"]
                asked = {"assistant_id": assistant, "thread": {"messages": [{"role": "user", "content": SECRET}]}}
                thread_id = http.post("/threads/runs", json=asked).json()["thread_id"]
            until(lambda: len(provider.bodies) == 1)
            one.server.kill()
            one.server.start()
            until(lambda: "run failed" in "".join(one.logged()))
            first = one.logged()[0]
        assert f" WARNING model call failed: thread={thread_id} run=run_" in first
        assert first.endswith(" provider=openai model=gpt-4o attempt=1 code=lost status=- again=yes seconds=-")

    asyncio.run(run())


def test_a_name_that_a_client_chose_cannot_forge_a_line(tmp_path: Path) -> None:
    model = "m code=none\n2026-01-01T00:00:00.000Z WARNING run failed: thread=thread_forged"

    def talk(base_url: str) -> None:
        with heard(tmp_path / "threads.db", *WARNINGS, environment={"CLEW_OPENAI_BASE_URL": base_url}) as one:
            a_run(one.server, model)
            stopped(one)
            [call, run] = one.logged()
            assert f" model={json.dumps(model)} attempt=1 " in call
            assert "thread_forged" not in run

    with_provider([NEVER], talk)


def test_runs_that_expire_or_end_incomplete_are_told(tmp_path: Path) -> None:
    environment = {"CLEW_RUN_EXPIRES_SECONDS": "1"}
    with heard(tmp_path / "threads.db", *SCRIPTED, *WARNINGS, environment=environment) as one:
        tool = {"type": "function", "function": {"name": "get_time", "parameters": {"type": "object"}}}
        waiting = a_run(one.server, "scripted/echo", tools=[tool], tool_choice="required")
        with httpx2.Client(base_url=f"{one.server.url}/v1", timeout=30) as http:
            path = f"/threads/{waiting['thread_id']}/runs/{waiting['id']}"
            until(lambda: http.get(path).json()["status"] == "expired")
        cut = a_run(one.server, "scripted/echo", max_prompt_tokens=256, instructions="Be brief. " * 200)
        stopped(one)
        place = f"thread={cut['thread_id']} run={cut['id']}"
        assert [line.split(" WARNING ")[1] for line in one.logged()] == [
            f"run expired: thread={waiting['thread_id']} run={waiting['id']}",
            f"run incomplete: {place} reason=max_prompt_tokens",
        ]


def test_a_failure_is_told_by_the_process_that_appended_it(postgres_dsn: str) -> None:
    def talk(base_url: str) -> None:
        environment = {**UNSET, "CLEW_OPENAI_BASE_URL": base_url, "CLEW_LOG_LEVEL": "info"}
        with TemporaryFile("a+") as told:
            worker = clew(
                "work", "--store", postgres_dsn, environment=environment, stdout=subprocess.DEVNULL, stderr=told
            )
            with heard(postgres_dsn, "--no-work", environment=environment) as one:
                run = a_run(one.server, "gpt-4o")
                worker.terminate()
                worker.wait(20)
                stopped(one)
                lines = read(told)
                assert [run["id"] in line for line in lines] == [True, True], lines
                assert not any("failed" in line for line in one.logged())

    with_provider([NEVER], talk)
