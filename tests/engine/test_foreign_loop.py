"""The event loop apart, in which the tools of a server run: what they do to it, nobody else notices."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any, NoReturn

import pytest

from clew.engine.foreign_loop import ThreadLoop
from clew.engine.tools import Result, ServerTool, Toolbox, ToolCallInfo
from tests.rigs import leftovers

pytestmark = pytest.mark.slow

INFO = ToolCallInfo("thread_1", "run_1", "call_1", "run_1_call_1", 1)
_LIMIT_SECONDS = 20
_THREAD = "clew-foreign-loop"


def apart(work: Callable[[Toolbox], Awaitable[None]]) -> None:
    async def main() -> None:
        box = Toolbox((), ThreadLoop())
        try:
            await asyncio.wait_for(work(box), _LIMIT_SECONDS)
        finally:
            await box.close()

    asyncio.run(main())


async def made(box: Toolbox, function: Callable[..., Any], **declared: Any) -> Result:
    return await box.execute(ServerTool(function.__name__, function, **declared), "{}", INFO)


async def where() -> str:
    return str(id(asyncio.get_running_loop()))


async def looks_for_long() -> str:
    await asyncio.sleep(10)
    return "seen"


def threads() -> int:
    return sum(thread.name == _THREAD for thread in threading.enumerate())


async def until(is_so: Callable[[], bool]) -> None:
    while not is_so():
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("function", leftovers.LEFT, ids=lambda function: function.__name__)
def test_what_a_tool_leaves_behind_does_not_touch_whoever_called_it(function: Callable[..., Any]) -> None:
    async def work(box: Toolbox) -> None:
        mine = asyncio.create_task(asyncio.sleep(0.2, "still here"))
        assert (await made(box, function, timeout_seconds=5)).output == "left"
        await asyncio.sleep(0.1)
        found = await made(box, where)
        assert found.failure is None, found
        assert await mine == "still here"

    apart(work)


def test_tools_are_in_one_loop_which_is_not_ours_as_long_as_nothing_ends_it() -> None:
    async def work(box: Toolbox) -> None:
        first = (await made(box, where)).output
        assert first != await where()
        for leaves in (leftovers.leaves_a_task_that_exits, leftovers.stops_the_loop):
            await made(box, leaves)
            await asyncio.sleep(0.05)
            assert (await made(box, where)).output == first

        def gives_one_to_await() -> Awaitable[str]:
            return where()

        assert (await made(box, gives_one_to_await)).output == first

    apart(work)


def test_a_call_whose_loop_ends_has_failed_or_is_in_doubt_and_the_next_has_another_loop() -> None:
    async def work(box: Toolbox) -> None:
        first = (await made(box, where)).output
        pure = asyncio.create_task(made(box, looks_for_long, effect="pure"))
        once = asyncio.create_task(made(box, looks_for_long, effect="once"))
        await made(box, leftovers.leaves_a_callback_that_exits_for_ever)
        for lost, unknown in ((await pure, False), (await once, True)):
            assert (lost.failure, lost.unknown) == ("error", unknown)
            assert (
                "looks_for_long did not come to its end: the event loop that it was in was ended again" in lost.output
            )
        assert (await made(box, where)).output != first
        await until(lambda: threads() == 1)

    apart(work)


def test_a_tool_that_blocks_its_loop_blocks_nobody_beyond_its_time(caplog: pytest.LogCaptureFixture) -> None:
    go_on = threading.Event()
    called: list[str] = []

    async def blocks() -> None:
        go_on.wait(_LIMIT_SECONDS)

    async def beside() -> None:
        called.append("beside")

    async def work(box: Toolbox) -> None:
        began = time.monotonic()
        blocked = asyncio.create_task(made(box, blocks, effect="once", timeout_seconds=0.2))
        await asyncio.sleep(0.05)
        assert time.monotonic() - began < 0.15, "whoever called it goes on"
        behind = asyncio.create_task(made(box, beside, effect="once", timeout_seconds=0.3))
        late = await blocked
        assert (late.failure, late.unknown) == ("timeout", True)
        assert (await made(box, where, timeout_seconds=2)).failure is None
        never = await behind
        assert (never.failure, never.unknown) == ("timeout", False)
        assert "beside was not called" in never.output
        assert time.monotonic() - began < 3
        assert "blocked" in caplog.text
        go_on.set()
        await until(lambda: threads() == 1)
        assert called == []

    apart(work)


def test_calls_on_a_loop_that_was_blocked_for_a_while_come_to_their_end() -> None:
    async def blocks() -> None:
        time.sleep(1.5)

    async def work(box: Toolbox) -> None:
        beside = asyncio.create_task(made(box, looks_for_a_moment, timeout_seconds=10))
        await asyncio.sleep(0.05)
        assert (await made(box, blocks, timeout_seconds=0.1)).failure == "timeout"
        assert (await beside).output == "seen"
        await until(lambda: threads() == 0)

    apart(work)


async def looks_for_a_moment() -> str:
    await asyncio.sleep(0.2)
    return "seen"


def test_a_tool_sees_the_context_of_its_call() -> None:
    told: ContextVar[str] = ContextVar("told")

    async def look() -> str:
        return told.get()

    async def work(box: Toolbox) -> None:
        told.set("by whoever called")
        assert (await made(box, look)).output == "by whoever called"

    apart(work)


def test_what_is_left_in_the_loop_is_cancelled_at_the_end_and_its_thread_ends() -> None:
    heard: list[str] = []

    async def leaves() -> None:
        async def wait() -> None:
            try:
                await asyncio.sleep(60)
            finally:
                await asyncio.sleep(0.01)
                heard.append("cancelled")

        leftovers._leave(asyncio.create_task(wait()))
        await asyncio.sleep(0)

    async def work(box: Toolbox) -> None:
        await made(box, leaves)

    apart(work)
    assert heard == ["cancelled"]
    assert threads() == 0


def test_a_loop_that_is_blocked_does_not_keep_the_process_from_ending() -> None:
    go_on = threading.Event()

    async def blocks() -> None:
        go_on.wait(_LIMIT_SECONDS)

    async def work(box: Toolbox) -> None:
        await made(box, blocks, timeout_seconds=0.1)

    began = time.monotonic()
    apart(work)
    assert time.monotonic() - began < 5
    go_on.set()


def test_a_call_for_which_there_is_no_loop_was_not_made(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(self: threading.Thread) -> NoReturn:
        raise RuntimeError("can't start new thread")

    async def work(box: Toolbox) -> None:
        monkeypatch.setattr(threading.Thread, "start", start)
        result = await made(box, where, effect="once")
        assert (result.failure, result.unknown) == ("error", False)
        assert "was not called" in result.output

    apart(work)


class Hangs(Exception):
    def __init__(self, until: threading.Event) -> None:
        self.until = until

    def __str__(self) -> str:
        self.until.wait(_LIMIT_SECONDS)
        return "at last"


def _hanging(go_on: threading.Event) -> dict[str, Callable[[], Any]]:
    def raises() -> NoReturn:
        raise Hangs(go_on)

    def returns() -> object:
        return [Hangs(go_on)]

    async def raises_as_a_coroutine() -> NoReturn:
        raise Hangs(go_on)

    async def returns_as_a_coroutine() -> object:
        return [Hangs(go_on)]

    return {one.__name__: one for one in (raises, returns, raises_as_a_coroutine, returns_as_a_coroutine)}


@pytest.mark.parametrize("name", _hanging(threading.Event()))
@pytest.mark.parametrize("box", [Toolbox(), Toolbox((), ThreadLoop())], ids=["here", "apart"])
def test_a_text_that_takes_for_ever_is_not_waited_for_longer_than_the_time_of_the_call(
    name: str, box: Toolbox, caplog: pytest.LogCaptureFixture
) -> None:
    go_on = threading.Event()

    async def main() -> None:
        ticks = 0
        work = asyncio.create_task(made(box, _hanging(go_on)[name], effect="once", timeout_seconds=0.3))
        while not work.done():
            ticks += 1
            await asyncio.sleep(0.01)
        result = work.result()
        assert ticks > 10, "the event loop goes on"
        assert (result.failure, result.unknown) == ("timeout", False)
        assert result.output == (
            f"{name} was called and ended, but what came of it could not be written within 0.3 seconds"
        )
        await box.close()

    caplog.set_level(logging.ERROR)
    began = time.monotonic()
    try:
        asyncio.run(main())
        assert time.monotonic() - began < 5
    finally:
        go_on.set()


def test_the_log_does_not_tell_what_a_tool_says_as_it_exits(caplog: pytest.LogCaptureFixture) -> None:
    async def work(box: Toolbox) -> None:
        await made(box, leftovers.leaves_a_callback_that_exits)
        await until(lambda: "clew.engine.foreign_loop" in {record.name for record in caplog.records})
        [said] = [one.getMessage() for one in caplog.records if one.name == "clew.engine.foreign_loop"]
        assert said == "what a tool left in its event loop tried to end the process: SystemExit"

    apart(work)
