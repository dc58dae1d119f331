"""What is to be summarised, when a thread has outgrown its room: which units, by whom, and how shortly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from clew.engine.counting import instruction_tokens
from clew.engine.room import Budget
from clew.engine.transcript import Past, Standing
from clew.engine.windows import prompt_window
from clew.events.items import Item, Place
from clew.events.model import ContextTokens, ItemRange, Summarising
from clew.events.run import RunConfig
from clew.events.usage import Usage
from clew.providers.base import Prompt
from clew.providers.summaries import FORM, summary_prompt, tokens_at_most

# A summary is to take this share of the room, and not more than so many tokens.
_SHARE = 8
_SUMMARY_TOKENS_MAX, _SUMMARY_TOKENS_MIN = 2_048, 32
# Models write more than they are asked to, and some think before they write.
_OUTPUT_FACTOR = 4
_OUTPUT_TOKENS_MIN = 256


@dataclass(frozen=True, slots=True)
class Plan:
    """Ask for a summary of `items`, the one before among them: it will stand for everything from `first` to `last`.

    That is `count` items of `tokens_before` tokens.
    """

    summarises: Summarising
    prompt: Prompt
    shown: tuple[ItemRange, ...]
    items: int
    tokens: ContextTokens
    first: Place
    last: Place
    count: int
    tokens_before: int


def plan(
    past: Past,
    config: RunConfig,
    spent: Usage,
    server_limit: int | None,
    budget: Budget,
    newest_first: Sequence[list[Item]],
    standing: Standing | None,
) -> Plan | None:
    """None when nothing can be summarised: a unit is too long for whoever summarises, or the run's limits are near.

    The newest units stay as they are, as far as half of the room goes; what is before them is summarised, the oldest
    first, as much as fits into one call. What the thread has more than that is for the next call.
    """
    assert budget.tokens is not None, "only a limit of tokens can be outgrown"
    if not newest_first:
        return None
    wanted = max(_SUMMARY_TOKENS_MIN, min(_SUMMARY_TOKENS_MAX, budget.tokens // _SHARE))
    max_output_tokens = _max_output(config, spent, wanted)
    summarises = Summarising(form=FORM, tokens=wanted, limit=budget.tokens_limit, limit_name=budget.tokens_name)
    empty = summary_prompt(config, summarises, (), max_output_tokens)
    task = instruction_tokens(empty.config.instructions, empty.config.model)
    room = _room(config, empty.config.model, spent, server_limit, budget) - task.count
    before = [standing.item] if standing is not None else []
    room -= sum(map(tokens_at_most, before))
    boundary = _oldest_kept(newest_first, budget.tokens // 2 - wanted)
    units, all_of_it = _oldest(past, standing, boundary, room)
    if not units or max_output_tokens < _OUTPUT_TOKENS_MIN or (config.limits.prompt_tokens and not all_of_it):
        return None
    summarised: list[Item] = [item for unit in units for item in unit]
    items = [*before, *summarised]
    return Plan(
        summarises=summarises,
        prompt=summary_prompt(config, summarises, items, max_output_tokens),
        shown=(*past.ranges(before), *past.ranges(summarised)),
        items=len(items),
        tokens=ContextTokens(instructions=task.count, tools=0, items=sum(map(tokens_at_most, items)), exact=False),
        first=standing.first if standing is not None else summarised[0].place,
        last=summarised[-1].place,
        count=len(summarised) + (standing.items if standing is not None else 0),
        tokens_before=sum(i.tokens for i in summarised) + (standing.tokens_before if standing is not None else 0),
    )


def _max_output(config: RunConfig, spent: Usage, wanted: int) -> int:
    """How much may be written: at most half of what the run has left, since it is to answer with the other half."""
    generous = max(_OUTPUT_TOKENS_MIN, wanted * _OUTPUT_FACTOR)
    limit = config.limits.completion_tokens
    return generous if limit is None else min(generous, (limit - spent.output) // 2)


def _room(config: RunConfig, model: str, spent: Usage, server_limit: int | None, budget: Budget) -> int:
    """How much whoever summarises may be shown."""
    limits = [limit for limit in (prompt_window(model), server_limit) if limit is not None]
    if not limits:
        limits.append(budget.tokens_limit)
    if config.limits.prompt_tokens is not None:
        limits.append((config.limits.prompt_tokens - spent.input) // 2)
    return min(limits)


def _oldest_kept(newest_first: Sequence[list[Item]], room: int) -> Place:
    """Where what stays as it is begins: with the newest unit, or before."""
    kept = newest_first[0]
    for unit in newest_first:
        room -= sum(item.tokens for item in unit)
        if room < 0:
            break
        kept = unit
    return kept[0].place


def _oldest(past: Past, standing: Standing | None, boundary: Place, room: int) -> tuple[list[list[Item]], bool]:
    """The units before `boundary` that no summary stands for yet, as far as there is room; whether that is all."""
    found: list[list[Item]] = []
    end = past.order(boundary)
    for unit in past.onwards(standing.last if standing is not None else None):
        if past.order(unit[0].place) >= end:
            return found, True
        room -= sum(map(tokens_at_most, unit))
        if room < 0:
            return found, False
        found.append(unit)
    return found, True
