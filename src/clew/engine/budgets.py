"""Which budgets hold for a run, and where each stands: the facts that the rules decide on.

Spent is what the ledger says, and reserved what calls of others under way may still take: prompt and longest answer.
What nobody knows is not taken for nothing. A lost call counts with its estimate; a call without a price is priced by
the table of today, and a hard budget of money that finds no price there either admits nothing more.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING

from clew.engine.windows import largest_answer
from clew.events.base import Event, Recorded
from clew.events.budget import BudgetRemoved, BudgetSet, Period
from clew.events.run import RunConfig
from clew.events.usage import Usage
from clew.log import Reader
from clew.prices import Prices
from clew.rules.standing import Standing
from clew.tokens import encoding_name_for
from clew_projections import billing_ledger, run_view
from clew_projections import budgets as catalogue
from clew_projections.billing_ledger import OpenCall, Scope, Span
from clew_projections.budgets import BudgetView

if TYPE_CHECKING:
    from clew.engine.hand import Hand

# What stands round a message, a call or a result when it is sent; providers say three or four.
_FRAME_TOKENS = 8
# Where nobody knows the encoding, a prompt may well be this much longer than it was counted.
_UNKNOWN_ENCODING = 1.25
_MICROSECONDS = 1_000_000
_MOMENT = Decimal("0.001")
_STARTS_MAX = 100
_NOTHING = Decimal(0)


@dataclass(frozen=True, slots=True)
class Call:
    """What a model call is expected to take. `output` is the longest answer that it may get."""

    provider: str
    model: str
    input: int
    output: int


def expected(provider: str, model: str, counted: int, items: int, max_output: int | None) -> Call:
    """`counted` are the tokens of instructions, tools and so many items, as far as they can be counted here."""
    known = encoding_name_for(model)[1]
    prompt = (counted if known else math.ceil(counted * _UNKNOWN_ENCODING)) + _FRAME_TOKENS * (items + 1)
    return Call(provider, model, prompt, largest_answer(model) if max_output is None else max_output)


@dataclass(frozen=True, slots=True)
class Measure:
    """Tokens or money, by the prices of a moment. `blind` gathers what could not be measured."""

    unit: str
    prices: Prices
    now: int
    blind: list[str] = field(default_factory=list)

    def of(self, provider: str, model: str, usage: Usage) -> Decimal:
        if self.unit == "tokens":
            return Decimal(usage.total)
        price = self.prices.price(provider, model, usage, self.now)
        if price is None or price.currency != self.unit:
            self.blind.append(f"{provider}/{model}")
            return _NOTHING
        return Decimal(price.amount)

    def spent(self, reader: Reader, scope: Scope, within: Span) -> Decimal:
        total = billing_ledger.total(reader, scope, within)
        tokens = self.unit == "tokens"
        amount = Decimal(total.input_tokens + total.output_tokens) if tokens else total.amount
        if total.lost_calls or (total.unpriced_calls and not tokens):
            for one in billing_ledger.unknown(reader, scope, within):
                amount += self.of(one.provider, one.model, Usage(input=one.estimated_tokens)) if one.lost_calls else 0
                amount += self.of(one.provider, one.model, one.unpriced) if one.unpriced_calls and not tokens else 0
        return amount

    def why_blind(self) -> str | None:
        if not self.blind:
            return None
        models = ", ".join(dict.fromkeys(self.blind))
        return f"no price is known for {models}; name one in the file of your own prices (CLEW_PRICES)"


def since_of(period: Period, now: int) -> int | None:
    """Where the period begins that a moment is in; None where it has no beginning."""
    return None if period == "run" or period == "total" else billing_ledger.floor(now, period)


@dataclass(frozen=True, slots=True)
class _Coming:
    """A call that was admitted and is not in the log yet."""

    tenant: str
    assistant_id: str | None
    call: Call

    def is_of(self, scope: Scope) -> bool:
        return scope in (Scope(tenant=self.tenant), Scope(assistant_id=self.assistant_id))


class Budgets:
    """What a process knows of budgets without looking: which there are, and which calls of its own are coming.

    Everything else is in the log.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[str, str | None], list[BudgetView]] | None = None
        self._coming: dict[str, _Coming] = {}
        self._starts: dict[int, int] = {}

    def heard(self, recorded: Recorded[Event]) -> None:
        if isinstance(recorded.event, (BudgetSet, BudgetRemoved)):
            self._known = None

    def before(self, hand: Hand, config: RunConfig, call: Call) -> Sequence[Standing]:
        """Where everything that holds for the run stands, as it is about to make a call."""
        holding = self._holding(hand, config)
        limits = config.limits
        if not holding and limits.tokens is None and limits.amount is None:
            return ()
        own = (("tokens", limits.tokens), ("USD", limits.amount))
        with hand.of.log.reading() as reader:
            look = self._look(reader, hand, call)
            return [
                *(look.own(unit, limit) for unit, limit in own if limit is not None),
                *(look.at(budget, subject) for budget, subject in holding),
            ]

    def after(self, hand: Hand, config: RunConfig, call: Call) -> Sequence[Standing]:
        """The same of what others may spend too, once the call is in the log: those before it come first."""
        shared = [(budget, subject) for budget, subject in self._holding(hand, config) if _is_shared(budget)]
        if not shared:
            return ()
        with hand.of.log.reading() as reader:
            look = self._look(reader, hand, call)
            mine = billing_ledger.open_calls(reader, run_id=hand.run_id)
            look.before = mine[0].position if mine else look.head
            return [look.at(budget, subject) for budget, subject in shared]

    def comes(self, hand: Hand, config: RunConfig, call: Call) -> None:
        """The run's next call was admitted; until it is in the log, nobody else would know."""
        tenant = hand.of.desk.thread(hand.thread_id).tenant
        self._coming[hand.run_id] = _Coming(tenant, config.assistant_id, call)

    def came(self, hand: Hand) -> None:
        """It is in the log, or does not come."""
        self._coming.pop(hand.run_id, None)

    async def pause(self, hand: Hand, seconds: float) -> bool:
        """Whether the time passed without an interruption."""
        return await hand.of.pause(hand, seconds)

    def late_at(self, hand: Hand, config: RunConfig) -> int | None:
        """When the time is up that the run was given, if it was given any, in microseconds."""
        if config.limits.seconds is None:
            return None
        with hand.of.log.reading() as reader:
            view = run_view.run(reader, hand.run_id)
        assert view is not None, "a run that is driven was queued"
        return view.created_at + config.limits.seconds * _MICROSECONDS

    def late(self, hand: Hand, config: RunConfig) -> Standing | None:
        """Where the run's time stands, when it is up."""
        seconds, now = config.limits.seconds, hand.of.now()
        if seconds is None or hand.late_at is None or now < hand.late_at:
            return None
        began = hand.late_at - seconds * _MICROSECONDS
        spent = (Decimal(now - began) / _MICROSECONDS).quantize(_MOMENT)
        # It is up, however little more than that it is.
        return _own(hand.run_id, "seconds", Decimal(seconds), spent=max(spent, seconds + _MOMENT), asked=_NOTHING)

    def _look(self, reader: Reader, hand: Hand, call: Call) -> Look:
        return Look(
            reader,
            Measure("tokens", hand.of.prices, hand.of.now()),
            run_id=hand.run_id,
            call=call,
            coming=self._coming,
            starts=self._starts,
        )

    def _holding(self, hand: Hand, config: RunConfig) -> list[tuple[BudgetView, str]]:
        """The budgets that hold for a run, each with whose it is."""
        known = self._known
        if known is None:
            known = {}
            with hand.of.log.reading() as reader:
                for budget in catalogue.budgets(reader):
                    known.setdefault((budget.scope, budget.subject), []).append(budget)
            self._known = known
        if not known:
            return []
        subjects = (
            ("run", hand.run_id),
            ("thread", hand.thread_id),
            ("assistant", config.assistant_id),
            ("tenant", hand.of.desk.thread(hand.thread_id).tenant),
        )
        return [
            (budget, subject)
            for scope, subject in subjects
            if subject is not None
            for whose in (subject, None)
            for budget in known.get((scope, whose), ())
        ]


def _is_shared(budget: BudgetView) -> bool:
    """Whether several runs may spend it at once, and it stops them."""
    return budget.hard and budget.scope in ("assistant", "tenant") and budget.period != "run"


def _own(
    run_id: str | None, unit: str, limit: Decimal, *, spent: Decimal, asked: Decimal, blind: str | None = None
) -> Standing:
    """A limit that came with the run."""
    return Standing(
        budget=f"limit:{unit}",
        version=0,
        scope="run",
        subject=run_id,
        period="run",
        since=None,
        unit=unit,
        limit=limit,
        hard=True,
        spent=spent,
        asked=asked,
        blind=blind,
    )


@dataclass
class Look:
    """One look at the log, now or as of a position. `before` is the position of the call at hand, if it has one.

    What is reserved is only known of now. `starts` remembers the positions at which periods began.
    """

    reader: Reader
    measure: Measure
    run_id: str | None = None
    call: Call | None = None
    coming: Mapping[str, _Coming] = field(default_factory=dict)
    starts: dict[int, int] = field(default_factory=dict)
    as_of: int | None = None
    before: int | None = None

    def __post_init__(self) -> None:
        self.head = self.reader.head() if self.as_of is None else self.as_of

    def own(self, unit: str, limit: int | str) -> Standing:
        measure = self._measured_in(unit)
        spent = measure.spent(self.reader, Scope(run_id=self.run_id), Span(0, self.head))
        asked = self._asked(measure)
        return _own(self.run_id, unit, Decimal(limit), spent=spent, asked=asked, blind=measure.why_blind())

    def at(self, budget: BudgetView, subject: str) -> Standing:
        measure = self._measured_in(budget.unit)
        since = since_of(budget.period, measure.now)
        scope = self._scope(budget, subject)
        spent = measure.spent(self.reader, scope, Span(self._start(since), self.head))
        asked = self._asked(measure)
        reserved = self._reserved(scope, measure) if _is_shared(budget) and self.as_of is None else _NOTHING
        blind = measure.why_blind()
        place = catalogue.occasion(
            budget.version, subject, budget.period, since, self.run_id or "", blind=blind is not None
        )
        return Standing(
            budget=budget.budget_id,
            version=budget.version,
            scope=budget.scope,
            subject=subject,
            period=budget.period,
            since=since,
            unit=budget.unit,
            limit=Decimal(budget.limit),
            hard=budget.hard,
            spent=spent,
            asked=asked,
            reserved=reserved,
            blind=blind,
            warned=not budget.hard and catalogue.was_reached(self.reader, budget.budget_id, place),
        )

    def _measured_in(self, unit: str) -> Measure:
        return Measure(unit, self.measure.prices, self.measure.now)

    def _scope(self, budget: BudgetView, subject: str) -> Scope:
        if budget.period == "run":
            return Scope(run_id=self.run_id)
        match budget.scope:
            case "run":
                return Scope(run_id=subject)
            case "thread":
                return Scope(thread_id=subject)
            case "assistant":
                return Scope(assistant_id=subject)
            case "tenant":
                return Scope(tenant=subject)

    def _start(self, since: int | None) -> int:
        """The newest position before a time. It is remembered once there is something behind it: it stays so then."""
        if since is None:
            return 0
        known = self.starts.get(since)
        if known is None:
            known = self.reader.position_at(since - 1)
            if known < self.head:
                if len(self.starts) >= _STARTS_MAX:
                    self.starts.clear()
                self.starts[since] = known
        return known

    def _asked(self, measure: Measure) -> Decimal:
        call = self.call
        return _NOTHING if call is None else measure.of(call.provider, call.model, Usage(input=call.input))

    def _reserved(self, scope: Scope, measure: Measure) -> Decimal:
        """By runs of others: each by its call in the log, or by the one that is coming."""
        taken = {run_id: one.call for run_id, one in self.coming.items() if self.before is None and one.is_of(scope)}
        for one in billing_ledger.open_calls(self.reader, tenant=scope.tenant, assistant_id=scope.assistant_id):
            if self.before is None or one.position < self.before:
                taken[one.run_id] = _call_of(one)
        if self.run_id is not None:
            taken.pop(self.run_id, None)
        return sum(
            (
                measure.of(call.provider, call.model, Usage(input=call.input, output=call.output))
                for call in taken.values()
            ),
            _NOTHING,
        )


def _call_of(opened: OpenCall) -> Call:
    return expected(opened.provider, opened.model, opened.estimated_tokens, opened.items, opened.max_output_tokens)
