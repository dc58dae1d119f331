"""Where a recorded run is played again: a log in memory with all read models, and a desk. It takes no thread."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import clew_projections
from clew.desk import Desk
from clew.events.base import Event, Recorded
from clew.events.thread import ThreadForked
from clew.log import Log
from clew.log.committer import Committer
from clew.log.sqlite import SqliteStore
from clew.log.store import Store
from clew.log.tasks import Append, Done, Task
from clew.projecting import Keeper, discover

_PAGE_EVENTS = 500

Listener = Callable[[Sequence[Recorded[Event]]], None]


class _AtOnce:
    """A writer that commits where it is asked to: nobody else is here, and memory needs no waiting for."""

    def __init__(self, store: Store, committer: Committer, done: Done) -> None:
        self._committer = committer
        self._done = done

    def submit(self, task: Task) -> None:
        if isinstance(task, Append):
            self._committer.commit([task])
        else:
            self._committer.run(task)
        self._done([task])

    def settled(self, tasks: int) -> None:
        """Nothing waits."""

    def close(self) -> None:
        """Nothing is open."""


@dataclass
class Clock:
    """It stands still until somebody moves it."""

    now: int = 0


@dataclass
class Stage:
    """Made for one event loop. `hears` is told of every commit."""

    clock: Clock = field(default_factory=Clock)
    hears: Listener = lambda recorded: None

    def __post_init__(self) -> None:
        self._keeper = Keeper(discover(clew_projections))
        store = SqliteStore(None, clock=lambda: self.clock.now)
        self.log = Log(store, self._keeper.inline, self._keeper.forget, self._keeper.swapped, _AtOnce)
        self.desk = Desk(self.log)

    async def open(self) -> Stage:
        await self._keeper.prepare(self.log)
        self.log.listen(self.desk.committed)
        self.log.listen(lambda recorded: self.hears(recorded))
        return self

    async def close(self) -> None:
        await self.desk.close()
        self.log.close()

    async def copy(self, stream: str, events: Sequence[Recorded[Event]], after: int = 0) -> None:
        """Put recorded events into the log as they are, in the places they had in their stream."""
        for start in range(0, len(events), _PAGE_EVENTS):
            page = [self._placed(one.event) for one in events[start : start + _PAGE_EVENTS]]
            await self.log.append(stream, page, after=after + start)

    def _placed(self, event: Event) -> Event:
        """A fork sees its parent as of a position; here the parent stands elsewhere."""
        if not isinstance(event, ThreadForked) or event.parent_position is None:
            return event
        with self.log.reading() as reader:
            [left_at] = reader.stream(event.parent, after=event.parent_version - 1, upto=event.parent_version)
        return event.model_copy(update={"parent_position": left_at.position})

    @staticmethod
    def unplaced(recorded: Event, today: Event) -> Event:
        """Today's event with the position of the recorded one, where the two logs cannot agree."""
        if isinstance(recorded, ThreadForked) and isinstance(today, ThreadForked):
            return today.model_copy(update={"parent_position": recorded.parent_position})
        return today
