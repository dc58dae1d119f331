"""A thread's history as contexts are made of it: in units, from the newest to the oldest or the other way round.

A unit is one message, or all that belongs to one model call: reasoning, text, tool calls and their results. No cut
goes through one. Summaries are no part of what was said; whoever wants them asks `standing`.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from clew.events.items import (
    Item,
    MessageItem,
    Place,
    ReasoningItem,
    SummaryItem,
    ToolCallItem,
    ToolResultItem,
)
from clew.events.model import ItemRange
from clew.events.thread import ThreadCompacted
from clew.log import Reader
from clew.rules.state import Thread
from clew_projections import thread_view
from clew_projections.thread_view import ItemRow, Kind, Segment

_PAGE_ROWS = 100
# Bodies are read in pages that grow: little is read in vain for a short window, and a long one has few of them.
_PAGE_ITEMS_MIN, _PAGE_ITEMS_MAX = 32, 256


@dataclass(frozen=True, slots=True)
class Standing:
    """A summary, and what it stands for: everything from `first` to `last`, `items` of `tokens_before` tokens."""

    item: SummaryItem
    first: Place
    last: Place
    items: int
    tokens_before: int


@dataclass
class Past:
    """A thread's history, read as it stood at `as_of`; None is now."""

    reader: Reader
    segments: Sequence[Segment]
    as_of: int | None = None
    # Numbers of the summaries that a reading came by, by their streams.
    _passed: dict[str, list[int]] = field(default_factory=dict)

    def order(self, place: Place) -> tuple[int, int]:
        """Where it stands: the later of two has the larger one."""
        stretch = (number for number, one in enumerate(self.segments) if one.holds(place.stream, place.number))
        return next(stretch), place.number

    def backwards(self, down_to: Place | None = None) -> Iterator[list[Item]]:
        """Units from the newest to the oldest, each oldest item first; those after `down_to`."""
        return units_backwards(self._items(down_to=down_to))

    def onwards(self, after: Place | None = None) -> Iterator[list[Item]]:
        """Units from the oldest on, or from what comes after a place."""
        return units_onwards(self._items(newest_first=False, beyond=after))

    def first(self) -> Item | None:
        rows = thread_view.walk(self.reader, self.segments, newest_first=False, page=1, as_of=self.as_of)
        row = next((row for row in rows if row.kind != "summary"), None)
        return thread_view.items(self.reader, [row])[0] if row is not None else None

    def _items(
        self, *, newest_first: bool = True, beyond: Place | None = None, down_to: Place | None = None
    ) -> Iterator[Item]:
        page: list[ItemRow] = []
        size = _PAGE_ITEMS_MIN
        walk = thread_view.walk(
            self.reader,
            self.segments,
            beyond=beyond,
            newest_first=newest_first,
            page=_PAGE_ROWS,
            as_of=self.as_of,
        )
        end = self.order(down_to) if down_to is not None else None
        for row in walk:
            place = Place(row.stream, row.number)
            if end is not None and self.order(place) <= end:
                break
            if row.kind == "summary":
                insort(self._passed.setdefault(row.stream, []), row.number)
                continue
            page.append(row)
            if len(page) == size:
                yield from thread_view.items(self.reader, page)
                page, size = [], min(size + size // 2, _PAGE_ITEMS_MAX)
        yield from thread_view.items(self.reader, page)

    def ranges(self, items: Sequence[Item]) -> tuple[ItemRange, ...]:
        """The ranges that hold these items, which follow one another, and no summary that was passed."""
        found: list[ItemRange] = []
        for item in items:
            place = item.place
            last = found[-1] if found else None
            if last is not None and last.stream == place.stream and not self._summary_between(last.last, place):
                found[-1] = ItemRange(stream=place.stream, first=last.first, last=place.number)
            else:
                found.append(ItemRange(stream=place.stream, first=place.number, last=place.number))
        return tuple(found)

    def _summary_between(self, number: int, place: Place) -> bool:
        passed = self._passed.get(place.stream, ())
        return bisect_left(passed, number) < bisect_left(passed, place.number)

    def stretch(self, after: Place | None, before: Place, *, including: bool = False) -> tuple[ItemRange, ...]:
        """Everything between two places, or before one, stretch by stretch; `including` the place at the end."""
        found = []
        begun = after is None
        for segment in self.segments:
            low = segment.after_version + 1
            if not begun and after is not None:
                if not segment.holds(after.stream, after.number):
                    continue
                begun, low = True, after.number + 1
            ends = segment.holds(before.stream, before.number)
            high = before.number - (not including) if ends else segment.upto_version
            if high is not None and low <= high:
                found.append(ItemRange(stream=segment.stream, first=low, last=high))
            if ends:
                break
        return tuple(found)

    def standing(self, thread: Thread) -> Standing | None:
        """The thread's summary, if it still tells what is so: nothing that it stands for was changed since."""
        summary = thread.summary
        if summary is None:
            return None
        row = thread_view.item(self.reader, self.segments, "summary", summary.item_id, self.as_of)
        if row is None:
            return None
        event = self.reader.event(row.created).event
        assert isinstance(event, ThreadCompacted)
        first = Place(event.first_stream or row.stream, event.first_item)
        last = Place(event.last_stream or row.stream, event.last_item)
        if any(self._stood_between(item_id, first, last) for item_id in summary.changed):
            return None
        (item,) = thread_view.items(self.reader, [row])
        assert isinstance(item, SummaryItem)
        return Standing(item, first, last, event.items, event.tokens_before)

    def _stood_between(self, item_id: str, first: Place, last: Place) -> bool:
        """Whether a message, or the result of a call, stands there, or stood there before it was removed."""
        kinds: tuple[Kind, ...] = ("message", "result")
        for kind in kinds:
            place = thread_view.place(self.reader, self.segments, kind, item_id)
            if place is not None and self.order(first) <= self.order(place) <= self.order(last):
                return True
        return False


def units_backwards(items: Iterable[Item]) -> Iterator[list[Item]]:
    """Units of items that come newest first."""
    unit: list[Item] = []
    wanted: set[str] = set()
    model_call_id: str | None = None
    for item in items:
        if isinstance(item, ToolResultItem):
            if unit and not wanted:
                yield unit[::-1]
                unit, model_call_id = [], None
            unit.append(item)
            wanted.add(item.tool_call_id)
            continue
        belongs = bool(wanted) or (model_call_id is not None and _model_call(item) == model_call_id)
        if unit and not belongs:
            yield unit[::-1]
            unit = []
        unit.append(item)
        model_call_id = _model_call(item)
        if isinstance(item, ToolCallItem):
            wanted.discard(item.tool_call_id)
    if unit:
        yield unit[::-1]


def units_onwards(items: Iterable[Item]) -> Iterator[list[Item]]:
    """Units of items that come oldest first. A unit of which calls are unanswered is the last."""
    unit: list[Item] = []
    unanswered: set[str] = set()
    model_call_id: str | None = None
    for item in items:
        belongs = bool(unanswered) or (model_call_id is not None and _model_call(item) == model_call_id)
        if unit and not belongs:
            yield unit
            unit = []
        unit.append(item)
        model_call_id = _model_call(item)
        if isinstance(item, ToolCallItem):
            unanswered.add(item.tool_call_id)
        elif isinstance(item, ToolResultItem):
            unanswered.discard(item.tool_call_id)
    if unit:
        yield unit


def _model_call(item: Item) -> str | None:
    return item.model_call_id if isinstance(item, (MessageItem, ReasoningItem, ToolCallItem)) else None
