"""Finding the thread that a request goes on with: by a header, by the message before, or by its history.

What is known of the history is not said again. How far the thread has gone on since decides whether the request goes
on with it, or is a fork of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from clew.dialects.anthropic_messages.history import Entry, answers
from clew.engine.engine import Engine
from clew.events.base import Event, Recorded
from clew.events.items import Place
from clew.events.message import MessageAppended, MessageEdited, MessageRemoved
from clew.events.run import RunQueued, RunReconfigured
from clew.events.tool import ToolReplaced, ToolReturned
from clew.ids import DEFAULT_TENANT
from clew.log import Reader
from clew_projections import recognition, thread_view
from clew_projections.recognition import Chain, Link, Mark
from clew_projections.thread_view import ItemRow, Segment

_PAGE_ITEMS = 100
# What asks for an answer, and what may be brought along with that.
_ASKED = (RunQueued.kind, RunReconfigured.kind)
_BROUGHT = (MessageAppended, ToolReturned, ToolReplaced)
_EDITS = (MessageEdited.kind, MessageRemoved.kind, ToolReplaced.kind)


@dataclass(frozen=True, slots=True)
class Spot:
    """Where in a thread a request goes on, and how many of its entries are there already.

    `place` is the event that it goes on behind; the thread itself does, if that is its end. `known` is the last event
    that said what the request says too. `seen` is the version of the thread when it was looked at. `answered`: the
    thread goes on with an answer to just this request.
    """

    thread_id: str
    place: Place
    known: Place
    matched: int
    at_end: bool
    seen: int
    matched_by: str
    answered: bool = False


def by_history(
    engine: Engine, reader: Reader, entries: Sequence[Entry], scope: bytes, *, retried: bool = False
) -> Spot | None:
    """The thread that has the longest beginning of this history, if a model of ours has spoken in it.

    `retried`: the very same request was sent before.
    """
    ends, chains = _answers(entries)
    marks = [mark for mark in recognition.marks(reader, scope, chains) if _is_open(engine, mark.stream)]
    if not marks:
        return None
    matched = ends[marks[0].number]
    spots = [_spot(reader, mark, entries, matched) for mark in marks]
    whole = [spot for spot in spots if spot.matched == len(entries)]
    if retried and whole:
        return max(whole, key=lambda spot: (spot.answered, spot.known.number))
    best = max(spots, key=lambda spot: (spot.matched, spot.at_end, spot.place.number))
    if len({mark.stream for mark in marks}) > 1 and best.matched == matched:
        # Several threads say the same, maybe to several people: none of them is gone on with by somebody else.
        return replace(best, at_end=False)
    return best


def _spot(reader: Reader, mark: Mark, entries: Sequence[Entry], matched: int) -> Spot:
    """Behind a mark, in the thread that has set it."""
    history, place = thread_view.segments(reader, mark.stream), Place(mark.stream, mark.version)
    return follow(reader, mark.stream, history, place, entries, matched, _by(mark), mark.exact)


def by_header(
    engine: Engine, reader: Reader, thread_id: str, entries: Sequence[Entry], *, retried: bool = False
) -> Spot:
    """The thread that is named, wherever the history parts from it. What is not known of it is new.

    `retried`: the very same request was sent before.
    """
    history = thread_view.segments(reader, thread_id)
    ends, chains = _answers(entries)
    upto = {segment.stream: segment.upto_version for segment in history}
    mine = [mark for mark in recognition.marks(reader, None, chains) if _within(mark, upto)]
    if mine:
        mark = max(mine, key=lambda one: (list(upto).index(one.stream), one.version))
        place = Place(mark.stream, mark.version)
        return follow(reader, thread_id, history, place, entries, ends[mark.number], "header", mark.exact)
    from_start = follow(reader, thread_id, history, None, entries, 0, "header", exact=False)
    known = entries[: from_start.matched]
    if from_start.at_end or any(entry.role == "assistant" for entry in known):
        return from_start
    # Only what is new was sent, or was new when it was sent first.
    before = _sent_before(reader, thread_id, history, entries) if retried else None
    return before or end_of(reader, thread_id)


def _sent_before(reader: Reader, thread_id: str, history: Sequence[Segment], entries: Sequence[Entry]) -> Spot | None:
    """Where the thread was given just these to answer last; None if that was something else."""
    asked = reader.stream(thread_id, kinds=_ASKED, newest_first=True, limit=1)
    if not asked:
        return None
    start = asked[0].version - 1
    for recorded in reader.stream(thread_id, upto=start, newest_first=True, limit=len(entries)):
        if not isinstance(recorded.event, _BROUGHT) or getattr(recorded.event, "model_call_id", None) is not None:
            break
        start = recorded.version - 1
    spot = follow(reader, thread_id, history, Place(thread_id, start), entries, 0, "header", exact=True)
    return spot if spot.matched == len(entries) else None


def _within(mark: Mark, upto: dict[str, int | None]) -> bool:
    if mark.stream not in upto:
        return False
    last = upto[mark.stream]
    return last is None or mark.version <= last


def end_of(reader: Reader, thread_id: str) -> Spot:
    version = reader.version(thread_id)
    end = Place(thread_id, version)
    return Spot(thread_id, end, end, 0, True, version, "header")


def _answers(entries: Sequence[Entry]) -> tuple[list[int], list[Chain]]:
    found = list(answers(entries, DEFAULT_TENANT))
    return [end for end, _ in found], [chain for _, chain in found]


def _by(mark: Mark) -> str:
    return "prefix" if mark.exact else "prefix_without_thinking"


def _is_open(engine: Engine, thread_id: str) -> bool:
    thread = engine.desk.thread(thread_id)
    return thread.exists and not thread.deleted and thread.stored and thread.tenant == DEFAULT_TENANT


def follow(
    reader: Reader,
    thread_id: str,
    history: Sequence[Segment],
    beyond: Place | None,
    entries: Sequence[Entry],
    matched: int,
    matched_by: str,
    exact: bool,
) -> Spot:
    """Go along a thread and its `history` from `beyond` on, and along the entries, as far as both say the same.

    Behind an answer stands what was said to it since, maybe by this very request, which failed then. Not `exact`: what
    clients may drop is left out of both.
    """
    seen = reader.version(thread_id)
    place = beyond or Place(thread_id, seen)
    at_end, answered = True, False
    ids: set[str] = set()
    for row, links in _tail(reader, history, beyond):
        ids.add(row.item_id)
        wanted = [link for link in links if exact or not link.dropped]
        if not wanted:
            continue
        taken = _taken(entries, matched, wanted, exact)
        if taken is None:
            at_end = False
            answered = matched == len(entries) and row.run_id is not None
            break
        matched, place = taken, Place(row.stream, row.number)
    if at_end and beyond is not None and matched_by != "message":
        # A history that was sent says what was said before the edit; whoever names a message means the thread as it is.
        at_end = not _edited_before(reader, thread_id, beyond, ids)
    end = Place(thread_id, seen) if at_end else place
    return Spot(thread_id, end, place, matched, at_end, seen, matched_by, answered)


def _taken(entries: Sequence[Entry], start: int, wanted: Sequence[Link], exact: bool) -> int | None:
    """Behind which entry they say what is `wanted`; None when they say something else."""
    place = start
    for link in wanted:
        while place < len(entries) and _says_nothing(entries[place], exact):
            place += 1
        if place == len(entries) or entries[place].link != link:
            return None
        place += 1
    return place


def _says_nothing(entry: Entry, exact: bool) -> bool:
    return entry.link is None or (entry.link.dropped and not exact)


def _tail(reader: Reader, history: Sequence[Segment], beyond: Place | None) -> Iterator[tuple[ItemRow, list[Link]]]:
    """What the thread says behind a place, as it is now."""
    rows = thread_view.walk(reader, history, beyond=beyond, newest_first=False, page=_PAGE_ITEMS)
    while page := list(islice(rows, _PAGE_ITEMS)):
        told = recognition.links_by_event(as_now(reader, page))
        yield from ((row, links) for row, (_, links) in zip(page, told, strict=True))


def as_now(reader: Reader, rows: Sequence[ItemRow]) -> list[Recorded[Event]]:
    """The events that put items into a thread, as if they had said then what the items say now."""
    events = reader.events({position for row in rows for position in (row.created, row.position)})
    return [_as_now(events[row.created], events[row.position].event) for row in rows]


def _as_now(first: Recorded[Event], body: Event) -> Recorded[Event]:
    match body, first.event:
        case MessageEdited(content=content), MessageAppended() as appended:
            return first._replace(event=appended.model_copy(update={"content": content}))
        case ToolReplaced(), _:
            return first._replace(event=body.model_copy(update={"had_result": False}))
        case _:
            return first


def _edited_before(reader: Reader, thread_id: str, beyond: Place, behind: set[str]) -> bool:
    """Whether something that the thread had said by then says something else now."""
    after = beyond.number if beyond.stream == thread_id else 0
    for recorded in reader.stream(thread_id, after=after, kinds=_EDITS):
        match recorded.event:
            case ToolReplaced(had_result=False):
                continue
            case MessageEdited(message_id=id) | MessageRemoved(message_id=id) | ToolReplaced(tool_call_id=id):
                if id not in behind:
                    return True
            case _:
                continue
    return False
