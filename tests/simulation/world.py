"""One run of the simulation: processes, clients and misfortunes by the seed, until all is quiet again."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import Context
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Any

from clew.errors import ClewError
from clew.log import SqliteStore
from clew.rules.budget import SetBudget
from clew.rules.state import Thread
from tests.simulation.chance import chance_and_clocks
from tests.simulation.client import Client
from tests.simulation.follower import Follower
from tests.simulation.history import History
from tests.simulation.loop import OWNER, Stuck, new_loop
from tests.simulation.outside import OUTSIDE, Outside
from tests.simulation.plan import Misfortune, Plan, plan_of
from tests.simulation.process import LEASE_SECONDS, Process
from tests.simulation.signals import Wire
from tests.simulation.storage import Odds, Way, new_store

# The database's clock at the beginning: some moment in 2026.
EPOCH_MICROSECONDS = 1_800_000_000_000_000
# Two leases, and what is left to do then; it takes 3 s at most as things are.
_QUIET_WITHIN_SECONDS = 8.0
_RESTART_SECONDS = 0.3
_PATIENCE_SECONDS = 0.8


@dataclass
class Outcome:
    """What is left at the end: the store, and all that can be said about how it came about."""

    plan: Plan
    store: SqliteStore
    history: History
    outside: Outside
    processes: list[Process]
    # The workers that were told to end, and gave their runs back.
    stopped: set[str]
    faults: list[str]
    # What each process takes the threads to be, when the log ended at `believed_at`.
    beliefs: dict[str, dict[str, Thread]]
    believed_at: int
    seconds: float

    def events(self) -> list[Any]:
        """Position, stream, kind, time, actor and body of all events."""
        with self.store.snapshot() as cursor:
            cursor.execute("select rowid, originator_id, topic, at, actor, state from events order by rowid")
            return [tuple(row) for row in cursor.fetchall()]

    def digest(self) -> str:
        """Of the history and of every byte of the log: it is the same whenever the seed is."""
        with self.store.snapshot() as cursor:
            cursor.execute("select hash from events order by rowid")
            hashes = b"".join(row[0] for row in cursor.fetchall())
        return hashlib.sha256(hashes + "\n".join(self.history.lines).encode()).hexdigest()


class World:
    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.random = Random(f"world {plan.seed}")
        self.loop = new_loop(Random(f"loop {plan.seed}"), in_order=plan.in_order)
        self.history = History()
        self.outside = Outside(self.random, self.history, self.now)
        self.odds = Odds(plan.failed, plan.lost)
        self.wire = Wire(self.random, plan.loss)
        self.store = new_store(self.now)
        self.all: list[Process] = []
        self.slots: list[Process] = []
        self.threads: list[str] = []
        self.stopped: set[str] = set()
        self.faults: list[str] = []
        self.follower = Follower(self.random, lambda: self.slots, self.threads)
        self.beliefs: dict[str, dict[str, Thread]] = {}
        self.believed_at = 0
        self.calm = False

    def now(self) -> int:
        """The database's clock."""
        return EPOCH_MICROSECONDS + round(self.loop.time() * 1_000_000)

    def wall(self) -> int:
        """The clock on the wall of whoever runs."""
        owner = OWNER.get()
        skew = next((process.skew for process in self.slots if process.owner is owner), 0)
        return self.now() + skew

    def run(self) -> Outcome:
        with chance_and_clocks(self.random, self.wall, self.loop.time):
            context = Context()
            context.run(OUTSIDE.set, self.outside)
            try:
                context.run(self.loop.run_until_complete, self._live())
            except Stuck as error:
                self.faults.append(str(error))
        self.faults += self.loop.unheard
        return Outcome(
            self.plan,
            self.store,
            self.history,
            self.outside,
            self.all,
            self.stopped,
            self.faults,
            self.beliefs,
            self.believed_at,
            self.loop.time(),
        )

    async def _live(self) -> None:
        for slot in range(self.plan.processes):
            self.slots.append(self._new_process(slot, self.plan.skews[slot]))
            self.slots[slot].start()
        await asyncio.sleep(0.1)
        if self.plan.budget is not None:
            await self._set_budget(self.plan.budget)
        following = asyncio.ensure_future(self.follower.follow())
        fates = [asyncio.ensure_future(self._strike(one)) for one in self.plan.misfortunes]
        await asyncio.gather(*(self._client(number).converse(turns) for number, turns in enumerate(self.plan.turns)))
        for fate in fates:
            fate.cancel()
        await self._calm_down()
        if not await self._becomes_quiet():
            self.faults.append(f"not quiet after {_QUIET_WITHIN_SECONDS} s: {self.unrest()}")
        self.beliefs = {process.name: process.beliefs(self.threads) for process in self.slots}
        self.believed_at = self.head()
        following.cancel()
        for process in self.slots:
            await process.stop()
        for process in self.all:
            self.loop.end(process.owner)
        await asyncio.sleep(0.5)

    async def _set_budget(self, limit: int) -> None:
        """Before anybody runs anything. It is asked for until it is heard of: set twice, it is set once."""
        self.outside.billed = True
        command = SetBudget(
            budget_id="all", scope="tenant", subject="t", period="total", unit="tokens", limit=str(limit), hard=True
        )
        while True:
            asked = self.random.choice(self.slots).ask(
                lambda engine: engine.desk.on_budget(command.budget_id, lambda: command)
            )
            try:
                await asyncio.wait_for(asked, _PATIENCE_SECONDS)
                return
            except (ClewError, TimeoutError):
                await asyncio.sleep(0.1)

    def _client(self, number: int) -> Client:
        """Where there is a budget, all begin at once: who races for the last room might get more than there is."""
        return Client(
            f"c{number}",
            self.random,
            self.history,
            lambda: self.slots,
            self.threads,
            twice=self.plan.twice,
            eager=self.plan.budget is not None,
        )

    def _new_process(self, slot: int, skew: int) -> Process:
        name = f"p{slot}.{len(self.all)}"
        way = Way(self.store, self.random, self.odds, lambda: self._others_commit(name))
        process = Process(name, self.outside, self.random, way, self.wire, skew)
        process.struck_at_commit = self._at_commit  # type: ignore[method-assign]
        self.all.append(process)
        self.history.note(self.loop.time(), f"{name} starts")
        return process

    def _others_commit(self, name: str) -> None:
        for process in self.slots:
            if process.name != name and not process.dead and not process.owner.frozen:
                process.context.copy().run(process.writer.commit_what_waits)

    def _at_commit(self, process: Process) -> None:
        luck = self.random.random()
        if self.calm or process.owner.frozen or process.dead:
            return
        if luck < self.plan.crash_at_commit:
            self._crash(process, _RESTART_SECONDS)
        elif luck < self.plan.crash_at_commit + self.plan.freeze_at_commit:
            self._freeze(process, LEASE_SECONDS * (1.0 + self.random.random()))

    async def _strike(self, misfortune: Misfortune) -> None:
        await asyncio.sleep(misfortune.at)
        process = self.slots[misfortune.slot]
        match misfortune.fault:
            case "crash":
                process.owner.strikes = partial(self._crash, process, misfortune.seconds)
            case "freeze":
                process.owner.strikes = partial(self._freeze, process, misfortune.seconds)
            case "cut":
                process.owner.strikes = partial(self._cut, process, misfortune.seconds)
            case "clock":
                process.owner.strikes = partial(self._move_clock, process, misfortune.skew)
            case "stop":
                process.owner.strikes = partial(self._stop, process)
        process.owner.countdown = misfortune.steps

    def _tell(self, process: Process, what: str) -> None:
        self.history.note(self.loop.time(), f"{process.name} {what}")

    def _later(self, seconds: float, process: Process, what: str) -> None:
        """Outside of the process, which may be frozen or dead by then."""
        context = Context()
        context.run(OUTSIDE.set, self.outside)
        act = {"thaw": self._thaw, "mend": self._mend, "restart": self._restart}[what]
        self.loop.call_later(seconds, act, process, context=context)

    def _crash(self, process: Process, seconds: float) -> None:
        if not process.dead:
            self._tell(process, "crashes")
            process.crash()
            self._later(seconds, process, "restart")

    def _restart(self, process: Process) -> None:
        if process in self.slots:
            slot = self.slots.index(process)
            self.slots[slot] = self._new_process(slot, process.skew)
            self.slots[slot].start()

    def _freeze(self, process: Process, seconds: float) -> None:
        if not process.owner.frozen and not process.dead:
            self._tell(process, f"freezes for {seconds:.2f}")
            self.loop.freeze(process.owner)
            self._later(seconds, process, "thaw")

    def _thaw(self, process: Process) -> None:
        self._tell(process, "wakes up")
        self.loop.thaw(process.owner)

    def _cut(self, process: Process, seconds: float) -> None:
        self._tell(process, f"is cut off for {seconds:.2f}")
        process.way.cut = True
        self._later(seconds, process, "mend")

    def _mend(self, process: Process) -> None:
        process.way.cut = process.dead

    def _move_clock(self, process: Process, skew: int) -> None:
        self._tell(process, f"has its clock moved to {skew}")
        process.skew = skew

    def _stop(self, process: Process) -> None:
        if process.ready:
            self._tell(process, "is told to end")
            self.stopped.add(process.name)
            self.loop.create_task(self._end_and_restart(process), context=self._outside_context())

    def _outside_context(self) -> Context:
        context = Context()
        context.run(OUTSIDE.set, self.outside)
        return context

    async def _end_and_restart(self, process: Process) -> None:
        await process.stop()
        await asyncio.sleep(_RESTART_SECONDS)
        self._restart(process)

    async def _calm_down(self) -> None:
        """Faults end; whatever they have begun comes to its end, too."""
        self.history.note(self.loop.time(), "calm")
        self.calm = self.odds.calm = self.outside.calm = True
        for process in self.all:
            process.owner.countdown = None
        while any(process.dead or process.owner.frozen or process.way.cut for process in self.slots):
            await asyncio.sleep(0.1)

    async def _becomes_quiet(self) -> bool:
        end = self.loop.time() + _QUIET_WITHIN_SECONDS
        while self.unrest():
            if self.loop.time() > end:
                return False
            await asyncio.sleep(0.2)
        return True

    def head(self) -> int:
        """Where the log ends."""
        with self.store.snapshot() as cursor:
            cursor.execute("select coalesce(max(rowid), 0) from events")
            return int(cursor.fetchone()[0])

    def unrest(self) -> list[str]:
        """Runs that want a worker, and processes that have not heard everything."""
        with self.store.snapshot() as cursor:
            cursor.execute("select run_id, standing from run_board where standing not in ('waiting', 'in_doubt')")
            found = [f"{run_id} is {standing}" for run_id, standing in cursor.fetchall()]
        head = self.head()
        for process in self.slots:
            # Whoever follows the log hears everything from where it began.
            missing = set(range(process.begun_at + 1, head + 1)) - set(process.heard)
            if not process.ready:
                found.append(f"{process.name} is not ready")
            elif missing:
                found.append(f"{process.name} has not heard of {sorted(missing)}")
        found += self._told()
        return found

    def _told(self) -> Iterator[str]:
        """The follower hears everything once and in order, wherever it is."""
        with self.store.snapshot() as cursor:
            cursor.execute("select count(*) from events where originator_id = ?", (self.follower.thread_id,))
            there = cursor.fetchone()[0]
        if self.follower.versions != list(range(1, there + 1)):
            yield f"the follower was told of {self.follower.versions}, and there are {there}"


@contextmanager
def quietly() -> Iterator[None]:
    """Without the log lines of the many things that go wrong on purpose."""
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


def simulate(seed: int) -> Outcome:
    with quietly():
        return World(plan_of(seed)).run()
