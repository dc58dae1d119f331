"""A simulated process: the engine as it is put together for real, on a writer, a wire and a clock of the simulation."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextvars import Context, copy_context
from functools import partial
from random import Random
from typing import Any, TypeVar, cast

import clew_projections
from clew.bus import Bus
from clew.desk import Desk
from clew.engine.engine import Engine
from clew.engine.hand import Driving
from clew.engine.worker import Worker
from clew.errors import ClewError, Conflict, Refused, StoreFailed, StoreLost
from clew.events.base import Event, Recorded
from clew.feed import Feed
from clew.log import Log, Store
from clew.log.committer import Committer
from clew.log.tasks import Done
from clew.projecting import Keeper, discover
from clew.proof.notary import Notary
from clew.rules.state import Thread
from clew.settings import Settings
from tests.proof.logs import SIGNER
from tests.simulation.loop import OWNER, Owner, VirtualLoop
from tests.simulation.outside import TOOLBOX, Model, Outside
from tests.simulation.signals import SimulatedSignals, Wire
from tests.simulation.storage import Way
from tests.simulation.writer import SimulatedWriter

T = TypeVar("T")

LEASE_SECONDS = 1.0
NETWORK_SECONDS_MAX = 0.01
_SETTINGS = Settings(store="", grace_seconds=0.3, lease_seconds=LEASE_SECONDS)
# A refusal, or that nothing was kept, is an answer. Whoever hears anything else, or nothing, does not know.
_SURE = (Refused, Conflict, StoreFailed)


class NotListening(ClewError):
    """Nothing was asked of anybody; another process may listen."""


class Process:
    """`skew` is how much its clock on the wall is ahead, in microseconds."""

    def __init__(self, name: str, outside: Outside, random: Random, way: Way, wire: Wire, skew: int) -> None:
        self.name = name
        self.owner = Owner(name)
        self.skew = skew
        self.dead = False
        self.ready = False
        # Every position that came to its ears, in order, own ones too; and the end of the log when it began to listen.
        self.heard: list[int] = []
        self.begun_at = 0
        self.way = way
        self._outside = outside
        self._random = random
        self._unanswered: dict[asyncio.Future[Any], None] = {}
        self.context = self._own_context()
        self.engine = self.context.run(self._engine, wire)

    def _own_context(self) -> Context:
        context = copy_context()
        context.run(OWNER.set, self.owner)
        return context

    def _engine(self, wire: Wire) -> Engine:
        keeper = Keeper(discover(clew_projections))
        log = Log(cast("Store", self.way), keeper.inline, keeper.forget, keeper.swapped, self._writer)
        desk, bus = Desk(log), Bus()
        driving = Driving(
            log=log,
            desk=desk,
            bus=bus,
            providers={"simulated": Model(self._outside)},
            toolbox=TOOLBOX,
            worker=self.name,
            lease_seconds=LEASE_SECONDS,
            model_attempts_max=3,
        )
        return Engine(
            settings=_SETTINGS,
            log=log,
            keeper=keeper,
            notary=Notary(SIGNER),
            desk=desk,
            bus=bus,
            feed=Feed(log, bus),
            worker=Worker(driving, alone=False),
            signals=SimulatedSignals(wire, self.context),
            providers={},
            toolbox=TOOLBOX,
        )

    def _writer(self, store: Store, committer: Committer, done: Done) -> SimulatedWriter:
        self.writer = SimulatedWriter(
            store, committer, done, random=self._random, committed=lambda: self.struck_at_commit(self)
        )
        return self.writer

    def struck_at_commit(self, process: Process) -> None:
        """What befalls it right after a commit; the fates put something else in its place."""

    def start(self) -> None:
        self.run(self._start())

    async def _start(self) -> None:
        while True:
            try:
                await self.engine.start()
                break
            except ClewError:
                # As whoever looks after processes would start it again.
                await asyncio.sleep(0.1)
        self.begun_at = self._head()
        self.engine.log.listen(self._hear)
        self.ready = True

    def _head(self) -> int:
        with self.way.store.snapshot() as cursor:
            cursor.execute("select max(rowid) from events")
            return cursor.fetchone()[0] or 0

    def _hear(self, recorded: Sequence[Recorded[Event]]) -> None:
        self.heard += [one.position for one in recorded]

    def run(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        return asyncio.get_running_loop().create_task(work, context=self.context)

    def crash(self) -> None:
        """As by kill -9: from now on nothing that its code does reaches anybody."""
        self.dead = True
        self.ready = False
        self.writer.dead = True
        self.way.cut = True
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        loop.end(self.owner)
        for unanswered in list(self._unanswered):
            self._send(unanswered, StoreLost(name=self.name, why="the connection broke"))

    async def stop(self) -> None:
        """As by SIGTERM."""
        self.ready = False
        stopping = self.run(self.engine.stop())
        await asyncio.wait({stopping})
        self.dead = True
        self.writer.dead = True
        for unanswered in list(self._unanswered):
            self._send(unanswered, StoreLost(name=self.name, why="the process ended"))

    def beliefs(self, threads: Sequence[str]) -> dict[str, Thread]:
        """What it takes these threads to be, as it would decide now."""
        return {thread_id: self.engine.desk.thread(thread_id) for thread_id in threads}

    def ask(self, work: Callable[[Engine], Coroutine[Any, Any, T]]) -> asyncio.Future[T]:
        """A request over the network. The future has its result, or a `ClewError`."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()
        self._unanswered[answer] = None
        loop.call_later(self._random.random() * NETWORK_SECONDS_MAX, self._arrive, work, answer)
        return answer

    def _arrive(self, work: Callable[[Engine], Coroutine[Any, Any, T]], answer: asyncio.Future[T]) -> None:
        if self.ready:
            self.run(self._answer(work, answer))
        else:
            self._send(answer, NotListening())

    async def _answer(self, work: Callable[[Engine], Coroutine[Any, Any, T]], answer: asyncio.Future[T]) -> None:
        outcome: T | BaseException
        try:
            outcome = await work(self.engine)
        except ClewError as error:
            outcome = error
        if not self.dead:
            self._send(answer, outcome)

    def _send(self, answer: asyncio.Future[T], outcome: T | BaseException) -> None:
        self._unanswered.pop(answer, None)
        loop = asyncio.get_running_loop()
        # What is on its way comes, whatever becomes of the process.
        delay = self._random.random() * NETWORK_SECONDS_MAX
        loop.call_later(delay, partial(_set, answer, outcome), context=Context())


def is_sure(error: BaseException) -> bool:
    return isinstance(error, _SURE)


def _set(answer: asyncio.Future[T], outcome: T | BaseException) -> None:
    if answer.done():
        return
    if isinstance(outcome, BaseException):
        answer.set_exception(outcome)
        # Of a request that was sent twice nobody may be listening for the second answer.
        answer.exception()
    else:
        answer.set_result(outcome)
