"""The worker: what it does when something in it breaks."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NoReturn
from unittest.mock import patch

import pytest

import clew_projections
from clew.bus import Bus
from clew.desk import Desk
from clew.engine import worker as workers
from clew.engine.hand import Driving, Hand
from clew.engine.tools import Toolbox
from clew.events.base import Event
from clew.events.run import RunExpired, RunFailed, RunStarted
from clew.log import Log, SqliteStore
from clew.projecting import Keeper, discover
from clew.rules.commands import CreateThread, RequestCancel, StartRun
from clew.rules.parts import Claim
from clew.rules.state import ActiveRun
from clew_projections import run_board
from tests.rules.example import R, T, new_message, queue_run
from tests.simulation.tables import AtOnce

_LIMIT_SECONDS = 10


@dataclass
class Shop:
    """A worker, and a run that waits for one. `drive` is what happens to the run; `drives` counts how often."""

    log: Log
    desk: Desk
    worker: workers.Worker
    drives: int = 0
    broke: asyncio.Event = field(default_factory=asyncio.Event)

    def events(self) -> list[Event]:
        with self.log.reading() as reader:
            return [recorded.event for recorded in reader.stream(T)]

    def run(self) -> ActiveRun | None:
        return self.desk.thread(T).run

    @contextmanager
    def driven_by(self, drive: Callable[[Hand], Awaitable[None]]) -> Iterator[None]:
        async def counted(hand: Hand) -> None:
            self.drives += 1
            try:
                await drive(hand)
            finally:
                self.broke.set()

        with patch.object(workers, "drive", counted), patch.object(workers, "_SWEEP_SECONDS", 0.01):
            self.worker.start()
            yield

    async def stop(self) -> None:
        await self.worker.stop(grace_seconds=5)


def in_a_shop(work: Callable[[Shop], Awaitable[Any]], *, alone: bool = True, expires_at: int | None = None) -> Any:
    async def main() -> Any:
        keeper = Keeper(discover(clew_projections))
        log = Log(SqliteStore(None), keeper.inline, keeper.forget, keeper.swapped, AtOnce)
        await keeper.prepare(log)
        desk = Desk(log)
        created = CreateThread(
            thread_id=T,
            tenant="t",
            dialect="openai",
            metadata={},
            tool_resources={},
            messages=(new_message(),),
            run=queue_run(expires_at=expires_at),
        )
        await desk.on_thread(T, lambda: created, new=True)
        driving = Driving(
            log=log, desk=desk, bus=Bus(), providers={}, toolbox=Toolbox(), worker="w1", lease_seconds=0.05
        )
        worker = workers.Worker(driving, alone=alone)
        log.listen(worker.committed)
        try:
            return await asyncio.wait_for(work(Shop(log, desk, worker)), _LIMIT_SECONDS)
        finally:
            log.close()

    return asyncio.run(main())


async def until(what: str, is_so: Callable[[], Any]) -> None:
    end = time.monotonic() + 5
    while not is_so():
        assert time.monotonic() < end, f"waited for {what}"
        await asyncio.sleep(0.005)


def run_after_breaking_off(*, taken_by_another: bool) -> ActiveRun | None:
    """What becomes of a run whose driver breaks, before or after somebody else has taken it."""

    async def work(shop: Shop) -> ActiveRun | None:
        async def drive(hand: Hand) -> None:
            if taken_by_another:
                other = Claim(worker="w2", lease_seconds=30.0)
                await shop.desk.on_thread(T, lambda: StartRun(thread_id=T, run_id=R, fence=0, claim=other))
            raise ValueError("a fault of ours")

        with shop.driven_by(drive):
            await shop.broke.wait()
            await shop.stop()
        return shop.run()

    run: ActiveRun | None = in_a_shop(work, alone=False)
    return run


def test_a_run_that_became_somebody_elses_is_not_ended_by_who_broke() -> None:
    run = run_after_breaking_off(taken_by_another=True)
    assert run is not None
    assert (run.status, run.fence) == ("in_progress", 1)


def test_a_run_whose_driver_broke_does_not_lock_its_thread() -> None:
    assert run_after_breaking_off(taken_by_another=False) is None


class Panic(BaseException):
    """As a library that is written in another language raises it."""


class Unprintable(Exception):
    def __str__(self) -> NoReturn:
        raise RuntimeError("no text")


class _WithoutName(type):
    def __getattribute__(cls, name: str) -> Any:
        if name in ("__name__", "__qualname__"):
            raise RuntimeError("no name")
        return super().__getattribute__(name)


class Nameless(Exception, metaclass=_WithoutName):
    pass


@pytest.mark.parametrize("alone", [True, False])
@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ValueError("half: \ud800"), "ValueError: half: \ufffd"),
        (ValueError("nothing: \x00"), "ValueError: nothing: \ufffd"),
        (ValueError("long " * 1_000_000), "ValueError: long long"),
        (Unprintable(), "Unprintable, whose text cannot be written"),
        (Nameless("nothing"), "an error without a name: nothing"),
        (Panic("beyond"), "Panic: beyond"),
        (asyncio.CancelledError("by somebody"), "CancelledError: by somebody"),
    ],
    ids=itertools.count(),
)
def test_whatever_breaks_a_run_off_ends_it_once(error: BaseException, told: str, alone: bool) -> None:
    async def work(shop: Shop) -> None:
        async def drive(hand: Hand) -> None:
            raise error

        with shop.driven_by(drive):
            await until("the end of the run", lambda: shop.run() is None)
            await asyncio.sleep(0.05)
            assert shop.drives == 1
            await shop.stop()
        [failed] = [event for event in shop.events() if isinstance(event, RunFailed)]
        assert failed.code == "server_error"
        assert failed.message.startswith(f"the server had an error: {told}")
        assert len(failed.message) < 600

    in_a_shop(work, alone=alone)


@pytest.mark.parametrize("alone", [True, False])
def test_a_run_that_cannot_even_be_ended_is_left_alone_until_something_happens_to_it(
    alone: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def work(shop: Shop) -> None:
        async def drive(hand: Hand) -> None:
            raise ValueError("a fault of ours")

        async def fail(self: Hand, code: str, message: str) -> NoReturn:
            raise RuntimeError("a fault of its own")

        with patch.object(Hand, "fail", fail), shop.driven_by(drive):
            await until("giving up", lambda: "it is left alone" in caplog.text)
            await asyncio.sleep(0.3)
            assert shop.drives == 5
            assert sum(isinstance(event, RunStarted) for event in shop.events()) <= 5
            cancel = RequestCancel(thread_id=T, run_id=R, past_status=None)
            await shop.desk.on_thread(T, lambda: cancel)
            await until("another look", lambda: shop.drives > 5)
            await shop.stop()

    in_a_shop(work, alone=alone)


def test_a_look_at_the_board_that_fails_is_not_the_last_one(caplog: pytest.LogCaptureFixture) -> None:
    async def work(shop: Shop) -> None:
        async def drive(hand: Hand) -> None:
            await asyncio.sleep(0)

        real, looks = run_board.expired, 0

        def expired(*given: Any, **more: Any) -> Any:
            nonlocal looks
            looks += 1
            if looks < 3:
                raise ZeroDivisionError("a fault of ours")
            return real(*given, **more)

        with patch.object(run_board, "expired", expired), shop.driven_by(drive):
            await until("a look that sees the run", lambda: shop.drives)
            await shop.stop()
        assert "looking for runs failed" in caplog.text

    in_a_shop(work)


def test_a_run_that_cannot_expire_keeps_no_other_from_it(caplog: pytest.LogCaptureFixture) -> None:
    async def work(shop: Shop) -> None:
        other = queue_run("run_2", expires_at=1)
        created = CreateThread(
            thread_id="thread_2",
            tenant="t",
            dialect="openai",
            metadata={},
            tool_resources={},
            messages=(new_message(id="msg_2"),),
            run=other,
        )
        await shop.desk.on_thread("thread_2", lambda: created, new=True)
        real = shop.desk.on_thread

        async def on_thread(thread_id: str, make: Any, **more: Any) -> Any:
            if thread_id == T:
                raise ZeroDivisionError("a fault of ours")
            return await real(thread_id, make, **more)

        async def drive(hand: Hand) -> None:
            await asyncio.sleep(0)

        with patch.object(shop.desk, "on_thread", on_thread), shop.driven_by(drive):
            await until("the end of the other", lambda: shop.desk.thread("thread_2").run is None)
            await until("giving up", lambda: "it is left alone" in caplog.text)
            await asyncio.sleep(0.1)
            assert caplog.text.count("could not expire") == 5
            await shop.stop()
        assert not [event for event in shop.events() if isinstance(event, RunExpired)]

    in_a_shop(work, expires_at=1)
