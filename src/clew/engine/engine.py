"""Everything that is at work in one process, put together: what a dialect, the command line or a program uses."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_delay, wait_random_exponential

from clew.bus import Bus
from clew.desk import Desk
from clew.engine.ending import end
from clew.engine.relay import Relay
from clew.engine.rerunning import Forks
from clew.engine.tools import Toolbox
from clew.engine.worker import Worker
from clew.errors import StoreLost
from clew.events.base import Event, Recorded
from clew.events.run import Truncation
from clew.feed import Feed
from clew.log import Log
from clew.log.signals import Signals
from clew.logged_errors import places
from clew.prices import Prices
from clew.projecting import Keeper
from clew.proof.notary import Notary
from clew.providers.base import Provider
from clew.settings import Settings

logger = logging.getLogger(__name__)

_START_SECONDS_MAX = 15.0


@dataclass
class Engine:
    """`worker` is None in a process that only serves; `signals` where no other process can be on the log.

    `truncation` is the strategy of runs for which nobody says one.
    """

    settings: Settings
    log: Log
    keeper: Keeper
    notary: Notary
    desk: Desk
    bus: Bus
    feed: Feed
    worker: Worker | None
    signals: Signals | None
    providers: dict[str, Provider]
    toolbox: Toolbox
    prices: Prices = field(default_factory=Prices)
    truncation: Truncation | None = None
    _woken: asyncio.Event = field(default_factory=asyncio.Event)
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    @property
    def forks(self) -> Forks:
        return Forks(self.log, self.desk, self.providers, self.settings)

    async def start(self) -> None:
        """Bring the read models up, listen to the log, and go on with whatever was under way."""
        head = await self._prepare()
        self.log.listen(self.desk.committed)
        self.log.listen(self.bus.committed)
        if self.worker is not None:
            self.log.listen(self.worker.committed)
        self.log.listen(self._wake_followers)
        self.log.listen(self.notary.committed)
        self.keep(self.keeper.keep_following(self.log, self._woken))
        self.keep(self.notary.keep_following(self.log))
        if self.signals is not None:
            self._meet_others(self.signals, head)
        if self.worker is not None:
            self.worker.start()

    async def _prepare(self) -> int:
        """Gives the position from which on others are to be heard.

        A store that goes away while this process starts may come back, as it may at any later time.
        """
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(StoreLost),
            wait=wait_random_exponential(multiplier=0.1, max=2.0),
            stop=stop_after_delay(_START_SECONDS_MAX),
            reraise=True,
        )

        async def once() -> int:
            await self.keeper.prepare(self.log)
            with self.log.reading() as reader:
                return reader.head()

        return await retrying(once)

    def _meet_others(self, signals: Signals, head: int) -> None:
        others_appended = asyncio.Event()
        relay = Relay(self.bus, signals, others_appended)
        self.log.listen(relay.committed, own_only=True)
        self.keep(self.log.follow_others(others_appended, head))
        self.keep(relay.run())

    def keep(self, work: Coroutine[Any, Any, None]) -> None:
        """What goes on for as long as the process does; should it end by itself, somebody is to hear of it."""
        task = asyncio.create_task(work)
        task.add_done_callback(_tell_of_an_end)
        self._tasks.append(task)

    def begin_to_stop(self) -> None:
        """Take nothing more on, and send the followers of streams home: they come again to whoever serves then."""
        self.bus.close()
        if self.worker is not None:
            self.worker.take_no_more()

    async def stop(self) -> None:
        """Everything acknowledged is on disk when this returns; runs under way go on at the next start."""
        if self.worker is not None:
            await self.worker.stop(self.settings.grace_seconds)
        await self.toolbox.close()
        await end(self._tasks)
        await self.notary.finish(self.log)
        await self.desk.close()
        for provider in self.providers.values():
            await provider.close()
        self.log.close()

    def _wake_followers(self, recorded: Sequence[Recorded[Event]]) -> None:
        self._woken.set()


def _tell_of_an_end(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.critical("a part of the engine ended; restart this process\n%s", places(error))
