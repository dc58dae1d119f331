"""Assembling a context: which items a model call is shown.

It reads backwards from the newest item and stops at the budget, so it costs what the window costs and not what
the thread does. Items go in units: a tool call is never parted from its result, nor from what the model said
beside it. What is left out, and why, is part of the result.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from clew.engine.counting import instruction_tokens, tool_tokens
from clew.engine.windows import prompt_window
from clew.errors import ClewError
from clew.events.items import Item, MessageItem, ReasoningItem, ToolCallItem, ToolResultItem
from clew.events.model import ContextTokens, ItemRange, LeftOut, Manifest
from clew.events.run import RunConfig
from clew.events.usage import Usage
from clew.log import Reader
from clew.rules.commands import Cut
from clew.rules.state import Thread
from clew_projections import thread_view
from clew_projections.thread_view import Segment

_PAGE_ITEMS = 100


class ContextTooLarge(ClewError):
    """Not even the newest items fit. `limit_name` says which limit that is."""

    def __init__(self, *, limit: int, limit_name: str, needed: int) -> None:
        super().__init__(
            f"the context needs at least {needed} tokens and {limit_name} allows {limit};"
            " raise the limit or shorten the newest message"
        )
        self.limit_name = limit_name


@dataclass(frozen=True, slots=True)
class Context:
    items: list[Item]
    manifest: Manifest
    tokens: ContextTokens
    max_output_tokens: int | None
    cut: Cut | None


@dataclass(frozen=True, slots=True)
class Budget:
    """How much may be shown. `tokens` is for items, `messages` counts messages; None means no limit of that kind.

    `tokens_limit` is the limit that `tokens` is what is left of, and `tokens_name` its name.
    """

    tokens: int | None
    tokens_limit: int
    tokens_name: str
    messages: int | None

    def too_large(self, size: int) -> ContextTooLarge:
        fixed = self.tokens_limit - (self.tokens or 0)
        return ContextTooLarge(limit=self.tokens_limit, limit_name=self.tokens_name, needed=size + fixed)


@dataclass(frozen=True, slots=True)
class Window:
    """The newest items that fit, oldest first. `limit_name` is what forced the rest out, empty when nothing did."""

    items: list[Item]
    limit: int = 0
    limit_name: str = ""


def assemble(
    reader: Reader, thread_id: str, thread: Thread, config: RunConfig, spent: Usage, server_limit: int | None
) -> Context:
    """`spent` is what the run has used so far. Raises `ContextTooLarge`."""
    instructions = instruction_tokens(config.instructions, config.model)
    tools = tool_tokens(config.tools, config.model)
    budget = _budget(config, spent, server_limit, instructions.count + tools)
    history = thread_view.segments(reader, thread_id)
    kept = _first_message(reader, history, budget)
    window = _window(reader, history, budget, config, kept)
    whole = not window.limit_name
    inside = kept is not None and any(item.place == kept.place for item in window.items)
    first: list[Item] = [] if whole or kept is None or inside or not _fits(kept, window, budget) else [kept]
    items = [*first, *window.items]
    shown_tokens = sum(item.tokens for item in items)
    left_out = () if whole else _left_out(history, first, window)
    tokens = ContextTokens(
        instructions=instructions.count, tools=tools, items=shown_tokens, exact=instructions.exact and not tools
    )
    cut = None
    if not whole and thread.items > len(items):
        cut = Cut(
            strategy=config.truncation.strategy,
            left_out=left_out,
            items=thread.items - len(items),
            tokens_before=thread.tokens + instructions.count + tools,
            tokens_after=tokens.total,
            limit=window.limit,
            limit_name=window.limit_name,
        )
    manifest = Manifest(shown=(*_ranges(first), *_ranges(window.items)), left_out=left_out, items=len(items))
    return Context(items, manifest, tokens, _max_output(config, spent), cut)


def _budget(config: RunConfig, spent: Usage, server_limit: int | None, fixed: int) -> Budget:
    """The tightest of the limits that hold for this call."""
    messages = config.truncation.n if config.truncation.strategy == "last_messages" else None
    limits: list[tuple[int, str]] = []
    if config.limits.prompt_tokens is not None:
        limits.append((config.limits.prompt_tokens - spent.input, "max_prompt_tokens"))
    if server_limit is not None:
        limits.append((server_limit, "context_tokens"))
    if config.truncation.strategy != "none" and (window := prompt_window(config.model)) is not None:
        limits.append((window, "context_window"))
    if not limits:
        return Budget(None, 0, "", messages)
    tightest, name = min(limits)
    return Budget(tightest - fixed, tightest, name, messages)


def _first_message(reader: Reader, history: Sequence[Segment], budget: Budget) -> Item | None:
    """The message of a user that the thread begins with. It says what this is about: kept while there is room."""
    if budget.tokens is None or budget.messages is not None:
        return None
    row = next(thread_view.walk(reader, history, newest_first=False, page=1), None)
    if row is None:
        return None
    (first,) = thread_view.items(reader, [row])
    return first if isinstance(first, MessageItem) and first.role == "user" else None


def _fits(kept: Item, window: Window, budget: Budget) -> bool:
    room = (budget.tokens or 0) - sum(item.tokens for item in window.items)
    return kept.tokens <= room


def _window(reader: Reader, history: Sequence[Segment], budget: Budget, config: RunConfig, kept: Item | None) -> Window:
    """The newest units that fit beside `kept`. The newest unit itself comes before everything else."""
    units: list[list[Item]] = []
    room, messages = budget.tokens, budget.messages
    for unit in _units_backwards(reader, history):
        size = sum(item.tokens for item in unit)
        said = sum(isinstance(item, MessageItem) for item in unit)
        is_kept = kept is not None and unit[0].place == kept.place
        reserved = 0 if kept is None or is_kept or not units else kept.tokens
        if room is not None and size + reserved > room:
            if not units or config.truncation.strategy == "none":
                raise budget.too_large(size)
            return Window(_flattened(units), budget.tokens_limit, budget.tokens_name)
        if messages is not None and units and said > messages:
            assert budget.messages is not None
            return Window(_flattened(units), budget.messages, "last_messages")
        units.append(unit)
        room = None if room is None else room - size
        if kept is not None and room is not None and kept.tokens > room:
            # It fits beside nothing any more, so nothing needs to make room for it.
            kept = None
        messages = None if messages is None else messages - said
    return Window(_flattened(units))


def _flattened(units: list[list[Item]]) -> list[Item]:
    return [item for unit in reversed(units) for item in unit]


def _units_backwards(reader: Reader, history: Sequence[Segment]) -> Iterator[list[Item]]:
    """Units from the newest to the oldest, each oldest item first.

    A unit is one message, or all that belongs to one model call: reasoning, text, tool calls and their results.
    """
    unit: list[Item] = []
    wanted: set[str] = set()
    model_call_id: str | None = None
    for item in _items_backwards(reader, history):
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


def _model_call(item: Item) -> str | None:
    return item.model_call_id if isinstance(item, (MessageItem, ReasoningItem, ToolCallItem)) else None


def _items_backwards(reader: Reader, history: Sequence[Segment]) -> Iterator[Item]:
    page: list[thread_view.ItemRow] = []
    for row in thread_view.walk(reader, history, page=_PAGE_ITEMS):
        page.append(row)
        if len(page) == _PAGE_ITEMS:
            yield from thread_view.items(reader, page)
            page = []
    yield from thread_view.items(reader, page)


def _ranges(items: Sequence[Item]) -> tuple[ItemRange, ...]:
    return tuple(
        ItemRange(stream=stream, first=places[0].place.number, last=places[-1].place.number)
        for stream, places in ((key, list(group)) for key, group in groupby(items, lambda item: item.place.stream))
    )


def _left_out(history: Sequence[Segment], first: Sequence[Item], window: Window) -> tuple[LeftOut, ...]:
    """The stretch between the first message and the window, or before the window, stream by stream."""
    oldest = window.items[0].place
    found = []
    after = first[-1].place if first else None
    begun = after is None
    for segment in history:
        low = 1
        if not begun and after is not None:
            if segment.stream != after.stream:
                continue
            begun, low = True, after.number + 1
        high = oldest.number - 1 if segment.stream == oldest.stream else segment.upto_version
        if high is not None and low <= high:
            items = ItemRange(stream=segment.stream, first=low, last=high)
            found.append(LeftOut(items=items, reason=window.limit_name))
        if segment.stream == oldest.stream:
            break
    return tuple(found)


def _max_output(config: RunConfig, spent: Usage) -> int | None:
    limit = config.limits.completion_tokens
    return None if limit is None else max(1, limit - spent.output)
