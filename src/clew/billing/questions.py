"""Questions to the ledger, in the words of the API and of the command line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import reduce

from clew.billing.records import EntryList, EntryRecord, Ledger, entry_record, group_spent, spent
from clew.billing.times import moment
from clew.errors import BadQuestion
from clew.log import Reader
from clew_projections import billing_ledger
from clew_projections.billing_ledger import NOTHING, Group, Scope, Span, Total

GROUPS = ("tenant", "thread", "run", "step", "assistant", "provider", "model", "tag", "hour", "day", "month")
TIMES = ("hour", "day", "month")
# What groups are put in order by; the largest first, but keys as they count.
ORDERS: dict[str, Callable[[Total], int]] = {
    "amount": lambda total: total.attos,
    "calls": lambda total: total.calls,
    "tokens": lambda total: total.input_tokens + total.output_tokens,
    "input_tokens": lambda total: total.input_tokens,
    "output_tokens": lambda total: total.output_tokens,
    "saved": lambda total: total.truncation_attos + total.caching_attos,
}
_PAGE_ENTRIES = 1_000


@dataclass(frozen=True, slots=True)
class Asked:
    """What somebody wrote; an empty text is as good as none. `tags` are written LABEL=VALUE."""

    since: str | None = None
    until: str | None = None
    tenant: str | None = None
    thread_id: str | None = None
    run_id: str | None = None
    step_id: str | None = None
    assistant_id: str | None = None
    provider: str | None = None
    model: str | None = None
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Understood:
    """What was meant: whose calls, and when."""

    scope: Scope
    within: Span
    since: int | None
    until: int | None


def understood(reader: Reader, asked: Asked, as_of: int | None = None) -> Understood:
    """`as_of` is a position. Raises `BadQuestion`."""
    now = reader.cursor.now()
    since, until = moment(asked.since, "since", now), moment(asked.until, "until", now)
    if since is not None and until is not None and until < since:
        raise BadQuestion(name="until", given=asked.until or "", why=f"it is before since, {asked.since}")
    names = ("tenant", "thread_id", "run_id", "step_id", "assistant_id")
    provider, model = _model(reader, asked.provider or None, asked.model or None)
    scope = Scope(
        **{name: getattr(asked, name) or None for name in names},
        provider=provider,
        model=model,
        tags=tuple(_tag(written) for written in asked.tags if written),
    )
    return Understood(scope, billing_ledger.span(reader, since, until, as_of), since, until)


def _model(reader: Reader, provider: str | None, model: str | None) -> tuple[str | None, str | None]:
    """`PROVIDER/MODEL` in two, if there is such a provider: names of models have slashes too."""
    before, slash, after = (model or "").partition("/")
    if slash and provider is None and before in billing_ledger.providers(reader):
        return before, after
    return provider, model


def _tag(written: str) -> tuple[str, str]:
    label, equals, value = written.partition("=")
    if not equals or not label:
        raise BadQuestion(name="tag", given=written, why="write LABEL=VALUE")
    return label, value


def ledger(
    reader: Reader,
    asked: Asked,
    *,
    group_by: str | None = None,
    order: str | None = None,
    limit: int | None = None,
    as_of: int | None = None,
) -> Ledger:
    """Groups of time come in their order and others the dearest first, if no order is named; those beyond the limit
    are told together. Raises `BadQuestion`.
    """
    meant = understood(reader, asked, as_of)
    groups: list[Group] = []
    if group_by:
        in_order = _order(group_by, order)
        groups = in_order(billing_ledger.grouped(reader, meant.scope, meant.within, group_by))
    listed = groups[:limit] if limit is not None else groups
    others = groups[len(listed) :]
    return Ledger(
        group_by=group_by or None,
        since=meant.since,
        until=meant.until,
        as_of=reader.head() if as_of is None else as_of,
        total=spent(billing_ledger.total(reader, meant.scope, meant.within)),
        groups=[group_spent(group.key, group.total) for group in listed],
        others=spent(reduce(Total.plus, (group.total for group in others), NOTHING)) if others else None,
    )


def _order(group_by: str, order: str | None) -> Callable[[list[Group]], list[Group]]:
    """How groups are put in order. They come in that of their keys."""
    kind, _, label = group_by.partition(":")
    if kind not in GROUPS or (group_by != kind and (kind != "tag" or not label)):
        raise BadQuestion(name="group_by", given=group_by, why=f"group by one of {', '.join(GROUPS)}, or by tag:LABEL")
    chosen = order or ("key" if group_by in TIMES else "amount")
    if chosen == "key":
        return lambda groups: groups
    if chosen not in ORDERS:
        raise BadQuestion(name="order", given=chosen, why=f"order by key, {', '.join(ORDERS)}")
    size = ORDERS[chosen]
    return lambda groups: sorted(groups, key=lambda group: (-size(group.total), -group.total.input_tokens))


def entry_page(
    reader: Reader,
    asked: Asked,
    *,
    after: int | None = None,
    limit: int = _PAGE_ENTRIES,
    newest_first: bool = False,
    as_of: int | None = None,
) -> EntryList:
    """Entries beyond the position `after`: above it, or below it if the newest come first."""
    meant = understood(reader, asked, as_of)
    within = _beyond(meant.within, after, newest_first)
    found = billing_ledger.entries(reader, meant.scope, within, newest_first=newest_first, limit=limit + 1)
    records = [entry_record(entry) for entry in found[:limit]]
    return EntryList(entries=records, next=records[-1].position if len(found) > limit else None)


def _beyond(within: Span, after: int | None, newest_first: bool) -> Span:
    if after is None:
        return within
    if newest_first:
        return Span(within.after, max(within.after, min(within.upto, after - 1)))
    return Span(min(within.upto, max(within.after, after)), within.upto)


def following_entries(
    reader: Reader, scope: Scope, within: Span, *, limit: int = _PAGE_ENTRIES
) -> tuple[list[EntryRecord], Span | None]:
    """The first entries of a span, and what is left of it; None at the end."""
    found = billing_ledger.entries(reader, scope, within, limit=limit)
    left = Span(found[-1].position, within.upto) if len(found) == limit else None
    return [entry_record(entry) for entry in found], left


def all_entries(reader: Reader, asked: Asked, as_of: int | None = None) -> Iterator[EntryRecord]:
    """One after the other, a page at a time."""
    meant = understood(reader, asked, as_of)
    within: Span | None = meant.within
    while within is not None:
        records, within = following_entries(reader, meant.scope, within)
        yield from records


def not_in_the_amount(unpriced_calls: int, lost_calls: int) -> str:
    """What has to be said beside an amount, empty when nothing has."""
    said = []
    if unpriced_calls:
        said.append(f"{unpriced_calls:,} unpriced (no table has a price for what they used)")
    if lost_calls:
        said.append(f"{lost_calls:,} lost (nobody knows what they used)")
    return f"calls that are not in the amount: {', '.join(said)}" if said else ""
