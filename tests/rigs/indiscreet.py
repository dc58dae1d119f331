"""Tools and probes that fail with what was said in the words of their errors, wherever code can fail."""

from __future__ import annotations

import asyncio
import gc
import logging
import sqlite3
import sys
import threading
import time
import warnings
from collections.abc import Callable
from typing import Any

import clew
from clew.engine import calling
from tests.rigs.output import SECRET

_kept: list[asyncio.Task[Any]] = []


def _fail() -> None:
    try:
        raise KeyError(SECRET)
    except KeyError as error:
        raise ExceptionGroup(SECRET, [ValueError(SECRET)]) from error


def breaks_the_run() -> None:
    """What the engine calls next in its own code fails, once."""
    code = vars(calling)
    whole = code["text_tokens"]

    def fails(*_: str) -> None:
        code["text_tokens"] = whole
        _fail()

    code["text_tokens"] = fails


def fails_in_a_thread() -> None:
    thread = threading.Thread(target=_fail)
    thread.start()
    thread.join()


async def fails_in_a_task() -> None:
    async def later() -> None:
        raise ValueError(SECRET)

    task = asyncio.create_task(later(), name=SECRET)
    await asyncio.wait({task})
    del task


async def fails_in_tasks_that_are_gathered() -> None:
    async def later() -> None:
        _fail()

    asyncio.gather(later(), later())
    await asyncio.sleep(0.1)


async def fails_in_a_callback() -> None:
    def soon(said: str) -> None:
        raise ValueError(said)

    asyncio.get_running_loop().call_soon(soon, SECRET)


def fails_in_another_loop() -> None:
    async def main() -> None:
        asyncio.get_running_loop().call_soon(lambda said: _fail(), SECRET)
        task = asyncio.create_task(fails_in_a_task(), name=SECRET)
        await asyncio.sleep(0.1)
        del task

    asyncio.run(main())
    gc.collect()


def fails_as_it_is_thrown_away() -> None:
    class Thing:
        def __del__(self) -> None:
            raise ValueError(SECRET)

        def __repr__(self) -> str:
            return SECRET

    Thing()


def warns() -> None:
    warnings.warn(SECRET, stacklevel=1)
    logging.getLogger("a tool").error("%d", SECRET)


async def never_ends() -> None:
    while True:
        try:
            await asyncio.sleep(100)
        except GeneratorExit:
            raise ValueError(SECRET) from None
        except asyncio.CancelledError:
            pass


def takes_too_long() -> None:
    time.sleep(0.5)


def _probe(key: str) -> Any:
    raise OSError(2, "No such file", SECRET)


def _other_probe(key: str) -> Any:
    sqlite3.connect(":memory:").execute(f"select [{SECRET}]")


def _in_every_loop(do: Callable[[], object]) -> None:
    """Does it in the server's own event loop, too, which no tool is given."""
    for loop in [one for one in gc.get_objects() if isinstance(one, asyncio.AbstractEventLoop)]:
        if loop.is_running():
            loop.call_soon_threadsafe(do)
    time.sleep(0.2)


def _exit() -> None:
    raise SystemExit(SECRET)


def ends_the_process_later() -> None:
    async def later() -> None:
        await asyncio.sleep(0.1)
        sys.exit(SECRET)

    _in_every_loop(lambda: _kept.append(asyncio.get_running_loop().create_task(later())))


def ends_the_process_soon() -> None:
    _in_every_loop(_exit)


def stops_the_loop() -> None:
    _in_every_loop(lambda: asyncio.get_running_loop().stop())


def cancels_everybody() -> None:
    _in_every_loop(lambda: [task.cancel(SECRET) for task in asyncio.all_tasks()])


FAILING: tuple[Callable[..., Any], ...] = (
    breaks_the_run,
    fails_in_a_thread,
    fails_in_a_task,
    fails_in_tasks_that_are_gathered,
    fails_in_a_callback,
    fails_in_another_loop,
    fails_as_it_is_thrown_away,
    warns,
    never_ends,
)
ENDING: tuple[Callable[..., Any], ...] = (
    ends_the_process_later,
    ends_the_process_soon,
    stops_the_loop,
    cancels_everybody,
)
TOOLS = [clew.tool(effect="once", timeout_seconds=0.3, in_doubt="tell_model")(one) for one in (*FAILING, *ENDING)]
TOOLS += [
    clew.tool(effect="once", timeout_seconds=0.1, probe=probe, name=f"too_long_{number}")(takes_too_long)
    for number, probe in enumerate((_probe, _other_probe))
]
