"""A client that follows a thread, now at this process and now at that one, from where it was."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import aclosing
from random import Random

from clew.errors import ClewError
from clew.events.base import Recorded
from tests.simulation.process import Process

_STAYS_SECONDS_MAX = 1.5
_HEARTBEAT_SECONDS = 5.0
_COMES_AGAIN_SECONDS = 0.02


class Follower:
    """`versions` are those it was told of, in order, of the thread that was made first."""

    def __init__(self, random: Random, processes: Callable[[], Sequence[Process]], threads: Sequence[str]) -> None:
        self.versions: list[int] = []
        self._random = random
        self._processes = processes
        self._threads = threads
        self._stay = 0

    @property
    def thread_id(self) -> str | None:
        return self._threads[0] if self._threads else None

    async def follow(self) -> None:
        """For ever."""
        while True:
            process = self._random.choice(self._processes())
            if self.thread_id is None or not process.ready:
                await asyncio.sleep(0.05)
                continue
            self._stay += 1
            listening = process.run(self._listen(process, self.thread_id, self._stay))
            try:
                await asyncio.wait({listening}, timeout=self._random.random() * _STAYS_SECONDS_MAX)
            finally:
                listening.cancel()
            await asyncio.sleep(_COMES_AGAIN_SECONDS)

    async def _listen(self, process: Process, thread_id: str, stay: int) -> None:
        try:
            feed = process.engine.feed.follow(thread_id, len(self.versions), heartbeat_seconds=_HEARTBEAT_SECONDS)
            async with aclosing(feed) as heard:
                async for one in heard:
                    # Whoever has gone elsewhere hears no more of what is sent here.
                    if isinstance(one, Recorded) and stay == self._stay:
                        self.versions.append(one.version)
        except ClewError:
            # The connection breaks, and it comes again.
            return
