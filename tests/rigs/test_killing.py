"""Whoever stops the killing finds every process up: a kill and the start after it are one step."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from tests.rigs.killing import kill_again_and_again
from tests.rigs.processes import Fleet, Server


@dataclass
class SlowToDie(Server):
    up: bool = True

    def start(self) -> None:
        self.up = True

    def kill(self) -> None:
        self.up = False
        time.sleep(0.2)


def test_one_that_is_being_killed_when_the_killing_stops_is_started_again() -> None:
    server = SlowToDie(Path("unused.db"))
    killed: Counter[str] = Counter()

    async def kill_once() -> None:
        killer = asyncio.create_task(kill_again_and_again(Fleet([server]), 0.01, killed))
        while server.up:
            await asyncio.sleep(0.005)
        killer.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await killer

    asyncio.run(kill_once())

    assert killed == {"SlowToDie": 1}
    assert server.up
