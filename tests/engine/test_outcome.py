"""Waiting for what comes of a run."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

import clew
from clew.engine.counting import new_message
from clew.engine.engine import Engine
from clew.engine.outcome import outcome
from clew.errors import Leaving
from clew.events.base import Recorded
from clew.events.content import text
from clew.events.run import RunConfig, RunQueued, Tool
from clew.ids import new_id
from clew.rules.commands import CreateThread, QueueRun, SubmitToolOutputs
from clew.rules.parts import ToolOutput

LOOK_UP = Tool(type="function", name="look_up", parameters={"type": "object", "properties": {}})


async def queued(engine: Engine, *tools: Tool) -> Recorded[RunQueued]:
    thread_id = new_id("thread")
    run = QueueRun(
        thread_id=thread_id,
        run_id=new_id("run"),
        dialect="test",
        config=RunConfig(provider="scripted", model="echo", asked_model="echo", tools=tools),
        expires_at=None,
        metadata={},
    )
    created = CreateThread(
        thread_id=thread_id,
        tenant="default",
        dialect="test",
        metadata={},
        tool_resources={},
        messages=(new_message("user", text("look up hello")),),
        run=run,
    )
    done = await engine.desk.on_thread(thread_id, lambda: created, new=True)
    return cast("Recorded[Any]", next(r for r in done.events if isinstance(r.event, RunQueued)))


def test_it_is_there_when_the_run_has_ended(store: str) -> None:
    async def main() -> str:
        async with clew.open(store) as engine:
            run = await asyncio.wait_for(outcome(engine, await queued(engine)), 10)
            return run.status

    assert asyncio.run(main()) == "completed"


def test_a_run_that_waits_for_its_client_is_one_and_goes_on_to_the_next_when_it_is_answered(store: str) -> None:
    async def main() -> list[str]:
        async with clew.open(store) as engine:
            began = await queued(engine, LOOK_UP)
            waits = await asyncio.wait_for(outcome(engine, began), 10)
            outputs = tuple(ToolOutput(tool_call_id=call, output="found") for call in waits.waits_for)
            answer = SubmitToolOutputs(
                thread_id=began.stream, run_id=waits.run_id, outputs=outputs, past_status=waits.status
            )
            done = await engine.desk.on_thread(began.stream, lambda: answer)
            ends = await asyncio.wait_for(outcome(engine, began, answered=done.events[-1].version), 10)
            return [waits.status, ends.status]

    assert asyncio.run(main()) == ["requires_action", "completed"]


def test_a_process_that_ends_says_so(store: str) -> None:
    async def main() -> None:
        async with clew.open(store, works=False) as engine:
            waiting = asyncio.create_task(outcome(engine, await queued(engine)))
            await asyncio.sleep(0)
            engine.begin_to_stop()
            with pytest.raises(Leaving, match="the run goes on"):
                await asyncio.wait_for(waiting, 10)

    asyncio.run(main())
