"""The worker: takes runs that want one, drives many at once, ends those whose time is over.

Where a process has its log to itself, runs are taken as they begin, and at start those that were left behind. Where
others work on the log too, every run is claimed on the board first. The board is looked at when word comes of
something new, and now and then unasked.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from clew.engine.claiming import Claims
from clew.engine.driving import drive
from clew.engine.ending import end
from clew.engine.error_text import is_a, told
from clew.engine.hand import Driving, Hand
from clew.errors import ClewError, StaleFence, StoreFailed, StoreLost
from clew.events.base import Event, Recorded
from clew.events.run import RunCancelled, RunCancelRequested, RunExpired, RunQueued
from clew.events.tool import ToolConfirmed, ToolReturned, ToolSettled
from clew.logged_errors import places
from clew.rules.commands import ExpireRun
from clew_projections import run_board

_SWEEP_SECONDS = 0.5
_SWEEP_RUNS_MAX = 1_000
# So that one worker does not take all that is waiting while others have nothing to do.
_CLAIM_RUNS_MAX = 50
_AGAIN_SECONDS = 0.5
# A run that this process could neither drive nor end so often is left alone here, until something happens to it.
_FAULTS_MAX = 5
RUNS_MAX = 2_000

logger = logging.getLogger(__name__)


class Worker:
    """`alone` says that no other process can hold a run of this log: what is under way at start was left behind."""

    def __init__(self, driving: Driving, *, alone: bool) -> None:
        self._driving = driving
        self._hands: dict[str, Hand] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._again: dict[str, int | None] = {}
        self._faults: Counter[str] = Counter()
        self._claims = None if alone else Claims(driving)
        self._looked_back = False
        self._stopping = False
        self._keepers: list[asyncio.Task[None]] = []

    def start(self) -> None:
        self._keepers = [asyncio.create_task(self._sweep_for_ever())]
        if self._claims is not None:
            self._keepers += [
                asyncio.create_task(self._claim_for_ever(self._claims)),
                asyncio.create_task(self._renew_for_ever(self._claims)),
            ]

    def take_no_more(self) -> None:
        self._stopping = True

    async def stop(self, grace_seconds: float = 0.0) -> None:
        """Take nothing more, finish what can be finished in time, and let go of the rest: it goes on elsewhere, or
        where the log ends after the next start."""
        self.take_no_more()
        if self._tasks and grace_seconds > 0:
            await asyncio.wait(set(self._tasks.values()), timeout=grace_seconds)
        left = list(self._hands.values())
        await end([*self._tasks.values(), *self._keepers])
        if self._claims is not None:
            with contextlib.suppress(StoreLost):
                await self._claims.give_back(left)

    def committed(self, recorded: Sequence[Recorded[Event]]) -> None:
        """Hears every commit, in order; of other processes after a while."""
        for one in recorded:
            self._driving.budgets.heard(one)
            match one.event:
                case RunQueued(run_id=run_id):
                    self._want(one.stream, run_id, one.event)
                case ToolSettled(run_id=run_id):
                    self._want(one.stream, run_id)
                case ToolReturned(run_id=run_id) | ToolConfirmed(run_id=run_id) if run_id not in self._hands:
                    self._want(one.stream, run_id)
                case RunCancelRequested(run_id=run_id):
                    if run_id in self._hands:
                        self._hands[run_id].interrupted.set()
                    self._want(one.stream, run_id)
                case RunCancelled(run_id=run_id) | RunExpired(run_id=run_id) if run_id in self._hands:
                    # Ended by somebody else: whatever is still being done for it is of no use.
                    self._hands[run_id].interrupted.set()
                case _:
                    pass

    def _want(self, thread_id: str, run_id: str, queued: RunQueued | None = None) -> None:
        self._faults.pop(run_id, None)
        if self._claims is None:
            self._take(thread_id, run_id, queued)
        else:
            self._claims.wanted.set()

    def _take(self, thread_id: str, run_id: str, queued: RunQueued | None = None, claimed: int | None = None) -> None:
        if run_id in self._hands:
            # Its driver may be about to leave; once it has, it is looked at again.
            self._again[run_id] = claimed
            return
        if len(self._hands) >= RUNS_MAX or self._stopping or self._faults[run_id] >= _FAULTS_MAX:
            return
        hand = self._hands[run_id] = Hand(self._driving, thread_id, run_id, queued, claimed)
        task = self._tasks[run_id] = asyncio.create_task(self._drive(hand))
        task.add_done_callback(lambda _: self._left(thread_id, run_id))

    def _left(self, thread_id: str, run_id: str) -> None:
        del self._hands[run_id], self._tasks[run_id]
        if run_id in self._again:
            self._take(thread_id, run_id, claimed=self._again.pop(run_id))

    async def _drive(self, hand: Hand) -> None:
        while True:
            try:
                return await drive(hand)
            except StoreLost:
                # It may come back, and the run be still ours: its fence tells.
                logger.warning("run %s waits for the store", hand.run_id)
                await asyncio.sleep(_AGAIN_SECONDS)
            except BaseException as error:
                if _ends_us(error):
                    raise
                # A fault of ours must not leave the thread locked: the run ends, and says what happened.
                logger.error("run %s broke off\n%s", hand.run_id, places(error))
                return await self._break_off(hand, error)

    async def _break_off(self, hand: Hand, error: BaseException) -> None:
        try:
            run = hand.run()
            if run is not None and hand.fence == 0 and hand.claimed in (None, run.fence):
                # Only who holds a run may end it: meanwhile it may have become somebody else's.
                await hand.take(run)
            if run is not None and hand.fence > 0:
                await hand.fail("server_error", f"the server had an error: {told(error)}")
            self._faults.pop(hand.run_id, None)
        except StaleFence:
            logger.info("run %s is somebody else's now", hand.run_id)
        except (StoreFailed, StoreLost) as why:
            # What the store refuses now it may take later.
            logger.error("run %s could not be ended; it is tried again: %s", hand.run_id, why)
        except Exception as why:
            self._count_fault(hand.run_id, "could not be ended", why)

    def _count_fault(self, run_id: str, what: str, error: Exception) -> None:
        """So that nothing which goes wrong each time is done for ever."""
        self._faults[run_id] += 1
        left_alone = self._faults[run_id] >= _FAULTS_MAX
        then = "it is left alone until something happens to it" if left_alone else "it is tried again"
        logger.error("run %s %s; %s\n%s", run_id, what, then, places(error))

    async def _sweep_for_ever(self) -> None:
        while True:
            async with _kept_up("looking for runs failed"):
                await self._sweep()
            await asyncio.sleep(_SWEEP_SECONDS)

    async def _sweep(self) -> None:
        with self._driving.log.reading() as reader:
            over = run_board.expired(reader, now=self._driving.now(), limit=_SWEEP_RUNS_MAX)
            left = run_board.abandoned(reader, limit=_SWEEP_RUNS_MAX) if self._claims is None else []
        for row in over:
            await self._expire(row)
        for row in left:
            # What waits for a person is looked at once, at start, in case whoever should have asked him died.
            if row.run_id not in self._hands and not (row.standing == "in_doubt" and self._looked_back):
                self._take(row.thread_id, row.run_id)
        self._looked_back = True

    async def _claim_for_ever(self, claims: Claims) -> None:
        while True:
            claims.wanted.clear()
            async with _kept_up("claiming runs failed"):
                while not self._stopping and await self._claim(claims) == _CLAIM_RUNS_MAX:
                    pass
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(claims.wanted.wait(), _SWEEP_SECONDS)

    async def _claim(self, claims: Claims) -> int:
        room = min(_CLAIM_RUNS_MAX, RUNS_MAX - len(self._hands))
        rows = await claims.take(room) if room > 0 else []
        for row in rows:
            self._take(row.thread_id, row.run_id, claimed=row.fence)
        return len(rows)

    async def _renew_for_ever(self, claims: Claims) -> None:
        while True:
            await asyncio.sleep(self._driving.lease_seconds / 3)
            async with _kept_up("leases could not be renewed, so runs may go on elsewhere"):
                await claims.renew(list(self._hands.values()))

    async def _expire(self, row: run_board.BoardRow) -> None:
        if self._faults[row.run_id] >= _FAULTS_MAX:
            return
        command = ExpireRun(thread_id=row.thread_id, run_id=row.run_id, now=self._driving.now())
        try:
            await self._driving.desk.on_thread(row.thread_id, lambda: command, actor=self._driving.worker)
        except (StoreFailed, StoreLost):
            raise
        except Exception as why:
            self._count_fault(row.run_id, "could not expire", why)


def _ends_us(error: BaseException) -> bool:
    """Whether it is not a fault but what ends this task, or the process."""
    if is_a(error, asyncio.CancelledError):
        task = asyncio.current_task()
        # Else something was cancelled that the run waited for.
        return task is not None and task.cancelling() > 0
    return is_a(error, KeyboardInterrupt) or is_a(error, SystemExit)


@asynccontextmanager
async def _kept_up(what: str) -> AsyncIterator[None]:
    """What is done again and again is done again, whatever went wrong."""
    try:
        yield
    except ClewError as why:
        logger.error("%s; it is tried again: %s", what, why)
    except Exception as error:
        logger.error("%s; it is tried again\n%s", what, places(error))
