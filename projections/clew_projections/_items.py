"""What is in threads: items in their order, through the stretches of a history, now or at any point in the past.

A fork copies nothing: its history is a list of segments, each read as it stood where the next one left it. What a
fork says otherwise of what it inherited is an override, and the parent never sees it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

from clew.events.base import Event
from clew.events.content import Tokens
from clew.events.items import Item, MessageItem, Place, ReasoningItem, SummaryItem, ToolCallItem, ToolResultItem
from clew.events.message import MessageAppended, MessageEdited
from clew.events.model import ReasoningImported, ReasoningRecorded
from clew.events.thread import ThreadCompacted
from clew.events.tool import ToolCalled, ToolFailed, ToolImported, ToolReplaced, ToolReturned, ToolSettled
from clew.log import Reader
from clew.projecting import Table, moment

# No stream has a version above this one, and the first is no item: a thread is created, or forked, by it.
_NEWEST = 2**62
_FIRST = 1

Kind: TypeAlias = Literal["message", "reasoning", "call", "result", "summary"]

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

# What a fork (`owner`) says otherwise of items that it inherited: columns without a value stay as they were.
OVERRIDES = Table(
    name="item_overrides",
    key=("owner", "kind", "item_id"),
    columns={
        "owner": "text not null",
        "kind": "text not null",
        "item_id": "text not null",
        "position": "integer",
        "metadata_position": "integer",
        "tokens": "integer",
        "removed": "integer not null",
    },
)


# Which messages of a fork (`owner`) stand in what it inherited, each before an item that it inherited.
INSERTS = Table(
    name="item_inserts",
    key=("owner", "number"),
    columns={
        "owner": "text not null",
        "number": "integer not null",
        "before_stream": "text not null",
        "before_number": "integer not null",
    },
)


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of history: the events of `stream` up to a version, as they stood at a position; None for all.

    Where a fork put messages into what it inherited, the stretch is in parts, and `after_version` is where one begins.
    `otherwise`: the stream is a fork that says something otherwise of what it inherited.
    """

    stream: str
    upto_version: int | None
    upto_position: int | None = None
    after_version: int = 0
    otherwise: bool = False

    def holds(self, stream: str, number: int) -> bool:
        """Whether the item of that place is in this stretch."""
        upto = _NEWEST if self.upto_version is None else self.upto_version
        return self.stream == stream and self.after_version < number <= upto

    def moment(self, as_of: int | None) -> int | None:
        """The position as of which this stretch is to be read."""
        if as_of is None or self.upto_position is None:
            return self.upto_position if as_of is None else as_of
        return min(as_of, self.upto_position)


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


def segments(reader: Reader, thread_id: str, as_of: int | None = None) -> list[Segment]:
    """The history of a thread, oldest stretch first; its own stream is the last."""
    return _with_inserts(reader, _lineage(reader, Segment(thread_id, None), as_of), as_of)


def segments_upto(reader: Reader, thread_id: str, version: int, position: int) -> list[Segment]:
    """The history of a thread as a fork would have it that leaves it at `version`, which is at `position`."""
    return _with_inserts(reader, _lineage(reader, Segment(thread_id, version, position), None), None)


def _lineage(reader: Reader, own: Segment, as_of: int | None) -> list[Segment]:
    """A stretch for each stream, whole; that of the thread itself is the last."""
    now, at = moment(as_of)
    rows = reader.rows(
        "select stream, upto_version, upto_position, otherwise from thread_segments"
        f" where thread_id = ? and {now} order by ordinal",
        (own.stream, *at),
    )
    if not rows:
        return [own]
    # A row says of the stream that comes after it whether that one says anything otherwise.
    flags = [False, *(bool(row[3]) for row in rows)]
    inherited = [
        Segment(stream, version, position, otherwise=flag)
        for (stream, version, position, _), flag in zip(rows, flags, strict=False)
    ]
    return [*inherited, replace(own, otherwise=flags[-1])]


def _with_inserts(reader: Reader, lineage: list[Segment], as_of: int | None) -> list[Segment]:
    """The stretches parted where forks put messages between what they inherited, one fork after the other."""
    if not any(segment.otherwise for segment in lineage):
        return lineage
    wanted, parameters = _owned_by(lineage, as_of)
    rows = reader.rows(
        f"select owner, number, before_stream, before_number from item_inserts where {wanted}", parameters
    )
    parted = list(lineage)
    for own in lineage[1:]:
        upto = _NEWEST if own.upto_version is None else own.upto_version
        inserts = sorted(row[1:] for row in rows if row[0] == own.stream and row[1] <= upto)
        for number, stream, before in inserts:
            place = next(place for place, segment in enumerate(parted) if segment.holds(stream, before))
            part = parted[place]
            left = [replace(part, upto_version=before - 1)] if before - 1 > part.after_version else []
            inserted = replace(own, after_version=number - 1, upto_version=number)
            parted[place : place + 1] = [*left, inserted, replace(part, after_version=before - 1)]
        if inserts:
            place = parted.index(own)
            parted[place] = replace(own, after_version=inserts[-1][0])
    return parted


def _owned_by(stretches: Sequence[Segment], as_of: int | None) -> tuple[str, list[object]]:
    """The condition, and its parameters, for what forks say: each as it stood where the next one left it."""
    wanted: list[str] = []
    parameters: list[object] = []
    for segment in {segment.stream: segment for segment in stretches if segment.otherwise}.values():
        condition, at = moment(segment.moment(as_of))
        wanted.append(f"(owner = ? and {condition})")
        parameters += [segment.stream, *at]
    return " or ".join(wanted), parameters


_Changes: TypeAlias = "dict[tuple[str, str], dict[str, Any]]"


def _overrides(reader: Reader, history: Sequence[Segment], as_of: int | None) -> _Changes:
    """What forks say otherwise of what they inherited, by kind and id of the item; the later fork has its way."""
    found: _Changes = {}
    if not any(segment.otherwise for segment in history):
        return found
    wanted, parameters = _owned_by(history, as_of)
    rows = reader.rows(f"select {', '.join(OVERRIDES.names)} from item_overrides where {wanted}", parameters)
    order = {segment.stream: place for place, segment in enumerate(history)}
    for owner, kind, item_id, *columns in sorted(rows, key=lambda row: order[row[0]]):
        said = dict(zip(OVERRIDES.names[3:], columns, strict=True))
        changes = found.setdefault((kind, item_id), {})
        changes.update({name: value for name, value in said.items() if value is not None})
        changes.setdefault("by", set()).add(owner)
    return found


def said_otherwise(reader: Reader, history: Sequence[Segment]) -> list[tuple[Kind, str, dict[str, Any]]]:
    """What these stretches say otherwise of items of earlier ones: kind, id, and the columns of `OVERRIDES` that do."""
    return [(kind, item_id, said) for (kind, item_id), said in _overrides(reader, history, None).items()]  # type: ignore[misc]


def _as_changed(row: ItemRow, changes: _Changes) -> ItemRow | None:
    """The row as the fork has it; None when it has it not."""
    said = changes.get((row.kind, row.item_id))
    if said is None or row.stream in said["by"]:
        return row
    if said["removed"]:
        return None
    new = {name: said[name] for name in ("position", "metadata_position", "tokens") if name in said}
    return replace(row, **new)


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
    changes = _overrides(reader, history, as_of)
    only = " and kind = 'message'" if messages_only else ""
    order = "desc" if newest_first else "asc"
    for segment in _from(history, beyond, newest_first):
        low, high = max(segment.after_version, _FIRST), _end(reader, segment, as_of)
        if high <= low:
            continue
        now, at = moment(segment.moment(as_of))
        while True:
            rows = reader.rows(
                f"select {', '.join(ITEMS.names)} from items where stream = ? and number > ? and number <= ?"
                f" and {now}{only} order by number {order} limit ?",
                (segment.stream, low, high, *at, page),
            )
            for row in rows:
                changed = _as_changed(ItemRow(*row), changes) if changes else ItemRow(*row)
                if changed is not None:
                    yield changed
            if len(rows) < page:
                break
            low, high = (low, rows[-1][1] - 1) if newest_first else (rows[-1][1], high)


def _from(history: Sequence[Segment], beyond: Place | None, newest_first: bool) -> Iterator[Segment]:
    """The stretches, or what is left of them, that lie beyond a place, in the order of walking."""
    started = beyond is None
    for segment in reversed(history) if newest_first else history:
        if started or beyond is None:
            yield segment
        elif segment.stream == beyond.stream and _reaches(segment, beyond.number, newest_first):
            started = True
            if newest_first:
                upto = beyond.number - 1
                upto = upto if segment.upto_version is None else min(upto, segment.upto_version)
                yield replace(segment, upto_version=upto)
            else:
                yield replace(segment, after_version=max(beyond.number, segment.after_version))


def _reaches(segment: Segment, number: int, newest_first: bool) -> bool:
    if newest_first:
        return number > segment.after_version
    return segment.upto_version is None or number <= segment.upto_version


def between(
    reader: Reader, history: Sequence[Segment], stream: str, first: int, last: int, as_of: int | None = None
) -> list[ItemRow]:
    """The items of a stream from one number to another, as they are in this history. A manifest names them so."""
    changes = _overrides(reader, history, as_of)
    part = next((segment for segment in history if segment.stream == stream), None)
    if part is None:
        return []
    now, at = moment(part.moment(as_of))
    rows = reader.rows(
        f"select {', '.join(ITEMS.names)} from items where stream = ? and number >= ? and number <= ?"
        f" and {now} order by number",
        (stream, first, last, *at),
    )
    changed = (_as_changed(ItemRow(*row), changes) for row in rows)
    return [row for row in changed if row is not None]


def _end(reader: Reader, segment: Segment, as_of: int | None) -> int:
    """A number that no item of the segment is above: what came after the point is not even looked at."""
    if segment.upto_version is not None:
        # Whoever was forked from it did so before the point, or would not be there.
        return segment.upto_version
    return _NEWEST if as_of is None else reader.version(segment.stream, as_of)


# SQLite, asked for one stream by `=`, would rather read all of that stream than look into the index.
_OF_THAT_ID = "item_id = ? and stream between ? and ?"


def message(reader: Reader, history: Sequence[Segment], message_id: str, as_of: int | None = None) -> ItemRow | None:
    """The message of that id, if it is part of this history."""
    return item(reader, history, "message", message_id, as_of)


def item(
    reader: Reader, history: Sequence[Segment], kind: Kind, item_id: str, as_of: int | None = None
) -> ItemRow | None:
    """The item of that kind and id, if it is part of this history."""
    changes = _overrides(reader, history, as_of)
    for segment in history:
        now, at = moment(segment.moment(as_of))
        rows = reader.rows(
            f"select {', '.join(ITEMS.names)} from items where {_OF_THAT_ID} and kind = ? and {now}",
            (item_id, segment.stream, segment.stream, kind, *at),
        )
        for row in (ItemRow(*found) for found in rows):
            if segment.holds(row.stream, row.number):
                return _as_changed(row, changes)
    return None


def place(reader: Reader, history: Sequence[Segment], kind: Kind, item_id: str) -> Place | None:
    """Where the item of that kind and id stands in this history, or stood before it was removed."""
    for segment in history:
        rows = reader.rows(
            f"select number from items where {_OF_THAT_ID} and kind = ? limit 1",
            (item_id, segment.stream, segment.stream, kind),
        )
        if rows and segment.holds(segment.stream, rows[0][0]):
            return Place(segment.stream, rows[0][0])
    return None


def holder(reader: Reader, kind: Kind, item_id: str) -> ItemRow | None:
    """The item of that kind and id, in whichever thread it is, now."""
    rows = reader.rows(
        f"select {', '.join(ITEMS.names)} from items where item_id = ? and kind = ? and until is null limit 1",
        (item_id, kind),
    )
    return ItemRow(*rows[0]) if rows else None


def items(reader: Reader, rows: Sequence[ItemRow]) -> list[Item]:
    """The items themselves, with their bodies, in the order of `rows`."""
    events = reader.events({p for row in rows for p in (row.position, row.created)})
    return [_item(row, events[row.position].event, events[row.created].event) for row in rows]


def _item(row: ItemRow, body: Event, first: Event) -> Item:
    place = Place(row.stream, row.number)
    counted: Tokens | None = getattr(body, "tokens", None)
    count = (row.tokens, counted.encoding if counted is not None and counted.exact else None)
    match body, first:
        case (MessageAppended() | MessageEdited()) as said, MessageAppended() as appended:
            return MessageItem(place, row.item_id, appended.role, said.content, appended.model_call_id, *count)
        case (ReasoningRecorded() | ReasoningImported()) as its, _:
            origin = its.origin if isinstance(its, ReasoningRecorded) else None
            return ReasoningItem(
                place, its.provider, its.blocks, its.model_call_id, *count, model=its.model, origin=origin
            )
        case (ToolCalled() | ToolImported()) as call, _:
            return ToolCallItem(place, call.tool_call_id, call.name, call.arguments, call.model_call_id, *count)
        case (ToolReturned() | ToolReplaced()) as its, _:
            return ToolResultItem(place, its.tool_call_id, its.output, its.is_error, *count, content=its.content)
        case ToolSettled() as settled, _:
            return ToolResultItem(place, settled.tool_call_id, settled.output, False, *count)
        case ToolFailed() as failed, _:
            return ToolResultItem(place, failed.tool_call_id, failed.output, True, *count)
        case ThreadCompacted() as compacted, _:
            return SummaryItem(place, compacted.summary, *count)
        case _:
            raise AssertionError(f"item {row.item_id} points at an event of kind {body.kind}")
