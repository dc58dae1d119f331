"""Answering a request with what comes of it: the whole of it in one answer, or a stream."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing

from clew.desk import Done
from clew.dialects.mistral_conversations.errors import Rejected
from clew.dialects.mistral_conversations.objects import response_object
from clew.dialects.mistral_conversations.response import Opening, Outputs
from clew.dialects.mistral_conversations.streaming import response_frames
from clew.errors import Leaving, NotFound
from clew.events import Event
from clew.events.base import Recorded
from clew.events.run import RunActionRequired, RunQueued
from clew.events.tool import ToolCalled, ToolConfirmed, ToolFailed, ToolReturned
from clew.log import Reader
from clew.rules.state import Thread
from clew.serving.http import Answer, Call, Stream
from clew_projections import run_view
from clew_projections.run_view import RunView


async def answer(call: Call, done: Done[Thread], *, stream: bool) -> Answer | Stream:
    with call.engine.log.reading() as reader:
        opening = _opening(reader, done.events)
    if stream:
        return Stream(response_frames(call.engine, opening))
    outputs = await _whole(call, opening)
    fault = outputs.fault
    if fault is not None:
        raise Rejected(fault)
    return Answer(response_object(opening.thread_id, outputs.entries, outputs.usage))


async def _whole(call: Call, opening: Opening) -> Outputs:
    """Raises `Leaving` when this process ends first; the run goes on all the same."""
    outputs = Outputs(opening)
    async with aclosing(call.engine.feed.follow(opening.thread_id, opening.version)) as feed:
        async for heard in feed:
            if isinstance(heard, Recorded):
                outputs.hear(heard)
                if outputs.over:
                    call.shown = heard.position
                    return outputs
    raise Leaving(run_id=outputs.run.run_id)


def _opening(reader: Reader, events: Sequence[Recorded[Event]]) -> Opening:
    """Behind what a request did: it queued a run, or answered one that waited."""
    last = events[-1]
    if isinstance(last.event, RunQueued):
        return Opening(last.stream, last.version, _queued(last), last.event.config)
    run_id: str = getattr(last.event, "run_id", "")
    run = run_view.run(reader, run_id, last.position)
    assert run is not None, "who answers a run answers one that is there"
    allowed = {one.event.tool_call_id for one in events if isinstance(one.event, ToolConfirmed) and one.event.allowed}
    return _behind(reader, last, run, allowed)


def _queued(recorded: Recorded[Event]) -> RunView:
    run = run_view.run_after(None, recorded)
    assert run is not None, "a run that was queued is a run"
    return run


def _behind(reader: Reader, recorded: Recorded[Event], run: RunView, allowed: set[str]) -> Opening:
    """The response to a client that answered, or allowed, what the run waited for."""
    config = run_view.configs(reader, [run.run_id])[run.run_id]
    calls: list[tuple[Recorded[ToolCalled], int]] = []
    step = run_view.step(reader, run.step_id, recorded.position) if run.step_id is not None and allowed else None
    for index, made in enumerate(step.calls if step is not None else ()):
        if made.tool_call_id in allowed:
            called = reader.event(made.called)
            assert isinstance(called.event, ToolCalled)
            place = Recorded(called.position, called.stream, called.version, called.at, called.actor, called.event)
            calls.append((place, index))
    return Opening(recorded.stream, recorded.version, run, config, tuple(calls))


# Attaching to a response that is under way, or is over


def newest_opening(reader: Reader, thread_id: str, as_of: int | None) -> Opening:
    """Of the newest response in a conversation. Raises `NotFound` when there has been none."""
    found = run_view.runs(reader, thread_id, limit=1, as_of=as_of)
    if not found:
        raise NotFound(noun="response", id=thread_id)
    first = found[0]
    queued = reader.event(first.queued)
    while isinstance(queued.event, RunQueued) and queued.event.handed_off_by is not None:
        before = run_view.run(reader, queued.event.handed_off_by, as_of)
        assert before is not None, "a run that handed over is there"
        queued = reader.event(before.queued)
    upto = reader.version(thread_id, as_of)
    begins, run = queued, _queued(queued)
    waits, allowed, opened = False, set[str](), run
    for recorded in reader.stream(thread_id, after=queued.version, upto=upto):
        event = recorded.event
        if isinstance(event, RunQueued) and event.handed_off_by == run.run_id:
            run = _queued(recorded)
            continue
        run = run_view.run_after(run, recorded) or run
        if getattr(event, "run_id", None) != run.run_id:
            continue
        if isinstance(event, RunActionRequired):
            waits, allowed = True, set()
        elif waits and isinstance(event, (ToolReturned, ToolFailed, ToolConfirmed)):
            # What the client answers at once is one append: the last of it is where the response to it begins.
            begins, opened = recorded, run
            if isinstance(event, ToolConfirmed) and event.allowed:
                allowed.add(event.tool_call_id)
            waits = bool(run.waits_for)
    if begins is queued:
        assert isinstance(queued.event, RunQueued)
        return Opening(thread_id, queued.version, opened, queued.event.config)
    return _behind(reader, begins, opened, allowed)
