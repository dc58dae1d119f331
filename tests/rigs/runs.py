"""Runs on a server that may die meanwhile: begun over the Assistants API, and looked at until they have ended."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import httpx2
import orjson
from openai import OpenAI

from tests.rigs.processes import Server

LIMIT_SECONDS = 15.0


def script(path: Path, names: Iterable[str], **arguments: str) -> Path:
    """For the scripted model: told to use a tool, or several (`a+b`), it calls them, and then says the last result."""
    # The first rule whose words are in what is said decides, so the longest come first.
    every = sorted(names, key=len, reverse=True)
    rules: list[dict[str, Any]] = [{"when": {"tool": name}, "say": "heard: {result}"} for name in every]
    for said in every:
        calls = [{"name": name, "arguments": arguments} for name in said.split("+")]
        rules.append({"when": {"user": f"use {said}"}, "call": calls})
    path.write_bytes(orjson.dumps({"rules": [*rules, {"say": "You said: {user}"}]}))
    return path


def begin(client: OpenAI, said: str, names: Iterable[str]) -> Any:
    """A run with tools of these names, on a thread of its own."""
    functions: list[Any] = [
        {"type": "function", "function": {"name": name, "parameters": {"type": "object", "properties": {}}}}
        for name in names
    ]
    assistant = client.beta.assistants.create(model="m", instructions="Do it.", tools=functions)
    return client.beta.threads.create_and_run(
        assistant_id=assistant.id, thread={"messages": [{"role": "user", "content": said}]}
    )


def until(what: str, is_so: Callable[[], Any], seconds: float = LIMIT_SECONDS) -> Any:
    end = time.monotonic() + seconds
    while not (found := is_so()):
        assert time.monotonic() < end, f"waited {seconds:g} s for {what}"
        time.sleep(0.02)
    return found


def is_over(client: OpenAI, run: Any) -> Any:
    """The run, if it has ended."""
    now = client.beta.threads.runs.retrieve(run.id, thread_id=run.thread_id)
    return now if now.status in ("completed", "failed", "cancelled", "expired", "incomplete") else None


def ended(client: OpenAI, run: Any) -> Any:
    return until("the end of the run", lambda: is_over(client, run))


def events(server: Server, thread_id: str) -> list[Any]:
    page = httpx2.get(f"{server.url}/clew/v1/threads/{thread_id}/events", params={"limit": 1000}).json()
    found: list[Any] = page["events"]
    return found


def kinds(server: Server, thread_id: str) -> list[str]:
    return [event["kind"] for event in events(server, thread_id)]


def last_words(client: OpenAI, thread_id: str) -> str:
    part = client.beta.threads.messages.list(thread_id, limit=1).data[0].content[0]
    assert part.type == "text"
    return part.text.value


def deeds(server: Server) -> list[str]:
    """What was done, by the tools of `tests/rigs/deeds.py` and those like them."""
    path = Path(server.environment["CLEW_DEEDS"])
    return path.read_text().splitlines() if path.exists() else []
