"""A history as turns, for providers that take nothing else: they speak by turns, and a call comes with its result.

The log holds whatever happened, in the order in which it did. Here a result stands with its call however late it
came, and a result without a call is only something that was heard. Renderers are made of this, so it is never
changed either.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from clew.events.items import Item, MessageItem, ReasoningItem, SummaryItem, ToolCallItem, ToolResultItem

Heard: TypeAlias = MessageItem | SummaryItem | ToolResultItem

# Where a turn is missing somebody has to say something. The words are part of the renderers that use them.
GO_ON = "Continue."
NO_RESULT = "No result was recorded for this call."


@dataclass(slots=True)
class Call:
    """`again` is how many calls before it bear the same id: some providers begin to count anew in each answer."""

    item: ToolCallItem
    again: int = 0
    result: ToolResultItem | None = None


@dataclass(slots=True)
class Spoken:
    """What the assistant said and called. There are results to come after it if there are calls."""

    parts: list[MessageItem | ReasoningItem | Call] = field(default_factory=list)

    @property
    def calls(self) -> list[Call]:
        return [part for part in self.parts if isinstance(part, Call)]


@dataclass(slots=True)
class Listened:
    """What users and the system said, one after the other."""

    parts: list[Heard] = field(default_factory=list)


Turn: TypeAlias = Spoken | Listened


def turns_of(items: Sequence[Item]) -> list[Turn]:
    turns: list[Turn] = []
    calls: dict[str, Call] = {}
    for item in items:
        if isinstance(item, ToolResultItem):
            call = calls.get(item.tool_call_id)
            if call is not None and call.result is None:
                call.result = item
            else:
                _listened(turns).parts.append(item)
        elif isinstance(item, SummaryItem) or (isinstance(item, MessageItem) and item.role != "assistant"):
            _listened(turns).parts.append(item)
        elif isinstance(item, ToolCallItem):
            before = calls.get(item.tool_call_id)
            call = calls[item.tool_call_id] = Call(item, 0 if before is None else before.again + 1)
            _spoken(turns, item.model_call_id).parts.append(call)
        else:
            _spoken(turns, item.model_call_id).parts.append(item)
    return turns


def beginning(turns: list[Turn]) -> list[Heard]:
    """Takes off what the system said before anybody else did: that belongs to the instructions."""
    first = turns[0] if turns else None
    taken: list[Heard] = []
    if isinstance(first, Listened):
        while first.parts and _is_systems(first.parts[0]):
            taken.append(first.parts.pop(0))
        if not first.parts:
            turns.pop(0)
    return taken


def _is_systems(part: Heard) -> bool:
    return isinstance(part, SummaryItem) or (isinstance(part, MessageItem) and part.role == "system")


def _listened(turns: list[Turn]) -> Listened:
    last = turns[-1] if turns else None
    if isinstance(last, Listened):
        return last
    new = Listened()
    turns.append(new)
    return new


def _spoken(turns: list[Turn], model_call_id: str | None) -> Spoken:
    """The turn that goes on, or a new one: behind calls of another answer their results come first."""
    last = turns[-1] if turns else None
    if isinstance(last, Spoken) and all(call.item.model_call_id == model_call_id for call in last.calls):
        return last
    new = Spoken()
    turns.append(new)
    return new
