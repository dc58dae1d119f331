"""Finding what a path or body names, for whichever dialect it is named in. What is not there raises `NotFound`."""

from __future__ import annotations

from clew.errors import NotFound
from clew.events.run import RunConfig, RunQueued, RunReconfigured
from clew.events.tool import ToolCalled
from clew.ids import DEFAULT_TENANT
from clew.log import Reader
from clew_projections import assistant_catalog, run_view, thread_view
from clew_projections.assistant_catalog import AssistantView
from clew_projections.run_view import RunView
from clew_projections.thread_view import ItemRow, ThreadRow


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
    history = thread_view.segments(reader, thread_id, as_of)
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
    """The newest one that it was given."""
    event = reader.event(run.configured).event
    assert isinstance(event, (RunQueued, RunReconfigured))
    return event.config


def waiting_calls(reader: Reader, run: RunView, as_of: int | None = None) -> list[ToolCalled]:
    """The calls that the run waits for its client to answer."""
    if run.status != "requires_action" or run.step_id is None:
        return []
    step = run_view.step(reader, run.step_id, as_of)
    assert step is not None, "a run that waits for calls has the step that they belong to"
    wanted = [call.called for call in step.calls if call.tool_call_id in run.waits_for]
    events = reader.events(wanted)
    return [event for position in wanted if isinstance(event := events[position].event, ToolCalled)]
