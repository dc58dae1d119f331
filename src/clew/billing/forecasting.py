"""What the next run on a thread will cost, as far as that can be known before it: nothing is sent to anybody.

What will be shown is known: the context is assembled as it would be for a run with the settings of the newest one.
The rest is learnt from the thread's newest calls: how many tokens the provider counts for each that we count, how
much of that it had in its cache, how long the model's answers are, how many calls a run takes, and by how much its
input grows from one to the next.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import groupby, pairwise
from statistics import median_low

from pydantic import BaseModel

from clew.engine.context import Context, ContextTooLarge, assemble
from clew.engine.counting import text_tokens
from clew.errors import BadQuestion, NotFound, Refused
from clew.events.price import Price
from clew.events.run import RunConfig, RunQueued
from clew.events.usage import NO_USAGE, Usage
from clew.log import Reader
from clew.prices import Prices, shown
from clew.rules.state import Thread
from clew_projections import billing_ledger, run_view, thread_view
from clew_projections.billing_ledger import CURRENCY, Entry, Scope

# Of the newest calls of a thread, so many are learnt from.
_CALLS = 40


class CallForecast(BaseModel):
    """`counted_tokens` is our count of what will be shown, `input_tokens` what the provider will make of it.

    `amount` supposes that as much is cached as was of late, `amount_uncached` that nothing is. They are None where
    nobody knows a price. `output_tokens` is None where there is nothing to learn from; then the answer is not in them.
    """

    counted_tokens: int
    input_tokens: int
    cached_tokens: int
    output_tokens: int | None
    amount: str | None
    amount_uncached: str | None


class Forecast(BaseModel):
    """`next_call` is the run's first; a run of so many `calls` as is usual on this thread comes to `amount`. Both are
    without `summary_amount`, for a summary that would be written first."""

    thread_id: str
    provider: str
    model: str
    strategy: str
    items: int
    items_left_out: int
    next_call: CallForecast
    calls: int
    amount: str | None
    summary_amount: str | None
    currency: str
    price_table: str | None
    learnt_from_calls: int


@dataclass(frozen=True, slots=True)
class _Habits:
    """What the newest calls were like. `counted` and `given` are tokens of the same requests: ours and theirs."""

    calls: int = 0
    counted: int = 0
    given: int = 0
    cached: int = 0
    output: int | None = None
    calls_of_a_run: int = 1
    growth: int = 0

    def input(self, counted: int) -> int:
        return round(Decimal(counted) * self.given / self.counted) if self.counted else counted

    def cached_of(self, given: int) -> int:
        return given * self.cached // self.given if self.given else 0


def forecast(
    reader: Reader,
    thread_id: str,
    thread: Thread,
    prices: Prices,
    *,
    server_limit: int | None = None,
    model: str | None = None,
    say: str | None = None,
) -> Forecast:
    """`model` (PROVIDER/MODEL, or a model of the same provider) is asked instead of the usual one; `say` is what a
    user would add first. Raises `NotFound`, and `Refused` when there is nothing to go by.
    """
    if not thread.exists or thread.deleted:
        raise NotFound(noun="thread", id=thread_id)
    config = _config(reader, thread_id, thread, model)
    try:
        context = assemble(reader, thread_id, thread, config, NO_USAGE, server_limit)
    except ContextTooLarge as error:
        raise Refused(f"the next run on {thread_id} would fail: {error}") from error
    habits = _habits(reader, thread_id, config)
    counted = context.tokens.total + (text_tokens(say, config.model).count if say else 0)
    now = reader.cursor.now()
    first = _usage(habits, habits.input(counted))
    run = [_usage(habits, first.input + number * habits.growth) for number in range(habits.calls_of_a_run)]
    priced = [prices.price(config.provider, config.model, usage, now) for usage in run]
    uncached = prices.price(config.provider, config.model, first.model_copy(update={"cached": 0}), now)
    return Forecast(
        thread_id=thread_id,
        provider=config.provider,
        model=config.model,
        strategy=config.truncation.strategy,
        items=len(context.items) + bool(say),
        items_left_out=context.cut.items if context.cut is not None else 0,
        next_call=CallForecast(
            counted_tokens=counted,
            input_tokens=first.input,
            cached_tokens=first.cached,
            output_tokens=habits.output,
            amount=_sum(priced[:1]),
            amount_uncached=_sum([uncached]),
        ),
        calls=habits.calls_of_a_run,
        amount=_sum(priced),
        summary_amount=_summary(context, prices, now),
        currency=CURRENCY,
        price_table=priced[0].table if priced[0] is not None else None,
        learnt_from_calls=habits.calls,
    )


def _config(reader: Reader, thread_id: str, thread: Thread, model: str | None) -> RunConfig:
    """That of the newest run, also of one that the thread inherited, with the thread's own strategy if it has one."""
    config = None
    for segment in reversed(thread_view.segments(reader, thread_id)):
        before = segment.upto_position + 1 if segment.upto_position is not None else None
        newest = run_view.runs(reader, segment.stream, before=before, limit=1)
        if newest:
            queued = reader.event(newest[0].queued).event
            assert isinstance(queued, RunQueued)
            config = queued.config
            break
    if config is None:
        raise Refused(f"nothing ran on {thread_id} yet, so nobody knows how the next run will be")
    changes: dict[str, object] = {"truncation": thread.truncation} if thread.truncation is not None else {}
    if model is not None:
        provider, slash, name = model.partition("/")
        if slash and not name:
            raise BadQuestion(name="model", given=model, why="write PROVIDER/MODEL, or a model of the same provider")
        changes |= {"provider": provider, "model": name} if slash else {"model": model}
    return config.model_copy(update=changes)


def _usage(habits: _Habits, given: int) -> Usage:
    return Usage(input=given, cached=habits.cached_of(given), output=habits.output or 0)


def _habits(reader: Reader, thread_id: str, config: RunConfig) -> _Habits:
    """Tokens are counted otherwise by every model, so only calls of this one tell of that; what runs are like is much
    the same with all."""
    within = billing_ledger.span(reader)
    newest = billing_ledger.entries(reader, Scope(thread_id=thread_id), within, newest_first=True, limit=_CALLS)
    answered = [one for one in newest[::-1] if one.failure is None and one.usage is not None]
    answers = [one for one in answered if one.purpose == "answer"]
    if not answers:
        return _Habits()
    same = [one for one in answers if one.provider == config.provider and _asks_for(one, config.model)]
    runs = [list(calls) for _, calls in groupby(answers, key=lambda one: one.run_id)]
    grown = [
        max(0, after.total.input_tokens - before.total.input_tokens)
        for calls in runs
        for before, after in pairwise(calls)
    ]
    return _Habits(
        calls=len(answers),
        counted=sum(one.estimated_tokens for one in same),
        given=sum(one.total.input_tokens for one in same),
        cached=sum(one.total.cached_tokens for one in same),
        output=median_low([one.total.output_tokens for one in answers]),
        calls_of_a_run=median_low([len(calls) for calls in runs]),
        growth=median_low(grown) if grown else 0,
    )


def _asks_for(entry: Entry, model: str) -> bool:
    """What answers may be called by a date, too: gpt-4o-2024-08-06 for gpt-4o."""
    return entry.model == model or entry.model.startswith(f"{model}-")


def _sum(priced: Sequence[Price | None]) -> str | None:
    amounts = [Decimal(price.amount) for price in priced if price is not None]
    return shown(sum(amounts, Decimal(0))) if len(amounts) == len(priced) else None


def _summary(context: Context, prices: Prices, now: int) -> str | None:
    """Of the summary that is to be written first, if one is. It is supposed to be as long as it may be."""
    plan = context.plan
    if plan is None:
        return None
    asked = plan.prompt.config
    usage = Usage(input=plan.tokens.total, output=plan.summarises.tokens)
    return _sum([prices.price(asked.provider, asked.model, usage, now)])
