"""What threads there are, and what is in them, now or at any point in the past.

An item's row says where the item stands (its number is the version of the event that appended it) and at which
position the event is that carries its body; bodies are read from there and never copied. A fork copies nothing
either: the history of a thread is a list of segments, and every question about items takes them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from clew.events.base import Event, Recorded
from clew.events.content import JsonObject, Metadata
from clew.events.items import Item, MessageItem, Place, ReasoningItem, SummaryItem, ToolCallItem, ToolResultItem
from clew.events.message import MessageAppended, MessageChanged, MessageEdited, MessageRemoved
from clew.events.model import ReasoningRecorded
from clew.events.thread import ThreadChanged, ThreadCompacted, ThreadCreated, ThreadDeleted, ThreadForked
from clew.events.tool import ToolCalled, ToolFailed, ToolReturned, ToolSettled
from clew.log import Reader
from clew.projecting import Projection, Rows, Table, moment

# No stream has a version above this one.
_NEWEST = 2**62

Kind: TypeAlias = Literal["message", "reasoning", "call", "result", "summary"]

THREADS = Table(
    name="threads",
    key=("thread_id",),
    columns={
        "thread_id": "text not null",
        "tenant": "text not null",
        "created": "integer not null",
        "metadata_position": "integer not null",
        "resources_position": "integer not null",
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
    },
)
ITEMS = Table(
    name="items",
    key=("stream", "number"),
    columns={
        "stream": "text not null",
        "number": "integer not null",
        "kind": "text not null",
        "item_id": "text not null",
        "run_id": "text",
        "tokens": "integer not null",
        "position": "integer not null",
        "metadata_position": "integer",
        "created": "integer not null",
    },
    indexes=(("item_id", "stream"),),
)

projection = Projection(name="thread_view", version=1, lifecycle="inline", tables=(THREADS, LABELS, SEGMENTS, ITEMS))


@projection.on(ThreadCreated)
def _(recorded: Recorded[ThreadCreated], rows: Rows) -> None:
    _new_thread(recorded, rows, recorded.event.tenant, recorded.event.metadata)


@projection.on(ThreadForked)
def _(recorded: Recorded[ThreadForked], rows: Rows) -> None:
    fork = recorded.event
    _new_thread(recorded, rows, fork.tenant, fork.metadata)
    inherited = sorted(rows.find(SEGMENTS, thread_id=fork.parent), key=lambda row: int(row["ordinal"]))
    segments = [(row["stream"], row["upto_version"]) for row in inherited]
    for ordinal, (stream, upto_version) in enumerate([*segments, (fork.parent, fork.parent_version)]):
        rows.add(SEGMENTS, thread_id=recorded.stream, ordinal=ordinal, stream=stream, upto_version=upto_version)


def _new_thread(recorded: Recorded[Any], rows: Rows, tenant: str, metadata: Metadata) -> None:
    rows.add(
        THREADS,
        thread_id=recorded.stream,
        tenant=tenant,
        created=recorded.position,
        metadata_position=recorded.position,
        resources_position=recorded.position,
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


@projection.on(MessageChanged)
def _(recorded: Recorded[MessageChanged], rows: Rows) -> None:
    for row in rows.find(ITEMS, item_id=recorded.event.message_id, stream=recorded.stream):
        rows.put(ITEMS, **{**row, "metadata_position": recorded.position})


@projection.on(MessageEdited)
def _(recorded: Recorded[MessageEdited], rows: Rows) -> None:
    tokens = recorded.event.tokens.count if recorded.event.tokens is not None else 0
    for row in rows.find(ITEMS, item_id=recorded.event.message_id, stream=recorded.stream):
        rows.put(ITEMS, **{**row, "position": recorded.position, "tokens": tokens})


@projection.on(MessageRemoved)
def _(recorded: Recorded[MessageRemoved], rows: Rows) -> None:
    for row in rows.find(ITEMS, item_id=recorded.event.message_id, stream=recorded.stream):
        rows.remove(ITEMS, row["stream"], row["number"])


# Questions


@dataclass(frozen=True, slots=True)
class ThreadRow:
    """`created` is the position of its first event."""

    thread_id: str
    tenant: str
    created: int
    created_at: int
    metadata: Metadata
    tool_resources: JsonObject


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of history: the events of `stream` up to a version, None for all of them."""

    stream: str
    upto_version: int | None


@dataclass(frozen=True, slots=True)
class ItemRow:
    """`position` is that of the event with the body, `created` that of the event that appended it."""

    stream: str
    number: int
    kind: Kind
    item_id: str
    run_id: str | None
    tokens: int
    position: int
    metadata_position: int | None
    created: int


def thread(reader: Reader, thread_id: str, as_of: int | None = None) -> ThreadRow | None:
    now, at = moment(as_of)
    rows = reader.rows(
        f"select {', '.join(THREADS.names)} from threads where thread_id = ? and {now}", (thread_id, *at)
    )
    return _thread_row(reader, rows[0]) if rows else None


def _thread_row(reader: Reader, row: Any) -> ThreadRow:
    thread_id, tenant, created, metadata_position, resources_position = row
    events = reader.events({created, metadata_position, resources_position})
    return ThreadRow(
        thread_id,
        tenant,
        created,
        events[created].at,
        events[metadata_position].event.metadata or {},  # type: ignore[attr-defined]
        events[resources_position].event.tool_resources or {},  # type: ignore[attr-defined]
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
    as_of: int | None = None,
) -> list[ThreadRow]:
    """Threads of a tenant that bear all of `labels`, by creation; `after` and `before` are `created` positions."""
    now, at = moment(as_of)
    sql = f"select {', '.join('t.' + name for name in THREADS.names)} from threads t where t.tenant = ? and {now}"
    parameters: list[object] = [tenant, *at]
    for label, value in (labels or {}).items():
        sql += f" and t.thread_id in (select thread_id from thread_labels where label = ? and value = ? and {now})"
        parameters += [label, value, *at]
    if after is not None:
        sql += " and t.created > ?"
        parameters.append(after)
    if before is not None:
        sql += " and t.created < ?"
        parameters.append(before)
    sql += f" order by t.created {'desc' if newest_first else 'asc'} limit ?"
    return [_thread_row(reader, row) for row in reader.rows(sql, [*parameters, limit])]


def segments(reader: Reader, thread_id: str) -> list[Segment]:
    """The history of a thread, oldest stretch first; its own stream is the last."""
    rows = reader.rows(
        "select stream, upto_version from thread_segments where thread_id = ? and until is null order by ordinal",
        (thread_id,),
    )
    return [*(Segment(row[0], row[1]) for row in rows), Segment(thread_id, None)]


def walk(
    reader: Reader,
    history: Sequence[Segment],
    *,
    beyond: Place | None = None,
    newest_first: bool = True,
    messages_only: bool = False,
    page: int = 200,
    as_of: int | None = None,
) -> Iterator[ItemRow]:
    """Items one after the other from `beyond` (not included) on, read a page at a time: stop when you have enough."""
    now, at = moment(as_of)
    only = " and kind = 'message'" if messages_only else ""
    order = "desc" if newest_first else "asc"
    started = beyond is None
    for segment in reversed(history) if newest_first else history:
        low, high = 0, segment.upto_version if segment.upto_version is not None else _NEWEST
        if not started:
            assert beyond is not None
            if segment.stream != beyond.stream:
                continue
            started = True
            low, high = (0, min(high, beyond.number - 1)) if newest_first else (beyond.number, high)
        while True:
            rows = reader.rows(
                f"select {', '.join(ITEMS.names)} from items where stream = ? and number > ? and number <= ?"
                f" and {now}{only} order by number {order} limit ?",
                (segment.stream, low, high, *at, page),
            )
            for row in rows:
                yield ItemRow(*row)
            if len(rows) < page:
                break
            low, high = (low, rows[-1][1] - 1) if newest_first else (rows[-1][1], high)


def message(reader: Reader, history: Sequence[Segment], message_id: str, as_of: int | None = None) -> ItemRow | None:
    """The message of that id, if it is part of this history."""
    now, at = moment(as_of)
    rows = reader.rows(
        f"select {', '.join(ITEMS.names)} from items where item_id = ? and kind = 'message' and {now}",
        (message_id, *at),
    )
    for row in (ItemRow(*found) for found in rows):
        for segment in history:
            inside = segment.upto_version is None or row.number <= segment.upto_version
            if row.stream == segment.stream and inside:
                return row
    return None


def items(reader: Reader, rows: Sequence[ItemRow]) -> list[Item]:
    """The items themselves, with their bodies, in the order of `rows`."""
    events = reader.events({p for row in rows for p in (row.position, row.created)})
    return [_item(row, events[row.position].event, events[row.created].event) for row in rows]


def _item(row: ItemRow, body: Event, first: Event) -> Item:
    place = Place(row.stream, row.number)
    match body, first:
        case (MessageAppended() | MessageEdited()) as said, MessageAppended() as appended:
            return MessageItem(place, row.item_id, appended.role, said.content, appended.model_call_id, row.tokens)
        case ReasoningRecorded() as reasoning, _:
            return ReasoningItem(place, reasoning.provider, reasoning.blocks, reasoning.model_call_id, row.tokens)
        case ToolCalled() as call, _:
            return ToolCallItem(place, call.tool_call_id, call.name, call.arguments, call.model_call_id, row.tokens)
        case (ToolReturned() | ToolSettled()) as result, _:
            return ToolResultItem(place, result.tool_call_id, result.output, False, row.tokens)
        case ToolFailed() as failed, _:
            return ToolResultItem(place, failed.tool_call_id, failed.output, True, row.tokens)
        case ThreadCompacted() as compacted, _:
            return SummaryItem(place, compacted.summary, row.tokens)
        case _:
            raise AssertionError(f"item {row.item_id} points at an event of kind {body.kind}")
