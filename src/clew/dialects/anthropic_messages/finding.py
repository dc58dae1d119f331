"""Finding what a message id or a header names, and what a thread was told last of how to answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from clew.events.base import Event, Recorded
from clew.events.items import Place
from clew.events.message import MessageAppended
from clew.events.run import (
    RunActionRequired,
    RunCancelled,
    RunCompleted,
    RunConfig,
    RunExpired,
    RunFailed,
    RunIncomplete,
    RunQueued,
    RunReconfigured,
)
from clew.ids import DEFAULT_TENANT, has_prefix, reprefixed
from clew.log import Reader
from clew.serving.finding import config_of
from clew_projections import recognition, run_view, thread_view
from clew_projections.recognition import CallRow
from clew_projections.thread_view import Segment

_ENDS = tuple(
    event.kind for event in (RunActionRequired, RunCompleted, RunFailed, RunCancelled, RunExpired, RunIncomplete)
)
_PAGE_EVENTS = 50


@dataclass(frozen=True, slots=True)
class Held:
    """A message that a thread holds. `end` is the event that it ended with, None while it is still being answered.

    `call` is where the model was called for it, if one of ours said it.
    """

    stream: str
    call: CallRow | None
    end: Recorded[Event] | None
    place: Place


def held(reader: Reader, message_id: str, as_of: int | None = None) -> Held | None:
    """The message of that id in whichever thread: as this API names answers, or as others name messages."""
    if not has_prefix(message_id, "msg"):
        return None
    call = recognition.call(reader, reprefixed(message_id, "mc"), as_of)
    if call is None:
        row = thread_view.holder(reader, "message", message_id)
        if row is None or (as_of is not None and row.created > as_of):
            return None
        said = reader.event(row.created).event
        assert isinstance(said, MessageAppended)
        if said.run_id is not None and said.model_call_id is not None:
            call = recognition.call(reader, said.model_call_id, as_of)
        if call is None:
            return Held(row.stream, None, reader.event(row.created), Place(row.stream, row.number))
    end = end_of(reader, call, as_of)
    return Held(call.stream, call, end, Place(call.stream, end.version if end is not None else call.version))


def end_of(reader: Reader, call: CallRow, as_of: int | None = None) -> Recorded[Event] | None:
    """Where the answer ended that began with this model call."""
    version, upto = call.version, None if as_of is None else reader.version(call.stream, as_of)
    while page := reader.stream(call.stream, after=version, upto=upto, kinds=_ENDS, limit=_PAGE_EVENTS):
        for recorded in page:
            if getattr(recorded.event, "run_id", None) == call.run_id:
                return recorded
        version = page[-1].version
    return None


def is_open(reader: Reader, thread_id: str, as_of: int | None = None) -> bool:
    row = thread_view.thread(reader, thread_id, as_of)
    return row is not None and row.tenant == DEFAULT_TENANT


def newest_config(reader: Reader, history: Sequence[Segment]) -> RunConfig | None:
    """That of the newest run that a history has; None where nothing ever ran."""
    for segment in reversed(history):
        at = segment.upto_position
        found = run_view.runs(reader, segment.stream, limit=1, as_of=at)
        if found:
            return config_of(reader, found[0])
    return None


def configuring(reader: Reader, stream: str, version: int) -> Recorded[RunQueued] | Recorded[RunReconfigured] | None:
    """The event that said how to answer, if it is the first to say so behind a version."""
    kinds = (RunQueued.kind, RunReconfigured.kind)
    found = reader.stream(stream, after=version, kinds=kinds, limit=1)
    for recorded in found:
        match recorded.event:
            case RunQueued() | RunReconfigured():
                return recorded  # type: ignore[return-value]
            case _:
                continue
    return None


def config_before(reader: Reader, call: CallRow) -> RunConfig:
    """How the answer was to be made that began with this model call."""
    run = run_view.run(reader, call.run_id, call.position)
    assert run is not None, "a model is called for a run"
    return config_of(reader, run)
