"""A run in the hands of a worker: what is needed to go on with it, and the fence that says it is still held."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from clew.bus import Bus
from clew.desk import Desk
from clew.engine.tools import Toolbox
from clew.events.run import RunQueued
from clew.log import Log
from clew.providers.base import Provider
from clew.rules.commands import Claim, EndIncomplete, FailRun, StartRun, ThreadCommand
from clew.rules.state import ActiveRun


@dataclass(frozen=True, slots=True)
class Driving:
    """What driving needs, the same for all runs of a process. `now` is in microseconds since 1970."""

    log: Log
    desk: Desk
    bus: Bus
    providers: Mapping[str, Provider]
    toolbox: Toolbox
    worker: str
    lease_seconds: float = 30.0
    model_attempts_max: int = 6
    context_tokens: int | None = None
    now: Callable[[], int] = lambda: time.time_ns() // 1000

    @property
    def claim(self) -> Claim:
        return Claim(worker=self.worker, lease_seconds=self.lease_seconds)


@dataclass(slots=True)
class Hand:
    """`fence` is 0 until this worker has taken the run. `interrupted` is set when something cannot wait.

    `queued` is the event that the run began with, if it is at hand already.
    """

    of: Driving
    thread_id: str
    run_id: str
    queued: RunQueued | None = None
    fence: int = 0
    interrupted: asyncio.Event = field(default_factory=asyncio.Event)

    def run(self) -> ActiveRun | None:
        """The run as the rules see it now; None when it has ended."""
        run = self.of.desk.thread(self.thread_id).run
        return run if run is not None and run.run_id == self.run_id else None

    async def do(self, command: ThreadCommand) -> bool:
        """Whether anything happened. Raises `StaleFence` when the run is not in this hand any more."""
        done = await self.of.desk.on_thread(self.thread_id, lambda: command, actor=self.of.worker)
        return bool(done.events)

    async def take(self) -> None:
        await self.do(StartRun(thread_id=self.thread_id, run_id=self.run_id, claim=self.of.claim))
        self.note_fence()

    def note_fence(self) -> None:
        run = self.run()
        self.fence = run.fence if run is not None else -1

    async def end_incomplete(self, reason: str) -> None:
        await self.do(EndIncomplete(thread_id=self.thread_id, run_id=self.run_id, fence=self.fence, reason=reason))

    async def fail(self, code: str, message: str) -> None:
        await self.do(
            FailRun(thread_id=self.thread_id, run_id=self.run_id, fence=self.fence, code=code, message=message)
        )
