"""Driving one run: asks the rules for the next move, makes it, and asks again.

It holds no truth of its own. What it does next is a function of the thread's state, so a driver that starts after
a crash goes on where the log ends: a model call without an answer is reported lost and made again, a tool that was
started is called again only if that does no harm.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import Any, assert_never

from clew.engine.asking import ask, report_lost
from clew.engine.calling import call_tool, settle_by_policy
from clew.engine.ending import end
from clew.engine.gate import end_at
from clew.engine.hand import Hand
from clew.engine.handing_over import hand_over
from clew.errors import StaleFence
from clew.events.run import RunQueued, RunReconfigured
from clew.rules.commands import ExpireRun, FinishCancel
from clew.rules.moves import AskModel, Await, Cancel, HandOver, Move, ReportLost, RunTools, Stop, next_move
from clew.rules.state import ActiveRun, OpenCall
from clew_projections import run_view

logger = logging.getLogger(__name__)

# The timer and the clock that decides are not the same; a little later is surely over.
_AFTER_EXPIRY_SECONDS = 0.01


async def drive(hand: Hand) -> None:
    """Go on until the run ends, waits for somebody, or is somebody else's."""
    wanted = _Wanted(hand)
    run = hand.run()
    if run is None:
        return
    config = wanted.of(run).config
    hand.of = hand.of.for_run(config)
    hand.late_at = hand.of.budgets.late_at(hand, config)
    timer = _interrupt_at(hand, min(filter(None, (run.expires_at, hand.late_at)), default=None))
    try:
        while await _one_move(hand, wanted):
            pass
    except StaleFence:
        # Somebody else holds the run now, or it has ended: nothing that this worker does counts any more.
        return
    finally:
        if timer is not None:
            timer.cancel()


class _Wanted:
    """What is wanted of a run: how it was queued, with the newest configuration, since its client may give it another
    one with each answer."""

    def __init__(self, hand: Hand) -> None:
        self._hand = hand
        self._queued = hand.queued
        self._number = 0

    def of(self, run: ActiveRun) -> RunQueued:
        if self._queued is None or self._number != run.reconfigured:
            self._queued, self._number = self._newest(), run.reconfigured
        return self._queued

    def _newest(self) -> RunQueued:
        with self._hand.of.log.reading() as reader:
            view = run_view.run(reader, self._hand.run_id)
            assert view is not None, "a run that is driven was queued"
            queued, configured = reader.event(view.queued).event, reader.event(view.configured).event
        assert isinstance(queued, RunQueued)
        if isinstance(configured, RunReconfigured):
            return queued.model_copy(update={"config": configured.config})
        return queued


def _interrupt_at(hand: Hand, at: int | None) -> asyncio.TimerHandle | None:
    if at is None:
        return None
    seconds = max(0.0, (at - hand.of.now()) / 1_000_000) + _AFTER_EXPIRY_SECONDS
    return asyncio.get_running_loop().call_later(seconds, hand.interrupted.set)


async def _one_move(hand: Hand, wanted: _Wanted) -> bool:
    """Whether there may be another one."""
    run = hand.run()
    if run is None:
        return False
    now = hand.of.now()
    if run.expires_at is not None and now >= run.expires_at and not run.in_doubt:
        await hand.do(ExpireRun(thread_id=hand.thread_id, run_id=hand.run_id, now=now))
        return False
    if run.fence != hand.fence and (hand.fence or hand.claimed not in (None, run.fence)):
        raise StaleFence(run_id=run.run_id, fence=hand.fence or hand.claimed or 0, newest=run.fence)
    if run.in_doubt and not hand.fence and isinstance(next_move(run), Await):
        return await _settle_doubts(hand, run)
    if run.status == "in_progress" and run.fence != hand.fence:
        # Its worker is dead, or its lease ran out; from here on that one's appends are refused.
        await hand.take(run)
        return True
    hand.interrupted.clear()
    if run.status in ("queued", "in_progress") and not run.in_doubt:
        late = hand.of.budgets.late(hand, wanted.of(run).config)
        if late is not None:
            if await hand.holds(run):
                await hand.do(end_at(hand, late))
            return True
    move = next_move(run)
    if run.status == "queued" and isinstance(move, (ReportLost, RunTools, HandOver, Stop)):
        await hand.take(run)
        return True
    return await _make(hand, move, run, wanted)


async def _settle_doubts(hand: Hand, run: ActiveRun) -> bool:
    """Whoever doubted may have died before it was settled as the tool's policy says; whether anything is settled now.

    For a probe the run is taken first: a process may die of asking it, and what is taken is counted.
    """
    if hand.of.takes_doubts(hand, run):
        if run.starts >= hand.of.run_starts_max:
            logger.warning("run %s was started %d times; no probe is asked any more", hand.run_id, run.starts)
            return False
        await hand.take(run)
    return await settle_by_policy(hand, run)


async def _run_tools(hand: Hand, move: RunTools) -> None:
    """Execute the calls. A run that is cancelled or over does not wait for them; their deeds stand."""
    in_turn = hand.of.in_turn and move.in_turn
    work = asyncio.create_task(_one_by_one(hand, move.calls) if in_turn else _side_by_side(hand, move.calls))
    try:
        while not await _is_done(work, hand.interrupted):
            if _is_over(hand):
                return
            hand.interrupted.clear()
        work.result()
    finally:
        # Also when this driver is told to end: else the calls would go on beside those of whoever takes the run then.
        await end([work])


async def _is_done(work: asyncio.Task[None], interrupted: asyncio.Event) -> bool:
    """Wait until it is, or until the run is interrupted."""
    stop = asyncio.create_task(interrupted.wait())
    try:
        both: set[asyncio.Task[Any]] = {work, stop}
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stop.cancel()
    return work.done()


async def _side_by_side(hand: Hand, calls: Iterable[OpenCall]) -> None:
    """Raises what one of them raised once all have ended: none goes on beside whatever is done then."""
    ended = await asyncio.gather(*(call_tool(hand, call) for call in calls), return_exceptions=True)
    for error in ended:
        if error is not None:
            raise error


async def _one_by_one(hand: Hand, calls: Iterable[OpenCall]) -> None:
    """Those first that were started least often: they have less to do with the end of a process."""
    for call in sorted(calls, key=lambda call: call.attempts):
        await call_tool(hand, call)


def _is_over(hand: Hand) -> bool:
    run = hand.run()
    if run is None or run.status == "cancelling":
        return True
    return any(at is not None and hand.of.now() >= at for at in (run.expires_at, hand.late_at))


async def _make(hand: Hand, move: Move, run: ActiveRun, wanted: _Wanted) -> bool:
    match move:
        case Await():
            return False
        case Cancel():
            await hand.do(FinishCancel(thread_id=hand.thread_id, run_id=hand.run_id))
            return False
        case ReportLost():
            await report_lost(hand)
        case RunTools():
            await _run_tools(hand, move)
        case HandOver(call=call):
            await hand_over(hand, run, call, wanted.of(run))
        case Stop(reason=reason):
            await hand.end_incomplete(reason)
        case AskModel():
            await ask(hand, run, wanted.of(run).config)
        case _:
            assert_never(move)
    return True
