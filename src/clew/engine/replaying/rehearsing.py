"""Playing a recorded thread again with today's engine: nothing is called, and every event is compared.

The engine drives the run as ever. Where it asks the world, the recording answers; what others did to the thread is
put in where it stood; where a process died, the hand is dropped and another one takes the run.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field

from clew.bus import Bus
from clew.desk import Key
from clew.engine.driving import drive
from clew.engine.hand import Driving, Hand
from clew.engine.replaying.budgeting import RecordedBudgets
from clew.engine.replaying.comparing import Difference, Names, differences
from clew.engine.replaying.outside import deed
from clew.engine.replaying.recorded_answers import RecordedProvider, RecordedTools
from clew.engine.replaying.recorded_bounds import recorded_bounds
from clew.engine.replaying.recordings import Recording
from clew.engine.replaying.stage import Stage
from clew.errors import Refused
from clew.events.base import Event, Recorded
from clew.events.model import ContextAssembled, ModelCalled, ModelFailed
from clew.events.run import RunExpired, RunQueued, RunStarted
from clew.rules.commands import StartRun, ThreadCommand
from clew.rules.model_commands import BeginModelCall
from clew.rules.moves import Await, next_move

# The engine is never that slow: who waits for longer waits for what does not come.
_STUCK_SECONDS = 2.0
_HAND: ContextVar[_RehearsedHand] = ContextVar("hand")


class _Over(Exception):
    """The process that drives the run is thought of as dead, or nothing more was recorded."""


@dataclass(slots=True, kw_only=True)
class _RehearsedHand(Hand):
    """`over`: it counts for nothing any more."""

    play: Rehearsal
    over: bool = False

    async def do(self, command: ThreadCommand, key: Key | None = None) -> bool:
        await self.play.turn(self, command)
        happened = await Hand.do(self, command, key)
        await self.play.put_in_what_comes(self)
        return happened


@dataclass
class Rehearsal:
    """One thread on a stage. `version` is how far today's engine is; `apart` says that it does not follow any more."""

    stage: Stage
    recording: Recording
    version: int = 0
    names: Names = field(default_factory=Names)
    differences: list[Difference] = field(default_factory=list)
    apart: bool = False
    _positions: list[int] = field(default_factory=list)
    _copying: bool = False
    _moved: asyncio.Event = field(default_factory=asyncio.Event)
    _putting: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def begin(self, version: int) -> None:
        """Put the recorded events up to `version` on the stage, with all that the thread inherited."""
        self.stage.hears = self._hear
        for stream, events in self.recording.lineage.items():
            await self.stage.copy(stream, events)
        self._copying = True
        await self.stage.copy(self.recording.thread_id, self.recording.events[self.version : version], self.version)
        self._copying = False

    async def skip_to(self, version: int) -> None:
        """Put in what lies between two runs."""
        while self.version < version and not self.apart:
            if not self.recording.is_from_outside(self.version + 1):
                self._note("kind", self._next(), None)
                return
            await self._put_in()

    async def run(self, queued: Recorded[RunQueued]) -> None:
        """Play a run to where its recording ends. The thread stands just after `queued`."""
        self.stage.clock.now = 0
        run_id, fence = queued.event.run_id, 0
        while not self.apart:
            while self._outside_is_next(run_id):
                await self._put_in()
            if self.apart or not self._is_active(run_id) or self._next() is None:
                return
            self._set_clock()
            before = self.version
            hand = self._hand(queued.event, fence)
            died = await self._drive(hand)
            # A process that lost its store for a while goes on with the fence that it has.
            fence = hand.fence if died and isinstance(self._next_event(), ModelFailed) else 0
            if self.version == before and not died and not self.apart:
                self._note("kind", self._next(), None)

    async def _drive(self, hand: _RehearsedHand) -> bool:
        """Whether it died."""
        token = _HAND.set(hand)
        try:
            await drive(hand)
        except _Over:
            return True
        finally:
            _HAND.reset(token)
            hand.over = True
            self._wake()
        return False

    def _hand(self, queued: RunQueued, fence: int) -> _RehearsedHand:
        taking = self.recording.taking(self.version)
        since = self.version
        driving = Driving(
            log=self.stage.log,
            desk=self.stage.desk,
            bus=Bus(),
            providers=self._providers(queued),
            toolbox=RecordedTools(self),
            worker=taking.worker if taking is not None else "replay",
            lease_seconds=taking.lease_seconds if taking is not None else 30.0,
            model_attempts_max=self.recording.attempts_max(queued.run_id, since),
            context_tokens=self.recording.context_tokens(queued.run_id, since),
            budgets=RecordedBudgets(self),
            pause=self._pause,
            bounds=recorded_bounds(self.recording, queued.run_id, since),
            in_turn=False,
            takes_doubts=lambda *_: isinstance(self._next_event(), RunStarted),
            successor=lambda *_: self.recording.successor(self.version),
        )
        return _RehearsedHand(driving, self.recording.thread_id, queued.run_id, queued, fence=fence, play=self)

    def _providers(self, queued: RunQueued) -> dict[str, RecordedProvider]:
        """Those that the server had, as far as the run asked for any."""
        config, since = queued.config, self.version
        found = {name: RecordedProvider(self) for name in self.recording.providers(queued.run_id, since)}
        summarises = config.truncation.provider
        if summarises is not None and self.recording.has_summary_provider(queued.run_id, since):
            found.setdefault(summarises, RecordedProvider(self))
        return found

    # Where it stands

    def _next(self) -> Recorded[Event] | None:
        return self.recording.at(self.version + 1)

    def _next_event(self) -> Event | None:
        recorded = self._next()
        return recorded.event if recorded is not None else None

    def _is_active(self, run_id: str) -> bool:
        run = self.stage.desk.thread(self.recording.thread_id).run
        return run is not None and run.run_id == run_id

    def _outside_is_next(self, run_id: str) -> bool:
        following = self._next()
        if self.apart or following is None or not self.recording.is_from_outside(following.version):
            return False
        return self._is_active(run_id) and not self._comes_too_late(following)

    def _comes_too_late(self, outside: Recorded[Event]) -> bool:
        """Whether the next context was read before this happened, though it was recorded after it."""
        for recorded in self.recording.after(outside.version):
            if isinstance(recorded.event, ContextAssembled):
                as_of: int | None = getattr(recorded.event.manifest, "as_of", None)
                return as_of is not None and as_of < outside.position
            if not self.recording.is_from_outside(recorded.version) and not isinstance(recorded.event, RunStarted):
                return False
        return False

    def _set_clock(self) -> None:
        end = self.recording.end_at(self.version + 1)
        run = self.stage.desk.thread(self.recording.thread_id).run
        if end is not None and isinstance(end.event, RunExpired) and run is not None:
            self.stage.clock.now = run.expires_at or 0

    # What is done to the thread

    def _hear(self, commit: Sequence[Recorded[Event]]) -> None:
        for today in commit:
            if today.stream != self.recording.thread_id:
                continue
            self.version = today.version
            self._positions.append(today.position)
            if not self._copying and not self.apart:
                self._compare(today)
        self._wake()

    def _compare(self, today: Recorded[Event]) -> None:
        recorded = self.recording.at(today.version)
        if recorded is None:
            self.differences.append(Difference(today.version, today.event.kind, "kind", None, today.event.kind))
            self.apart = True
            return
        found = list(
            differences(
                today.version,
                recorded.event,
                self.stage.unplaced(recorded.event, today.event),
                self.names,
                self._recorded_before,
                lambda position: bisect_right(self._positions, position),
            )
        )
        self.differences += found
        self.apart = any(one.field == "kind" for one in found)

    def _recorded_before(self, position: int) -> int:
        return bisect_right(self.recording.events, position, key=lambda recorded: recorded.position)

    def _note(self, field: str, recorded: Recorded[Event] | None, today: str | None) -> None:
        """From here on they are apart."""
        version = self.version + 1
        kind = recorded.event.kind if recorded is not None else None
        self.differences.append(Difference(version, kind or today or "", field, kind, today))
        self.apart = True
        self._wake()

    def _wake(self) -> None:
        self._moved.set()
        self._moved = asyncio.Event()

    async def put_in_what_comes(self, hand: _RehearsedHand) -> None:
        """What others did next. What a run waits for is for the one who takes it afterwards."""
        while not hand.over and self._outside_is_next(hand.run_id):
            run = hand.run()
            if run is None or isinstance(next_move(run), Await):
                return
            await self._put_in()

    async def _put_in(self) -> None:
        """Do what somebody outside did next: by a command where the rules have a say, else as it was recorded."""
        async with self._putting:
            version = self.version
            following = self._next()
            if self.apart or following is None or not self.recording.is_from_outside(following.version):
                return
            command = deed(self.recording, following)
            try:
                if command is None:
                    event = self.names.translated(following.event)
                    await self.stage.log.append(self.recording.thread_id, [event], after=version)
                else:
                    wanted = command
                    await self.stage.desk.on_thread(self.recording.thread_id, lambda: wanted)
            except Refused as refusal:
                self._note("kind", following, f"refused: {refusal}")
                return
            if self.version == version:
                self._note("kind", following, None)

    # Where the engine asks

    async def answer(self, ready: Callable[[Event], bool], what: str) -> Event | None:
        """What was recorded next, when it is what the hand that asks here waits for."""
        return await self.until(_HAND.get(), ready, what)

    async def turn(self, hand: _RehearsedHand, command: ThreadCommand) -> None:
        """Before the engine does something: what others did first, and, of tools side by side, whose turn it is."""
        while True:
            following = await self._following(hand)
            takes = isinstance(command, StartRun) or (isinstance(command, BeginModelCall) and command.claim is not None)
            if isinstance(following.event, RunStarted) and not takes:
                self._drop(hand)
            mine: str | None = getattr(command, "tool_call_id", None)
            theirs: str | None = getattr(following.event, "tool_call_id", None)
            if mine is None or theirs is None or mine == theirs or not await self._movement():
                return

    async def until(
        self, hand: _RehearsedHand, ready: Callable[[Event], bool], what: str, *, comes_back: bool = False
    ) -> Event | None:
        """What was recorded next, when it is what is waited for. None, where `comes_back`, if the run is interrupted.

        Elsewhere whoever waits is ended from without.
        """
        while True:
            following = await self._following(hand)
            if ready(following.event):
                return following.event
            if isinstance(following.event, RunStarted) or _is_lost(following.event):
                self._drop(hand)
            if self.recording.end_at(following.version) is not None:
                self._set_clock()
                hand.interrupted.set()
                if comes_back:
                    return None
            if not await self._movement():
                self._note("kind", following, f"waits for {what}")

    async def _following(self, hand: _RehearsedHand) -> Recorded[Event]:
        """What was recorded next by the engine. Raises `_Over` when there is nothing."""
        while True:
            following = self._next()
            if hand.over or self.apart or following is None:
                self._drop(hand)
            elif self.recording.is_from_outside(following.version):
                await self._put_in()
            else:
                return following

    def _drop(self, hand: _RehearsedHand) -> None:
        hand.over = True
        self._wake()
        raise _Over

    async def _movement(self) -> bool:
        """Whether anything was appended before long."""
        try:
            await asyncio.wait_for(self._moved.wait(), _STUCK_SECONDS)
        except TimeoutError:
            return False
        return True

    async def passes(self, hand: Hand, ready: Callable[[Event], bool], what: str) -> bool:
        """Whether a pause was over when something else was recorded, and not interrupted."""
        assert isinstance(hand, _RehearsedHand)
        return await self.until(hand, ready, what, comes_back=True) is not None

    async def _pause(self, hand: Hand, seconds: float) -> bool:
        return await self.passes(hand, lambda event: isinstance(event, ModelCalled), "the next attempt")


def _is_lost(event: Event) -> bool:
    return isinstance(event, ModelFailed) and event.code == "lost"
