"""How large and how lively each thread is, now or at any point in the past: for lists that people look at.

It follows behind the log. A question reads what was counted up to some event of the thread, and counts the few that
came after it by itself, so that what it says is never behind. For the past there are marks, one in so many events.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from clew.events.base import Event, Recorded
from clew.events.message import MessageAppended, MessageRemoved
from clew.events.model import ModelAnswered
from clew.events.run import RunQueued
from clew.events.thread import ThreadCreated, ThreadDeleted, ThreadForked
from clew.log import Reader
from clew.projecting import Projection, Rows, Table

MARK_EVERY_EVENTS = 64

_COLUMNS = {
    "thread_id": "text not null",
    "version": "integer not null",
    "counted": "integer not null",
    "messages": "integer not null",
    "runs": "integer not null",
    "input_tokens": "integer not null",
    "output_tokens": "integer not null",
    "active_at": "integer not null",
}
STATS = Table(name="thread_stats", key=("thread_id",), columns=_COLUMNS, timed=False, hot=True)
MARKS = Table(name="thread_stats_marks", key=("thread_id", "version"), columns=_COLUMNS, timed=False)
projection = Projection(name="thread_stats", version=2, lifecycle="follow", tables=(STATS, MARKS))


@dataclass(frozen=True, slots=True)
class ThreadStats:
    """`active_at` in microseconds. What was `counted` are the thread's own events of some kinds up to `version`.

    Of a fork, `messages` has those that it inherited, too; runs and tokens are its own.
    """

    thread_id: str
    version: int = 0
    counted: int = 0
    messages: int = 0
    runs: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    active_at: int = 0

    def after(self, recorded: Recorded[Event]) -> ThreadStats:
        """Once more is counted."""
        messages, runs, given, answered = self.messages, self.runs, self.input_tokens, self.output_tokens
        match recorded.event:
            case MessageAppended():
                messages += 1
            case MessageRemoved():
                messages -= 1
            case RunQueued():
                runs += 1
            case ModelAnswered(usage=usage) if usage is not None:
                given, answered = given + usage.input, answered + usage.output
        version, counted = recorded.version, self.counted + 1
        return ThreadStats(self.thread_id, version, counted, messages, runs, given, answered, recorded.at)


def _count(recorded: Recorded[Any], rows: Rows) -> None:
    found = rows.get(STATS, recorded.stream)
    before = ThreadStats(**found) if found is not None else ThreadStats(recorded.stream)
    now = before.after(recorded)
    # The columns are the fields; `asdict` would copy each value deeply.
    columns = {name: getattr(now, name) for name in _COLUMNS}
    rows.put(STATS, **columns)
    if now.counted % MARK_EVERY_EVENTS == 0:
        rows.add(MARKS, **columns)


_COUNTED = (ThreadCreated, ThreadForked, MessageAppended, MessageRemoved, RunQueued, ModelAnswered)
_KINDS = tuple(event_type.kind for event_type in _COUNTED)
for _event_type in _COUNTED:
    projection.on(_event_type)(_count)


@projection.on(ThreadDeleted)
def _(recorded: Recorded[ThreadDeleted], rows: Rows) -> None:
    """Its marks stay: the past is asked for it as ever."""
    rows.remove(STATS, recorded.stream)


# Questions


def stats(reader: Reader, thread_ids: Sequence[str], as_of: int | None = None) -> dict[str, ThreadStats]:
    """Of those threads that there were by then."""
    versions = {thread_id: reader.version(thread_id, as_of) for thread_id in thread_ids}
    return {thread_id: _at(reader, thread_id, version) for thread_id, version in versions.items() if version}


def _at(reader: Reader, thread_id: str, version: int) -> ThreadStats:
    found = _counted_before(reader, thread_id, version)
    for recorded in reader.stream(thread_id, after=found.version, upto=version, kinds=_KINDS):
        found = found.after(recorded)
    [first] = reader.stream(thread_id, upto=1)
    if isinstance(first.event, ThreadForked):
        inherited = _at(reader, first.event.parent, first.event.parent_version)
        found = replace(found, messages=found.messages + inherited.messages)
    return found


def _counted_before(reader: Reader, thread_id: str, version: int) -> ThreadStats:
    """The newest count that is not of later than the version."""
    for table in (STATS, MARKS):
        rows = reader.rows(
            f"select {', '.join(table.names)} from {table.name} where thread_id = ? and version <= ?"
            " order by version desc limit 1",
            (thread_id, version),
        )
        if rows:
            return ThreadStats(*rows[0])
    return ThreadStats(thread_id)
