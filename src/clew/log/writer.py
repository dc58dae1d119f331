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
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from eventsourcing.persistence import PersistenceError
from eventsourcing.sqlite import SQLiteCursor

from clew.errors import ClewError, Conflict, KeyReused, StoreFailed
from clew.events.base import Event, Recorded
from clew.log.chain import Sealed, Sealer, Unsealed
from clew.log.stores import LogRecorder, SqliteStore

BATCH_EVENTS_MAX = 512
BATCH_BYTES_MAX = 4_000_000

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
        except (sqlite3.Error, PersistenceError, ClewError, ValueError, TypeError, AssertionError) as error:
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


class Writer:
    """A thread around a `Committer`. `done` is told of finished tasks, in that thread."""

    def __init__(self, committer: Committer, done: Done) -> None:
        self._committer = committer
        self._done = done
        self._waiting: queue.SimpleQueue[Task | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="clew-writer", daemon=True)
        self._thread.start()

    def submit(self, task: Task) -> None:
        self._waiting.put(task)

    def close(self) -> None:
        """Returns when everything that was submitted before is on disk."""
        self._waiting.put(None)
        self._thread.join()

    def _work(self) -> None:
        while (task := self._waiting.get()) is not None:
            if isinstance(task, Job):
                self._committer.run(task)
                self._done([task])
                continue
            batch = Batch()
            batch.add(task)
            job, last = self._gather(batch)
            self._committer.commit(batch.appends)
            self._done(batch.appends)
            if job is not None:
                self._committer.run(job)
                self._done([job])
            if last:
                return

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
