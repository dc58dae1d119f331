"""Runs that an engine drives to their end."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from clew.engine.counting import new_message
from clew.engine.engine import Engine
from clew.engine.outcome import outcome
from clew.events.base import Recorded
from clew.events.content import text
from clew.events.run import RunConfig, RunQueued
from clew.ids import new_id
from clew.rules.commands import CreateThread, QueueRun


async def ask(engine: Engine, config: RunConfig, said: str = "Hello", tenant: str = "default") -> str:
    """A thread with one message and one run, which has ended. Gives the thread's id."""
    thread_id = new_id("thread")
    run = QueueRun(
        thread_id=thread_id,
        run_id=new_id("run"),
        dialect="test",
        config=config,
        expires_at=None,
        metadata={},
    )
    created = CreateThread(
        thread_id=thread_id,
        tenant=tenant,
        dialect="test",
        metadata={},
        tool_resources={},
        messages=(new_message("user", text(said)),),
        run=run,
    )
    done = await engine.desk.on_thread(thread_id, lambda: created, new=True)
    queued = next(recorded for recorded in done.events if isinstance(recorded.event, RunQueued))
    await asyncio.wait_for(outcome(engine, cast("Recorded[Any]", queued)), 30)
    return thread_id
