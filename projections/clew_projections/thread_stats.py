"""How large and how lively each thread is: for lists that people look at. It follows behind the log."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from clew.events.base import Recorded
from clew.events.message import MessageAppended, MessageRemoved
from clew.events.model import ModelAnswered
from clew.events.run import RunQueued
from clew.events.thread import ThreadCreated, ThreadDeleted, ThreadForked
from clew.log import Reader
from clew.projecting import Projection, Rows, Table

STATS = Table(
    name="thread_stats",
    key=("thread_id",),
    columns={
        "thread_id": "text not null",
        "messages": "integer not null",
        "runs": "integer not null",
        "input_tokens": "integer not null",
        "output_tokens": "integer not null",
        "active_at": "integer not null",
    },
    timed=False,
    hot=True,
)
projection = Projection(name="thread_stats", version=1, lifecycle="follow", tables=(STATS,))


@projection.on(ThreadCreated)
def _(recorded: Recorded[ThreadCreated], rows: Rows) -> None:
    _count(recorded, rows)


@projection.on(ThreadForked)
def _(recorded: Recorded[ThreadForked], rows: Rows) -> None:
    _count(recorded, rows)


@projection.on(MessageAppended)
def _(recorded: Recorded[MessageAppended], rows: Rows) -> None:
    _count(recorded, rows, messages=1)


@projection.on(MessageRemoved)
def _(recorded: Recorded[MessageRemoved], rows: Rows) -> None:
    _count(recorded, rows, messages=-1)


@projection.on(RunQueued)
def _(recorded: Recorded[RunQueued], rows: Rows) -> None:
    _count(recorded, rows, runs=1)


@projection.on(ModelAnswered)
def _(recorded: Recorded[ModelAnswered], rows: Rows) -> None:
    usage = recorded.event.usage
    if usage is not None:
        _count(recorded, rows, input_tokens=usage.input, output_tokens=usage.output)


@projection.on(ThreadDeleted)
def _(recorded: Recorded[ThreadDeleted], rows: Rows) -> None:
    rows.remove(STATS, recorded.stream)


def _count(recorded: Recorded[Any], rows: Rows, **more: int) -> None:
    found = rows.get(STATS, recorded.stream) or {"thread_id": recorded.stream}
    counted = {name: found.get(name, 0) + more.get(name, 0) for name in STATS.names[1:-1]}
    rows.put(STATS, thread_id=recorded.stream, **counted, active_at=recorded.at)


@dataclass(frozen=True, slots=True)
class ThreadStats:
    """`active_at` in microseconds."""

    thread_id: str
    messages: int
    runs: int
    input_tokens: int
    output_tokens: int
    active_at: int


def stats(reader: Reader, thread_ids: Sequence[str]) -> dict[str, ThreadStats]:
    marks = ",".join("?" * len(thread_ids))
    rows = reader.rows(
        f"select {', '.join(STATS.names)} from thread_stats where thread_id in ({marks})", list(thread_ids)
    )
    return {row[0]: ThreadStats(*row) for row in rows}
