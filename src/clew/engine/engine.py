"""Everything that is at work in one process, put together: what a dialect, the command line or a program uses."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field

from clew.bus import Bus
from clew.desk import Desk
from clew.engine.tools import Toolbox
from clew.engine.worker import Worker
from clew.events.base import Event, Recorded
from clew.feed import Feed
from clew.log import Log
from clew.projecting import Keeper
from clew.providers.base import Provider
from clew.settings import Settings

# Who everything belongs to as long as there are no keys that say otherwise.
DEFAULT_TENANT = "default"


@dataclass
class Engine:
    settings: Settings
    log: Log
    keeper: Keeper
    desk: Desk
    bus: Bus
    feed: Feed
    worker: Worker
    providers: dict[str, Provider]
    toolbox: Toolbox
    _woken: asyncio.Event = field(default_factory=asyncio.Event)
    _follower: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Bring the read models up, listen to the log, and go on with whatever was under way."""
        await self.keeper.prepare(self.log)
        self.log.listen(self.bus.committed)
        self.log.listen(self.worker.committed)
        self.log.listen(self._wake_followers)
        self._follower = asyncio.create_task(self.keeper.keep_following(self.log, self._woken))
        self.worker.start()

    async def stop(self) -> None:
        """Everything acknowledged is on disk when this returns; runs under way go on at the next start."""
        await self.worker.stop()
        if self._follower is not None:
            self._follower.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._follower
        await self.desk.close()
        for provider in self.providers.values():
            await provider.close()
        self.log.close()

    def _wake_followers(self, recorded: Sequence[Recorded[Event]]) -> None:
        self._woken.set()
