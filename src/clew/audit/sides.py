"""What can be compared: a run or a thread, now or at any point in the past (`THREAD@v12`, `RUN@1234`)."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel

from clew.audit.costs import Costs, cost_of, total
from clew.audit.records import Audit, ItemRecord
from clew.audit.telling import audit, item_record
from clew.errors import NoSuchPoint, NotFound
from clew.events.model import ModelAnswered, ModelFailed
from clew.events.tool import ToolFailed, ToolReturned
from clew.events.usage import NO_USAGE, Usage
from clew.log import Reader
from clew.past import Point
from clew_projections import run_view, thread_view
from clew_projections.run_view import RunView
from clew_projections.thread_view import ItemRow

_PAGE_RUNS = 200
_PAGE_EVENTS = 500
_TIMED = (ModelAnswered.kind, ModelFailed.kind, ToolReturned.kind, ToolFailed.kind)


class Numbers(BaseModel):
    """`tokens` are those of the items, `input` and `output` what models reported. `seconds` pass by the clock.

    Of a fork, only what came after it was forked is counted but for the items: its parent's runs are its parent's.
    """

    items: int = 0
    tokens: int = 0
    runs: int = 0
    model_calls: int = 0
    tool_calls: int = 0
    input: int = 0
    output: int = 0
    cached: int = 0
    seconds: float = 0
    model_seconds: float = 0
    tool_seconds: float = 0
    costs: Costs = Costs()


class Side(BaseModel):
    """One of the two. `settings` is what a run was told to do; a thread has none."""

    point: str
    kind: Literal["thread", "run"]
    thread_id: str
    run_id: str | None = None
    version: int
    status: str | None = None
    numbers: Numbers
    settings: dict[str, Any] = {}


def side(reader: Reader, named: str, as_of: int | None = None) -> tuple[Side, list[ItemRecord]]:
    """`named` is an id, or ID@POINT; `as_of` holds for an id that names no point.

    Raises `NotFound`, `NoSuchPoint`, and `Erased` when what is to be compared is gone.
    """
    id, at, written = named.partition("@")
    run = run_view.run(reader, id)
    thread_id = run.thread_id if run is not None else id
    position = as_of
    if at:
        position = Point(written, f"{id}@").position(reader, thread_id)
        if as_of is not None and position > as_of:
            why = f"everything is asked as of position {as_of}, and this is later"
            raise NoSuchPoint(point=written, where=f"{id}@", why=why)
    if run is not None:
        return _run_side(reader, named, id, position)
    version = reader.version(thread_id, position)
    if not version:
        raise NotFound(noun="thread or run", id=id)
    return _thread_side(reader, named, thread_id, version)


def _thread_side(reader: Reader, point: str, thread_id: str, version: int) -> tuple[Side, list[ItemRecord]]:
    [last] = reader.stream(thread_id, after=version - 1, upto=version)
    [first] = reader.stream(thread_id, upto=1)
    history = thread_view.segments(reader, thread_id, last.position)
    rows = list(thread_view.walk(reader, history, newest_first=False, as_of=last.position))
    items = _records(reader, rows)
    runs = _runs(reader, thread_id, last.position)
    usage = NO_USAGE
    steps = 0
    for run in runs:
        usage = usage.plus(run.usage)
        steps += len(
            {one.model_call_id for one in run_view.steps(reader, run.run_id, limit=1_000, as_of=last.position)}
        )
    numbers = _numbers(items, usage)
    numbers.runs, numbers.model_calls = len(runs), steps
    numbers.seconds = (last.at - first.at) / 1e6
    _add_what_it_took(reader, thread_id, version, numbers)
    return Side(point=point, kind="thread", thread_id=thread_id, version=version, numbers=numbers), items


def _add_what_it_took(reader: Reader, thread_id: str, upto: int, numbers: Numbers) -> None:
    """Time and money of every attempt and call of the thread's own."""
    after = 0
    while page := reader.stream(thread_id, after=after, upto=upto, limit=_PAGE_EVENTS, kinds=_TIMED):
        events = [recorded.event for recorded in page]
        for event in events:
            if isinstance(event, (ModelAnswered, ModelFailed)):
                numbers.model_seconds += (event.duration_ms or 0) / 1e3
            elif isinstance(event, (ToolReturned, ToolFailed)):
                numbers.tool_seconds += (event.duration_ms or 0) / 1e3
        asked = (cost_of(event) for event in events if isinstance(event, (ModelAnswered, ModelFailed)))
        numbers.costs = total((numbers.costs, *asked))
        after = page[-1].version


def _runs(reader: Reader, thread_id: str, as_of: int) -> list[RunView]:
    found: list[RunView] = []
    while True:
        after = found[-1].queued if found else None
        page = run_view.runs(reader, thread_id, after=after, newest_first=False, limit=_PAGE_RUNS, as_of=as_of)
        found += page
        if len(page) < _PAGE_RUNS:
            return found


def _run_side(reader: Reader, point: str, run_id: str, as_of: int | None) -> tuple[Side, list[ItemRecord]]:
    """The items are those that the first model call was shown, and what the run made of them."""
    told = audit(reader, run_id, as_of)
    items = told.first_shown
    view = run_view.run(reader, run_id, as_of)
    assert view is not None
    items += _records(reader, [row for row in _rows_from(reader, view, as_of) if row.run_id == run_id])
    numbers = _numbers(items, told.usage)
    numbers.runs, numbers.model_calls = 1, told.totals.model_calls
    numbers.tool_calls, numbers.costs = told.totals.tool_calls, told.totals.costs
    numbers.seconds = ((told.ended_at or told.queued_at) - told.queued_at) / 1e6
    numbers.model_seconds, numbers.tool_seconds = told.totals.model_ms / 1e3, told.totals.tool_ms / 1e3
    side = Side(
        point=point,
        kind="run",
        thread_id=told.thread_id,
        run_id=run_id,
        version=reader.version(told.thread_id, as_of),
        status=told.status,
        numbers=numbers,
        settings=_settings(told),
    )
    return side, items


def _rows_from(reader: Reader, view: RunView, as_of: int | None) -> list[ItemRow]:
    """The thread's items since the run was queued."""
    history = thread_view.segments(reader, view.thread_id, as_of)
    rows = []
    for row in thread_view.walk(reader, history, as_of=as_of):
        if row.stream != view.thread_id or row.number < view.queued_version:
            break
        rows.append(row)
    return rows[::-1]


def _records(reader: Reader, rows: list[ItemRow]) -> list[ItemRecord]:
    return [item_record(row, item) for row, item in zip(rows, thread_view.items(reader, rows), strict=True)]


def _numbers(items: list[ItemRecord], usage: Usage) -> Numbers:
    return Numbers(
        items=len(items),
        tokens=sum(item.tokens for item in items),
        tool_calls=sum(item.kind == "call" for item in items),
        input=usage.input,
        output=usage.output,
        cached=usage.cached,
    )


def _settings(told: Audit) -> dict[str, Any]:
    # That a run is another one made anew says nothing of what it was told.
    config = told.config.model_dump(mode="json", exclude={"rerun"})
    tools = {f"tool {tool['name']}": tool for tool in config.pop("tools")}
    return {**config, **tools, "dialect": told.dialect}
