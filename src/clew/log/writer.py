"""The one thread that writes: it takes whatever appends are waiting and commits them together.

There is no linger: while one transaction reaches the disk the next batch gathers by itself. Where the disk is a
database's, and many append, whoever waits for one batch hears of it while the next is on its way: our process and the
database's work side by side then, and not in turns.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from clew.log.committer import Committer
from clew.log.store import Store
from clew.log.tasks import Append, Done, Job, Task

BATCH_EVENTS_MAX = 512
# With a database, a batch is no larger than half of what is on its way, so that there is one to send when the other
# is done; smaller than this, it costs more to send two.
_HALF_EVENTS_MIN = 128
# Shorter than this, a commit holds the event loop up no longer than other work in it does.
_COMMIT_AT_ONCE_SECONDS = 0.000_6
_IN_A_ROW_MIN = 8


@dataclass(slots=True)
class Batch:
    bytes_max: int
    events_max: int = BATCH_EVENTS_MAX
    appends: list[Append] = field(default_factory=list)
    events: int = 0
    bytes: int = 0

    def has_room(self) -> bool:
        return self.events < self.events_max and self.bytes < self.bytes_max

    def add(self, append: Append) -> None:
        self.appends.append(append)
        self.events += len(append.events)
        self.bytes += append.size_bytes


class Solitude:
    """Whether an append may be committed where it is asked for, without waking the writer's thread.

    Waking a thread and being woken by it costs as much as a commit on a fast disk. That pays as soon as two appends
    can share a commit; it never pays for a lone caller. So: when nothing is on its way, the last appends were all
    for this very stream, and commits have been short of late, the commit is made at once.
    """

    def __init__(self) -> None:
        self._stream = ""
        self._in_a_row = 0
        self._commit_seconds = _COMMIT_AT_ONCE_SECONDS

    def holds(self, append: Append, pending: int) -> bool:
        if pending or append.stream != self._stream:
            self._stream, self._in_a_row = append.stream, 0
            return False
        self._in_a_row += 1
        return self._in_a_row >= _IN_A_ROW_MIN and self._commit_seconds < _COMMIT_AT_ONCE_SECONDS

    def took(self, seconds: float) -> None:
        """Note how long a commit took, the last ones weighing most."""
        self._commit_seconds += (seconds - self._commit_seconds) / 8


class Writer:
    """A thread around a `Committer`. `done` is told of finished tasks, in that thread or in the caller's."""

    def __init__(self, store: Store, committer: Committer, done: Done) -> None:
        self._committer = committer
        self._done = done
        self._bytes_max = store.batch_bytes_max
        # A commit that goes over a wire is not to be waited for in the event loop.
        self._lone_commits = not store.shared
        self._committing = threading.Lock()
        self._solitude = Solitude()
        self._pending = 0
        # What is on disk already, and nobody heard of.
        self._untold: Sequence[Append] = ()
        self._waiting: queue.SimpleQueue[Task | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="clew-writer", daemon=True)
        self._thread.start()

    def submit(self, task: Task) -> None:
        """Called in an event loop; `settled` must be called there for each task that was submitted."""
        alone = self._lone_commits and isinstance(task, Append) and self._solitude.holds(task, self._pending)
        self._pending += 1
        if alone and isinstance(task, Append) and self._committing.acquire(blocking=False):
            try:
                self._commit([task])
            finally:
                self._committing.release()
        else:
            self._waiting.put(task)

    def settled(self, tasks: int) -> None:
        self._pending -= tasks

    def _commit(self, appends: Sequence[Append]) -> None:
        began = time.perf_counter()
        # Those of the batch before hear of it when this one is on its way, or must wait for somebody.
        self._committer.commit(appends, self._tell)
        self._solitude.took(time.perf_counter() - began)
        self._tell()
        self._untold = appends
        if self._lone_commits or self._waiting.empty():
            self._tell()

    def _tell(self) -> None:
        untold, self._untold = self._untold, ()
        if untold:
            self._done(untold)

    def close(self) -> None:
        """Returns when everything that was submitted before is on disk, or the store is away."""
        self._committer.closing.set()
        self._waiting.put(None)
        self._thread.join()

    def _work(self) -> None:
        while (task := self._waiting.get()) is not None:
            with self._committing:
                if self._work_on(task):
                    return
        self._tell()

    def _work_on(self, task: Task) -> bool:
        """Whether this was the last."""
        if isinstance(task, Job):
            self._run(task)
            return False
        batch = Batch(self._bytes_max)
        if not self._lone_commits:
            batch.events_max = min(BATCH_EVENTS_MAX, max(_HALF_EVENTS_MIN, self._pending // 2))
        batch.add(task)
        job, last = self._gather(batch)
        self._commit(batch.appends)
        if job is not None:
            self._run(job)
        return last

    def _run(self, job: Job) -> None:
        self._tell()
        self._committer.run(job)
        self._done([job])

    def _gather(self, batch: Batch) -> tuple[Job | None, bool]:
        """Fill `batch` with what waits; a job ends it, since it wants a transaction of its own."""
        while batch.has_room():
            try:
                task = self._waiting.get_nowait()
            except queue.Empty:
                break
            if task is None:
                return None, True
            if isinstance(task, Job):
                return task, False
            batch.add(task)
        return None, False
