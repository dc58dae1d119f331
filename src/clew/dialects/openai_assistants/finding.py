"""Finding what a path or body names, or saying in the caller's words that there is no such thing."""

from __future__ import annotations

from clew.dialects.openai_assistants.objects import Object, run_object
from clew.engine.engine import DEFAULT_TENANT
from clew.errors import NotFound
from clew.events.run import RunConfig, RunQueued
from clew.events.tool import ToolCalled
from clew.log import Reader
from clew_projections import assistant_catalog, run_view, thread_view
from clew_projections.assistant_catalog import AssistantView
from clew_projections.run_view import RunView
from clew_projections.thread_view import ItemRow, ThreadRow

# Who asked, in the log.
ACTOR = DIALECT = "openai"


def the_assistant(reader: Reader, assistant_id: str, as_of: int | None = None) -> AssistantView:
    found = assistant_catalog.assistant(reader, assistant_id, as_of)
    if found is None or found.tenant != DEFAULT_TENANT:
        raise NotFound(noun="assistant", id=assistant_id)
    return found


def the_thread(reader: Reader, thread_id: str, as_of: int | None = None) -> ThreadRow:
    found = thread_view.thread(reader, thread_id, as_of)
    if found is None or found.tenant != DEFAULT_TENANT:
        raise NotFound(noun="thread", id=thread_id)
    return found


def the_message(reader: Reader, thread_id: str, message_id: str, as_of: int | None = None) -> ItemRow:
    """A message that the thread's history has, also if it is of a thread that this one was forked from."""
    history = thread_view.segments(reader, thread_id)
    found = thread_view.message(reader, history, message_id, as_of)
    if found is None:
        raise NotFound(noun="message", id=message_id)
    return found


def the_run(reader: Reader, thread_id: str, run_id: str, as_of: int | None = None) -> RunView:
    """A run of this thread; one of another thread is not found."""
    the_thread(reader, thread_id, as_of)
    found = run_view.run(reader, run_id, as_of)
    if found is None or found.thread_id != thread_id:
        raise NotFound(noun="run", id=run_id)
    return found


def config_of(reader: Reader, run: RunView) -> RunConfig:
    queued = reader.event(run.queued).event
    assert isinstance(queued, RunQueued)
    return queued.config


def shown_run(reader: Reader, run: RunView, as_of: int | None = None) -> Object:
    """The run as clients see it, with the calls that it waits for."""
    return run_object(run, config_of(reader, run), _waiting(reader, run, as_of))


def _waiting(reader: Reader, run: RunView, as_of: int | None) -> list[ToolCalled]:
    if run.status != "requires_action" or run.step_id is None:
        return []
    step = run_view.step(reader, run.step_id, as_of)
    assert step is not None, "a run that waits for calls has the step that they belong to"
    wanted = [call.called for call in step.calls if call.tool_call_id in run.waits_for]
    events = reader.events(wanted)
    return [event for position in wanted if isinstance(event := events[position].event, ToolCalled)]
