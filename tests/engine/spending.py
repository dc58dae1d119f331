"""An engine under budgets, and a model that answers when it is let: what the tests of budgets have in common."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast

import clew
from clew.engine.counting import new_message
from clew.engine.engine import Engine
from clew.engine.outcome import outcome
from clew.engine.replaying.files import recording
from clew.engine.replaying.verifying import Verifier
from clew.errors import ProviderFailed
from clew.events.base import Event, Recorded
from clew.events.content import text
from clew.events.run import Limits, RunConfig, RunQueued, Tool, Truncation
from clew.ids import DEFAULT_TENANT, new_id
from clew.providers.base import Piece, Provider
from clew.providers.scripted import Scripted
from clew.rules.budget import RemoveBudget, SetBudget
from clew.rules.commands import AppendMessages, CreateThread, QueueRun
from clew_projections import run_view
from clew_projections.run_view import RunView

WITHIN_SECONDS = 20
# A run that says this is expected to ask for `ASKED` tokens, and takes `COSTS`: 13 of the prompt, 8 of the answer.
HELLO = "Hello there, model."
ASKED, COSTS = 23, 21


class Model(Scripted):
    """`asked` is what it was sent. With `held`, an answer comes when `go` is set, or fails with what is in `faults`."""

    def __init__(self, *, held: bool = False) -> None:
        super().__init__()
        self.asked: list[bytes] = []
        self.faults: list[ProviderFailed] = []
        self.go = asyncio.Event()
        self.arrived = asyncio.Event()
        if not held:
            self.go.set()

    async def call(self, body: bytes) -> AsyncGenerator[Piece]:
        self.asked.append(body)
        self.arrived.set()
        await self.go.wait()
        if self.faults:
            raise self.faults.pop(0)
        async for piece in super().call(body):
            yield piece


@dataclass
class Shop:
    """`model` is what its runs talk to."""

    engine: Engine
    model: Model

    async def budget(self, name: str, limit: int | str, **changes: Any) -> None:
        wanted: dict[str, Any] = {
            "budget_id": name,
            "scope": "tenant",
            "subject": DEFAULT_TENANT,
            "period": "day",
            "unit": "tokens",
            "hard": True,
        }
        command = SetBudget(limit=str(limit), **{**wanted, **changes})
        await self.engine.desk.on_budget(name, lambda: command)

    async def no_budget(self, name: str) -> None:
        await self.engine.desk.on_budget(name, lambda: RemoveBudget(budget_id=name))

    async def begin(
        self,
        *,
        said: str = HELLO,
        thread: str | None = None,
        assistant: str | None = None,
        model: str = "echo",
        tools: tuple[Tool, ...] = (),
        truncation: Truncation | None = None,
        hears: Callable[[str], object] = lambda run_id: None,
        **limits: Any,
    ) -> Recorded[RunQueued]:
        """Queue a run, on a thread of its own or on one that is there. `hears` is told its id before it is queued."""
        thread_id, run_id = thread or new_id("thread"), new_id("run")
        hears(run_id)
        config = RunConfig(
            assistant_id=assistant,
            provider="scripted",
            model=model,
            asked_model=model,
            tools=tools,
            truncation=truncation or Truncation(),
            limits=Limits(**limits),
        )
        run = QueueRun(thread_id=thread_id, run_id=run_id, dialect="test", config=config, expires_at=None, metadata={})
        message = new_message("user", text(said))
        if thread is None:
            created = CreateThread(
                thread_id=thread_id,
                tenant=DEFAULT_TENANT,
                dialect="test",
                metadata={},
                tool_resources={},
                messages=(message,),
                run=run,
            )
            done = await self.engine.desk.on_thread(thread_id, lambda: created, new=True)
        else:
            append = AppendMessages(thread_id=thread_id, messages=(message,))
            await self.engine.desk.on_thread(thread_id, lambda: append)
            done = await self.engine.desk.on_thread(thread_id, lambda: run)
        return cast("Recorded[Any]", next(one for one in done.events if isinstance(one.event, RunQueued)))

    async def end(self, queued: Recorded[RunQueued]) -> RunView:
        return await asyncio.wait_for(outcome(self.engine, queued), WITHIN_SECONDS)

    async def run(self, **how: Any) -> RunView:
        """A run from its beginning to its end."""
        return await self.end(await self.begin(**how))

    async def until(self, kind: str, stream: str, times: int = 1) -> Recorded[Event]:
        """The event of that kind on a thread, when it has come."""

        async def look() -> Recorded[Event]:
            found = 0
            async for heard in self.engine.feed.follow(stream, 0):
                if isinstance(heard, Recorded) and heard.event.kind == kind:
                    found += 1
                    if found == times:
                        return heard
            raise AssertionError("a feed ends only with its process")

        return await asyncio.wait_for(look(), WITHIN_SECONDS)

    async def replayed(self) -> list[str]:
        """What today's engine would do otherwise, in any of the runs there were."""
        with self.engine.log.reading() as reader:
            recorded = [recording(reader, thread_id) for thread_id in run_view.threads(reader)]
        verifier = Verifier()
        try:
            verdicts = [verdict for one in recorded for verdict in await verifier.thread(one)]
        finally:
            await verifier.close()
        return [str(difference) for verdict in verdicts for difference in verdict.differences]

    def events(self, *kinds: str, stream: str | None = None) -> list[Recorded[Any]]:
        """Of those kinds, on one stream or on all."""
        with self.engine.log.reading() as reader:
            found = reader.follow(0, 100_000)
        return [one for one in found if one.event.kind in kinds and stream in (None, one.stream)]


@asynccontextmanager
async def shop(store: str, *, held: bool = False, **settings: Any) -> AsyncIterator[Shop]:
    model = Model(held=held)
    providers: dict[str, Provider] = {"scripted": model}
    async with clew.open(store, providers=providers, default_provider="scripted", **settings) as engine:
        yield Shop(engine, model)


def kinds(events: Sequence[Recorded[Any]]) -> list[str]:
    return [one.event.kind for one in events]


def at(store: str, work: Callable[[Shop], Awaitable[Any]], **how: Any) -> Any:
    """What comes of `work` with a shop on `store`."""

    async def main() -> Any:
        async with shop(store, **how) as opened:
            return await work(opened)

    return asyncio.run(main())
