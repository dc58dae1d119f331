"""The entries of the billing ledger: one by one, or added up by the database; and the calls that are none yet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from heapq import merge
from itertools import islice
from typing import Any, TypeAlias

import orjson

from clew.events.base import Recorded
from clew.events.model import ModelAnswered, ModelFailed
from clew.events.price import Price, PricingContext
from clew.events.usage import Usage
from clew.log import Reader
from clew_projections._ledger import COUNTED, ENTRIES, NOTHING, UNDER_WAY, Total, attos_in, total_of
from clew_projections._ledger_times import MICROSECONDS, Unit, time_key

# A stream, and the first and the last item of a stretch of it.
Range: TypeAlias = tuple[str, int, int]


@dataclass(frozen=True, slots=True)
class Scope:
    """Whose calls. None means anybody's; `tags` are pairs of label and value that all hold."""

    tenant: str | None = None
    thread_id: str | None = None
    run_id: str | None = None
    step_id: str | None = None
    assistant_id: str | None = None
    provider: str | None = None
    model: str | None = None
    tags: tuple[tuple[str, str], ...] = ()

    def names_only(self, *names: str) -> bool:
        """Whether it restricts nothing but these."""
        return self == Scope(**{name: getattr(self, name) for name in names})


@dataclass(frozen=True, slots=True)
class Span:
    """Positions above `after`, up to `upto`."""

    after: int
    upto: int


@dataclass(frozen=True, slots=True)
class Entry:
    """One attempt. `called` and `position` are those of the events that began and that ended it.

    `failure` is why it failed, None when it was answered. `price` is None also for what used nothing.
    """

    position: int
    at: int
    called: int
    tenant: str
    thread_id: str
    run_id: str
    step_id: str | None
    assistant_id: str | None
    provider: str
    model: str
    purpose: str
    tags: dict[str, str]
    estimated_tokens: int
    input_attos: int
    model_call_id: str
    attempt: int
    failure: str | None
    usage: Usage | None
    price: Price | None
    tier: PricingContext
    total: Total


@dataclass(frozen=True, slots=True)
class OpenCall:
    """A call that waits for its answer. `position` is where it was made."""

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
    items: int
    max_output_tokens: int | None


@dataclass(frozen=True, slots=True)
class Unknown:
    """Calls of one model that a total does not tell the whole of: what the lost ones were estimated to be asked, and
    what the unpriced ones used."""

    provider: str
    model: str
    lost_calls: int
    estimated_tokens: int
    unpriced_calls: int
    unpriced: Usage


def open_calls(
    reader: Reader,
    *,
    tenant: str | None = None,
    thread_id: str | None = None,
    run_id: str | None = None,
    assistant_id: str | None = None,
) -> list[OpenCall]:
    """What waits for an answer right now, the oldest first: each call is also in no total yet."""
    given = {"tenant": tenant, "thread_id": thread_id, "run_id": run_id, "assistant_id": assistant_id}
    wanted = {name: value for name, value in given.items() if value is not None}
    conditions = "".join(f" and {name} = ?" for name in wanted)
    rows = reader.rows(
        f"select {', '.join(UNDER_WAY.names)} from ledger_under_way where called is not null{conditions}"
        " order by called",
        tuple(wanted.values()),
    )
    return [_open_call(dict(zip(UNDER_WAY.names, row, strict=True))) for row in rows]


def _open_call(row: dict[str, Any]) -> OpenCall:
    for inner in ("tags", "context", "left_out_tokens"):
        del row[inner]
    return OpenCall(position=row.pop("called"), **row)


@dataclass(frozen=True, slots=True)
class BilledContext:
    """What a call that was billed for its input had been shown: tokens by part as we counted them, and ranges of
    items (stream, first, last) as of a position. Tool results in the ranges `cleared` were shown as `note` if that
    is shorter. `priced` is false when nobody knows what the input cost.
    """

    position: int
    priced: bool
    input_attos: int
    instructions: int
    tools: int
    items: int
    as_of: int
    shown: tuple[Range, ...]
    cleared: tuple[Range, ...] = ()
    note: str = ""


def billed_contexts(reader: Reader, thread_id: str, upto: int) -> list[BilledContext]:
    """Of all calls of a thread up to a position, in their order."""
    rows = reader.rows(
        "select position, unpriced_calls, input_nano, input_atto, context from ledger_entries"
        " where thread_id = ? and position <= ? and input_tokens > 0 and context is not null order by position",
        (thread_id, upto),
    )
    return [_billed_context(thread_id, *row) for row in rows]


def _billed_context(thread_id: str, position: int, unpriced: int, nano: int, atto: int, kept: str) -> BilledContext:
    instructions, tools, items, as_of, shown, *cleared = orjson.loads(kept)
    return BilledContext(
        position=position,
        priced=not unpriced,
        input_attos=attos_in({"input_nano": nano, "input_atto": atto}, "input"),
        instructions=instructions,
        tools=tools,
        items=items,
        as_of=as_of,
        shown=_ranges(thread_id, shown),
        cleared=_ranges(thread_id, cleared[0]) if cleared else (),
        note=cleared[1] if cleared else "",
    )


def _ranges(own: str, kept: list[list[Any]]) -> tuple[Range, ...]:
    return tuple((one[2] if len(one) > 2 else own, one[0], one[1]) for one in kept)


def _conditions(reader: Reader, scope: Scope, within: Span) -> tuple[str, list[object]]:
    named = {
        "tenant": scope.tenant,
        "thread_id": scope.thread_id,
        "run_id": scope.run_id,
        "step_id": scope.step_id,
        "assistant_id": scope.assistant_id,
        "provider": scope.provider,
        "model": scope.model,
    }
    wanted = {name: value for name, value in named.items() if value is not None}
    sql = " and ".join(("position > ?", "position <= ?", *(f"{name} = ?" for name in wanted)))
    parameters: list[object] = [within.after, within.upto, *wanted.values()]
    each = "json_each_text(tags::json)" if reader.tongue.name == "postgres" else "json_each(tags)"
    for label, value in scope.tags:
        sql += f" and exists (select 1 from {each} as tag where tag.key = ? and tag.value = ?)"
        parameters += [label, value]
    return sql, parameters


def unknown(reader: Reader, scope: Scope, within: Span) -> list[Unknown]:
    """What is missing in a total, by model."""
    conditions, parameters = _conditions(reader, scope, within)
    used = ("input_tokens", "output_tokens", "cached_tokens", "cache_write_tokens", "reasoning_tokens")
    unpriced = ", ".join(f"sum(case when unpriced_calls > 0 then {name} else 0 end)" for name in used)
    rows = reader.rows(
        "select provider, model, sum(lost_calls), sum(case when lost_calls > 0 then estimated_tokens else 0 end),"
        f" sum(unpriced_calls), {unpriced} from ledger_entries where {conditions}"
        " and (lost_calls > 0 or unpriced_calls > 0) group by provider, model order by provider, model",
        parameters,
    )
    return [_unknown(row[0], row[1], [int(value) for value in row[2:]]) for row in rows]


def _unknown(provider: str, model: str, numbers: Sequence[int]) -> Unknown:
    lost, estimated, unpriced, given, said, cached, written, reasoning = numbers
    usage = Usage(input=given, output=said, cached=cached, cache_write=written, reasoning=reasoning)
    return Unknown(provider, model, lost, estimated, unpriced, usage)


_KEYS = {
    "tenant": "tenant",
    "thread": "thread_id",
    "run": "run_id",
    "step": "step_id",
    "assistant": "assistant_id",
    "provider": "provider",
    "model": "provider || '/' || model",
    "tag": "tags",
    "hour": f"at / {MICROSECONDS['hour']}",
    "day": f"at / {MICROSECONDS['day']}",
    "month": f"at / {MICROSECONDS['day']}",
}


def added_up(reader: Reader, scope: Scope, within: Span, key: str) -> dict[Any, Total]:
    """The entries of the scope, by whatever the expression `key` gives."""
    conditions, parameters = _conditions(reader, scope, within)
    sums = ", ".join(f"sum({name})" for name in COUNTED)
    rows = reader.rows(
        f"select {key} as grouped_by, count(*), {sums} from ledger_entries where {conditions} group by 1", parameters
    )
    return {row[0]: total_of(row[1:]) for row in rows}


def by_entries(reader: Reader, scope: Scope, within: Span, by: str) -> dict[str | None, Total]:
    found: dict[str | None, Total] = {}
    for value, spent in added_up(reader, scope, within, _KEYS[by.partition(":")[0]]).items():
        key = _key_of(value, by)
        found[key] = found.get(key, NOTHING).plus(spent)
    return found


def _key_of(value: Any, by: str) -> str | None:
    if by in ("hour", "day", "month"):
        unit: Unit = "hour" if by == "hour" else "day"
        return time_key(value * MICROSECONDS[unit], by)  # type: ignore[arg-type]
    if value is None or not by.startswith("tag"):
        return None if value is None else str(value)
    tags: dict[str, str] = orjson.loads(value)
    label = by.removeprefix("tag").removeprefix(":")
    return tags.get(label) if label else ", ".join(f"{label}={said}" for label, said in tags.items())


def entries(
    reader: Reader, scope: Scope, within: Span, *, newest_first: bool = False, limit: int = 1_000
) -> list[Entry]:
    """One by one, in the order of positions. For the next page, ask for the rest of the span."""
    rows = list(
        islice(merge(*_pages(reader, scope, within, newest_first, limit), key=_position, reverse=newest_first), limit)
    )
    events = reader.events([row["position"] for row in rows])
    return [_entry(row, events[row["position"]]) for row in rows]


def _position(row: dict[str, Any]) -> int:
    position: int = row["position"]
    return position


def _pages(reader: Reader, scope: Scope, within: Span, newest_first: bool, limit: int) -> list[list[dict[str, Any]]]:
    """A page of each tenant that may be meant: entries lie by tenant, so that one's are read without the others'."""
    tenants = [scope.tenant]
    if scope == replace(Scope(), tags=scope.tags):
        tenants = [row[0] for row in reader.rows("select distinct tenant from ledger_accounts where kind = 'model'")]
    found = []
    for tenant in tenants:
        conditions, parameters = _conditions(reader, replace(scope, tenant=tenant), within)
        rows = reader.rows(
            f"select {', '.join(ENTRIES.names)} from ledger_entries where {conditions}"
            f" order by position {'desc' if newest_first else 'asc'} limit ?",
            (*parameters, limit),
        )
        found.append([dict(zip(ENTRIES.names, row, strict=True)) for row in rows])
    return found


def _entry(row: dict[str, Any], recorded: Recorded[Any]) -> Entry:
    event = recorded.event
    assert isinstance(event, (ModelAnswered, ModelFailed)), "an entry is of an attempt that ended"
    counted = total_of([1, *(row.pop(name) for name in COUNTED)])
    input_attos = attos_in(row, "input")
    tags = row.pop("tags")
    for inner in ("context", "input_nano", "input_atto"):
        del row[inner]
    return Entry(
        **row,
        input_attos=input_attos,
        tags=orjson.loads(tags) if tags is not None else {},
        model_call_id=event.model_call_id,
        attempt=event.attempt,
        failure=event.code if isinstance(event, ModelFailed) else None,
        usage=event.usage,
        price=event.price,
        tier=event.pricing_context,
        total=counted,
    )
