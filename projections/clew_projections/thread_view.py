"""What threads there are, and what is in them, now or at any point in the past.

An item's row says where the item stands (its number is the version of the event that appended it) and at which
position the event is that carries its body; bodies are read from there and never copied. A fork copies nothing
either: the history of a thread is a list of segments, and every question about items takes them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from clew.events.base import Recorded
from clew.events.content import JsonObject, Metadata
from clew.events.message import MessageAppended, MessageChanged, MessageEdited, MessageRemoved
from clew.events.model import ReasoningImported, ReasoningRecorded
from clew.events.run import Truncation
from clew.events.thread import ThreadChanged, ThreadCompacted, ThreadCreated, ThreadDeleted, ThreadForked
from clew.events.tool import ToolCalled, ToolFailed, ToolImported, ToolReplaced, ToolReturned, ToolSettled
from clew.log import Reader
from clew.projecting import Projection, Row, Rows, Table, moment, upper_bound
from clew_projections._item_versions import ItemVersion, versions
from clew_projections._items import (
    INSERTS,
    ITEMS,
    OVERRIDES,
    ItemRow,
    Kind,
    Segment,
    between,
    holder,
    item,
    items,
    message,
    place,
    said_otherwise,
    segments,
    segments_upto,
    walk,
)

__all__ = [
    "ITEMS",
    "ItemRow",
    "ItemVersion",
    "Kind",
    "Segment",
    "ThreadRow",
    "between",
    "holder",
    "item",
    "items",
    "message",
    "place",
    "projection",
    "said_otherwise",
    "segments",
    "segments_upto",
    "thread",
    "threads",
    "versions",
    "walk",
]

THREADS = Table(
    name="threads",
    key=("thread_id",),
    columns={
        "thread_id": "text not null",
        "tenant": "text not null",
        "created": "integer not null",
        "metadata_position": "integer not null",
        "resources_position": "integer not null",
        "truncation_position": "integer not null",
    },
    indexes=(("tenant", "created"),),
)
LABELS = Table(
    name="thread_labels",
    key=("thread_id", "label"),
    columns={"thread_id": "text not null", "label": "text not null", "value": "text not null"},
    indexes=(("label", "value", "thread_id"),),
)
SEGMENTS = Table(
    name="thread_segments",
    key=("thread_id", "ordinal"),
    columns={
        "thread_id": "text not null",
        "ordinal": "integer not null",
        "stream": "text not null",
        "upto_version": "integer not null",
        "upto_position": "integer",
        # Of the stream that comes after this stretch: whether it says anything otherwise of what it inherited.
        "otherwise": "integer not null",
    },
)
projection = Projection(
    name="thread_view", version=3, lifecycle="inline", tables=(THREADS, LABELS, SEGMENTS, ITEMS, OVERRIDES, INSERTS)
)


@projection.on(ThreadCreated)
def _(recorded: Recorded[ThreadCreated], rows: Rows) -> None:
    if recorded.event.stored:
        _new_thread(recorded, rows, recorded.event.tenant, recorded.event.metadata)


@projection.on(ThreadForked)
def _(recorded: Recorded[ThreadForked], rows: Rows) -> None:
    fork = recorded.event
    if fork.stored:
        _new_thread(recorded, rows, fork.tenant, fork.metadata)
    inherited = sorted(rows.find(SEGMENTS, thread_id=fork.parent), key=lambda row: int(row["ordinal"]))
    segments = [(row["stream"], row["upto_version"], row["upto_position"], row["otherwise"]) for row in inherited]
    segments.append((fork.parent, fork.parent_version, fork.parent_position, 0))
    for ordinal, (stream, version, position, otherwise) in enumerate(segments):
        rows.add(
            SEGMENTS,
            thread_id=recorded.stream,
            ordinal=ordinal,
            stream=stream,
            upto_version=version,
            upto_position=position,
            otherwise=otherwise,
        )


def _says_otherwise(recorded: Recorded[Any], rows: Rows) -> None:
    """Most forks do not, and whoever reads them need not look for it."""
    inherited = rows.find(SEGMENTS, thread_id=recorded.stream)
    last = max(inherited, key=lambda row: int(row["ordinal"]), default=None)
    if last is not None and not last["otherwise"]:
        rows.put(SEGMENTS, **{**last, "otherwise": 1})


def _new_thread(recorded: Recorded[Any], rows: Rows, tenant: str, metadata: Metadata) -> None:
    rows.add(
        THREADS,
        thread_id=recorded.stream,
        tenant=tenant,
        created=recorded.position,
        metadata_position=recorded.position,
        resources_position=recorded.position,
        truncation_position=recorded.position,
    )
    for label, value in metadata.items():
        rows.add(LABELS, thread_id=recorded.stream, label=label, value=value)


@projection.on(ThreadChanged)
def _(recorded: Recorded[ThreadChanged], rows: Rows) -> None:
    row = rows.get(THREADS, recorded.stream)
    assert row is not None, "only a thread that exists is changed"
    metadata = recorded.event.metadata
    if metadata is not None:
        row["metadata_position"] = recorded.position
        for old in rows.find(LABELS, thread_id=recorded.stream):
            if old["label"] not in metadata:
                rows.remove(LABELS, recorded.stream, old["label"])
        for label, value in metadata.items():
            rows.put(LABELS, thread_id=recorded.stream, label=label, value=value)
    if recorded.event.tool_resources is not None:
        row["resources_position"] = recorded.position
    if recorded.event.truncation is not None:
        row["truncation_position"] = recorded.position
    rows.put(THREADS, **row)


@projection.on(ThreadDeleted)
def _(recorded: Recorded[ThreadDeleted], rows: Rows) -> None:
    for old in rows.find(LABELS, thread_id=recorded.stream):
        rows.remove(LABELS, recorded.stream, old["label"])
    rows.remove(THREADS, recorded.stream)


@projection.on(MessageAppended)
def _(recorded: Recorded[MessageAppended], rows: Rows) -> None:
    message = recorded.event
    tokens = message.tokens.count if message.tokens is not None else 0
    _new_item(recorded, rows, "message", message.message_id, message.run_id, tokens)
    if message.before is not None:
        _says_otherwise(recorded, rows)
        rows.add(
            INSERTS,
            owner=recorded.stream,
            number=recorded.version,
            before_stream=message.before.stream,
            before_number=message.before.number,
        )


@projection.on(ReasoningRecorded)
def _(recorded: Recorded[ReasoningRecorded], rows: Rows) -> None:
    reasoning = recorded.event
    tokens = reasoning.tokens.count if reasoning.tokens is not None else 0
    _new_item(recorded, rows, "reasoning", reasoning.item_id, reasoning.run_id, tokens)


@projection.on(ToolCalled)
def _(recorded: Recorded[ToolCalled], rows: Rows) -> None:
    call = recorded.event
    tokens = call.tokens.count if call.tokens is not None else 0
    _new_item(recorded, rows, "call", call.tool_call_id, call.run_id, tokens)


@projection.on(ToolImported)
def _(recorded: Recorded[ToolImported], rows: Rows) -> None:
    call = recorded.event
    tokens = call.tokens.count if call.tokens is not None else 0
    _new_item(recorded, rows, "call", call.tool_call_id, None, tokens)


@projection.on(ReasoningImported)
def _(recorded: Recorded[ReasoningImported], rows: Rows) -> None:
    reasoning = recorded.event
    tokens = reasoning.tokens.count if reasoning.tokens is not None else 0
    _new_item(recorded, rows, "reasoning", reasoning.item_id, None, tokens)


@projection.on(ToolReturned)
def _(recorded: Recorded[ToolReturned], rows: Rows) -> None:
    _result(recorded, rows)


@projection.on(ToolFailed)
def _(recorded: Recorded[ToolFailed], rows: Rows) -> None:
    _result(recorded, rows)


@projection.on(ToolSettled)
def _(recorded: Recorded[ToolSettled], rows: Rows) -> None:
    if recorded.event.outcome != "did_not_happen":
        _result(recorded, rows)


@projection.on(ThreadCompacted)
def _(recorded: Recorded[ThreadCompacted], rows: Rows) -> None:
    tokens = recorded.event.tokens.count if recorded.event.tokens is not None else 0
    _new_item(recorded, rows, "summary", recorded.event.item_id, None, tokens)


def _result(recorded: Recorded[Any], rows: Rows) -> None:
    result: ToolReturned | ToolFailed | ToolSettled = recorded.event
    tokens = result.tokens.count if result.tokens is not None else 0
    _new_item(recorded, rows, "result", result.tool_call_id, result.run_id, tokens)


def _new_item(recorded: Recorded[Any], rows: Rows, kind: Kind, item_id: str, run_id: str | None, tokens: int) -> None:
    rows.add(
        ITEMS,
        stream=recorded.stream,
        number=recorded.version,
        kind=kind,
        item_id=item_id,
        run_id=run_id,
        tokens=tokens,
        position=recorded.position,
        created=recorded.position,
    )


@projection.on(ToolReplaced)
def _(recorded: Recorded[ToolReplaced], rows: Rows) -> None:
    replaced = recorded.event
    tokens = replaced.tokens.count if replaced.tokens is not None else 0
    if replaced.had_result:
        _change(recorded, rows, "result", replaced.tool_call_id, position=recorded.position, tokens=tokens)
    else:
        _new_item(recorded, rows, "result", replaced.tool_call_id, None, tokens)


@projection.on(MessageChanged)
def _(recorded: Recorded[MessageChanged], rows: Rows) -> None:
    _change(recorded, rows, "message", recorded.event.message_id, metadata_position=recorded.position)


@projection.on(MessageEdited)
def _(recorded: Recorded[MessageEdited], rows: Rows) -> None:
    tokens = recorded.event.tokens.count if recorded.event.tokens is not None else 0
    _change(recorded, rows, "message", recorded.event.message_id, position=recorded.position, tokens=tokens)


@projection.on(MessageRemoved)
def _(recorded: Recorded[MessageRemoved], rows: Rows) -> None:
    own = _own(recorded, rows, "message", recorded.event.message_id)
    for row in own:
        rows.remove(ITEMS, row["stream"], row["number"])
    if not own:
        _override(recorded, rows, "message", recorded.event.message_id, removed=1)


def _own(recorded: Recorded[Any], rows: Rows, kind: Kind, item_id: str) -> list[Row]:
    found = rows.find(ITEMS, item_id=item_id, stream=recorded.stream)
    return [row for row in found if row["kind"] == kind]


def _change(recorded: Recorded[Any], rows: Rows, kind: Kind, item_id: str, **columns: int) -> None:
    own = _own(recorded, rows, kind, item_id)
    for row in own:
        rows.put(ITEMS, **{**row, **columns})
    if not own:
        _override(recorded, rows, kind, item_id, **columns)


def _override(recorded: Recorded[Any], rows: Rows, kind: Kind, item_id: str, **columns: int) -> None:
    """What a thread does not have of itself it has inherited. The parent's rows are the parent's."""
    before = rows.get(OVERRIDES, recorded.stream, kind, item_id) or {"removed": 0}
    said = {"owner": recorded.stream, "kind": kind, "item_id": item_id}
    _says_otherwise(recorded, rows)
    rows.put(OVERRIDES, **{**before, **said, **columns})


# Questions about threads; those about what is in them are in `_items.py`


@dataclass(frozen=True, slots=True)
class ThreadRow:
    """`created` is the position of its first event. `parent` and the version it was left at, if it is a fork.

    `truncation` is the strategy of its runs, where those say none; None when the thread says none either.
    """

    thread_id: str
    tenant: str
    created: int
    created_at: int
    metadata: Metadata
    tool_resources: JsonObject
    truncation: Truncation | None = None
    parent: str | None = None
    parent_version: int | None = None


def thread(reader: Reader, thread_id: str, as_of: int | None = None) -> ThreadRow | None:
    now, at = moment(as_of)
    rows = reader.rows(
        f"select {', '.join(THREADS.names)} from threads where thread_id = ? and {now}", (thread_id, *at)
    )
    return _thread_row(reader, rows[0]) if rows else None


def _thread_row(reader: Reader, row: Any) -> ThreadRow:
    thread_id, tenant, created, metadata_position, resources_position, truncation_position = row
    events = reader.events({created, metadata_position, resources_position, truncation_position})
    truncation = events[truncation_position].event.truncation  # type: ignore[attr-defined]
    first = events[created].event
    lineage = (first.parent, first.parent_version) if isinstance(first, ThreadForked) else ()
    return ThreadRow(
        thread_id,
        tenant,
        created,
        events[created].at,
        events[metadata_position].event.metadata or {},  # type: ignore[attr-defined]
        events[resources_position].event.tool_resources or {},  # type: ignore[attr-defined]
        None if truncation == "default" else truncation,
        *lineage,
    )


def threads(
    reader: Reader,
    *,
    tenant: str,
    labels: Metadata | None = None,
    after: int | None = None,
    before: int | None = None,
    newest_first: bool = True,
    limit: int,
    offset: int = 0,
    as_of: int | None = None,
) -> list[ThreadRow]:
    """Threads of a tenant that bear all of `labels`, by creation; `after` and `before` are `created` positions.

    A thread that was not stored is not found, here or elsewhere.
    """
    now, at = moment(as_of)
    sql = f"select {', '.join('t.' + name for name in THREADS.names)} from threads t where t.tenant = ? and {now}"
    parameters: list[object] = [tenant, *at]
    for label, value in (labels or {}).items():
        sql += f" and t.thread_id in (select thread_id from thread_labels where label = ? and value = ? and {now})"
        parameters += [label, value, *at]
    if after is not None:
        sql += " and t.created > ?"
        parameters.append(after)
    if before is not None or as_of is not None:
        sql += " and t.created < ?"
        parameters.append(upper_bound(before, as_of))
    sql += f" order by t.created {'desc' if newest_first else 'asc'} limit ? offset ?"
    return [_thread_row(reader, row) for row in reader.rows(sql, [*parameters, limit, offset])]
