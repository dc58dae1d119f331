"""A run's stream of server-sent events in OpenAI's grammar."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from clew.dialects.openai_assistants.errors import fault_of
from clew.dialects.openai_assistants.stream import LAST, RunEncoder
from clew.engine.engine import Engine
from clew.serving import streaming
from clew.serving.streaming import Grammar, frame

__all__ = ["LAST", "past_frames", "run_frames"]

DONE = b"event: done\ndata: [DONE]\n\n"
# The next two are single lines and no frames: OpenAI's SDKs take a blank line after them for an event without data,
# and break off.
RETRY = b"retry: 1000\n"
STILL_HERE = b": still here\n"

_GRAMMAR = Grammar(RETRY, STILL_HERE, DONE, lambda error: frame("error", fault_of(error).body))


def run_frames(
    engine: Engine,
    thread_id: str,
    run_id: str,
    *,
    start: int,
    upto: int,
    after: tuple[int, int] = (0, LAST),
) -> AsyncGenerator[bytes, None]:
    """Frames of a run until it ends or waits for its client; those up to `after` are not shown."""
    return streaming.run_frames(engine, thread_id, RunEncoder(run_id, after), _GRAMMAR, start=start, upto=upto)


def past_frames(
    engine: Engine,
    thread_id: str,
    run_id: str,
    *,
    start: int,
    upto: int,
    after: tuple[int, int] = (0, LAST),
) -> AsyncGenerator[bytes, None]:
    """The frames of a run up to version `upto` of its thread, and no more."""
    return streaming.past_frames(engine, thread_id, RunEncoder(run_id, after), _GRAMMAR, start=start, upto=upto)
