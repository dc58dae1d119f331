"""Cleared tool results: the call is shown whole, and in place of its result a note. The thread keeps the result.

The note stands in the manifest, so that the same request can be rendered again whatever is said here by then.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

from clew.engine.counting import text_tokens
from clew.events.items import Item, Place, ToolResultItem
from clew.events.model import Cleared, ItemRange, Manifest

NOTE = "[This result was cleared to save room.]"


def as_cleared(item: ToolResultItem, note: str) -> ToolResultItem:
    """The item as it is shown. A result that is not longer than the note is shown itself."""
    if len(item.output) <= len(note):
        return item
    return replace(item, output=note, tokens=_note_tokens(note))


@lru_cache(maxsize=64)
def _note_tokens(note: str) -> int:
    return text_tokens(note).count


def as_shown(items: Sequence[Item], manifest: Manifest) -> list[Item]:
    """Items that a manifest names, as the model call was shown them."""
    cleared = manifest.cleared
    if cleared is None:
        return list(items)
    return [
        as_cleared(item, cleared.note) if isinstance(item, ToolResultItem) and _within(item.place, cleared) else item
        for item in items
    ]


def _within(place: Place, cleared: Cleared) -> bool:
    return any(one.stream == place.stream and one.first <= place.number <= one.last for one in cleared.items)


@dataclass
class Clearing:
    """Clears all results but the newest `keep`, for whoever reads from the newest to the oldest."""

    keep: int
    _seen: int = 0
    _results: list[Place] = field(default_factory=list)
    _cleared: set[Place] = field(default_factory=set)

    def apply(self, unit: list[Item]) -> list[Item]:
        """The unit as it is shown, if it is shown."""
        shown: list[Item] = []
        for item in reversed(unit):
            one = item
            if isinstance(item, ToolResultItem):
                self._seen += 1
                if self._seen > self.keep:
                    one = as_cleared(item, NOTE)
                    self._results.append(item.place)
                    if one is not item:
                        self._cleared.add(item.place)
            shown.append(one)
        return shown[::-1]

    def of(self, shown: Sequence[Item]) -> tuple[Cleared | None, int]:
        """What of `shown` was cleared, and how many results that is."""
        places = {item.place for item in shown}
        count = len(self._cleared & places)
        if not count:
            return None, 0
        by_stream: dict[str, list[int]] = {}
        for place in reversed(self._results):
            if place in places:
                by_stream.setdefault(place.stream, []).append(place.number)
        ranges = (
            ItemRange(stream=stream, first=min(numbers), last=max(numbers)) for stream, numbers in by_stream.items()
        )
        return Cleared(items=tuple(ranges), note=NOTE), count
