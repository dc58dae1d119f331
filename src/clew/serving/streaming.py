"""A run's stream of server-sent events: what the feed tells, through a dialect's encoder, to one client."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Protocol

from clew import exact_json
from clew.bus import Heard
from clew.engine.engine import Engine
from clew.events.base import Recorded
from clew.logged_errors import places

_PAGE_EVENTS = 256

logger = logging.getLogger(__name__)


class Encoder(Protocol):
    """Recorded events, and previews between them, in; frames out. It is told everything of a thread, in order."""

    @property
    def over(self) -> bool:
        """Whether the run has ended, or waits for its client."""
        ...

    @property
    def ended(self) -> bool: ...

    def encode(self, heard: Heard) -> list[bytes]: ...


@dataclass(frozen=True, slots=True)
class Grammar:
    """What a dialect's streams have around the frames of their events. `broken` is the last frame of a failure."""

    retry: bytes
    still_here: bytes
    done: bytes
    broken: Callable[[Exception], bytes]


def frame(name: str, data: Any, id: str | None = None) -> bytes:
    place = b"id: %b\n" % id.encode() if id is not None else b""
    return b"%bevent: %b\ndata: %b\n\n" % (place, name.encode(), exact_json.dumps(data))


async def run_frames(
    engine: Engine, thread_id: str, encoder: Encoder, grammar: Grammar, *, start: int, upto: int
) -> AsyncGenerator[bytes, None]:
    """Frames of a run until it ends or waits for its client.

    Reading starts behind version `start`. A run that waited at some time before version `upto` was answered since, so
    only what stands from there on ends the stream. It also ends, without `done`, when the client cannot keep up: the
    client attaches again.
    """
    yield grammar.retry
    try:
        async with aclosing(engine.feed.batches(thread_id, start)) as feed:
            version = start
            async for batch in feed:
                # What came together goes out together: each sending costs more than the frames in it.
                frames = [] if batch else [grammar.still_here]
                for heard in batch:
                    frames += encoder.encode(heard)
                    if isinstance(heard, Recorded):
                        version = heard.version
                    if encoder.over and version >= upto:
                        yield b"".join([*frames, grammar.done])
                        return
                if frames:
                    yield b"".join(frames)
        # The process ends, or the client did not keep up: it may come again.
        yield grammar.retry
    except Exception as error:
        logger.error("a stream of %s broke off\n%s", thread_id, places(error))
        yield grammar.broken(error)


async def past_frames(
    engine: Engine, thread_id: str, encoder: Encoder, grammar: Grammar, *, start: int, upto: int
) -> AsyncGenerator[bytes, None]:
    """The frames of a run up to version `upto` of its thread. Nothing comes after them, whatever the run did next."""
    yield grammar.retry
    version = start
    while version < upto and not encoder.ended:
        with engine.log.reading() as reader:
            page = reader.stream(thread_id, after=version, upto=upto, limit=_PAGE_EVENTS)
        version = page[-1].version
        frames = b"".join(frame for recorded in page for frame in encoder.encode(recorded))
        if frames:
            yield frames
    yield grammar.done
