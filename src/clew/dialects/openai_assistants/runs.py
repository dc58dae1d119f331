"""Runs under way and runs that have ended, and their steps."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, suppress
from typing import Any

from starlette.datastructures import QueryParams

from clew.desk import Done
from clew.dialects.openai_assistants.errors import rejected
from clew.dialects.openai_assistants.finding import ACTOR, shown_run
from clew.dialects.openai_assistants.lists import by_position, list_object, page_of
from clew.dialects.openai_assistants.objects import ENDED, Object, run_object, step_object
from clew.dialects.openai_assistants.requests import ModifyRun, SubmitToolOutputs
from clew.dialects.openai_assistants.streaming import LAST, past_frames, run_frames
from clew.dialects.openai_assistants.wrong import wrong_choice
from clew.engine.counting import text_tokens
from clew.errors import NotFound
from clew.events.base import Recorded
from clew.events.run import RunConfig
from clew.log import Reader
from clew.rules.commands import ChangeRun, RequestCancel, ThreadCommand
from clew.rules.commands import SubmitToolOutputs as SubmitCommand
from clew.rules.parts import ToolOutput
from clew.rules.state import Thread
from clew.serving.finding import config_of, the_run, the_thread
from clew.serving.http import Answer, Call, Header, Stream
from clew_projections import run_view
from clew_projections.run_view import RunView, StepView, run_after

_INCLUDABLE = "step_details.tool_calls[*].file_search.results[*].content"
_LONG_POLL_SECONDS = 1.0
_MOVING = frozenset(("queued", "in_progress", "cancelling"))


def check_include(query: QueryParams) -> None:
    """What may be included belongs to a tool that is not offered, so there is nothing to do about it."""
    for value in (*query.getlist("include[]"), *query.getlist("include")):
        if value != _INCLUDABLE:
            raise wrong_choice("include", value, [_INCLUDABLE])


async def retrieve(call: Call) -> Answer:
    """A poll helper is made to wait a little while the run moves, which spares it most of its polls."""
    thread_id, run_id = call.id("thread_id"), call.id("run_id")
    with call.reading() as reader:
        run = the_run(reader, thread_id, run_id, call.as_of)
        version = reader.version(thread_id)
        shown = shown_run(reader, run, call.as_of)
    polls = call.headers.get(b"x-stainless-poll-helper") == b"true" and call.as_of is None
    if polls and run.status in _MOVING:
        await _until_it_stops(call, thread_id, run, version)
        with call.reading() as reader:
            shown = shown_run(reader, the_run(reader, thread_id, run_id))
    return Answer(shown, headers=_poll_after(shown["status"], 20 if polls else 200))


async def _until_it_stops(call: Call, thread_id: str, run: RunView, version: int) -> None:
    """Until it has ended or waits for the client, or the time for one answer is over."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_LONG_POLL_SECONDS), aclosing(call.engine.feed.follow(thread_id, version)) as feed:
            async for heard in feed:
                if isinstance(heard, Recorded):
                    run = run_after(run, heard) or run
                    if run.status not in _MOVING:
                        return


def _poll_after(status: str, milliseconds: int) -> tuple[Header, ...]:
    return () if status in ENDED else ((b"openai-poll-after-ms", b"%d" % milliseconds),)


async def list_all(call: Call) -> Answer:
    thread_id, page = call.id("thread_id"), page_of(call.query(), "run_id")
    with call.reading() as reader:
        the_thread(reader, thread_id, call.as_of)
        found, has_more = by_position(
            page,
            lambda id: the_run(reader, thread_id, id, call.as_of).queued,
            lambda **where: run_view.runs(reader, thread_id, as_of=call.as_of, **where),
        )
        shown = [shown_run(reader, run, call.as_of) for run in found]
    return Answer(list_object(shown, has_more))


async def modify(call: Call) -> Answer:
    thread_id, run_id = call.id("thread_id"), call.id("run_id")
    given = call.read(ModifyRun)

    def make() -> ChangeRun:
        with call.engine.log.reading() as reader:
            the_run(reader, thread_id, run_id)
        return ChangeRun(thread_id=thread_id, run_id=run_id, metadata=given.metadata or {})

    if "metadata" in given.model_fields_set:
        await call.engine.desk.on_thread(thread_id, make, actor=ACTOR, key=call.key())
    with call.reading() as reader:
        return Answer(shown_run(reader, the_run(reader, thread_id, run_id)))


async def cancel(call: Call) -> Answer:
    thread_id, run_id = call.id("thread_id"), call.id("run_id")

    def command(run: RunView) -> RequestCancel:
        return RequestCancel(thread_id=thread_id, run_id=run_id, past_status=run.status, by=ACTOR)

    done, before, config = await _decided(call, thread_id, run_id, command)
    shown = run_object(_after(before, done), config)
    return Answer(shown, headers=_poll_after(shown["status"], 200))


async def submit_tool_outputs(call: Call) -> Answer | Stream:
    thread_id, run_id = call.id("thread_id"), call.id("run_id")
    given = call.read(SubmitToolOutputs)
    outputs = tuple(
        ToolOutput(tool_call_id=one.tool_call_id, output=one.output or "", tokens=text_tokens(one.output or ""))
        for one in given.tool_outputs
    )

    def command(run: RunView) -> SubmitCommand:
        return SubmitCommand(thread_id=thread_id, run_id=run_id, outputs=outputs, past_status=run.status)

    done, before, config = await _decided(call, thread_id, run_id, command)
    if given.stream:
        first, last = done.events[0].version, done.events[-1].version
        return Stream(
            run_frames(
                call.engine,
                thread_id,
                run_id,
                start=before.queued_version - 1,
                after=(first - 1, LAST),
                upto=last,
            )
        )
    shown = run_object(_after(before, done), config)
    return Answer(shown, headers=_poll_after(shown["status"], 200))


async def _decided(call: Call, thread_id: str, run_id: str, command: Any) -> tuple[Done[Thread], RunView, RunConfig]:
    """What `command` (made from the run as it is when its turn comes) came to, the run before it, and its config."""
    before: list[RunView] = []

    def look(reader: Reader, as_of: int | None = None) -> RunView:
        call.shown = reader.head()
        before[:] = [the_run(reader, thread_id, run_id, as_of)]
        return before[0]

    def make() -> ThreadCommand:
        with call.engine.log.reading() as reader:
            made: ThreadCommand = command(look(reader))
            return made

    done = await call.engine.desk.on_thread(thread_id, make, actor=ACTOR, key=call.key())
    with call.engine.log.reading() as reader:
        if done.repeated:
            # The first outcome, though the run has gone on since: what it did next is no part of this answer.
            look(reader, done.events[0].position - 1)
        run = before[0] if before else look(reader)
        if done.events:
            call.shown = done.events[-1].position
        return done, run, config_of(reader, run)


def _after(run: RunView, done: Done[Thread]) -> RunView:
    """The run right after what was done, though its worker may have gone on since."""
    for recorded in done.events:
        run = run_after(run, recorded) or run
    return run


async def events(call: Call) -> Stream:
    """An extension: attach to a run's stream, again or late, also after a restart of client or server.

    As of a point in the past it has what there was until then, and ends.
    """
    thread_id, run_id = call.id("thread_id"), call.id("run_id")
    given = call.headers.get(b"last-event-id", b"").decode("latin-1") or call.query().get("starting_after") or "0"
    version, _, number = given.partition("-")
    if not (version.isdecimal() and (not number or number.isdecimal()) and len(given) < 32):
        message = f"Invalid 'starting_after': '{given}'. Expected the id of an event of this stream, such as '7-2'."
        raise rejected(message, param="starting_after", code="invalid_value")
    with call.reading() as reader:
        run = the_run(reader, thread_id, run_id, call.as_of)
        upto = reader.version(thread_id, call.as_of)
    after = (int(version), int(number) if number else LAST)
    frames = run_frames if call.as_of is None else past_frames
    return Stream(frames(call.engine, thread_id, run_id, start=run.queued_version - 1, after=after, upto=upto))


# Steps


async def list_steps(call: Call) -> Answer:
    thread_id, run_id, query = call.id("thread_id"), call.id("run_id"), call.query()
    check_include(query)
    page = page_of(query, "step_id")
    with call.reading() as reader:
        run = the_run(reader, thread_id, run_id, call.as_of)
        found, has_more = by_position(
            page,
            lambda id: _the_step(reader, run, id, call.as_of).created,
            lambda **where: run_view.steps(reader, run_id, as_of=call.as_of, **where),
        )
        config = config_of(reader, run)
        shown = [_shown_step(reader, step, run, config) for step in found]
    return Answer(list_object(shown, has_more))


async def retrieve_step(call: Call) -> Answer:
    thread_id, run_id, step_id = call.id("thread_id"), call.id("run_id"), call.id("step_id")
    check_include(call.query())
    with call.reading() as reader:
        run = the_run(reader, thread_id, run_id, call.as_of)
        step = _the_step(reader, run, step_id, call.as_of)
        return Answer(_shown_step(reader, step, run, config_of(reader, run)))


def _the_step(reader: Reader, run: RunView, step_id: str, as_of: int | None) -> StepView:
    found = run_view.step(reader, step_id, as_of)
    if found is None or found.run_id != run.run_id:
        raise NotFound(noun="run step", id=step_id)
    return found


def _shown_step(reader: Reader, step: StepView, run: RunView, config: RunConfig) -> Object:
    positions = {p for call in step.calls for p in (call.called, call.answered) if p is not None}
    return step_object(step, run, config, reader.events(positions))
