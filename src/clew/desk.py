"""A command in, the rules decide, the log remembers. The only code that appends.

States are kept in memory for the streams that were used last, so a command on a known thread reads nothing. When
somebody else appended first, the tail is read and the rules decide again, a bounded number of times.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any, Generic, TypeVar, cast, get_args

from pydantic import TypeAdapter

from clew.errors import ClewError, Conflict, KeyReused, NotFound, Refused, StoreLost
from clew.events import AssistantEvent, BudgetEvent, Event, Recorded, ThreadStreamEvent
from clew.log import ColumnType, Cursor, Log, Reader
from clew.rules.assistant import Assistant, AssistantCommand, assistant_rules
from clew.rules.budget import Budget, BudgetCommand, budget_rules, stream_of
from clew.rules.commands import ThreadCommand
from clew.rules.decider import Decider
from clew.rules.state import Thread
from clew.rules.thread import thread_rules

# A stream this contended needs another design, not another try.
ATTEMPTS_MAX = 10
# Folding so many events takes about a millisecond, which is what opening or forking a thread may cost.
SNAPSHOT_EVERY_EVENTS = 100
# Snapshots are written together: each write of its own would part two commits of appends.
_SNAPSHOT_GATHER_SECONDS = 0.05
_STATES_MAX = 20_000
_SNAPSHOTS: Mapping[str, ColumnType] = {
    "stream": "text",
    "version": "integer",
    "rules": "text",
    "rules_version": "integer",
    "state": "blob",
}

logger = logging.getLogger(__name__)

C = TypeVar("C")
S = TypeVar("S")
E = TypeVar("E", bound=Event)


@dataclass(frozen=True, slots=True)
class Done(Generic[S]):
    """What a command came to: the events it appended (none when nothing needed to happen) and the state after.

    `repeated` when its idempotency key had been seen: `events` are then those of the first time.
    """

    stream: str
    events: Sequence[Recorded[Event]]
    state: S
    repeated: bool = False


@dataclass(frozen=True, slots=True)
class Key:
    """An idempotency key, and a digest of the request it stands for."""

    key: str
    fingerprint: bytes


@dataclass(slots=True)
class _Known(Generic[S]):
    state: S
    version: int
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    snapshot_version: int = 0
    # Another process has appended since.
    behind: bool = False


# Building one takes longer than most appends, and it is the same for every desk.
_adapter: Callable[[Any], TypeAdapter[Any]] = cache(TypeAdapter)


class _Book(Generic[C, S, E]):
    """One rule book on the log, with the states it knows. `events` is the union of what its streams may hold."""

    def __init__(self, log: Log, rules: Decider[C, S, E], state_type: type[S], events: Any) -> None:
        self._log = log
        self._rules = rules
        self._events: tuple[type[Event], ...] = get_args(events)
        self._states: OrderedDict[str, _Known[S]] = OrderedDict()
        self._adapter: TypeAdapter[S] = _adapter(state_type)
        self._due: list[tuple[str, int, str, int, bytes]] = []
        self._writing: asyncio.Task[None] | None = None

    async def execute(
        self, stream: str, make: Callable[[], C], actor: str | None, key: Key | None, *, new: bool
    ) -> Done[S]:
        if key is not None and (first := self.first_outcome(key)) is not None:
            return first
        known = self._known(stream, new=new)
        async with known.lock:
            for attempt in range(1, ATTEMPTS_MAX + 1):
                if known.behind:
                    self._catch_up(stream, known)
                try:
                    events = self._decide(stream, known, make)
                except Refused:
                    # What stands in the way may be what this very request did, when it came the first time.
                    if key is not None and (first := self.first_outcome(key)) is not None:
                        return first
                    raise
                if not events:
                    first = self.first_outcome(key) if key is not None else None
                    return first or Done(stream, (), known.state)
                try:
                    return await self._append(stream, known, events, actor, key)
                except Conflict:
                    if attempt == ATTEMPTS_MAX:
                        raise
                    known.behind = True
                except StoreLost:
                    known.behind = True
                    raise
        raise AssertionError("the loop returns or raises")

    def _decide(self, stream: str, known: _Known[S], make: Callable[[], C]) -> Sequence[E]:
        """An append says by its version what it was decided on; a refusal, or doing nothing, must be looked at again
        where others append too."""
        try:
            events = self._rules.decide(make(), known.state)
        except Refused:
            if not self._moved(stream, known):
                raise
            return self._rules.decide(make(), known.state)
        if not events and self._moved(stream, known):
            return self._rules.decide(make(), known.state)
        return events

    def _moved(self, stream: str, known: _Known[S]) -> bool:
        """Whether another process has appended what we did not know of. We know of it then."""
        if not self._log.store.shared:
            return False
        before = known.version
        self._catch_up(stream, known)
        return known.version != before

    def state(self, stream: str) -> S:
        return self.known(stream)[1]

    def known(self, stream: str) -> tuple[int, S]:
        """The version that is known, and the state there."""
        known = self._known(stream, new=False)
        if known.behind:
            self._catch_up(stream, known)
        return known.version, known.state

    def heard(self, recorded: Recorded[Event]) -> None:
        known = self._states.get(recorded.stream)
        if known is not None and recorded.version > known.version:
            known.behind = True

    async def _append(
        self, stream: str, known: _Known[S], events: Sequence[E], actor: str | None, key: Key | None
    ) -> Done[S]:
        after = known.version
        between: list[tuple[int, S]] = []

        def settled() -> None:
            # Before anybody hears of the events, and also when whoever asked has gone away meanwhile.
            if known.version == after:
                for start in range(0, len(events), SNAPSHOT_EVERY_EVENTS):
                    portion = events[start : start + SNAPSHOT_EVERY_EVENTS]
                    known.state = self._rules.fold(portion, known.state)
                    known.version += len(portion)
                    between.append((known.version, known.state))

        appended = await self._log.append(
            stream,
            events,
            after=after,
            actor=actor,
            key=key.key if key is not None else None,
            fingerprint=key.fingerprint if key is not None else b"",
            settled=settled,
        )
        if appended.repeated:
            first = appended.events
            return Done(first[0].stream, first, self.state(first[0].stream), repeated=True)
        for version, state in between[:-1]:
            # Many events at once: a fork may be wanted in the midst of them.
            self._write_snapshot(stream, version, state)
        if known.version - known.snapshot_version >= SNAPSHOT_EVERY_EVENTS:
            known.snapshot_version = known.version
            self._write_snapshot(stream, known.version, known.state)
        return Done(stream, appended.events, known.state)

    def first_outcome(self, key: Key) -> Done[S] | None:
        found = self._log.first_outcome(key.key)
        if found is None:
            return None
        fingerprint, stream, first, last = found
        if fingerprint != key.fingerprint:
            raise KeyReused(key=key.key)
        with self._log.reading() as reader:
            events = reader.stream(stream, after=first - 1, upto=last)
        return Done(stream, events, self.state(stream), repeated=True)

    def _known(self, stream: str, *, new: bool) -> _Known[S]:
        known = self._states.get(stream)
        if known is not None:
            self._states.move_to_end(stream)
            return known
        known = _Known(self._rules.initial, 0)
        if not new:
            self._catch_up(stream, known)
        if known.version or new:
            self._states[stream] = known
            self._make_room()
        return known

    def _make_room(self) -> None:
        """Forget the state that was used longest ago, but none that is in use: its lock must stay the only one."""
        if len(self._states) > _STATES_MAX:
            oldest = next((s for s, known in self._states.items() if not known.lock.locked()), None)
            if oldest is not None:
                del self._states[oldest]

    def _catch_up(self, stream: str, known: _Known[S]) -> None:
        with self._log.reading() as reader:
            if known.version == 0:
                known.version, known.state = self._read_snapshot(reader, stream, None)
                known.snapshot_version = known.version
            tail = reader.stream(stream, after=known.version)
        if tail and not isinstance(tail[0].event, self._events):
            # The id of something else: an assistant, say, where a thread was asked for.
            raise NotFound(noun=self._rules.name, id=stream)
        if tail:
            known.state = self._fold(tail, known.state)
            known.version = tail[-1].version
        known.behind = False

    def state_at(self, reader: Reader, stream: str, version: int) -> S:
        """The state after event `version` of the stream."""
        before, state = self._read_snapshot(reader, stream, version)
        return self._fold(reader.stream(stream, after=before, upto=version), state)

    def _fold(self, recorded: Sequence[Recorded[Event]], state: S) -> S:
        return self._rules.fold((cast("E", one.event) for one in recorded), state)

    def _read_snapshot(self, reader: Reader, stream: str, upto: int | None) -> tuple[int, S]:
        """Version and state of the newest snapshot, not newer than `upto`."""
        rows = reader.rows(
            "select version, state from snapshots where stream = ? and rules = ? and rules_version = ?"
            " and version <= ? order by version desc limit 1",
            (stream, self._rules.name, self._rules.version, upto if upto is not None else 2**62),
        )
        return (rows[0][0], self._adapter.validate_json(rows[0][1])) if rows else (0, self._rules.initial)

    def _write_snapshot(self, stream: str, version: int, state: S) -> None:
        """Beside the command, not before its answer: a snapshot only makes the next opening faster."""
        row = (stream, version, self._rules.name, self._rules.version, self._adapter.dump_json(state))
        self._due.append(row)
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write_snapshots())

    async def _write_snapshots(self) -> None:
        await asyncio.sleep(_SNAPSHOT_GATHER_SECONDS)
        while self._due:
            rows, self._due = self._due, []
            try:
                await self._log.write(partial(_insert_snapshots, rows))
            except ClewError:
                logger.warning("%d snapshots were not written; opening takes longer", len(rows), exc_info=True)

    async def settled(self) -> None:
        """Wait for the snapshots on their way, before the log is closed."""
        if self._writing is not None:
            await self._writing


def _insert_snapshots(rows: Sequence[tuple[str, int, str, int, bytes]], cursor: Cursor) -> None:
    cursor.insert("snapshots", _SNAPSHOTS, rows, replacing=("stream", "version"))


class Desk:
    """Takes commands. `actor` is who asks, for the log; a `make` that reads facts is called when its turn comes."""

    def __init__(self, log: Log) -> None:
        self._threads: _Book[ThreadCommand, Thread, ThreadStreamEvent] = _Book(
            log, thread_rules, Thread, ThreadStreamEvent
        )
        self._assistants: _Book[AssistantCommand, Assistant, AssistantEvent] = _Book(
            log, assistant_rules, Assistant, AssistantEvent
        )
        self._budgets: _Book[BudgetCommand, Budget, BudgetEvent] = _Book(log, budget_rules, Budget, BudgetEvent)

    async def on_thread(
        self,
        thread_id: str,
        make: Callable[[], ThreadCommand],
        *,
        actor: str | None = None,
        key: Key | None = None,
        new: bool = False,
    ) -> Done[Thread]:
        """`new` says that the id was made just now, so that there is nothing to read. Raises `Refused`."""
        return await self._threads.execute(thread_id, make, actor, key, new=new)

    async def on_assistant(
        self,
        assistant_id: str,
        make: Callable[[], AssistantCommand],
        *,
        actor: str | None = None,
        key: Key | None = None,
        new: bool = False,
    ) -> Done[Assistant]:
        return await self._assistants.execute(assistant_id, make, actor, key, new=new)

    async def on_budget(
        self, budget_id: str, make: Callable[[], BudgetCommand], *, actor: str | None = None
    ) -> Done[Budget]:
        return await self._budgets.execute(stream_of(budget_id), make, actor, None, new=False)

    def thread_outcome(self, key: Key) -> Done[Thread] | None:
        """What the command of that key came to, whichever thread it was for; None when it never came.

        Raises `KeyReused` when it came with another request.
        """
        return self._threads.first_outcome(key)

    def thread(self, thread_id: str) -> Thread:
        """The rules' state of a thread as of now."""
        return self._threads.state(thread_id)

    def thread_and_version(self, thread_id: str) -> tuple[int, Thread]:
        """The same with the version that it is at, as far as this process has heard: an append to it tells."""
        return self._threads.known(thread_id)

    def thread_at(self, reader: Reader, thread_id: str, version: int) -> Thread:
        """The rules' state of a thread after its event `version`."""
        return self._threads.state_at(reader, thread_id, version)

    def committed(self, recorded: Sequence[Recorded[Event]]) -> None:
        """Hears every commit, also of other processes."""
        for one in recorded:
            self._threads.heard(one)
            self._assistants.heard(one)
            self._budgets.heard(one)

    async def close(self) -> None:
        await self._threads.settled()
        await self._assistants.settled()
        await self._budgets.settled()
