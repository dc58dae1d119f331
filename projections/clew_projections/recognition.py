"""By which history a thread is known again, when somebody sends all of it once more and names no thread.

A mark stands where a model's answer ended: the digests of all that was said up to there, as `_chain.py` makes them.
A history that is sent again is looked up by the digests at its own answers; the longest that is known wins, and what
comes behind it is new. Marks stand at answers only, so that nothing is known again by what only its user said, and
what is appended between answers costs nothing here. A thread of which something was edited or removed in place has no
marks from there on: nobody but the thread has that history, and whoever means it can name it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from clew.errors import Erased
from clew.events.base import Event, Recorded
from clew.events.message import MessageAppended, MessageEdited, MessageRemoved
from clew.events.model import ModelCalled, ReasoningImported, ReasoningRecorded
from clew.events.run import (
    RunActionRequired,
    RunCompleted,
    RunConfig,
    RunFailed,
    RunIncomplete,
    RunQueued,
    RunReconfigured,
)
from clew.events.thread import ThreadCreated, ThreadForked
from clew.events.tool import ToolCalled, ToolFailed, ToolImported, ToolReplaced, ToolReturned, ToolSettled
from clew.log import Reader
from clew.projecting import Projection, Rows, Table
from clew_projections import _chain
from clew_projections._chain import (
    Blocks,
    Chain,
    Link,
    Unknown,
    arguments_of,
    beginning,
    blocks_of,
    blocks_of_reasoning,
    called,
    holds_answer,
    links,
    links_by_event,
    parsed,
    result_of,
    returned,
    said,
    text_block,
)

__all__ = [
    "Blocks",
    "CallRow",
    "Chain",
    "Link",
    "Mark",
    "Unknown",
    "arguments_of",
    "beginning",
    "blocks_of",
    "blocks_of_reasoning",
    "call",
    "called",
    "holds_answer",
    "links",
    "links_by_event",
    "marks",
    "parsed",
    "projection",
    "result_of",
    "returned",
    "said",
    "scope_of",
    "text_block",
]

# Reading so many at an answer takes about a tenth of a second, for which others may have to wait.
_EVENTS_MAX = 5_000
_ASKED_AT_ONCE = 400
# Almost always it is the last answer that is known; whoever asks for all at once is told of every one before it, too.
_ASKED_FIRST = 8
_ANSWERED = (MessageAppended, ReasoningRecorded, ToolCalled)
_EDITS = (MessageEdited, MessageRemoved)
_ITEMS = (
    MessageAppended,
    ReasoningRecorded,
    ReasoningImported,
    ToolCalled,
    ToolImported,
    ToolReturned,
    ToolFailed,
    ToolSettled,
    ToolReplaced,
)
_KINDS = tuple(event.kind for event in (*_ITEMS, *_EDITS))

MARKS = Table(
    name="history_marks",
    key=("stream", "version"),
    columns={
        "stream": "text not null",
        "version": "integer not null",
        "scope": "blob not null",
        "whole": "blob not null",
        # Where it is another one than the whole.
        "lean": "blob",
    },
    indexes=(("whole",), ("lean",)),
    timed=False,
)
HEADS = Table(
    name="history_heads",
    key=("stream",),
    columns={
        "stream": "text not null",
        # Up to where the digests go; null until they are needed for the first time.
        "version": "integer",
        "scope": "blob not null",
        "whole": "blob",
        "lean": "blob",
        "unknown": "integer not null",
    },
    timed=False,
    hot=True,
)
CALLS = Table(
    name="history_calls",
    key=("model_call_id",),
    columns={
        "model_call_id": "text not null",
        "stream": "text not null",
        "run_id": "text not null",
        "version": "integer not null",
        "position": "integer not null",
    },
    timed=False,
)
projection = Projection(name="recognition", version=1, lifecycle="inline", tables=(MARKS, HEADS, CALLS))


@projection.on(ModelCalled)
def _(recorded: Recorded[ModelCalled], rows: Rows) -> None:
    called = recorded.event
    if called.attempt == 1:
        rows.add(
            CALLS,
            model_call_id=called.model_call_id,
            stream=recorded.stream,
            run_id=called.run_id,
            version=recorded.version,
            position=recorded.position,
        )


@projection.on(RunQueued)
def _(recorded: Recorded[RunQueued], rows: Rows) -> None:
    _configured(recorded, rows)


@projection.on(RunReconfigured)
def _(recorded: Recorded[RunReconfigured], rows: Rows) -> None:
    _configured(recorded, rows)


def _configured(recorded: Recorded[RunQueued] | Recorded[RunReconfigured], rows: Rows) -> None:
    before = rows.get(HEADS, recorded.stream) or {"stream": recorded.stream, "unknown": 0}
    scope = scope_of(recorded.event.config)
    if before.get("scope") != scope:
        rows.put(HEADS, **{**before, "scope": scope})


def scope_of(config: RunConfig) -> bytes:
    """What must be the same besides the history: the instructions, and the user where the client says which one."""
    return _chain.scope(config.instructions, str(config.hints.get("user_id", "")))


@projection.on(RunActionRequired)
def _(recorded: Recorded[RunActionRequired], rows: Rows) -> None:
    _answered(recorded, rows)


@projection.on(RunCompleted)
def _(recorded: Recorded[RunCompleted], rows: Rows) -> None:
    _answered(recorded, rows)


@projection.on(RunIncomplete)
def _(recorded: Recorded[RunIncomplete], rows: Rows) -> None:
    _answered(recorded, rows)


@projection.on(RunFailed)
def _(recorded: Recorded[RunFailed], rows: Rows) -> None:
    _answered(recorded, rows)


def _answered(recorded: Recorded[Any], rows: Rows) -> None:
    """Mark where the answer ended, if there was one."""
    head = rows.get(HEADS, recorded.stream)
    if head is None or head["unknown"]:
        return
    try:
        after, chain = _where(head, recorded.stream, rows)
        events = _window(rows, recorded.stream, after, recorded.version)
        if not any(isinstance(one.event, _ANSWERED) and getattr(one.event, "run_id", None) for one in events):
            return
        chain = chain.with_links(links(events))
    except (Unknown, Erased):
        rows.put(HEADS, **{**head, "unknown": 1, "whole": None, "lean": None})
        return
    lean = None if chain.lean == chain.full else chain.lean
    rows.put(HEADS, **{**head, "version": recorded.version, "whole": chain.full, "lean": lean})
    mark = {"stream": recorded.stream, "version": recorded.version, "scope": head["scope"]}
    rows.put(MARKS, **mark, whole=chain.full, lean=lean)


def _where(head: dict[str, Any], stream: str, rows: Rows) -> tuple[int, Chain]:
    """Up to which version a thread's digests go, and those."""
    if head["version"] is not None:
        return head["version"], _chain_of(head)
    [first] = rows.events(stream, after=0, upto=1)
    match first.event:
        case ThreadCreated(tenant=tenant):
            return 0, _chain.beginning(tenant)
        case ThreadForked() as fork:
            return 0, _inherited(fork, rows)
        case _:
            raise Unknown


def _chain_of(row: dict[str, Any]) -> Chain:
    full = bytes(row["whole"])
    return Chain(full, bytes(row["lean"]) if row["lean"] is not None else full)


def _inherited(fork: ThreadForked, rows: Rows) -> Chain:
    """The digests of the parent where the fork left it: those at its last mark before that, and what came behind it."""
    mark = rows.latest(MARKS, "version", fork.parent_version, stream=fork.parent)
    if mark is not None:
        after, chain = mark["version"], _chain_of(mark)
    else:
        after, chain = _where({"version": None}, fork.parent, rows)
    return chain.with_links(links(_window(rows, fork.parent, after, fork.parent_version)))


def _window(rows: Rows, stream: str, after: int, upto: int) -> list[Recorded[Event]]:
    if upto - after > _EVENTS_MAX:
        raise Unknown
    return rows.events(stream, after=after, upto=upto, kinds=_KINDS)


# Questions


@dataclass(frozen=True, slots=True)
class Mark:
    """A thread said this up to its version. `number` is that of the digest that was asked for; `exact`: nothing that
    a client may drop was dropped."""

    number: int
    stream: str
    version: int
    exact: bool


def marks(reader: Reader, scope: bytes | None, chains: Sequence[Chain]) -> list[Mark]:
    """Threads that have said exactly what one of `chains` says, the last of these that is known by any.

    `scope` None: under whatever instructions.
    """
    end, count = len(chains), _ASKED_FIRST
    while end:
        first = max(0, end - count)
        found = _marks(reader, scope, chains, first, end)
        if found:
            longest = max(mark.number for mark in found)
            return [mark for mark in found if mark.number == longest]
        end, count = first, _ASKED_AT_ONCE
    return []


def _marks(reader: Reader, scope: bytes | None, chains: Sequence[Chain], first: int, end: int) -> list[Mark]:
    full = {chains[number].full: number for number in range(first, end)}
    lean = {chains[number].lean: number for number in range(first, end)}
    asked = [*full.keys() | lean.keys()]
    places = ",".join("?" * len(asked))
    lean_places = ",".join("?" * len(lean))
    rows = reader.rows(
        f"select stream, version, scope, whole, lean from history_marks where whole in ({places})"
        f" union select stream, version, scope, whole, lean from history_marks where lean in ({lean_places})",
        (*asked, *lean),
    )
    found = []
    for stream, version, of, whole, skipping in rows:
        if scope is not None and bytes(of) != scope:
            continue
        number = full.get(bytes(whole))
        exact = number is not None
        if number is None:
            number = lean.get(bytes(skipping if skipping is not None else whole))
        if number is not None:
            found.append(Mark(number, stream, version, exact))
    return found


@dataclass(frozen=True, slots=True)
class CallRow:
    """Where a model was called for the first time of a call: the event of that version, at that position."""

    model_call_id: str
    stream: str
    run_id: str
    version: int
    position: int


def call(reader: Reader, model_call_id: str, as_of: int | None = None) -> CallRow | None:
    rows = reader.rows(f"select {', '.join(CALLS.names)} from history_calls where model_call_id = ?", (model_call_id,))
    found = CallRow(*rows[0]) if rows else None
    return found if found is not None and (as_of is None or found.position <= as_of) else None
