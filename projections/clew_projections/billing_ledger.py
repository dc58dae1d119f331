"""What model calls have used and cost: one entry an attempt, and running totals of whoever they are counted for.

What a call cost was said when it was recorded, by the price table of its day, and is never looked up again. A call
that nobody knows the price or the usage of is counted as such, and never as free. What was spent as of a position
never changes afterwards: entries are added, and a thread that is deleted has cost what it has cost.

    spending(reader, tenant="acme", since=…, until=…)      in total
    open_calls(reader, tenant="acme")                      what waits for an answer right now
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any

import orjson

from clew.events.base import Recorded
from clew.events.content import Metadata
from clew.events.model import ContextAssembled, ContextTruncated, ItemRange, ModelAnswered, ModelCalled, ModelFailed
from clew.events.price import PriceLine
from clew.events.run import (
    RunCancelled,
    RunChanged,
    RunCompleted,
    RunExpired,
    RunFailed,
    RunIncomplete,
    RunQueued,
)
from clew.events.thread import ThreadCreated, ThreadForked
from clew.events.usage import NO_USAGE
from clew.prices import INPUT_KINDS
from clew.projecting import Projection, Row, Rows
from clew_projections._ledger import (
    ACCOUNTS,
    BALANCES,
    CURRENCY,
    ENTRIES,
    NOTHING,
    THREADS,
    UNDER_WAY,
    Total,
    columns_of,
    from_attos,
    halves_of,
    in_attos,
    worth_in_attos,
)
from clew_projections._ledger_entries import (
    BilledContext,
    Entry,
    OpenCall,
    Range,
    Scope,
    Span,
    Unknown,
    billed_contexts,
    entries,
    open_calls,
    unknown,
)
from clew_projections._ledger_times import floor, following
from clew_projections._ledger_totals import Group, grouped, providers, span, spending, total

__all__ = [
    "CURRENCY",
    "NOTHING",
    "BilledContext",
    "Entry",
    "Group",
    "OpenCall",
    "Range",
    "Scope",
    "Span",
    "Total",
    "Unknown",
    "billed_contexts",
    "entries",
    "floor",
    "following",
    "from_attos",
    "grouped",
    "open_calls",
    "projection",
    "providers",
    "span",
    "spending",
    "total",
    "unknown",
]

projection = Projection(
    name="billing_ledger",
    version=1,
    lifecycle="inline",
    tables=(THREADS, UNDER_WAY, ENTRIES, ACCOUNTS, BALANCES),
)


@projection.on(ThreadCreated)
def _(recorded: Recorded[ThreadCreated], rows: Rows) -> None:
    rows.add(THREADS, thread_id=recorded.stream, tenant=recorded.event.tenant)


@projection.on(ThreadForked)
def _(recorded: Recorded[ThreadForked], rows: Rows) -> None:
    """What the parent has cost stays with the parent."""
    rows.add(THREADS, thread_id=recorded.stream, tenant=recorded.event.tenant)


@projection.on(RunQueued)
def _(recorded: Recorded[RunQueued], rows: Rows) -> None:
    queued = recorded.event
    thread = rows.get(THREADS, recorded.stream)
    assert thread is not None, "only a thread that exists has runs"
    rows.add(
        UNDER_WAY,
        run_id=queued.run_id,
        thread_id=recorded.stream,
        tenant=thread["tenant"],
        assistant_id=queued.config.assistant_id,
        tags=_as_tags(queued.metadata),
        estimated_tokens=0,
        left_out_tokens=0,
        items=0,
        attempt=0,
    )


@projection.on(RunChanged)
def _(recorded: Recorded[RunChanged], rows: Rows) -> None:
    """Calls from here on bear the new tags. What was billed before was billed under the old ones."""
    run = rows.get(UNDER_WAY, recorded.event.run_id)
    if run is not None:
        rows.put(UNDER_WAY, **{**run, "tags": _as_tags(recorded.event.metadata)})


def _as_tags(metadata: Metadata) -> str | None:
    """In an order, so that the same tags are the same text. No store has to keep a NUL in a text."""
    if not metadata:
        return None
    cleaned = {_without_nul(label): _without_nul(value) for label, value in metadata.items()}
    return orjson.dumps(cleaned, option=orjson.OPT_SORT_KEYS).decode()


def _without_nul(said: str) -> str:
    return said.replace("\0", "\ufffd")


@projection.on(ContextAssembled)
def _(recorded: Recorded[ContextAssembled], rows: Rows) -> None:
    context = recorded.event
    now = {
        "estimated_tokens": context.tokens.total,
        "left_out_tokens": 0,
        "items": context.manifest.items,
        "context": _shown_context(recorded),
        "max_output_tokens": context.max_output_tokens,
        "model_call_id": context.model_call_id,
        "called": None,
    }
    rows.put(UNDER_WAY, **{**_run(rows, context.run_id), **now})


def _shown_context(recorded: Recorded[ContextAssembled]) -> str:
    """As `billed_contexts` reads it: without the name of the stream where that is the thread's own."""
    tokens, manifest = recorded.event.tokens, recorded.event.manifest
    as_of = recorded.position - 1 if manifest.as_of is None else manifest.as_of
    parts: list[object] = [
        tokens.instructions,
        tokens.tools,
        tokens.items,
        as_of,
        _ranges(recorded.stream, manifest.shown),
    ]
    if manifest.cleared is not None:
        parts += [_ranges(recorded.stream, manifest.cleared.items), manifest.cleared.note]
    return orjson.dumps(parts).decode()


def _ranges(own: str, shown: Sequence[ItemRange]) -> list[list[int | str]]:
    return [[one.first, one.last] if one.stream == own else [one.first, one.last, one.stream] for one in shown]


@projection.on(ContextTruncated)
def _(recorded: Recorded[ContextTruncated], rows: Rows) -> None:
    cut = recorded.event
    rows.put(UNDER_WAY, **{**_run(rows, cut.run_id), "left_out_tokens": max(0, cut.tokens_before - cut.tokens_after)})


@projection.on(ModelCalled)
def _(recorded: Recorded[ModelCalled], rows: Rows) -> None:
    called = recorded.event
    now = {
        "called": recorded.position,
        "model_call_id": called.model_call_id,
        "attempt": called.attempt,
        "provider": called.provider,
        "model": called.model,
        "purpose": called.purpose,
    }
    rows.put(UNDER_WAY, **{**_run(rows, called.run_id), **now})


@projection.on(ModelAnswered)
def _(recorded: Recorded[ModelAnswered], rows: Rows) -> None:
    answered = recorded.event
    lost = answered.usage is None
    _enter(recorded, rows, answered.model, answered.step_id, failed=False, lost=lost)


@projection.on(ModelFailed)
def _(recorded: Recorded[ModelFailed], rows: Rows) -> None:
    _enter(recorded, rows, None, None, failed=True, lost=recorded.event.usage_unknown)


def _run(rows: Rows, run_id: str) -> Row:
    run = rows.get(UNDER_WAY, run_id)
    assert run is not None, "only a run that is under way asks a model"
    return run


def _enter(
    recorded: Recorded[ModelAnswered] | Recorded[ModelFailed],
    rows: Rows,
    answered_by: str | None,
    step_id: str | None,
    *,
    failed: bool,
    lost: bool,
) -> None:
    """One entry, posted to all accounts that it is counted for. The model is the one that answered: it is billed."""
    event = recorded.event
    run = _run(rows, event.run_id)
    # An amount in another currency cannot be added up: in totals it is a call without a price.
    price = event.price if event.price is not None and event.price.currency == CURRENCY else None
    used = event.usage or NO_USAGE
    lines = {line.kind: line for line in price.lines} if price is not None else {}
    left_out = run["left_out_tokens"] if used.input else 0
    counted = Total(
        calls=1,
        failed_calls=int(failed),
        unpriced_calls=int(event.usage is not None and price is None),
        lost_calls=int(lost),
        input_tokens=used.input,
        cached_tokens=used.cached,
        cache_write_tokens=used.cache_write,
        output_tokens=used.output,
        reasoning_tokens=used.reasoning,
        left_out_tokens=left_out,
        attos=in_attos(Decimal(price.amount)) if price is not None else 0,
        truncation_attos=_worth(left_out, lines.get("input")),
        caching_attos=_saved_by_caching(lines),
    )
    model, columns = answered_by or run["model"], columns_of(counted)
    rows.add(
        ENTRIES,
        **{name: run[name] for name in _KNOWN_OF_RUN},
        position=recorded.position,
        at=recorded.at,
        step_id=step_id,
        model=model,
        **halves_of("input", sum(_worth(line.tokens, line) for line in lines.values() if line.kind in INPUT_KINDS)),
        **columns,
    )
    for kind, part, name in _accounts(run, model):
        known = rows.count(BALANCES, (kind, run["tenant"], part, name), (1, *columns.values()))
        if not known and kind != "thread":
            # Threads are in a table of their own from their first event on.
            account = {"kind": kind, "tenant": run["tenant"], "part": part, "name": name}
            rows.add(ACCOUNTS, **account, opened=rows.position)
    rows.put(UNDER_WAY, **{**run, "called": None})


_KNOWN_OF_RUN = (
    "tenant",
    "called",
    "thread_id",
    "run_id",
    "assistant_id",
    "provider",
    "purpose",
    "tags",
    "estimated_tokens",
    "context",
)


def _worth(tokens: int, line: PriceLine | None) -> int:
    """What so many tokens cost at the price of a line, in attos."""
    return worth_in_attos(tokens, line.price, line.per) if line is not None else 0


def _saved_by_caching(lines: dict[str, PriceLine]) -> int:
    cached, fresh = lines.get("cache_read"), lines.get("input")
    if cached is None or fresh is None:
        return 0
    return _worth(cached.tokens, fresh) - _worth(cached.tokens, cached)


def _accounts(run: Row, model: str) -> Iterator[tuple[str, str, str]]:
    yield "model", run["provider"], model
    yield "thread", "", run["thread_id"]
    if run["assistant_id"] is not None:
        yield "assistant", "", run["assistant_id"]
    if run["tags"] is not None:
        for label, value in orjson.loads(run["tags"]).items():
            yield "tag", label, value


def _ended(recorded: Recorded[Any], rows: Rows) -> None:
    rows.remove(UNDER_WAY, recorded.event.run_id)


for _event_type in (RunCompleted, RunFailed, RunCancelled, RunExpired, RunIncomplete):
    projection.on(_event_type)(_ended)
