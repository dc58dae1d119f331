"""Word between simulated processes: late, out of order, and now and then lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import Context
from random import Random

from clew.log.signals import Signals

_SECONDS_MAX = 0.02


class Wire:
    """`loss` 1.0 is a wire that was never connected."""

    def __init__(self, random: Random, loss: float) -> None:
        self.random = random
        self.loss = loss
        self.ears: list[tuple[Callable[[str], None], Context]] = []

    def send(self, word: str) -> None:
        loop = asyncio.get_running_loop()
        for ear, context in self.ears:
            if self.random.random() >= self.loss:
                loop.call_later(self.random.random() * _SECONDS_MAX, ear, word, context=context)


class SimulatedSignals(Signals):
    def __init__(self, wire: Wire, context: Context) -> None:
        super().__init__("")
        self._wire = wire
        self._context = context

    def send(self, word: str) -> None:
        self._wire.send(word)

    async def run(self, hear: Callable[[str], None]) -> None:
        mine = (hear, self._context)
        self._wire.ears.append(mine)
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            self._wire.ears.remove(mine)
