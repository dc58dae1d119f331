"""Holding a run: leases are renewed and given back by whoever holds it, and what others did first is no fault."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import clew_projections
from clew.bus import Bus
from clew.desk import Desk
from clew.engine.calling import _settle
from clew.engine.claiming import Claims
from clew.engine.hand import Driving, Hand
from clew.engine.tools import Toolbox
from clew.log import Log, SqliteStore
from clew.projecting import Keeper, discover
from clew.rules.commands import CreateThread
from clew.rules.state import OpenCall
from tests.rules.example import R, T, new_message, queue_run
from tests.simulation.tables import AtOnce

_SECOND = 1_000_000


class Clock:
    now = 1_800_000_000 * _SECOND


def on_a_run(work: Callable[[Driving, Driving, Clock], Awaitable[Any]]) -> Any:
    """`work` with two workers and a run that was queued."""

    async def main() -> Any:
        clock = Clock()
        keeper = Keeper(discover(clew_projections))
        store = SqliteStore(None, clock=lambda: clock.now)
        log = Log(store, keeper.inline, keeper.forget, keeper.swapped, AtOnce)
        await keeper.prepare(log)
        desk = Desk(log)
        created = CreateThread(
            thread_id=T,
            tenant="t",
            dialect="openai",
            metadata={},
            tool_resources={},
            messages=(new_message(),),
            run=queue_run(expires_at=None),
        )
        await desk.on_thread(T, lambda: created, new=True)
        first, second = (
            Driving(log=log, desk=desk, bus=Bus(), providers={}, toolbox=Toolbox(), worker=worker, lease_seconds=1.0)
            for worker in ("w1", "w2")
        )
        try:
            return await work(first, second, clock)
        finally:
            log.close()

    return asyncio.run(main())


async def take(driving: Driving) -> Hand:
    """As a driver that goes on with a run that has just become ready, which another worker claims at that moment."""
    hand = Hand(driving, T, R)
    run = hand.run()
    assert run is not None
    await hand.take(run)
    return hand


def test_who_claimed_a_run_too_late_does_not_give_it_away_when_told_to_end() -> None:
    async def work(first: Driving, second: Driving, clock: Clock) -> list[Any]:
        late = Claims(second)
        assert [row.run_id for row in await late.take(10)] == [R]
        await take(first)
        await late.give_back([])
        return await Claims(second).take(10)

    assert on_a_run(work) == []


def test_what_was_claimed_and_not_begun_is_given_back() -> None:
    async def work(first: Driving, second: Driving, clock: Clock) -> list[str]:
        claims = Claims(first)
        await claims.take(10)
        await claims.give_back([])
        return [row.run_id for row in await Claims(second).take(10)]

    assert on_a_run(work) == [R]


def test_who_holds_a_run_renews_its_lease_though_another_had_claimed_it() -> None:
    async def work(first: Driving, second: Driving, clock: Clock) -> list[Any]:
        await Claims(second).take(10)
        hand = await take(first)
        clock.now += _SECOND * 8 // 10
        await Claims(first).renew([hand])
        clock.now += _SECOND * 8 // 10
        return await Claims(second).take(10)

    assert on_a_run(work) == []


def test_a_call_that_somebody_else_settled_first_is_no_fault() -> None:
    async def work(first: Driving, second: Driving, clock: Clock) -> None:
        hand = await take(first)
        await _settle(hand, OpenCall("call_1", "step_1", "pay", "server"), "unknown", "", "probe")

    assert on_a_run(work) is None
