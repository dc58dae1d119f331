"""A tool that drivers die of.

A driver that dies is one that is cancelled: what it has begun is in the log, and nothing else of it is heard.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from clew.engine.driving import drive
from clew.engine.hand import Hand
from clew.engine.tools import ServerTool, Toolbox, ToolCallInfo
from clew.events.tool import Effect, SettledOutcome, ToolCalled, ToolInDoubt
from clew.rules.commands import SettleTool
from tests.engine.narrating import House, config, house, words

_LIMIT_SECONDS = 20


def told(work: Callable[[House], Awaitable[None]], calls: int = 1) -> None:
    """With a model that calls the tool `look` so often at once. What happens would happen again."""

    async def main() -> None:
        async with house() as here:
            here.model.calls = calls
            await here.begin(words(0))
            await asyncio.wait_for(work(here), _LIMIT_SECONDS)
            await here.happens_again()

    asyncio.run(main())


async def die(hand: Hand, begun: asyncio.Event) -> None:
    """Drive until something has begun, and not longer."""
    begun.clear()
    driver = asyncio.create_task(drive(hand))
    await begun.wait()
    driver.cancel()
    await asyncio.wait({driver})


class Deadly:
    """The tool `look`. Calls that are `deadly`, by their place in the answer, do not return; a driver dies of them."""

    def __init__(self, here: House, effect: Effect = "pure", *, deadly: tuple[int, ...] = (0,), **more: Any) -> None:
        self.here = here
        self.deadly = deadly
        self.begun = asyncio.Event()
        self.made: list[int] = []
        self.tool = ServerTool("look", self.look, effect, **more)

    async def look(self, call: ToolCallInfo) -> str:
        calls = [one.tool_call_id for one in self.here.of(call.run_id, ToolCalled)]
        place = calls.index(call.tool_call_id)
        self.made.append(place)
        if place in self.deadly:
            self.begun.set()
            await asyncio.sleep(60)
        await asyncio.sleep(0.01)
        return f"seen by {place}"

    async def die(self, run_id: str, times: int, **more: Any) -> None:
        """So many drivers die of it, one after the other."""
        for _ in range(times):
            driving = self.here.driving("dies", toolbox=Toolbox([self.tool]), **more)
            await die(Hand(driving, self.here.thread_id, run_id), self.begun)

    async def survive(self, run_id: str, **more: Any) -> None:
        driving = self.here.driving("survives", toolbox=Toolbox([self.tool]), **more)
        await drive(Hand(driving, self.here.thread_id, run_id))

    async def queue(self) -> str:
        return await self.here.queue(config("auto", None))

    async def settle(self, run_id: str, outcome: SettledOutcome) -> None:
        """A person does."""
        [doubt] = self.here.of(run_id, ToolInDoubt)
        command = SettleTool(
            thread_id=self.here.thread_id,
            run_id=run_id,
            tool_call_id=doubt.tool_call_id,
            outcome=outcome,
            output="",
            by="Ada",
        )
        await self.here.engine.desk.on_thread(self.here.thread_id, lambda: command)


def results(here: House) -> list[str]:
    """What the model was shown last of its calls."""
    return [message["content"] for message in here.model.sent[-1]["messages"] if message["role"] == "tool"]
