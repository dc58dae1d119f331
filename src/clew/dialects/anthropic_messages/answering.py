"""Waiting for the answer to a request, streaming it, and telling it again."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from clew.dialects.anthropic_messages.errors import Rejected, fault_of
from clew.dialects.anthropic_messages.reply import Reply
from clew.dialects.anthropic_messages.stream import LAST, PING, ReplyEncoder, error_frame
from clew.errors import Leaving
from clew.events.base import Recorded
from clew.serving.http import Answer, Call
from clew.serving.streaming import Grammar, past_frames, run_frames

_PAGE_EVENTS = 256

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Waiting:
    """An answer that is on its way, or was: the run's events behind `after` are what it consists of."""

    thread_id: str
    run_id: str
    after: int
    model: str


def _shows_served(call: Call) -> bool:
    """Blocks of calls that a server makes by itself are for clients that say they know them: as those of MCP servers.

    Whoever reads a message again asks for all of it.
    """
    knows = b"mcp-client-" in call.headers.get(b"anthropic-beta", b"") or b"beta=true" in call.scope["query_string"]
    return knows or call.scope["method"] == "GET"


def _reply(call: Call, waiting: Waiting) -> Reply:
    return Reply(waiting.run_id, waiting.model, _shows_served(call))


async def whole(call: Call, waiting: Waiting) -> Answer:
    """The message, once it is whole. Raises `Rejected` when there will be none, and `Leaving`."""
    reply = _reply(call, waiting)
    async with aclosing(call.engine.feed.follow(waiting.thread_id, waiting.after)) as feed:
        async for heard in feed:
            if isinstance(heard, Recorded):
                reply.hear(heard)
                if reply.over:
                    call.shown = heard.position
                    break
    if reply.fault is not None:
        raise Rejected(reply.fault)
    if not reply.over:
        raise Leaving(run_id=waiting.run_id)
    return Answer(reply.message())


def of_past(call: Call, waiting: Waiting, upto: int | None = None, *, shows_served: bool = False) -> Reply:
    """What was said so far, or up to a version of the thread."""
    reply = Reply(waiting.run_id, waiting.model, shows_served or _shows_served(call))
    version = waiting.after
    with call.engine.log.reading() as reader:
        while not reply.over:
            page = reader.stream(waiting.thread_id, after=version, upto=upto, limit=_PAGE_EVENTS)
            if not page:
                break
            for recorded in page:
                reply.hear(recorded)
            version = page[-1].version
    return reply


def _grammar(call: Call) -> Grammar:
    request_id = call.request_id.decode()
    return Grammar(
        retry=b"",
        still_here=PING,
        done=b"",
        broken=lambda error: error_frame(fault_of(error), request_id),
    )


async def streamed(call: Call, waiting: Waiting, after: tuple[int, int] = (0, LAST)) -> AsyncGenerator[bytes, None]:
    """Frames of the message until it is whole. A stream that ends before says so."""
    request_id = call.request_id.decode()
    encoder = ReplyEncoder(_reply(call, waiting), request_id, after)
    frames = run_frames(
        call.engine, waiting.thread_id, encoder, _grammar(call), start=waiting.after, upto=waiting.after
    )
    async with aclosing(frames) as made:
        async for frame in made:
            if frame:
                yield frame
    if not encoder.over:
        yield error_frame(fault_of(Leaving(run_id=waiting.run_id)), request_id)


async def attached(
    call: Call, waiting: Waiting, after: tuple[int, int], upto: int | None
) -> AsyncGenerator[bytes, None]:
    """The same frames again, behind the last one that was seen; of the past, those up to a version of the thread."""
    if upto is None:
        frames = streamed(call, waiting, after)
    else:
        encoder = ReplyEncoder(_reply(call, waiting), call.request_id.decode(), after)
        frames = past_frames(call.engine, waiting.thread_id, encoder, _grammar(call), start=waiting.after, upto=upto)
    async with aclosing(frames) as made:
        async for frame in made:
            if frame:
                yield frame
