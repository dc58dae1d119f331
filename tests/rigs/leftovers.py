"""Coroutines that leave something in the event loop that they ran in, or end it: a server must not notice."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn

import clew
from clew.engine.tools import ServerTool

_left: set[asyncio.Task[Any]] = set()


def _leave(task: asyncio.Task[Any]) -> None:
    _left.add(task)
    task.add_done_callback(_left.discard)


async def leaves_a_task_that_exits() -> str:
    async def exit_soon() -> NoReturn:
        await asyncio.sleep(0.01)
        sys.exit("enough")

    _leave(asyncio.create_task(exit_soon()))
    return "left"


async def leaves_a_callback_that_exits() -> str:
    asyncio.get_running_loop().call_soon(sys.exit, "enough")
    return "left"


async def leaves_a_callback_that_interrupts() -> str:
    def interrupt() -> NoReturn:
        raise KeyboardInterrupt

    asyncio.get_running_loop().call_soon(interrupt)
    return "left"


async def leaves_a_task_that_does_not_end() -> str:
    async def go_on() -> NoReturn:
        while True:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                continue

    _leave(asyncio.create_task(go_on()))
    return "left"


async def stops_the_loop() -> str:
    asyncio.get_running_loop().stop()
    await asyncio.sleep(0.01)
    return "left"


async def leaves_a_callback_that_cancels_all_tasks() -> str:
    def cancel_all() -> None:
        for task in asyncio.all_tasks(loop):
            task.cancel()

    loop = asyncio.get_running_loop()
    loop.call_later(0.01, cancel_all)
    return "left"


async def leaves_another_way_to_make_tasks() -> str:
    asyncio.get_running_loop().set_task_factory(lambda *_, **__: sys.exit("no task"))
    return "left"


async def leaves_a_callback_that_breaks_the_loop() -> str:
    loop: Any = asyncio.get_running_loop()
    loop.call_later(0.01, loop._selector.close)
    return "left"


def closes_the_loop_from_a_thread() -> Awaitable[str]:
    async def stop() -> str:
        loop = asyncio.get_running_loop()

        def close() -> None:
            end = time.monotonic() + 0.2
            while not loop.is_closed() and time.monotonic() < end:
                # It runs, or is closed already.
                with contextlib.suppress(Exception):
                    loop.call_soon_threadsafe(loop.stop)
                    loop.close()

        threading.Thread(target=close, daemon=True).start()
        return "left"

    return stop()


async def leaves_a_callback_that_exits_for_ever() -> str:
    """The loop cannot go on after it."""

    def exit_again() -> NoReturn:
        loop.call_soon(exit_again)
        sys.exit("again")

    loop = asyncio.get_running_loop()
    loop.call_later(0.01, exit_again)
    return "left"


LEFT: list[Callable[[], Any]] = [
    leaves_a_task_that_exits,
    leaves_a_callback_that_exits,
    leaves_a_callback_that_interrupts,
    leaves_a_task_that_does_not_end,
    stops_the_loop,
    leaves_a_callback_that_cancels_all_tasks,
    leaves_another_way_to_make_tasks,
    leaves_a_callback_that_exits_for_ever,
]
# A loop after these cannot even be closed.
BROKEN: list[Callable[[], Any]] = [leaves_a_callback_that_breaks_the_loop, closes_the_loop_from_a_thread]


@clew.tool(effect="pure", timeout_seconds=0.5)
async def blocks() -> str:
    time.sleep(4)
    return "too late"


class NeverSaysWhy(Exception):
    def __str__(self) -> NoReturn:
        time.sleep(3600)
        raise AssertionError("an hour is long")


@clew.tool(effect="once", timeout_seconds=0.5)
async def never_says_why() -> NoReturn:
    raise NeverSaysWhy


@clew.tool(effect="pure")
async def looks() -> str:
    await asyncio.sleep(0.01)
    return "seen"


TOOLS: list[ServerTool | Callable[..., Any]] = [*LEFT, *BROKEN, blocks, never_says_why, looks]
