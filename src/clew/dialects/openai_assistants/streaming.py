"""A run's stream of server-sent events: what the feed tells, through the encoder, to one client."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing

from clew.dialects.openai_assistants.errors import fault_of
from clew.dialects.openai_assistants.stream import LAST, RunEncoder, frame
from clew.engine.engine import Engine
from clew.events.base import Recorded

__all__ = ["LAST", "run_frames"]

DONE = b"event: done\ndata: [DONE]\n\n"
# The next two are single lines and no frames: OpenAI's SDKs take a blank line after them for an event without data,
# and break off.
RETRY = b"retry: 1000\n"
STILL_HERE = b": still here\n"

logger = logging.getLogger(__name__)


async def run_frames(
    engine: Engine,
    thread_id: str,
    run_id: str,
    *,
    start: int,
    upto: int,
    after: tuple[int, int] = (0, LAST),
) -> AsyncGenerator[bytes, None]:
    """Frames of a run until it ends or waits for its client.

    Reading starts behind version `start`, showing behind frame `after`. A run that waited at some time before
    version `upto` was answered since, so only what stands from there on ends the stream. It also ends, without
    `done`, when the client cannot keep up: the client attaches again.
    """
    encoder = RunEncoder(run_id, after)
    yield RETRY
    try:
        async with aclosing(engine.feed.batches(thread_id, start)) as feed:
            version = start
            async for batch in feed:
                # What came together goes out together: each sending costs more than the frames in it.
                frames = [] if batch else [STILL_HERE]
                for heard in batch:
                    frames += encoder.encode(heard)
                    if isinstance(heard, Recorded):
                        version = heard.version
                    if encoder.over and version >= upto:
                        yield b"".join([*frames, DONE])
                        return
                if frames:
                    yield b"".join(frames)
    except Exception as error:
        logger.exception("the stream of %s broke off", run_id)
        yield frame("error", fault_of(error).body)
