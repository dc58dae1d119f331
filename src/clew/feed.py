"""Following a stream from any version on: first what the log has, then what comes, without a gap or a repetition."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from clew.bus import AnswerDropped, Bus, Heard
from clew.events.base import Event, Recorded
from clew.events.model import ModelAnswered, ModelFailed
from clew.log import Log

# A long backlog goes out in pieces, between which the loop gets its turn to notice a client that has gone.
_PAGE_EVENTS = 256


class Feed:
    def __init__(self, log: Log, bus: Bus) -> None:
        self._log = log
        self._bus = bus

    async def follow(
        self, stream: str, after: int, *, heartbeat_seconds: float = 15.0
    ) -> AsyncGenerator[Heard | None, None]:
        """Events of `stream` with versions above `after`, and previews between them; None when it is quiet.

        Ends only when the listener cannot keep up, or the process ends: follow again from the last version.
        """
        async with aclosing(self.batches(stream, after, heartbeat_seconds=heartbeat_seconds)) as batches:
            async for batch in batches:
                if not batch:
                    yield None
                for heard in batch:
                    yield heard

    async def batches(
        self, stream: str, after: int, *, heartbeat_seconds: float = 15.0
    ) -> AsyncGenerator[list[Heard], None]:
        """The same, with all that came together in one list: an empty one when it is quiet."""
        # The subscription comes before the first look into the log, or what happens in between would be lost.
        with self._bus.subscribe(stream) as subscription:
            version = after
            over: set[str] = set()
            more = True
            while more:
                page = self._page(stream, version)
                more = len(page) == _PAGE_EVENTS
                for recorded in page:
                    _note(recorded, over)
                    version = recorded.version
                backlog: list[Heard] = list(page)
                if backlog:
                    yield backlog
                    await asyncio.sleep(0)
            live: list[Heard] = [one for one in subscription.live if one.model_call_id not in over]
            if live:
                yield live
            while not subscription.over:
                batch: list[Heard] = []
                heard = await subscription.next(heartbeat_seconds)
                for one in heard:
                    if not isinstance(one, Recorded):
                        if isinstance(one, AnswerDropped) or one.model_call_id not in over:
                            batch.append(one)
                        continue
                    for recorded in self._in_order(stream, version, one):
                        _note(recorded, over)
                        version = recorded.version
                        batch.append(recorded)
                if batch or not heard:
                    yield batch

    def _page(self, stream: str, after: int) -> list[Recorded[Event]]:
        with self._log.reading() as reader:
            return reader.stream(stream, after=after, limit=_PAGE_EVENTS)

    def _in_order(self, stream: str, version: int, recorded: Recorded[Event]) -> list[Recorded[Event]]:
        """`recorded` if it is the next one, nothing if it was seen, and what is missing before it from the log."""
        if recorded.version <= version:
            return []
        if recorded.version == version + 1:
            return [recorded]
        with self._log.reading() as reader:
            return reader.stream(stream, after=version, upto=recorded.version)


def _note(recorded: Recorded[Event], over: set[str]) -> None:
    """Remember that an answer is over: previews of it that are still on the way are of no use."""
    event = recorded.event
    if isinstance(event, ModelAnswered) or (isinstance(event, ModelFailed) and event.final):
        over.add(event.model_call_id)
