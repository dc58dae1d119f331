"""A command in, the rules decide, the log remembers. The only code that appends.

States are kept in memory for the streams that were used last, so a command on a known thread reads nothing. When
somebody else appended first, the tail is read and the rules decide again, a bounded number of times.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar, cast

from pydantic import TypeAdapter

from clew.errors import Conflict, KeyReused
from clew.events import AssistantEvent, Event, Recorded, ThreadStreamEvent
from clew.log import Log, Reader
from clew.rules.assistant import Assistant, AssistantCommand, assistant_rules
from clew.rules.commands import ThreadCommand
from clew.rules.decider import Decider
from clew.rules.state import Thread
from clew.rules.thread import thread_rules

# A stream this contended needs another design, not another try.
ATTEMPTS_MAX = 5
SNAPSHOT_EVERY_EVENTS = 1_000
_STATES_MAX = 20_000

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


class _Book(Generic[C, S, E]):
    """One rule book on the log, with the states it knows."""

    def __init__(self, log: Log, rules: Decider[C, S, E], state_type: type[S]) -> None:
        self._log = log
        self._rules = rules
        self._states: OrderedDict[str, _Known[S]] = OrderedDict()
        self._adapter: TypeAdapter[S] = TypeAdapter(state_type)
        self._snapshots: set[asyncio.Task[None]] = set()

    async def execute(
        self, stream: str, make: Callable[[], C], actor: str | None, key: Key | None, *, new: bool
    ) -> Done[S]:
        if key is not None and (first := self._first_outcome(key)) is not None:
            return first
        known = self._known(stream, new=new)
        async with known.lock:
            for attempt in range(1, ATTEMPTS_MAX + 1):
                events = self._rules.decide(make(), known.state)
                if not events:
                    return Done(stream, (), known.state)
                try:
                    return await self._append(stream, known, events, actor, key)
                except Conflict:
                    if attempt == ATTEMPTS_MAX:
                        raise
                    self._catch_up(stream, known)
        raise AssertionError("the loop returns or raises")

    def state(self, stream: str) -> S:
        return self._known(stream, new=False).state

    async def _append(
        self, stream: str, known: _Known[S], events: Sequence[E], actor: str | None, key: Key | None
    ) -> Done[S]:
        def settled() -> None:
            # Before anybody hears of the events, and also when whoever asked has gone away meanwhile.
            known.state = self._rules.fold(events, known.state)
            known.version += len(events)

        appended = await self._log.append(
            stream,
            events,
            after=known.version,
            actor=actor,
            key=key.key if key is not None else None,
            fingerprint=key.fingerprint if key is not None else b"",
            settled=settled,
        )
        if appended.repeated:
            first = appended.events
            return Done(first[0].stream, first, self.state(first[0].stream), repeated=True)
        if known.version - known.snapshot_version >= SNAPSHOT_EVERY_EVENTS:
            self._write_snapshot(stream, known)
        return Done(stream, appended.events, known.state)

    def _first_outcome(self, key: Key) -> Done[S] | None:
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
                self._read_snapshot(reader, stream, known)
            tail = reader.stream(stream, after=known.version)
        if tail:
            known.state = self._rules.fold((cast("E", recorded.event) for recorded in tail), known.state)
            known.version = tail[-1].version

    def _read_snapshot(self, reader: Reader, stream: str, known: _Known[S]) -> None:
        rows = reader.rows(
            "select version, state from snapshots where stream = ? and rules = ? and rules_version = ?",
            (stream, self._rules.name, self._rules.version),
        )
        if rows:
            known.version = known.snapshot_version = rows[0][0]
            known.state = self._adapter.validate_json(rows[0][1])

    def _write_snapshot(self, stream: str, known: _Known[S]) -> None:
        """Beside the command, not before its answer: a snapshot only makes the next opening faster."""
        known.snapshot_version = known.version
        row = (stream, known.version, self._rules.name, self._rules.version, self._adapter.dump_json(known.state))

        def work(cursor: Any) -> None:
            cursor.execute(
                "insert into snapshots (stream, version, rules, rules_version, state) values (?,?,?,?,?)"
                " on conflict (stream) do update set version = excluded.version, rules = excluded.rules,"
                " rules_version = excluded.rules_version, state = excluded.state",
                row,
            )

        task = asyncio.create_task(self._log.write(work))
        self._snapshots.add(task)
        task.add_done_callback(self._snapshots.discard)

    async def settled(self) -> None:
        """Wait for the snapshots on their way, before the log is closed."""
        if self._snapshots:
            await asyncio.wait(set(self._snapshots))


class Desk:
    """Takes commands. `actor` is who asks, for the log; a `make` that reads facts is called when its turn comes."""

    def __init__(self, log: Log) -> None:
        self._threads: _Book[ThreadCommand, Thread, ThreadStreamEvent] = _Book(log, thread_rules, Thread)
        self._assistants: _Book[AssistantCommand, Assistant, AssistantEvent] = _Book(log, assistant_rules, Assistant)

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

    def thread(self, thread_id: str) -> Thread:
        """The rules' state of a thread as of now."""
        return self._threads.state(thread_id)

    async def close(self) -> None:
        await self._threads.settled()
        await self._assistants.settled()
