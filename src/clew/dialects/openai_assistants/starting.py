"""Starting a run: everything that will decide what it does is gathered here, once, and goes into the log."""

from __future__ import annotations

from collections.abc import Callable

from clew.desk import Done
from clew.dialects.openai_assistants import translate
from clew.dialects.openai_assistants.finding import ACTOR, DIALECT
from clew.dialects.openai_assistants.handling import checked_id
from clew.dialects.openai_assistants.objects import run_object
from clew.dialects.openai_assistants.requests import CreateRun, CreateThread, CreateThreadAndRun
from clew.dialects.openai_assistants.runs import check_include
from clew.dialects.openai_assistants.streaming import run_frames
from clew.dialects.openai_assistants.threads import creation
from clew.engine.engine import Engine
from clew.engine.models import resolve
from clew.engine.strategies import settled
from clew.events.assistant import AssistantSettings
from clew.events.run import Limits, RunConfig, RunQueued, Sampling, Truncation
from clew.ids import new_id
from clew.rules.commands import QueueRun
from clew.rules.state import Thread
from clew.serving.finding import the_assistant
from clew.serving.http import Answer, Call, Stream
from clew_projections.assistant_catalog import AssistantView
from clew_projections.run_view import run_after


async def create(call: Call) -> Answer | Stream:
    thread_id = call.id("thread_id")
    check_include(call.query())
    given = call.read(CreateRun)
    make = await _queue(call, given, thread_id)
    done = await call.engine.desk.on_thread(
        thread_id, lambda: make(call.engine.desk.thread(thread_id).truncation), actor=ACTOR, key=call.key()
    )
    return _started(call, done, stream=bool(given.stream), from_the_thread=False)


async def create_with_thread(call: Call) -> Answer | Stream:
    given = call.read(CreateThreadAndRun)
    translate.no_tool_resources(given.tool_resources)
    thread_id = new_id("thread")
    make = await _queue(call, given, thread_id)
    command = await creation(given.thread or CreateThread(), thread_id, "thread.", make(None))
    done = await call.engine.desk.on_thread(thread_id, lambda: command, actor=ACTOR, key=call.key(), new=True)
    return _started(call, done, stream=bool(given.stream), from_the_thread=True)


def _started(call: Call, done: Done[Thread], *, stream: bool, from_the_thread: bool) -> Answer | Stream:
    queued = next(recorded for recorded in done.events if isinstance(recorded.event, RunQueued))
    assert isinstance(queued.event, RunQueued)
    if stream:
        start = 0 if from_the_thread else queued.version - 1
        return Stream(run_frames(call.engine, done.stream, queued.event.run_id, start=start, upto=queued.version))
    call.shown = queued.position
    view = run_after(None, queued)
    assert view is not None
    return Answer(run_object(view, queued.event.config))


async def _queue(
    call: Call, given: CreateRun | CreateThreadAndRun, thread_id: str
) -> Callable[[Truncation | None], QueueRun]:
    """How to queue the run, once it is known what the thread says of truncation."""
    checked_id("assistant_id", given.assistant_id)
    with call.engine.log.reading() as reader:
        assistant = the_assistant(reader, given.assistant_id)
    expires = call.engine.settings.run_expires_seconds
    more = given.additional_messages if isinstance(given, CreateRun) else None
    asked = translate.truncation(given.truncation_strategy, given.clew_truncation)
    command = QueueRun(
        thread_id=thread_id,
        run_id=new_id("run"),
        dialect=DIALECT,
        config=_config(call.engine, given, assistant),
        expires_at=None if expires is None else call.engine.log.now() + expires * 1_000_000,
        metadata=given.metadata or {},
        additional_messages=await translate.messages(more, "additional_messages"),
    )
    its = assistant.settings.truncation
    return lambda of_thread: settled(
        call.engine, command, asked=asked, of_thread=of_thread, assistant=its, where="clew_truncation"
    )


def _config(engine: Engine, given: CreateRun | CreateThreadAndRun, assistant: AssistantView) -> RunConfig:
    """What the request says, else what the assistant says."""
    its = assistant.settings
    asked = given.model or its.model
    own = its.default_provider if given.model is None else None
    provider, model = resolve(asked, engine.providers, own or engine.settings.default_provider)
    chosen = translate.response_format(given.response_format)
    return RunConfig(
        assistant_id=assistant.assistant_id,
        assistant_version=assistant.version,
        provider=provider,
        model=model,
        asked_model=asked,
        instructions=_instructions(given, its),
        tools=its.tools if given.tools is None else translate.tools(given.tools),
        tool_choice=translate.tool_choice(given.tool_choice),
        parallel_tool_calls=given.parallel_tool_calls is not False,
        response_format=its.response_format if given.response_format is None else chosen,
        sampling=_sampling(given, its.sampling),
        limits=Limits(
            prompt_tokens=given.max_prompt_tokens,
            completion_tokens=given.max_completion_tokens,
            steps=engine.settings.steps_max,
        ),
        tool_resources=its.tool_resources,
        stream=bool(given.stream),
    )


def _instructions(given: CreateRun | CreateThreadAndRun, its: AssistantSettings) -> str:
    said = (its.instructions or "") if given.instructions is None else given.instructions
    more = given.additional_instructions if isinstance(given, CreateRun) else None
    return "\n".join(part for part in (said, more) if part)


def _sampling(given: CreateRun | CreateThreadAndRun, its: Sampling) -> Sampling:
    effort = given.reasoning_effort if isinstance(given, CreateRun) else None
    return Sampling(
        temperature=its.temperature if given.temperature is None else given.temperature,
        top_p=its.top_p if given.top_p is None else given.top_p,
        reasoning_effort=effort or its.reasoning_effort,
    )
