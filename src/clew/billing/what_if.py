"""What a thread's model calls would have used and cost under another strategy, with another model, at other prices.

Every context of the past is made again as of the position where it was made, and nothing is called. Beside what was,
in the provider's own counts, stands what would have been: the same counts where the model would have been shown the
same, our estimate where not. With nothing otherwise it comes to exactly what was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from clew.billing.costs import Cost, cost
from clew.billing.estimating import Ratio, Shown, part, scaled, shared, shown
from clew.billing.moments import Attempt, Moment, moments
from clew.billing.supposing import Otherwise, Supposing
from clew.engine.context import ContextTooLarge
from clew.engine.planning import Plan
from clew.events.model import Manifest
from clew.events.price import Price
from clew.events.usage import NO_USAGE, Usage
from clew.log import Reader
from clew.prices import Prices, repriced

# How what would have been is known: by the provider's count, since the model would have been shown the same; by our
# estimate; not at all, since nobody knows what was used; or it would have had no room, or not have been made since the
# run would have ended before, or the strategy asks for no such summary; or it is a summary that nobody asked for.
Basis: TypeAlias = Literal["reported", "estimated", "unknown", "refused", "not_made", "imagined"]

_REMEMBERED = 2


@dataclass(frozen=True, slots=True)
class CallIf:
    """One context, or a summary that would have been asked for before it. `number` counts the contexts of the run."""

    run_id: str
    model_call_id: str
    number: int
    position: int
    at: int
    was: Cost
    otherwise: Cost
    basis: Basis
    why: str | None = None


@dataclass(frozen=True, slots=True)
class RunIf:
    """`strategy` and `model` are those that it had."""

    run_id: str
    thread_id: str
    at: int
    strategy: str
    model: str
    calls: tuple[CallIf, ...]

    @property
    def was(self) -> Cost:
        return sum((call.was for call in self.calls), Cost())

    @property
    def otherwise(self) -> Cost:
        return sum((call.otherwise for call in self.calls), Cost())


def what_if(
    reader: Reader,
    thread_id: str,
    otherwise: Otherwise,
    prices: Prices,
    *,
    reprices: bool = False,
    context_tokens: int | None = None,
    as_of: int | None = None,
) -> Iterator[RunIf]:
    """Run by run, in order. With `reprices`, calls that would be the same are priced by `prices` too.

    `context_tokens` is the server's limit of today. Raises `Erased` when some of the thread is gone for good.
    """
    upto = reader.head() if as_of is None else as_of
    every = steps(
        lambda: reader, thread_id, otherwise, prices, reprices=reprices, context_tokens=context_tokens, as_of=upto
    )
    return (run for run in every if run is not None)


def steps(
    readers: Callable[[], Reader],
    thread_id: str,
    otherwise: Otherwise,
    prices: Prices,
    *,
    as_of: int,
    reprices: bool = False,
    context_tokens: int | None = None,
) -> Iterator[RunIf | None]:
    """The same, with a None after every call, where others may have their turn: the reader may be another one then."""
    supposing = Supposing(readers, thread_id, otherwise, context_tokens)
    thread = _Thread(supposing, prices, reprices=reprices or otherwise.model is not None)
    first: Moment | None = None
    for moment in moments(readers, thread_id, as_of):
        if first is None or first.made.run_id != moment.made.run_id:
            if first is not None:
                yield thread.ended(first)
            first = moment
        thread.take(moment)
        yield None
    if first is not None:
        yield thread.ended(first)


@dataclass(slots=True)
class _Thread:
    """`before` is the call before, and `now` what it would have been shown: what a cache may still have. The rest is of
    the run that is under way: its calls, what it would have spent, and whether it would be over."""

    supposing: Supposing
    prices: Prices
    reprices: bool
    before: Moment | None = None
    now: Shown | None = None
    calls: list[CallIf] = field(default_factory=list)
    spent: Usage = NO_USAGE
    over: bool = False
    _was: dict[str, Shown | None] = field(default_factory=dict)

    def take(self, moment: Moment) -> None:
        """The next call of the run."""
        if self.over or (moment.is_summary and not self.supposing.keeps_strategy(moment)):
            self.calls.append(_call(moment, Cost(), "not_made"))
            return
        try:
            made, used = self._supposed(moment, self.spent)
        except ContextTooLarge as error:
            self.calls.append(_call(moment, Cost(refused_calls=1), "refused", str(error)))
            self.over = True
        else:
            self.calls += made
            self.spent = self.spent.plus(used)

    def ended(self, first: Moment) -> RunIf:
        """The run, of which this was the first call."""
        run = RunIf(
            run_id=first.made.run_id,
            thread_id=first.recorded.stream,
            at=first.recorded.at,
            strategy=first.config.truncation.strategy,
            model=f"{first.config.provider}/{first.config.model}",
            calls=tuple(self.calls),
        )
        self.calls, self.spent, self.over = [], NO_USAGE, False
        return run

    def _supposed(self, moment: Moment, spent: Usage) -> tuple[list[CallIf], Usage]:
        """What would have been asked, and what that would have used. Raises `ContextTooLarge`."""
        if moment.is_summary or not self.supposing.otherwise.changes_contexts:
            return self._sent_again(moment, Ratio((1, 1)), moment.made.tokens.total)
        supposed = self.supposing.supposed(moment, spent)
        now = shown(supposed.config, moment.made.tokens, supposed.context.items)
        if supposed.config == moment.config and _is_the_same(supposed.context.manifest, moment.made.manifest):
            self._note_then(moment, now)
        ratio = Ratio((now.tokens, moment.made.tokens.total), self._shared(moment, now))
        calls, used = self._sent_again(moment, ratio, now.tokens)
        summaries = [self._imagined(moment, plan) for plan in supposed.summaries]
        self.before, self.now = moment, now
        for _, usage in summaries:
            used = used.plus(usage)
        return [*(call for call, _ in summaries), *calls], used

    def _sent_again(self, moment: Moment, ratio: Ratio, counted: int) -> tuple[list[CallIf], Usage]:
        """As often as it was sent."""
        used, otherwise = NO_USAGE, Cost(counted_tokens=counted)
        for attempt in moment.attempts:
            usage = scaled(attempt.usage, ratio) if attempt.usage is not None else None
            price = self._price(moment, attempt, usage) if usage is not None else None
            may_have_used = attempt.may_have_used
            otherwise += cost(usage, price, may_have_used=may_have_used, summary=moment.is_summary)
            used = used.plus(usage or NO_USAGE)
        return [_call(moment, otherwise, _basis(moment, used))], used

    def _price(self, moment: Moment, attempt: Attempt, usage: Usage) -> Price | None:
        """By the table of its day, as far as it is the same today; else by the unit prices that it was billed at."""
        if self.reprices:
            return self._price_otherwise(moment, attempt, usage)
        if attempt.price is None or usage == attempt.usage:
            return attempt.price
        today = self._priced(attempt, attempt.provider, (attempt.model, attempt.asked), usage)
        if today is not None and today.table == attempt.price.table:
            return today
        return repriced(attempt.price, usage)

    def _price_otherwise(self, moment: Moment, attempt: Attempt, usage: Usage) -> Price | None:
        otherwise = self.supposing.otherwise
        # Whoever was named to summarise goes on to do it.
        if otherwise.model is None or (moment.is_summary and moment.config.truncation.model is not None):
            return self._priced(attempt, attempt.provider, (attempt.model, attempt.asked), usage)
        return self._priced(attempt, otherwise.provider or attempt.provider, (otherwise.model,), usage)

    def _priced(self, attempt: Attempt, provider: str, models: tuple[str, ...], usage: Usage) -> Price | None:
        """How a call was served is known of the provider that served it."""
        context = attempt.context if provider == attempt.provider else {}
        found = (self.prices.price(provider, model, usage, attempt.called_at, context) for model in models)
        return next((price for price in found if price is not None), None)

    def _imagined(self, moment: Moment, plan: Plan) -> tuple[CallIf, Usage]:
        """A summary that would have been asked for: the prompt by our count, an answer as long as it is asked to be."""
        known = next((attempt.usage for attempt in reversed(moment.attempts) if attempt.usage is not None), None)
        given = (
            part(plan.tokens.total, known.input, moment.made.tokens.total) if known is not None else plan.tokens.total
        )
        usage = Usage(input=given, output=plan.summarises.tokens)
        config = plan.prompt.config
        at = moment.attempts[0].called_at if moment.attempts else moment.recorded.at
        price = self.prices.price(config.provider, config.model, usage, at)
        otherwise = cost(usage, price, summary=True) + Cost(counted_tokens=plan.tokens.total)
        return _call(moment, otherwise, "imagined"), usage

    def _shared(self, moment: Moment, now: Shown) -> tuple[int, int] | None:
        """What the request would have shared with the one before, and what it did share. Only asked where it counts."""
        if self.before is None or self.now is None:
            return None
        if not any(attempt.usage is not None and attempt.usage.cached for attempt in moment.attempts):
            return None
        before, was = self._shown_then(self.before), self._shown_then(moment)
        if was is None or before is None:
            return None
        return shared(self.now, now), shared(before, was)

    def _shown_then(self, moment: Moment) -> Shown | None:
        """None where today's engine finds no room for what there was room for then."""
        if moment.made.model_call_id not in self._was:
            try:
                items = self.supposing.as_it_was(moment).items
            except ContextTooLarge:
                self._note_then(moment, None)
            else:
                self._note_then(moment, shown(moment.config, moment.made.tokens, items))
        return self._was[moment.made.model_call_id]

    def _note_then(self, moment: Moment, then: Shown | None) -> None:
        """Of this call and the one before; nobody asks for an older one."""
        self._was[moment.made.model_call_id] = then
        while len(self._was) > _REMEMBERED:
            del self._was[next(iter(self._was))]


def _is_the_same(one: Manifest, other: Manifest) -> bool:
    return one.shown == other.shown and one.cleared == other.cleared


def _call(moment: Moment, otherwise: Cost, basis: Basis, why: str | None = None) -> CallIf:
    return CallIf(
        run_id=moment.made.run_id,
        model_call_id=moment.made.model_call_id,
        number=moment.number,
        position=moment.recorded.position,
        at=moment.recorded.at,
        was=Cost() if basis == "imagined" else _was(moment),
        otherwise=otherwise,
        basis=basis,
        why=why,
    )


def _was(moment: Moment) -> Cost:
    each = (
        cost(attempt.usage, attempt.price, may_have_used=attempt.may_have_used, summary=moment.is_summary)
        for attempt in moment.attempts
    )
    return sum(each, Cost(counted_tokens=moment.made.tokens.total))


def _basis(moment: Moment, used: Usage) -> Basis:
    known = [attempt.usage for attempt in moment.attempts if attempt.usage is not None]
    if not known:
        return "unknown"
    was = NO_USAGE
    for usage in known:
        was = was.plus(usage)
    return "reported" if used == was else "estimated"
