"""A run in the hands of a worker: what is needed to go on with it, and the fence that says it is still held."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace

from clew.bus import Bus
from clew.desk import Desk, Key
from clew.engine.budgets import Budgets
from clew.engine.configuring import successor
from clew.engine.tools import Toolbox
from clew.events.run import RunConfig, RunQueued, RunStarted
from clew.log import Log
from clew.prices import Prices
from clew.providers.base import Provider
from clew.rules.commands import (
    EndIncomplete,
    FailRun,
    StartRun,
    ThreadCommand,
)
from clew.rules.parts import Claim
from clew.rules.state import RUN_STARTS_MAX, TOOL_STARTS_MAX, ActiveRun


async def wait(hand: Hand, seconds: float) -> bool:
    """Whether the time passed without an interruption."""
    try:
        await asyncio.wait_for(hand.interrupted.wait(), seconds)
    except TimeoutError:
        return True
    return False


def asks_a_probe(hand: Hand, run: ActiveRun) -> bool:
    """Whether a probe is to say what became of a call that is in doubt."""
    tools = (hand.of.toolbox.get(call.name) for call in run.calls if call.status == "in_doubt")
    return any(tool is not None and tool.probe is not None for tool in tools)


@dataclass(frozen=True, slots=True)
class Bounds:
    """After how many starts that came to nothing something is given up: a call of a tool, or a run.

    `lost_answers` is the same for a model call that was lost with its process. None is as many attempts as are made at
    any model call, and for a run enough starts for all of these.
    """

    tool_starts: int = TOOL_STARTS_MAX
    run_starts: int | None = None
    lost_answers: int | None = None


@dataclass(frozen=True, slots=True)
class Driving:
    """What driving needs, the same for all runs of a process. `pause` is between two attempts at a model call.

    `successor` works out the run of an agent that a thread is handed over to. `in_turn`: calls that may have ended a
    process are made one after the other; those of all runs that may have ended several are made while `alone` is held.
    `takes_doubts` says whether a run is to be taken before its calls in doubt are settled.
    """

    log: Log
    desk: Desk
    bus: Bus
    providers: Mapping[str, Provider]
    toolbox: Toolbox
    worker: str
    lease_seconds: float = 30.0
    model_attempts_max: int = 6
    context_tokens: int | None = None
    prices: Prices = field(default_factory=Prices)
    budgets: Budgets = field(default_factory=Budgets)
    pause: Callable[[Hand, float], Awaitable[bool]] = wait
    successor: Callable[..., tuple[str, RunConfig] | None] = successor
    bounds: Bounds = Bounds()
    in_turn: bool = True
    alone: asyncio.Lock = field(default_factory=asyncio.Lock)
    takes_doubts: Callable[[Hand, ActiveRun], bool] = asks_a_probe

    @property
    def run_starts_max(self) -> int:
        most = self.bounds.run_starts
        return max(RUN_STARTS_MAX, self.lost_answers_max + 1) if most is None else most

    @property
    def lost_answers_max(self) -> int:
        most = self.bounds.lost_answers
        return self.model_attempts_max if most is None else most

    def now(self) -> int:
        """The store's clock, in microseconds since 1970: every process on a log goes by the same."""
        return self.log.now()

    def for_run(self, config: RunConfig) -> Driving:
        toolbox = self.toolbox.for_run(config, self.log)
        return self if toolbox is self.toolbox else replace(self, toolbox=toolbox)

    @property
    def claim(self) -> Claim:
        return Claim(worker=self.worker, lease_seconds=self.lease_seconds)


@dataclass(slots=True)
class Hand:
    """`fence` is 0 until this worker has taken the run. `interrupted` is set when something cannot wait.

    `queued` is the event that the run began with, if it is at hand already. `claimed` is the fence that the run had
    when it was claimed on the board; where a worker is alone it claims nothing, and takes the run as it is. `late_at`
    is when its own limit of seconds is used up, in microseconds.
    """

    of: Driving
    thread_id: str
    run_id: str
    queued: RunQueued | None = None
    claimed: int | None = None
    fence: int = 0
    late_at: int | None = None
    interrupted: asyncio.Event = field(default_factory=asyncio.Event)

    def run(self) -> ActiveRun | None:
        """The run as the rules see it now; None when it has ended."""
        run = self.of.desk.thread(self.thread_id).run
        return run if run is not None and run.run_id == self.run_id else None

    async def do(self, command: ThreadCommand, key: Key | None = None) -> bool:
        """Whether anything happened. Raises `StaleFence` when the run is not in this hand any more.

        With `key`, it happens once only, whoever else would do it.
        """
        done = await self.of.desk.on_thread(self.thread_id, lambda: command, actor=self.of.worker, key=key)
        for recorded in done.events:
            if isinstance(recorded.event, RunStarted) and recorded.event.run_id == self.run_id:
                # From the event, not from the state: by now that may be another worker's.
                self.fence = recorded.event.fence
        return bool(done.events)

    async def take(self, run: ActiveRun) -> None:
        """Take the run as it was seen, or end it if it was taken too often without making progress.

        Raises `StaleFence` when somebody else has taken it since.
        """
        command = StartRun(
            thread_id=self.thread_id,
            run_id=self.run_id,
            fence=run.fence,
            claim=self.of.claim,
            starts_max=self.of.run_starts_max,
        )
        if not await self.do(command):
            self.fence = -1

    async def holds(self, run: ActiveRun) -> bool:
        """Take the run if it is still queued: only who holds it may end it, or have it wait."""
        if run.status == "queued":
            await self.take(run)
        return self.fence > 0

    async def end_incomplete(self, reason: str) -> None:
        await self.do(EndIncomplete(thread_id=self.thread_id, run_id=self.run_id, fence=self.fence, reason=reason))

    async def fail(self, code: str, message: str) -> None:
        await self.do(
            FailRun(thread_id=self.thread_id, run_id=self.run_id, fence=self.fence, code=code, message=message)
        )
