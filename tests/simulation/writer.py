"""What takes the place of the writer's thread: batches are committed, and acknowledged, after virtual whiles.

A process may die or be frozen before a commit, between the commit and its acknowledgement, or right at it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from random import Random

from clew.log.committer import Committer
from clew.log.store import Store
from clew.log.tasks import Append, Done, Job, Task
from tests.simulation.storage import Way

_COMMIT_SECONDS_MAX = 0.006
_HEAR_SECONDS_MAX = 0.003
_BATCH_APPENDS_MAX = 64


class SimulatedWriter:
    """`committed` is called after each commit, when nobody has heard of it yet."""

    def __init__(
        self, store: Store, committer: Committer, done: Done, *, random: Random, committed: Callable[[], None]
    ) -> None:
        assert isinstance(store, Way)
        self._way = store
        self._committer = committer
        # Nothing here may sleep: what is lost is tried once more at once, and given up.
        self._committer.closing.set()
        self._done = done
        self._random = random
        self._committed = committed
        self._waiting: deque[Task] = deque()
        self._unheard: deque[Sequence[Task]] = deque()
        self._busy = False
        self._committing = False
        self.dead = False

    def submit(self, task: Task) -> None:
        if self.dead:
            # Who asks is being cleaned up after a crash; a process that died does not get this far.
            raise asyncio.CancelledError
        self._waiting.append(task)
        if not self._busy:
            self._busy = True
            self._later(_COMMIT_SECONDS_MAX, self._work)

    def settled(self, tasks: int) -> None:
        """It counts nothing."""

    def close(self) -> None:
        while self._waiting and not self.dead:
            self.commit_what_waits()
        while self._unheard:
            self._tell()

    def _work(self) -> None:
        self.commit_what_waits()
        if self._waiting and not self.dead:
            self._later(_COMMIT_SECONDS_MAX, self._work)
        else:
            self._busy = False

    def commit_what_waits(self) -> None:
        """A batch as the real writer gathers it. Does nothing while it is at it, or when the process died."""
        if self.dead or self._committing or not self._waiting:
            return
        self._committing = True
        try:
            batch = self._gather()
            self._way.begin_task()
            if isinstance(batch[0], Job):
                self._committer.run(batch[0])
            else:
                self._committer.commit([task for task in batch if isinstance(task, Append)])
        finally:
            self._committing = False
        self._unheard.append(batch)
        self._later(_HEAR_SECONDS_MAX, self._tell)
        self._committed()

    def _gather(self) -> Sequence[Task]:
        batch: list[Task] = [self._waiting.popleft()]
        if isinstance(batch[0], Append):
            while self._waiting and isinstance(self._waiting[0], Append) and len(batch) < _BATCH_APPENDS_MAX:
                batch.append(self._waiting.popleft())
        return batch

    def _tell(self) -> None:
        """In the order of the commits, whichever timer comes first."""
        if self._unheard and not self.dead:
            self._done(self._unheard.popleft())

    def _later(self, seconds_max: float, work: Callable[[], None]) -> None:
        asyncio.get_running_loop().call_later(self._random.random() * seconds_max, work)
