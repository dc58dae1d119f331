"""What the ledger says to people and programs. Amounts are decimals in text, times are in microseconds since 1970."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

from pydantic import BaseModel

from clew.events.price import PriceLine
from clew.prices import shown
from clew_projections.billing_ledger import Entry, OpenCall, Total
from clew_projections.thread_view import Kind

Cost: TypeAlias = Literal["priced", "unpriced", "lost", "nothing"]


class Spent(BaseModel):
    """What some calls used and cost. Each attempt is a call, also one that failed.

    Two kinds of calls are not in `amount`: unpriced ones used tokens that no table has a price for, and of lost ones
    nobody knows what they used. `saved_by_truncation` is what the tokens that were left out would have cost, and
    `saved_by_caching` what cached ones would have cost more, both at the full input price of their calls.
    """

    calls: int
    failed_calls: int
    unpriced_calls: int
    lost_calls: int
    input_tokens: int
    cached_tokens: int
    cache_write_tokens: int
    output_tokens: int
    reasoning_tokens: int
    amount: str
    currency: str
    left_out_tokens: int
    saved_by_truncation: str
    saved_by_caching: str


class GroupSpent(Spent):
    """`key` is null for calls that have none: those of no assistant, without such a tag, that made no step."""

    key: str | None


class Ledger(BaseModel):
    """All parts together, those that are not listed in `others`, are the total. `as_of` is a position of the log."""

    group_by: str | None
    since: int | None
    until: int | None
    as_of: int
    total: Spent
    groups: list[GroupSpent]
    others: Spent | None = None


class EntryRecord(BaseModel):
    """One attempt of a model call. `outcome` is answered, or why it failed.

    `cost` says how much is known of the amount. `price_table` is what it was priced by, and `lines` explain it.
    """

    position: int
    at: int
    tenant: str
    thread_id: str
    run_id: str
    step_id: str | None
    assistant_id: str | None
    model_call_id: str
    attempt: int
    provider: str
    model: str
    purpose: str
    tier: dict[str, str]
    tags: dict[str, str]
    outcome: str
    cost: Cost
    input_tokens: int
    cached_tokens: int
    cache_write_tokens: int
    output_tokens: int
    reasoning_tokens: int
    amount: str | None
    currency: str
    price_table: str | None
    priced_as: str | None
    lines: list[PriceLine]


class EntryList(BaseModel):
    """`next` is the position to ask on from, null at the end."""

    entries: list[EntryRecord]
    next: int | None


class OpenCallRecord(BaseModel):
    """A call that waits for its answer: it is in no total yet. Tokens are our count of what was sent."""

    position: int
    tenant: str
    thread_id: str
    run_id: str
    assistant_id: str | None
    provider: str
    model: str
    purpose: str
    model_call_id: str
    attempt: int
    estimated_tokens: int
    max_output_tokens: int | None


class CarriedItem(BaseModel):
    """`times` is how many billed calls were shown the item. Of the `amount` that its tokens have cost, `first_amount`
    was for the first of them, and `resent_amount` for sending it again. `tokens` are what it has now."""

    stream: str
    number: int
    kind: Kind
    item_id: str
    tokens: int
    times: int
    amount: str
    first_amount: str
    resent_amount: str


class CarriedOthers(BaseModel):
    items: int
    amount: str
    first_amount: str
    resent_amount: str


class CarriedRecord(BaseModel):
    """`input_amount` is what all calls of the thread have cost for their input: instructions, tools, the items that are
    listed, and the others, to the last digit. Items that no billed call was shown are not told of."""

    thread_id: str
    as_of: int
    calls: int
    unpriced_calls: int
    currency: str
    input_amount: str
    instructions_amount: str
    tools_amount: str
    resent_amount: str
    items: list[CarriedItem]
    others: CarriedOthers | None


def spent(total: Total) -> Spent:
    return Spent(**_numbers(total))


def group_spent(key: str | None, total: Total) -> GroupSpent:
    return GroupSpent(key=key, **_numbers(total))


def _numbers(total: Total) -> dict[str, Any]:
    amounts = {name: shown(getattr(total, name)) for name in ("amount", "saved_by_truncation", "saved_by_caching")}
    counts = {name: value for name, value in total._asdict().items() if not name.endswith("attos")}
    return {**counts, **amounts, "currency": total.currency}


def entry_record(entry: Entry) -> EntryRecord:
    price, total = entry.price, entry.total
    given = {name: getattr(entry, name) for name in EntryRecord.model_fields if hasattr(entry, name)}
    counts = {name: getattr(total, name) for name in EntryRecord.model_fields if name.endswith("_tokens")}
    return EntryRecord(
        **given,
        **counts,
        outcome=entry.failure or "answered",
        cost=_cost(entry),
        amount=price.amount if price is not None else None,
        currency=price.currency if price is not None else total.currency,
        price_table=price.table if price is not None else None,
        priced_as=f"{price.provider}/{price.model}" if price is not None else None,
        lines=list(price.lines) if price is not None else [],
    )


def _cost(entry: Entry) -> Cost:
    if entry.total.lost_calls:
        return "lost"
    if entry.usage is None:
        return "nothing"
    return "priced" if entry.price is not None else "unpriced"


def open_call_record(call: OpenCall) -> OpenCallRecord:
    return OpenCallRecord(**{name: getattr(call, name) for name in OpenCallRecord.model_fields})
