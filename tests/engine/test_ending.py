"""Ending tasks: one that forgets that it was told to end is told again."""

from __future__ import annotations

import asyncio

from clew.engine.ending import end


def test_a_task_that_forgets_its_cancellation_ends_all_the_same() -> None:
    async def forgetful() -> None:
        woken = asyncio.Event()
        woken.set()
        while True:
            try:
                # As `asyncio.wait_for` of Python 3.11 does when what it waits for is done in the same moment.
                await asyncio.sleep(3_600)
            except asyncio.CancelledError:
                if not woken.is_set():
                    raise
                woken.clear()

    async def main() -> list[bool]:
        tasks = [asyncio.create_task(forgetful()), asyncio.create_task(asyncio.sleep(3_600))]
        await asyncio.sleep(0)
        await asyncio.wait_for(end(tasks), 5)
        return [task.done() for task in tasks]

    assert asyncio.run(main()) == [True, True]


def test_ending_nothing_ends_at_once() -> None:
    asyncio.run(end([]))
