"""Verifying: would today's engine do again what it did? Nothing is called; every event is compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from clew.engine.replaying.comparing import Difference
from clew.engine.replaying.recordings import Recording
from clew.engine.replaying.rehearsing import Rehearsal
from clew.engine.replaying.stage import Stage
from clew.errors import NotFound
from clew.events.base import Event, Recorded
from clew.events.run import RunQueued

# A log in memory that has grown so large is left for a fresh one.
_STAGE_EVENTS_MAX = 50_000


@dataclass(frozen=True, slots=True)
class Verdict:
    """`events` were compared, all that the run's recording has unless there are differences."""

    run_id: str
    thread_id: str
    events: int
    differences: Sequence[Difference]

    @property
    def same(self) -> bool:
        return not self.differences


@dataclass
class Verifier:
    """Keeps a stage from thread to thread, since setting one up costs more than a short run. For one event loop."""

    _stage: Stage | None = None
    _on_stage: int = 0
    _streams: set[str] = field(default_factory=set)

    async def thread(self, recording: Recording) -> list[Verdict]:
        """All runs of a thread, one after the other."""
        found: list[Verdict] = []
        play: Rehearsal | None = None
        for queued in _queued(recording):
            if play is not None:
                await play.skip_to(queued.version)
            if play is None or play.apart:
                play = await self._begin(recording, queued.version)
            found.append(await self._play(play, queued))
        return found

    async def run(self, recording: Recording, run_id: str) -> Verdict:
        """One run of a thread. Raises `NotFound`."""
        for queued in _queued(recording):
            if queued.event.run_id == run_id:
                return await self._play(await self._begin(recording, queued.version), queued)
        raise NotFound(noun="run", id=run_id)

    async def close(self) -> None:
        if self._stage is not None:
            await self._stage.close()
            self._stage = None

    async def _begin(self, recording: Recording, version: int) -> Rehearsal:
        streams = {recording.thread_id, *recording.lineage}
        if self._stage is not None and (self._on_stage > _STAGE_EVENTS_MAX or streams & self._streams):
            await self.close()
        if self._stage is None:
            self._stage, self._on_stage, self._streams = await Stage().open(), 0, set()
        self._on_stage += sum(map(len, (recording.events, *recording.lineage.values())))
        self._streams |= streams
        play = Rehearsal(self._stage, recording)
        await play.begin(version)
        return play

    async def _play(self, play: Rehearsal, queued: Recorded[RunQueued]) -> Verdict:
        seen = len(play.differences)
        await play.run(queued)
        compared = play.version - queued.version
        run_id, thread_id = queued.event.run_id, queued.stream
        return Verdict(run_id, thread_id, compared, tuple(play.differences[seen:]))


def _queued(recording: Recording) -> list[Recorded[RunQueued]]:
    return [_as_queued(recorded) for recorded in recording.runs()]


def _as_queued(recorded: Recorded[Event]) -> Recorded[RunQueued]:
    assert isinstance(recorded.event, RunQueued)
    return Recorded(recorded.position, recorded.stream, recorded.version, recorded.at, recorded.actor, recorded.event)
