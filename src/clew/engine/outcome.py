"""Waiting for what comes of a run: for the APIs that answer a request with the outcome itself."""

from __future__ import annotations

from contextlib import aclosing

from clew.engine.engine import Engine
from clew.errors import Leaving
from clew.events.base import Recorded
from clew.events.run import RunQueued
from clew_projections.run_view import RunView, run_after

# Nobody goes on with such a run but its client, or a person.
_WAITING = ("requires_action", "completed", "failed", "cancelled", "expired", "incomplete")


async def outcome(engine: Engine, queued: Recorded[RunQueued], *, answered: int | None = None) -> RunView:
    """The run once it has ended, waits for its client, or holds a tool call in doubt.

    `answered` is the version of the thread at which its client answered it last: what it waited for before is over.
    Raises `Leaving` when this process ends first; the run goes on all the same, in whichever process has it then.
    """
    run = run_after(None, queued)
    assert run is not None, "a run that was queued is a run"
    behind = queued.version if answered is None else answered
    async with aclosing(engine.feed.follow(queued.stream, queued.version)) as feed:
        async for heard in feed:
            if not isinstance(heard, Recorded):
                continue
            run = run_after(run, heard) or run
            if heard.version >= behind and (run.status in _WAITING or run.in_doubt):
                return run
    raise Leaving(run_id=run.run_id)
