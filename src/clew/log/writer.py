"""The one thread that writes: it takes whatever appends are waiting and commits them together.

There is no linger: while one transaction reaches the disk the next batch gathers by itself. An append that
conflicts is refused before the transaction; should a batch fail all the same, each append is tried alone, so that
one bad append never fails its neighbours.
"""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from eventsourcing.persistence import PersistenceError
from eventsourcing.sqlite import SQLiteCursor

from clew.errors import Conflict, KeyReused, StoreFailed
from clew.events.base import Event, Recorded
from clew.log.chain import Sealed, Sealer, Unsealed
from clew.log.stores import LogRecorder, SqliteStore

BATCH_EVENTS_MAX = 512
BATCH_BYTES_MAX = 4_000_000
# Shorter than this, a commit holds the event loop up no longer than other work in it does.
_COMMIT_AT_ONCE_SECONDS = 0.000_6
_IN_A_ROW_MIN = 8

Inline: TypeAlias = Callable[[SQLiteCursor, Sequence[Recorded[Event]]], None]


@dataclass(frozen=True, slots=True)
class FirstOutcome:
    """The key of an append was seen before: these versions of this stream are what came of it."""

    stream: str
    first_version: int
    last_version: int


@dataclass(frozen=True, slots=True)
class Encoded:
    event: Event
    kind: str
    state: bytes


Outcome: TypeAlias = "list[Recorded[Event]] | FirstOutcome"


@dataclass(slots=True)
class Append:
    """All of `events`, or nothing. `outcome` is set by the writer's thread.

    `settled` is called in the appender's loop once these events are on disk, before anybody hears of them.
    """

    stream: str
    events: Sequence[Encoded]
    after: int
    actor: str | None = None
    key: str | None = None
    fingerprint: bytes = b""
    size_bytes: int = 0
    outcome: Outcome | BaseException | None = None
    future: asyncio.Future[Any] | None = None
    settled: Callable[[], None] | None = None


@dataclass(slots=True)
class Job:
    """Something else to do in a transaction of its own: rows of a follower, a lease, a snapshot."""

    work: Callable[[SQLiteCursor], Any]
    outcome: Any = None
    error: BaseException | None = None
    future: asyncio.Future[Any] | None = None


Task: TypeAlias = Append | Job
Done: TypeAlias = Callable[[Sequence[Task]], None]


@dataclass(slots=True)
class Batch:
    appends: list[Append] = field(default_factory=list)
    events: int = 0
    bytes: int = 0

    def has_room(self) -> bool:
        return self.events < BATCH_EVENTS_MAX and self.bytes < BATCH_BYTES_MAX

    def add(self, append: Append) -> None:
        self.appends.append(append)
        self.events += len(append.events)
        self.bytes += append.size_bytes


class Committer:
    """Commits batches, one after the other. Without a thread of its own: the writer's, or a simulation's."""

    def __init__(self, store: SqliteStore, inline: Inline, forget_inline: Callable[[], None]) -> None:
        self._store = store
        self._inline = inline
        self._forget_inline = forget_inline
        self._cursor: SQLiteCursor | None = None
        self._sealer = Sealer(
            lambda stream: LogRecorder.sealer(self._current()).head(stream),
            lambda: LogRecorder.end_of_log(self._current()),
        )

    def _current(self) -> SQLiteCursor:
        assert self._cursor is not None, "asked for outside a transaction"
        return self._cursor

    def commit(self, appends: Sequence[Append]) -> None:
        """Sets each append's `outcome`."""
        try:
            self._transact(appends)
        except Exception as error:
            # Whatever a read model or an event made go wrong, its appender hears of it; the writer lives on.
            self._forget()
            if len(appends) == 1:
                appends[0].outcome = _as_ours(error)
                return
            for append in appends:
                self.commit([append])

    def run(self, job: Job) -> None:
        try:
            with self._store.transaction() as cursor:
                job.outcome = job.work(cursor)
        except (sqlite3.Error, PersistenceError) as error:
            self._forget()
            job.error = _as_ours(error)
        except Exception as error:
            # The job's author hears of it; the writer lives on.
            self._forget()
            job.error = error

    def _forget(self) -> None:
        self._sealer.forget()
        self._forget_inline()

    def _transact(self, appends: Sequence[Append]) -> None:
        with self._store.transaction() as cursor:
            self._cursor = cursor
            outcomes: list[Outcome | BaseException] = []
            recorded: list[Recorded[Event]] = []
            sealed: list[Sealed] = []
            for append in appends:
                outcomes.append(self._take(append, cursor, recorded, sealed))
            if sealed:
                self._store.recorder._insert_events(cursor, sealed)
                self._inline(cursor, recorded)
        for append, outcome in zip(appends, outcomes, strict=True):
            append.outcome = outcome

    def _take(
        self, append: Append, cursor: SQLiteCursor, recorded: list[Recorded[Event]], sealed: list[Sealed]
    ) -> Outcome | BaseException:
        if append.key is not None and (first := _first_outcome(cursor, append)) is not None:
            return first
        head = self._sealer.head(append.stream)
        if head.version != append.after:
            return Conflict(stream=append.stream, expected=append.after, found=head.version)
        version = append.after
        unsealed = []
        for encoded in append.events:
            version += 1
            unsealed.append(Unsealed(append.stream, version, encoded.kind, encoded.state, append.actor))
        mine = self._sealer.seal(unsealed)
        sealed += mine
        placed = [
            Recorded(place.position, append.stream, place.originator_version, place.at, append.actor, encoded.event)
            for place, encoded in zip(mine, append.events, strict=True)
        ]
        recorded += placed
        if append.key is not None:
            cursor.execute(
                "insert into idempotency (key, fingerprint, stream, first_version, last_version, at)"
                " values (?,?,?,?,?,?)",
                (append.key, append.fingerprint, append.stream, append.after + 1, version, placed[-1].at),
            )
        return placed


def _first_outcome(cursor: SQLiteCursor, append: Append) -> FirstOutcome | KeyReused | None:
    cursor.execute(
        "select fingerprint, stream, first_version, last_version from idempotency where key = ?", (append.key,)
    )
    row = cursor.fetchone()
    if row is None:
        return None
    if row[0] != append.fingerprint:
        return KeyReused(key=append.key or "")
    return FirstOutcome(row[1], row[2], row[3])


def _as_ours(error: BaseException) -> BaseException:
    if isinstance(error, (sqlite3.Error, PersistenceError)):
        return StoreFailed(why=str(error))
    return error


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

    def __init__(self, committer: Committer, done: Done) -> None:
        self._committer = committer
        self._done = done
        self._committing = threading.Lock()
        self._solitude = Solitude()
        self._pending = 0
        self._waiting: queue.SimpleQueue[Task | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="clew-writer", daemon=True)
        self._thread.start()

    def submit(self, task: Task) -> None:
        """Called in an event loop; `settled` must be called there for each task that was submitted."""
        alone = isinstance(task, Append) and self._solitude.holds(task, self._pending)
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
        self._committer.commit(appends)
        self._solitude.took(time.perf_counter() - began)
        self._done(appends)

    def close(self) -> None:
        """Returns when everything that was submitted before is on disk."""
        self._waiting.put(None)
        self._thread.join()

    def _work(self) -> None:
        while (task := self._waiting.get()) is not None:
            with self._committing:
                if self._work_on(task):
                    return

    def _work_on(self, task: Task) -> bool:
        """Whether this was the last."""
        if isinstance(task, Job):
            self._run(task)
            return False
        batch = Batch()
        batch.add(task)
        job, last = self._gather(batch)
        self._commit(batch.appends)
        if job is not None:
            self._run(job)
        return last

    def _run(self, job: Job) -> None:
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
