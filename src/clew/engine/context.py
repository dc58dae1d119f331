"""Assembling a context: which items a model call is shown.

It reads backwards from the newest item and stops at the budget, so it costs what the window costs and not what
the thread does. What is left out or shown cleared, and why, is part of the result.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from clew.engine.clearing import Clearing
from clew.engine.counting import counted_exactly, instruction_tokens, tool_tokens
from clew.engine.planning import Plan, plan
from clew.engine.room import Budget, ContextTooLarge, budget_of, max_output
from clew.engine.transcript import Past, Standing
from clew.events.items import Item, MessageItem, SummaryItem
from clew.events.model import Cleared, ContextTokens, InsteadOf, LeftOut, Manifest
from clew.events.run import RunConfig
from clew.events.usage import Usage
from clew.log import Reader
from clew.rules.contexts import Cut
from clew.rules.state import Thread
from clew_projections import thread_view

__all__ = ["Context", "ContextTooLarge", "assemble"]

# These say by themselves which items are shown: themselves, and no summary of them.
_WITHOUT_SUMMARIES = ("last_messages", "none")
# The reason why something is left out that a summary stands for.
SUMMARISED = "summarised"


@dataclass(frozen=True, slots=True)
class Context:
    """`plan` is set when something is to be summarised first; this is then what is shown if that cannot be done."""

    items: list[Item]
    manifest: Manifest
    tokens: ContextTokens
    max_output_tokens: int | None
    cut: Cut | None
    plan: Plan | None = None


@dataclass(frozen=True, slots=True)
class Window:
    """The newest units that fit, the newest first. `limit_name` forced the rest out; it is empty when nothing did."""

    units: Sequence[list[Item]]
    limit: int = 0
    limit_name: str = ""

    @property
    def items(self) -> list[Item]:
        return [item for unit in reversed(self.units) for item in unit]


def assemble(
    reader: Reader,
    thread_id: str,
    thread: Thread,
    config: RunConfig,
    spent: Usage,
    server_limit: int | None,
    *,
    as_of: int | None = None,
    summaries: bool = True,
    imagined: Standing | None = None,
) -> Context:
    """What the model is shown, and it is only read for that: nothing needs to be under way.

    `spent` is what the run has used so far. With `as_of`, the context as it would have been at that position;
    `thread` is then the state of the thread there. Without `summaries` it is as if there had never been one, but for
    one that is `imagined`. Raises `ContextTooLarge`.
    """
    instructions = instruction_tokens(config.instructions, config.model)
    tools = tool_tokens(config.tools, config.model)
    budget = budget_of(config, spent, server_limit, instructions.count + tools)
    past = Past(reader, thread_view.segments(reader, thread_id, as_of), as_of)
    shows_summaries = config.truncation.strategy not in _WITHOUT_SUMMARIES
    standing = _standing(past, thread, summaries, imagined) if shows_summaries else None
    kept = standing.item if standing is not None else _first_message(past, budget)
    clearing = Clearing(budget.results) if budget.results is not None else None
    window = _window(past, budget, config, kept, clearing, standing)
    if standing is not None and not window.units:
        # All that came after it was taken back; a summary of everything is nothing that a model could go on from.
        return assemble(reader, thread_id, thread, config, spent, server_limit, as_of=as_of, summaries=False)
    first = _kept(kept, window, budget)
    items = [*first, *window.items]
    cleared, items_cleared = clearing.of(items) if clearing is not None else (None, 0)
    tokens = ContextTokens(
        instructions=instructions.count,
        tools=tools,
        items=sum(item.tokens for item in items),
        exact=instructions.exact and not tools and counted_exactly(items, config.model),
    )
    left_out = _left_out(past, standing, first, window, budget)
    cut = _cut(config, thread, items, window, budget, tokens, left_out, cleared, items_cleared)
    manifest = Manifest(
        shown=(*past.ranges(first), *past.ranges(window.items)),
        left_out=left_out,
        items=len(items),
        as_of=reader.head() if as_of is None else as_of,
        cleared=cleared,
    )
    outgrown = config.truncation.strategy == "summarise" and _outgrown(standing, first, window)
    planned = plan(past, config, spent, server_limit, budget, window.units, standing) if outgrown else None
    return Context(items, manifest, tokens, max_output(config, spent), cut, planned)


def _standing(past: Past, thread: Thread, summaries: bool, imagined: Standing | None) -> Standing | None:
    return past.standing(thread) if summaries else imagined


def _first_message(past: Past, budget: Budget) -> Item | None:
    """The message of a user that the thread begins with. It says what this is about: kept while there is room."""
    if budget.tokens is None or budget.messages is not None:
        return None
    first = past.first()
    return first if isinstance(first, MessageItem) and first.role == "user" else None


def _kept(kept: Item | None, window: Window, budget: Budget) -> list[Item]:
    """What stands before the window: a summary, or the first message where something behind it is left out."""
    if kept is None or not _fits(kept, window, budget):
        return []
    if isinstance(kept, SummaryItem):
        return [kept]
    inside = any(item.place == kept.place for item in window.items)
    return [kept] if window.limit_name and not inside else []


def _fits(kept: Item, window: Window, budget: Budget) -> bool:
    return budget.tokens is None or kept.tokens <= budget.tokens - sum(item.tokens for item in window.items)


def _window(
    past: Past,
    budget: Budget,
    config: RunConfig,
    kept: Item | None,
    clearing: Clearing | None,
    standing: Standing | None,
) -> Window:
    """The newest units that fit beside `kept`. The newest unit itself comes before everything else."""
    units: list[list[Item]] = []
    room, messages = budget.tokens, budget.messages
    for whole in past.backwards(standing.last if standing is not None else None):
        unit = clearing.apply(whole) if clearing is not None else whole
        size = sum(item.tokens for item in unit)
        said = sum(isinstance(item, MessageItem) for item in unit)
        is_kept = kept is not None and unit[0].place == kept.place
        reserved = 0 if kept is None or is_kept or not units else kept.tokens
        if room is not None and size + reserved > room:
            if not units or config.truncation.strategy == "none":
                raise budget.too_large(size)
            return Window(units, budget.tokens_limit, budget.tokens_name)
        if messages is not None and units and said > messages:
            assert budget.messages is not None
            return Window(units, budget.messages, "last_messages")
        units.append(unit)
        room = None if room is None else room - size
        if kept is not None and room is not None and kept.tokens > room:
            # It fits beside nothing any more, so nothing needs to make room for it.
            kept = None
        messages = None if messages is None else messages - said
    return Window(units)


def _outgrown(standing: Standing | None, first: Sequence[Item], window: Window) -> bool:
    """Whether there was no room for everything, or not even for the summary of it."""
    return bool(window.limit_name) or (standing is not None and not first)


def _left_out(
    past: Past, standing: Standing | None, first: Sequence[Item], window: Window, budget: Budget
) -> tuple[LeftOut, ...]:
    """What a summary stands for, and the stretch between the first item and the window, or before the window."""
    found: list[LeftOut] = []
    after = first[-1].place if first else None
    reason = window.limit_name
    if standing is not None:
        after = standing.last
        told = SUMMARISED if first else budget.tokens_name
        beyond = past.stretch(None, after, including=True)
        found += [LeftOut(items=one, reason=told) for one in beyond]
    if reason and window.units:
        between = past.stretch(after, window.units[-1][0].place)
        found += [LeftOut(items=one, reason=reason) for one in between]
    return tuple(found)


def _cut(
    config: RunConfig,
    thread: Thread,
    items: Sequence[Item],
    window: Window,
    budget: Budget,
    tokens: ContextTokens,
    left_out: tuple[LeftOut, ...],
    cleared: Cleared | None,
    items_cleared: int,
) -> Cut | None:
    left = thread.items - sum(not isinstance(item, SummaryItem) for item in items)
    if (not left_out or left <= 0) and cleared is None:
        return None
    summary = items[0] if items and isinstance(items[0], SummaryItem) else None
    limit, limit_name = window.limit, window.limit_name
    if not limit_name and cleared is not None:
        limit, limit_name = budget.results or 0, "clear_tool_results"
    elif not limit_name and summary is not None:
        limit, limit_name = summary.tokens, "summary"
    elif not limit_name:
        limit, limit_name = budget.tokens_limit, budget.tokens_name
    strategy = config.truncation.strategy
    no_room = strategy == "summarise" and (bool(window.limit_name) or summary is None)
    return Cut(
        strategy="auto" if no_room else strategy,
        left_out=left_out,
        items=max(0, left) if left_out else 0,
        tokens_before=thread.tokens + tokens.instructions + tokens.tools,
        tokens_after=tokens.total,
        limit=limit,
        limit_name=limit_name,
        cleared=cleared.items if cleared is not None else (),
        items_cleared=items_cleared,
        instead_of=InsteadOf(strategy=strategy, reason="no_room") if no_room else None,
    )
