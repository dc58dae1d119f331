"""A response's stream of server-sent events in Mistral's grammar: nothing comes behind the frame that ends it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from clew.dialects.mistral_conversations.entries import time
from clew.dialects.mistral_conversations.errors import fault_of
from clew.dialects.mistral_conversations.response import Opening
from clew.dialects.mistral_conversations.stream import LAST, ResponseEncoder
from clew.engine.engine import Engine
from clew.serving import streaming
from clew.serving.streaming import Grammar, frame

# Single lines, which become a part of the next frame: a frame without data is not what every client expects.
RETRY = b"retry: 1000\n"
STILL_HERE = b": still here\n"


async def response_frames(
    engine: Engine, opening: Opening, *, after: tuple[int, int] = (0, LAST), past: int | None = None
) -> AsyncGenerator[bytes, None]:
    """Frames until the response is over; those up to `after` are not shown.

    With `past` set, no more of the thread than up to that version, whatever came of it later.
    """

    def broken(error: Exception) -> bytes:
        fault = fault_of(error)
        data = {"type": "conversation.response.error", "created_at": time(engine.log.now())}
        return frame(data["type"], {**data, "message": fault.message, "code": fault.status})

    encoder = ResponseEncoder(opening, after)
    yield RETRY + encoder.opened()
    grammar = Grammar(RETRY, STILL_HERE, b"", broken)
    thread_id, start = opening.thread_id, opening.version
    if past is None:
        frames = streaming.run_frames(engine, thread_id, encoder, grammar, start=start, upto=start)
    else:
        frames = streaming.past_frames(engine, thread_id, encoder, grammar, start=start, upto=past)
    async with aclosing(frames) as rest:
        async for some in rest:
            yield some
