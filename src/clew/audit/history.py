"""The events of a run, and the items of a context, as they were."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from clew.engine.clearing import as_shown
from clew.errors import NotFound
from clew.events.base import Recorded
from clew.events.items import Item
from clew.events.model import ContextAssembled
from clew.events.run import RunCancelled, RunCompleted, RunExpired, RunFailed, RunIncomplete, RunOver
from clew.log import Reader
from clew_projections import run_view, thread_view
from clew_projections.run_view import RunView
from clew_projections.thread_view import ItemRow

_PAGE_EVENTS = 500


def run_of(reader: Reader, run_id: str, as_of: int | None = None) -> RunView:
    """Raises `NotFound`."""
    view = run_view.run(reader, run_id, as_of)
    if view is None:
        raise NotFound(noun="run", id=run_id)
    return view


_ENDS = tuple(end.kind for end in (RunCompleted, RunFailed, RunCancelled, RunExpired, RunIncomplete))


def events_of(reader: Reader, view: RunView, *kinds: str, as_of: int | None = None) -> Iterator[Recorded[Any]]:
    """What the run's thread says of it, from its queueing to its end, or to a position; only `kinds` of it, if any.

    Raises `Erased`.
    """
    version = view.queued_version - 1
    wanted = (*kinds, *_ENDS) if kinds else ()
    upto = None if as_of is None else reader.version(view.thread_id, as_of)
    while page := reader.stream(view.thread_id, after=version, upto=upto, limit=_PAGE_EVENTS, kinds=wanted):
        for recorded in page:
            if getattr(recorded.event, "run_id", None) == view.run_id:
                if not kinds or recorded.event.kind in kinds:
                    yield recorded
                if isinstance(recorded.event, RunOver):
                    return
        version = page[-1].version


def moment_of(assembled: Recorded[ContextAssembled]) -> int:
    """The position as of which the context was read. Logs of the first version do not say, and mean just before."""
    as_of = assembled.event.manifest.as_of
    return assembled.position - 1 if as_of is None else as_of


def shown_rows(reader: Reader, assembled: Recorded[ContextAssembled]) -> list[ItemRow]:
    """The rows that the manifest names, in order, as they were when the context was assembled."""
    as_of = moment_of(assembled)
    history = thread_view.segments(reader, assembled.stream)
    return [
        row
        for one in assembled.event.manifest.shown
        for row in thread_view.between(reader, history, one.stream, one.first, one.last, as_of)
    ]


def shown_items(reader: Reader, assembled: Recorded[ContextAssembled]) -> list[Item]:
    """As the model call was shown them. Raises `Erased`."""
    return as_shown(thread_view.items(reader, shown_rows(reader, assembled)), assembled.event.manifest)
