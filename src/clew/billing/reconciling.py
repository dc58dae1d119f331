"""The ledger beside a provider's usage export: by day (UTC) and model, every difference explained by entry, or not.

A call is on the day on which it was answered, as in the ledger. What is compared are the counts that the export has.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, date, datetime, timedelta
from re import compile as pattern

from pydantic import BaseModel

from clew.billing.matching import Call, Counts, Day, Found, Reason, Verdict, explain, total
from clew.billing.usage_csv import Export, Listed
from clew.errors import Misconfigured
from clew.events.usage import Usage
from clew.log import Reader
from clew.prices import shown
from clew_projections import billing_ledger
from clew_projections.billing_ledger import Entry, Scope, Span, Total

_PAGE_ENTRIES = 1_000
# What stands behind the name of a frozen model: gpt-4o-2024-08-06, claude-haiku-4-5-20251001, gpt-4-0613.
_FROZEN = pattern(r"[-@](\d{4}-\d{2}-\d{2}|\d{8}|\d{4}|latest)$")


class CallRef(BaseModel):
    """An entry of the ledger. `counts` is None where nobody knows what it used."""

    position: int
    at: int
    model: str
    thread_id: str
    run_id: str
    step_id: str | None
    failure: str | None
    counts: dict[str, int] | None
    estimated_tokens: int


class Explanation(BaseModel):
    """`calls` account for `counts`; `other_day` is where calls near midnight were counted, or came from."""

    reason: Reason
    text: str
    counts: dict[str, int]
    calls: list[CallRef]
    other_day: date | None = None


class Compared(BaseModel):
    """A model on a day. `difference` is what the provider lists less what the ledger has; `lines` are the export's."""

    day: date
    model: str
    listed_as: list[str]
    recorded_as: list[str]
    lines: list[int]
    listed: dict[str, int]
    ledger: dict[str, int]
    difference: dict[str, int]
    unpriced_calls: int
    lost_calls: int
    amount: str
    currency: str
    verdict: Verdict
    explanations: list[Explanation]


class Reconciliation(BaseModel):
    """`since` and `until` are the first and the last day that were compared."""

    provider: str
    ledger_provider: str
    since: date
    until: date
    counted: list[str]
    compared: list[Compared]
    listed: dict[str, int]
    ledger: dict[str, int]
    amount: str
    currency: str
    unexplained: int
    rows_passed_over: int


def reconcile(
    reader: Reader,
    export: Export,
    *,
    provider: str | None = None,
    since: date | None = None,
    until: date | None = None,
    advance: Callable[[int], None] = lambda _: None,
) -> Reconciliation:
    """`provider` is the one whose calls are meant, as the ledger calls it: the export's, unless said otherwise.

    `advance` is told how many entries were read. Raises `Misconfigured` when no day is named.
    """
    first, last = _days_of(export, since, until)
    counted = export.counted or ("requests", "input", "output")
    ours = provider or export.provider
    entries, totals = _entries(reader, ours, first, last, counted, advance)
    listed = [one for one in export.listed if first <= one.day <= last]
    label = _labels({one.model for one in listed}, {call.model for call in entries})
    compared = _compared(listed, entries, totals, counted, label, first, last)
    return Reconciliation(
        provider=export.provider,
        ledger_provider=ours,
        since=first,
        until=last,
        counted=list(counted),
        compared=compared,
        listed=_summed(counted, (one.listed for one in compared)),
        ledger=_summed(counted, (one.ledger for one in compared)),
        amount=shown(_spent((call for call in entries if first <= call.day <= last), totals).amount),
        currency=billing_ledger.CURRENCY,
        unexplained=sum(one.verdict == "unexplained" for one in compared),
        rows_passed_over=export.passed_over,
    )


def _days_of(export: Export, since: date | None, until: date | None) -> tuple[date, date]:
    days = export.days
    first, last = since or (days[0] if days else until), until or (days[1] if days else since)
    if first is None or last is None:
        raise Misconfigured("the usage export has no row that says which days it is about; give --since and --until")
    if first > last:
        raise Misconfigured(f"there is no day from {first} until {last}")
    return first, last


# The ledger's side


def _entries(
    reader: Reader, provider: str, first: date, last: date, counted: tuple[str, ...], advance: Callable[[int], None]
) -> tuple[list[Call], dict[int, Total]]:
    """The calls of these days and of the two beside them, and what the ledger counts for each, by position."""
    within = billing_ledger.span(reader, _micros(first - timedelta(days=1)), _micros(last + timedelta(days=2)))
    calls: list[Call] = []
    totals: dict[int, Total] = {}
    after = within.after
    while page := billing_ledger.entries(
        reader, Scope(provider=provider), Span(after, within.upto), limit=_PAGE_ENTRIES
    ):
        begun = reader.times_of([entry.called for entry in page])
        for entry, at in zip(page, begun, strict=True):
            if entry.failure is not None and entry.usage is None and not entry.total.lost_calls:
                continue  # The provider said no, or was not reached: it bills nothing, and nothing is missing.
            calls.append(_call(entry, at, counted))
            totals[entry.position] = entry.total
        after = page[-1].position
        advance(len(page))
    return calls, totals


def _call(entry: Entry, begun: int, counted: tuple[str, ...]) -> Call:
    return Call(
        position=entry.position,
        begun=begun,
        ended=entry.at,
        model=entry.model,
        counts=_counts(entry.usage, counted) if entry.usage is not None else None,
        failure=entry.failure,
        estimated_tokens=entry.estimated_tokens,
        run_id=entry.run_id,
        thread_id=entry.thread_id,
        step_id=entry.step_id,
    )


def _counts(usage: Usage, counted: tuple[str, ...]) -> Counts:
    return tuple(1 if name == "requests" else getattr(usage, name) for name in counted)


def _micros(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 1_000_000


# Models


def family(model: str) -> str:
    """The name that a model goes by while it is not frozen."""
    return _FROZEN.sub("", model)


def _labels(listed: set[str], recorded: set[str]) -> Callable[[str], str]:
    """What a model is compared as: its family where the two sides name different ones of it, else itself."""
    families: dict[str, list[set[str]]] = defaultdict(lambda: [set(), set()])
    for side, models in enumerate((listed, recorded)):
        for model in models:
            families[family(model)][side].add(model)
    mixed = {name for name, (theirs, ours) in families.items() if theirs and ours and theirs != ours}
    return lambda model: family(model) if family(model) in mixed else model


# Both


def _compared(
    listed: list[Listed],
    calls: list[Call],
    totals: dict[int, Total],
    counted: tuple[str, ...],
    label: Callable[[str], str],
    first: date,
    last: date,
) -> list[Compared]:
    theirs: dict[tuple[str, date], list[Listed]] = defaultdict(list)
    ours: dict[tuple[str, date], list[Call]] = defaultdict(list)
    for one in listed:
        theirs[label(one.model), one.day].append(one)
    for call in calls:
        ours[label(call.model), call.day].append(call)
    found = []
    for model in sorted({model for model, _ in (*theirs, *ours)}):
        days = [
            Day(day, _listed_counts(theirs[model, day], counted), ours[model, day], compared=first <= day <= last)
            for day in _each_day(first - timedelta(days=1), last + timedelta(days=1))
        ]
        explain(days, counted)
        found += [
            _told(model, day, theirs[model, day.day], totals, counted)
            for day in days
            if day.compared and (day.calls or any(day.listed))
        ]
    return sorted(found, key=lambda one: (one.day, one.model))


def _each_day(first: date, last: date) -> Iterator[date]:
    return (first + timedelta(days=number) for number in range((last - first).days + 1))


def _listed_counts(listed: Iterable[Listed], counted: tuple[str, ...]) -> Counts:
    return total((tuple(one.counts.get(name, 0) for name in counted) for one in listed), len(counted))


def _told(
    model: str,
    day: Day,
    listed: list[Listed],
    totals: dict[int, Total],
    counted: tuple[str, ...],
) -> Compared:
    spent = _spent(day.calls, totals)
    return Compared(
        day=day.day,
        model=model,
        listed_as=sorted({one.model for one in listed}),
        recorded_as=sorted({call.model for call in day.calls}),
        lines=sorted(line for one in listed for line in one.lines),
        listed=_named(counted, day.listed),
        ledger=_named(counted, day.ours),
        difference=_named(counted, day.difference),
        unpriced_calls=spent.unpriced_calls,
        lost_calls=sum(call.counts is None for call in day.calls),
        amount=shown(spent.amount),
        currency=billing_ledger.CURRENCY,
        verdict=day.verdict,
        explanations=[_explanation(found, counted) for found in day.found],
    )


def _named(counted: tuple[str, ...], counts: Counts) -> dict[str, int]:
    return dict(zip(counted, counts, strict=True))


def _summed(counted: tuple[str, ...], each: Iterable[dict[str, int]]) -> dict[str, int]:
    return _named(counted, total((tuple(one.values()) for one in each), len(counted)))


def _spent(calls: Iterable[Call], totals: dict[int, Total]) -> Total:
    spent = Total()
    for call in calls:
        spent = spent.plus(totals[call.position])
    return spent


def _explanation(found: Found, counted: tuple[str, ...]) -> Explanation:
    return Explanation(
        reason=found.reason,
        text=_text(found),
        counts={name: count for name, count in _named(counted, found.counts).items() if count},
        calls=[_ref(call, counted) for call in found.calls],
        other_day=found.other_day,
    )


def _text(found: Found) -> str:
    number = len(found.calls)
    calls = f"{number} call{'s' if number != 1 else ''}"
    match found.reason:
        case "midnight" if found.away:
            return f"{calls} near midnight, which the provider counts on {found.other_day}"
        case "midnight":
            return f"{calls} near midnight, which are on {found.other_day} in the ledger"
        case "lost":
            estimated = sum(call.estimated_tokens for call in found.calls)
            may = "may account for it" if found.settles else "cannot account for all of it"
            return f"{calls} whose usage is unknown {may}: their prompts were estimated at {estimated:,} tokens"
        case "broken_off":
            return f"{calls} that broke off while answering: what came after the last count is not known"
        case "not_billed":
            return f"{calls} that failed, exactly so much: the provider does not list what failed"
        case "cached_otherwise":
            return (
                "the same tokens, of which another part is said to have gone through the cache: that changes the cost"
            )
        case "only_listed":
            return "the ledger has no such calls: made without Clew, with another key, or before there was a ledger"
        case "only_ours":
            return f"{calls} of the ledger, exactly so much, which the provider does not list"


def _ref(call: Call, counted: tuple[str, ...]) -> CallRef:
    return CallRef(
        position=call.position,
        at=call.ended,
        model=call.model,
        thread_id=call.thread_id,
        run_id=call.run_id,
        step_id=call.step_id,
        failure=call.failure,
        counts=_named(counted, call.counts) if call.counts is not None else None,
        estimated_tokens=call.estimated_tokens,
    )
