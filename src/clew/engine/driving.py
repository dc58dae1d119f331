"""Driving one run: asks the rules for the next move, makes it, and asks again.

It holds no truth of its own. What it does next is a function of the thread's state, so a driver that starts after
a crash goes on where the log ends: a model call without an answer is reported lost and made again, a tool that was
started is called again only if that does no harm.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Sequence
from typing import Any, assert_never

from clew.engine.asking import ask, report_lost
from clew.engine.calling import call_tool
from clew.engine.hand import Hand
from clew.errors import StaleFence
from clew.events.run import RunConfig, RunQueued
from clew.rules.commands import ExpireRun, FinishCancel
from clew.rules.moves import AskModel, Await, Cancel, Move, ReportLost, RunTools, Stop, next_move
from clew.rules.state import ActiveRun, OpenCall
from clew_projections import run_view

# The timer and the clock that decides are not the same; a little later is surely over.
_AFTER_EXPIRY_SECONDS = 0.01


async def drive(hand: Hand) -> None:
    """Go on until the run ends, waits for somebody, or is somebody else's."""
    queued = hand.queued or _queued(hand)
    timer = _interrupt_at(hand, queued.expires_at)
    try:
        while await _one_move(hand, queued.config):
            pass
    except StaleFence:
        # Somebody else holds the run now, or it has ended: nothing that this worker does counts any more.
        return
    finally:
        if timer is not None:
            timer.cancel()


def _queued(hand: Hand) -> RunQueued:
    with hand.of.log.reading() as reader:
        view = run_view.run(reader, hand.run_id)
        assert view is not None, "a run that is driven was queued"
        event = reader.event(view.queued).event
    assert isinstance(event, RunQueued)
    return event


def _interrupt_at(hand: Hand, expires_at: int | None) -> asyncio.TimerHandle | None:
    if expires_at is None:
        return None
    seconds = max(0.0, (expires_at - hand.of.now()) / 1_000_000) + _AFTER_EXPIRY_SECONDS
    return asyncio.get_running_loop().call_later(seconds, hand.interrupted.set)


async def _one_move(hand: Hand, config: RunConfig) -> bool:
    """Whether there may be another one."""
    run = hand.run()
    if run is None:
        return False
    now = hand.of.now()
    if run.expires_at is not None and now >= run.expires_at and not run.in_doubt:
        await hand.do(ExpireRun(thread_id=hand.thread_id, run_id=hand.run_id, now=now))
        return False
    if run.status == "in_progress" and run.fence != hand.fence:
        if hand.fence:
            raise StaleFence(run_id=run.run_id, fence=hand.fence, newest=run.fence)
        # Its worker is dead, or its lease ran out; from here on that one's appends are refused.
        await hand.take()
        return True
    hand.interrupted.clear()
    move = next_move(run)
    if run.status == "queued" and isinstance(move, (ReportLost, RunTools, Stop)):
        await hand.take()
        return True
    return await _make(hand, move, run, config)


async def _run_tools(hand: Hand, calls: Sequence[OpenCall]) -> None:
    """Execute the calls side by side. A run that is cancelled or over does not wait for them; their deeds stand."""
    work = asyncio.ensure_future(_all(call_tool(hand, call) for call in calls))
    while not work.done():
        stop = asyncio.ensure_future(hand.interrupted.wait())
        await asyncio.wait({work, stop}, return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        if not work.done() and _is_over(hand):
            work.cancel()
            await asyncio.wait({work})
            return
        hand.interrupted.clear()
    work.result()


async def _all(calls: Iterable[Coroutine[Any, Any, None]]) -> None:
    await asyncio.gather(*calls)


def _is_over(hand: Hand) -> bool:
    run = hand.run()
    if run is None or run.status == "cancelling":
        return True
    return run.expires_at is not None and hand.of.now() >= run.expires_at


async def _make(hand: Hand, move: Move, run: ActiveRun, config: RunConfig) -> bool:
    match move:
        case Await():
            return False
        case Cancel():
            await hand.do(FinishCancel(thread_id=hand.thread_id, run_id=hand.run_id))
            return False
        case ReportLost():
            await report_lost(hand)
        case RunTools(calls=calls):
            await _run_tools(hand, calls)
        case Stop(reason=reason):
            await hand.end_incomplete(reason)
        case AskModel():
            await ask(hand, run, config)
        case _:
            assert_never(move)
    return True
