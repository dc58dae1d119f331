"""The worker: takes runs that want one, drives many at once, ends those whose time is over.

Runs that begin in this process are heard of at once. The board is read besides, at start and now and then: for
runs that another process queued, or left behind when it died.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from typing import Any

from clew.engine.driving import drive
from clew.engine.hand import Driving, Hand
from clew.errors import ClewError, Refused
from clew.events.base import Event, Recorded
from clew.events.run import RunCancelled, RunCancelRequested, RunExpired, RunQueued
from clew.events.tool import ToolReturned, ToolSettled
from clew.rules.commands import ExpireRun, FailRun
from clew_projections import run_board

_SWEEP_SECONDS = 0.5
_SWEEP_RUNS_MAX = 1_000
RUNS_MAX = 2_000

logger = logging.getLogger(__name__)


class Worker:
    """`alone` says that no other process can hold a run of this log: what is under way at start was left behind."""

    def __init__(self, driving: Driving, *, alone: bool) -> None:
        self._driving = driving
        self._hands: dict[str, Hand] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._again: set[str] = set()
        self._alone = alone
        self._sweeper: asyncio.Task[None] | None = None
        self._renewed = time.monotonic()

    def start(self) -> None:
        self._sweeper = asyncio.create_task(self._sweep_for_ever())

    async def stop(self) -> None:
        """Let go of everything at once. What was under way goes on where the log ends, after the next start."""
        tasks = [*self._tasks.values(), *([self._sweeper] if self._sweeper is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def committed(self, recorded: Sequence[Recorded[Event]]) -> None:
        """Hears every commit of this process, in order."""
        for one in recorded:
            match one.event:
                case RunQueued(run_id=run_id):
                    self._take(one.stream, run_id, one.event)
                case ToolSettled(run_id=run_id):
                    self._take(one.stream, run_id)
                case ToolReturned(run_id=run_id) if run_id not in self._hands:
                    self._take(one.stream, run_id)
                case RunCancelRequested(run_id=run_id):
                    if run_id in self._hands:
                        self._hands[run_id].interrupted.set()
                    self._take(one.stream, run_id)
                case RunCancelled(run_id=run_id) | RunExpired(run_id=run_id) if run_id in self._hands:
                    # Ended by somebody else: whatever is still being done for it is of no use.
                    self._hands[run_id].interrupted.set()
                case _:
                    pass

    def _take(self, thread_id: str, run_id: str, queued: RunQueued | None = None) -> None:
        if run_id in self._hands:
            # Its driver may be about to leave; once it has, it is looked at again.
            self._again.add(run_id)
            return
        if len(self._hands) >= RUNS_MAX:
            return
        hand = self._hands[run_id] = Hand(self._driving, thread_id, run_id, queued)
        task = self._tasks[run_id] = asyncio.create_task(self._drive(hand))
        task.add_done_callback(lambda _: self._left(thread_id, run_id))

    def _left(self, thread_id: str, run_id: str) -> None:
        del self._hands[run_id], self._tasks[run_id]
        if run_id in self._again:
            self._again.discard(run_id)
            self._take(thread_id, run_id)

    async def _drive(self, hand: Hand) -> None:
        try:
            await drive(hand)
        except Exception as error:
            # A fault of ours must not leave the thread locked: the run ends, and says what happened.
            logger.exception("run %s broke off", hand.run_id)
            await self._break_off(hand, error)

    async def _break_off(self, hand: Hand, error: Exception) -> None:
        run = self._driving.desk.thread(hand.thread_id).run
        if run is None or run.run_id != hand.run_id:
            return
        command = FailRun(
            thread_id=hand.thread_id,
            run_id=run.run_id,
            fence=run.fence,
            code="server_error",
            message=f"the server had an error: {type(error).__name__}: {error}",
        )
        try:
            await self._driving.desk.on_thread(hand.thread_id, lambda: command, actor=self._driving.worker)
        except ClewError:
            logger.exception("run %s could not be ended; it is tried again", hand.run_id)

    async def _sweep_for_ever(self) -> None:
        while True:
            try:
                await self._sweep()
            except ClewError:
                logger.exception("looking for runs failed; tried again in %s s", _SWEEP_SECONDS)
            await asyncio.sleep(_SWEEP_SECONDS)

    async def _sweep(self) -> None:
        now = self._driving.now()
        with self._driving.log.reading() as reader:
            # A process that is alone needs not wait for a lease to run out: its holder is dead.
            leased_until = 2**62 if self._alone else now
            wanted = run_board.claimable(reader, now=leased_until, limit=_SWEEP_RUNS_MAX)
            over = run_board.expired(reader, now=now, limit=_SWEEP_RUNS_MAX)
        for row in over:
            await self._expire(row)
        for row in wanted:
            if row.run_id not in self._hands:
                self._take(row.thread_id, row.run_id)
        if time.monotonic() - self._renewed > self._driving.lease_seconds / 3:
            self._renewed = time.monotonic()
            await self._renew()

    async def _expire(self, row: run_board.BoardRow) -> None:
        command = ExpireRun(thread_id=row.thread_id, run_id=row.run_id, now=self._driving.now())
        try:
            await self._driving.desk.on_thread(row.thread_id, lambda: command, actor=self._driving.worker)
        except Refused:
            logger.exception("run %s could not expire", row.run_id)

    async def _renew(self) -> None:
        """Hold on to the runs that are driven here, in one write for all of them."""
        until = self._driving.now() + round(self._driving.lease_seconds * 1_000_000)
        held = [
            (hand.run_id, self._driving.worker, hand.fence, until) for hand in self._hands.values() if hand.fence > 0
        ]
        if not held:
            return

        def work(cursor: Any) -> None:
            cursor.execute("delete from leases where until < ?", (self._driving.now(),))
            cursor.executemany(
                "insert into leases (run_id, worker, fence, until) values (?,?,?,?) on conflict (run_id)"
                " do update set worker = excluded.worker, fence = excluded.fence, until = excluded.until",
                held,
            )

        await self._driving.log.write(work)
