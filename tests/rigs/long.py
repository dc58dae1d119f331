"""A long thread, of which a client of the official SDK is shown every message, and later all of it again in the past.

    python -m tests.rigs.long                               100,000 messages, in SQLite
    python -m tests.rigs.long --messages 10000 --postgres   in a PostgreSQL of our own

The client pages through the whole thread. Then messages are edited and removed, more are said, the thread is forked,
all with looks in between, and at last it is deleted. What was shown is then asked for once more, through the same SDK
pointed at `/at/<position>/v1`, and must be the same bytes. It prints one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import sys
import tempfile
import time
import warnings
from pathlib import Path
from random import Random
from typing import Any

import httpx2
from openai import OpenAI

import clew
from clew.engine.counting import new_message
from clew.events.content import text
from clew.ids import new_id
from clew.rules.commands import AppendMessages, CreateThread
from tests.rigs.postgres import Postgres
from tests.rigs.processes import Server
from tests.rigs.witness import Witness

_CHUNK_MESSAGES = 1_000
_PAGE_MESSAGES = 100


async def build(store: str, messages: int) -> str:
    """The thread, without a server: that is the quickest way. A tenth of its messages are long."""
    thread_id = new_id("thread")
    async with clew.open(store, works=False) as engine:
        said = [
            new_message(
                "user" if n % 2 else "assistant", text(f"Message {n}. " + "word " * (150 if n % 10 == 0 else 5))
            )
            for n in range(messages)
        ]
        command = CreateThread(thread_id=thread_id, tenant="default", dialect="openai", metadata={}, tool_resources={})
        await engine.desk.on_thread(thread_id, lambda: command, new=True)
        for start in range(0, messages, _CHUNK_MESSAGES):
            chunk = AppendMessages(thread_id=thread_id, messages=tuple(said[start : start + _CHUNK_MESSAGES]))
            await engine.desk.on_thread(thread_id, lambda chunk=chunk: chunk)  # type: ignore[misc]
    return thread_id


def page_through(client: OpenAI, thread_id: str) -> list[str]:
    """Every message, oldest first; gives their ids."""
    found: list[str] = []
    pages = client.beta.threads.messages.list(thread_id, order="asc", limit=_PAGE_MESSAGES)
    for page in pages.iter_pages():
        found += [message.id for message in page.data]
    return found


def live(client: OpenAI, native: httpx2.Client, thread_id: str, messages: list[str], deeds: int) -> None:
    """Edits, removals and new messages here and there in the thread, each followed by a look at the place."""
    random = Random(4)
    threads = client.beta.threads
    for _ in range(deeds):
        place = random.randrange(1, len(messages) - 1)
        match random.randrange(4):
            case 0:
                edit = {"kind": "message.edited", "message_id": messages[place], "content": f"Rather {random.random()}"}
                native.post(f"/clew/v1/threads/{thread_id}/events", json=edit).raise_for_status()
            case 1:
                threads.messages.delete(messages.pop(place), thread_id=thread_id)
            case 2:
                threads.messages.update(messages[place], thread_id=thread_id, metadata={"n": str(random.random())})
            case _:
                messages.append(threads.messages.create(thread_id, role="user", content=f"New {random.random()}").id)
        threads.messages.list(thread_id, order="asc", after=messages[place - 1], limit=3)
        threads.messages.list(thread_id, limit=20)
    forked = native.post(f"/clew/v1/threads/{thread_id}/fork", json={}).json()["thread_id"]
    threads.messages.list(forked, limit=20)
    threads.messages.list(forked, order="asc", after=messages[len(messages) // 2], limit=20)


def hold(store: str, messages: int, deeds: int) -> dict[str, Any]:
    began = time.monotonic()
    thread_id = asyncio.run(build(store, messages))
    built = time.monotonic()
    with Server(store, ("--default-provider", "scripted")) as server, httpx2.Client(base_url=server.url) as native:
        witness = Witness()
        with witness.client(f"{server.url}/v1") as client:
            shown = page_through(client, thread_id)
            assert len(set(shown)) == messages
            paged = time.monotonic()
            live(client, native, thread_id, shown, deeds)
            client.beta.threads.delete(thread_id)
        lived = time.monotonic()
        found_again = witness.ask_again(server.url)
        return {
            "messages": messages,
            "messages_shown": len(witness.messages),
            "found_again": found_again,
            "seconds": {
                "building": round(built - began, 1),
                "paging": round(paged - built, 1),
                "living": round(lived - paged, 1),
                "looking_back": round(time.monotonic() - lived, 1),
            },
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=100_000)
    parser.add_argument("--deeds", type=int, default=500, help="edits, removals and more, each looked at")
    parser.add_argument("--postgres", action="store_true")
    options = parser.parse_args()
    warnings.simplefilter("ignore", DeprecationWarning)
    with contextlib.ExitStack() as stack:
        store = str(Path(stack.enter_context(tempfile.TemporaryDirectory())) / "threads.db")
        if options.postgres:
            store = stack.enter_context(Postgres()).create_database("long")
        found = hold(store, options.messages, options.deeds)
    json.dump(found, sys.stdout, indent=2)
    print()


if __name__ == "__main__":
    main()
