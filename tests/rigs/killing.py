"""Killing processes of a fleet, one at a time, and starting them again."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Sequence

from tests.rigs.processes import Fleet, Server, Worker

_STARTS_MAX = 5


async def kill_again_and_again(fleet: Fleet, every_seconds: float, killed: Counter[str]) -> None:
    """Until cancelled: one that is up, whether the one before is up again or not. Counts in `killed`, by kind.

    Where there are several of a kind, one of them is left: on a busy machine, starting takes longer than killing.
    """
    rising: dict[int, asyncio.Task[None]] = {}
    try:
        while True:
            await asyncio.sleep(every_seconds)
            up = [one for one in fleet.all if id(one) not in rising or rising[id(one)].done()]
            if spare := [one for one in up if alone(one, fleet.all) or not alone(one, up)]:
                victim = random.choice(spare)
                rising[id(victim)] = asyncio.create_task(asyncio.to_thread(_replace, victim))
                killed[type(victim).__name__] += 1
    finally:
        await asyncio.gather(*rising.values())


def alone(one: Server | Worker, among: Sequence[Server | Worker]) -> bool:
    return all(other is one or type(other) is not type(one) for other in among)


def _replace(one: Server | Worker) -> None:
    """Kill and start, in one step, so that whoever cancels between the two does not leave it down.

    Where the store is away for too long it ends, and is started again, as an operator's tools would.
    """
    one.kill()
    for _ in range(_STARTS_MAX):
        with contextlib.suppress(RuntimeError):
            one.start()
            return
