"""The log: append, read, follow.

`append` is all or nothing, and acknowledged only when it is on disk. A stream must be at the version that the
append names, else `Conflict`. An idempotency key that was seen gives its first outcome and appends nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol, TypeVar

from clew.errors import StoreFailed, StoreLost
from clew.events.base import Event, Recorded
from clew.log import codec
from clew.log.chain import Salter
from clew.log.committer import Committer
from clew.log.reader import CACHED_BYTES_MAX, EventCache, Reader
from clew.log.store import Cursor, Store
from clew.log.tasks import Append, Done, FirstOutcome, Forget, Inline, Job, Outcome, Task
from clew.log.writer import Writer

# Others are looked for this often, for the case that word of them was lost.
_POLL_SECONDS = 0.25
_PAGE_EVENTS = 500

T = TypeVar("T")
Listener = Callable[[Sequence[Recorded[Event]]], None]


class Appended(NamedTuple):
    """What an append came to. `repeated` when its idempotency key had been seen: the events are the first ones."""

    events: list[Recorded[Event]]
    repeated: bool = False


class PutsThrough(Protocol):
    """What a log gives its tasks to. `done` of the committer's side is called with what was finished."""

    def submit(self, task: Task) -> None: ...

    def settled(self, tasks: int) -> None: ...

    def close(self) -> None: ...


class Log:
    """`inline` projects into the appending transaction; `forget_inline` is called with a stream whose rows another
    process may have changed, or with None when nothing that was remembered counts. `make_writer` is for simulations.
    """

    def __init__(
        self,
        store: Store,
        inline: Inline = lambda cursor, recorded: None,
        forget_inline: Forget = lambda stream: None,
        swapped: Callable[[Cursor], None] = lambda cursor: None,
        make_writer: Callable[[Store, Committer, Done], PutsThrough] = Writer,
    ) -> None:
        self.store = store
        self.cache = EventCache()
        self._salter = Salter()
        self._listeners: list[Listener] = []
        self._own_listeners: list[Listener] = []
        self._committer = Committer(store, inline, forget_inline, swapped)
        self._writer = make_writer(store, self._committer, self._done) if store.writing else None

    def listen(self, listener: Listener, *, own_only: bool = False) -> None:
        """Call `listener` in the event loop with what was committed, in order, before its appender hears of it.

        With other processes on the log, what they append comes too, after a while, and ours may come twice;
        `own_only` is for those who want to hear of this process only.
        """
        (self._own_listeners if own_only else self._listeners).append(listener)

    def now(self) -> int:
        """The store's clock: microseconds since 1970."""
        return self.store.now()

    async def follow_others(self, woken: asyncio.Event, after: int) -> None:
        """For ever: tell the listeners what other processes append behind the position `after`, whenever `woken` and
        now and then unasked.
        """
        position = after
        while True:
            woken.clear()
            try:
                position = self._tell_of_others(position)
            except (StoreFailed, StoreLost):
                await asyncio.sleep(_POLL_SECONDS)
                continue
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(woken.wait(), _POLL_SECONDS)

    def _tell_of_others(self, position: int) -> int:
        own = self._committer.own
        while True:
            with self.reading() as reader:
                page = reader.follow(position, _PAGE_EVENTS)
            others = [recorded for recorded in page if recorded.position not in own]
            if others:
                for listener in self._listeners:
                    listener(others)
            own.difference_update(recorded.position for recorded in page)
            position = page[-1].position if page else position
            if len(page) < _PAGE_EVENTS:
                return position

    async def append(
        self,
        stream: str,
        events: Sequence[Event],
        *,
        after: int,
        actor: str | None = None,
        key: str | None = None,
        fingerprint: bytes = b"",
        settled: Callable[[], None] | None = None,
    ) -> Appended:
        """`settled` is called in the loop when the events are on disk, even if the appender was cancelled."""
        salted, size_bytes = [], 0
        for event in events:
            state = codec.encode(event)
            size_bytes += len(state)
            # Hashed here, while the writer waits for its disk, and not there, where everybody waits for the writer.
            salted.append(self._salter.salt(event, event.kind, state))
        append = Append(stream, salted, after, actor, key, fingerprint, size_bytes, settled)
        outcome: Outcome = await self._submit(append)
        if isinstance(outcome, FirstOutcome):
            with self.reading() as reader:
                first = reader.stream(outcome.stream, after=outcome.first_version - 1, upto=outcome.last_version)
            return Appended(first, repeated=True)
        return Appended(outcome)

    async def write(self, work: Callable[[Cursor], T], *, alone: bool = False) -> T:
        """Run `work` in a writing transaction of its own, for what is not an event: followers, leases, snapshots.

        `alone`: while nobody appends, in whatever process.
        """
        done: T = await self._submit(Job(work, alone))
        return done

    @contextmanager
    def reading(self) -> Iterator[Reader]:
        """One moment of the log and of all read models."""
        with self.store.snapshot() as cursor:
            yield Reader(cursor, self.cache)

    def first_outcome(self, key: str) -> tuple[bytes, str, int, int] | None:
        """Fingerprint, stream and versions of what `key` stands for, if it was seen."""
        with self.reading() as reader:
            rows = reader.rows(
                "select fingerprint, stream, first_version, last_version from idempotency where key = ?", (key,)
            )
        return tuple(rows[0]) if rows else None

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self.store.close()

    def _submit(self, task: Task) -> asyncio.Future[Any]:
        assert self._writer is not None, "this log was opened for reading only"
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        task.future = future
        self._writer.submit(task)
        return future

    def _done(self, tasks: Sequence[Task]) -> None:
        """Wake the loops, once each; in the writer's thread, or at once in the loop that committed by itself."""
        by_loop: dict[asyncio.AbstractEventLoop, list[Task]] = {}
        for task in tasks:
            assert task.future is not None
            by_loop.setdefault(task.future.get_loop(), []).append(task)
        for loop, mine in by_loop.items():
            if loop is _running_loop():
                self._settle(mine)
                continue
            try:
                loop.call_soon_threadsafe(self._settle, mine)
            except RuntimeError:
                # The loop was closed while its append was on the way; nobody is left to tell.
                continue

    def _settle(self, tasks: Sequence[Task]) -> None:
        """In the loop: tell the listeners, then whoever waits."""
        assert self._writer is not None
        self._writer.settled(len(tasks))
        committed: list[Recorded[Event]] = []
        cached: list[Recorded[Event]] = []
        for task in tasks:
            outcome = task.outcome
            if isinstance(task, Append) and isinstance(outcome, list):
                committed += outcome
                if task.settled is not None:
                    task.settled()
                if task.size_bytes <= CACHED_BYTES_MAX:
                    cached += outcome
        if committed:
            self.cache.add(cached)
            for listener in (*self._listeners, *self._own_listeners):
                listener(committed)
        for task in tasks:
            future = task.future
            if future is None or future.done():
                continue
            error = task.error if isinstance(task, Job) else task.outcome
            if isinstance(error, BaseException):
                future.set_exception(error)
            else:
                future.set_result(task.outcome)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    return asyncio._get_running_loop()
