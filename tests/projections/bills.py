"""The ledger told a second time, from the events alone and in the plainest way: what the read model is held against."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from clew.events import Event, Recorded
from clew.events.model import ContextAssembled, ModelAnswered, ModelCalled, ModelFailed
from clew.events.run import RunChanged, RunQueued
from clew.events.thread import ThreadCreated, ThreadForked
from clew.events.usage import NO_USAGE
from clew_projections.billing_ledger import Entry, Scope, Total


@dataclass(frozen=True)
class Billed:
    """One attempt, as its events tell of it."""

    position: int
    called: int
    at: int
    tenant: str
    thread_id: str
    run_id: str
    step_id: str | None
    assistant_id: str | None
    provider: str
    model: str
    tags: dict[str, str]
    estimated_tokens: int
    event: ModelAnswered | ModelFailed

    @property
    def amount(self) -> Decimal:
        return Decimal(self.event.price.amount) if self.event.price is not None else Decimal(0)

    def fits(self, scope: Scope) -> bool:
        names = ("tenant", "thread_id", "run_id", "step_id", "assistant_id", "provider", "model")
        if any(getattr(scope, name) not in (None, getattr(self, name)) for name in names):
            return False
        return all(self.tags.get(label) == value for label, value in scope.tags)


def billed(events: Iterable[Recorded[Event]]) -> list[Billed]:
    tenants: dict[str, str] = {}
    runs: dict[str, RunQueued] = {}
    tags: dict[str, dict[str, str]] = {}
    estimates: dict[str, int] = {}
    called: dict[str, tuple[int, ModelCalled]] = {}
    found = []
    for recorded in events:
        match recorded.event:
            case ThreadCreated(tenant=tenant) | ThreadForked(tenant=tenant):
                tenants[recorded.stream] = tenant
            case RunQueued() as queued:
                runs[queued.run_id], tags[queued.run_id] = queued, queued.metadata
            case RunChanged() as changed:
                tags[changed.run_id] = changed.metadata
            case ContextAssembled() as context:
                estimates[context.run_id] = context.tokens.total
            case ModelCalled() as call:
                called[call.run_id] = (recorded.position, call)
            case (ModelAnswered() | ModelFailed()) as ended:
                begun, call = called.pop(ended.run_id)
                found.append(
                    Billed(
                        position=recorded.position,
                        called=begun,
                        at=recorded.at,
                        tenant=tenants[recorded.stream],
                        thread_id=recorded.stream,
                        run_id=ended.run_id,
                        step_id=getattr(ended, "step_id", None),
                        assistant_id=runs[ended.run_id].config.assistant_id,
                        provider=call.provider,
                        model=getattr(ended, "model", call.model),
                        tags=tags[ended.run_id],
                        estimated_tokens=estimates[ended.run_id],
                        event=ended,
                    )
                )
            case _:
                pass
    return found


def summed(bills: Sequence[Billed]) -> Total:
    """Added up one by one. What was saved is looked at elsewhere."""
    used = [one.event.usage or NO_USAGE for one in bills]
    amount = sum((one.amount for one in bills), Decimal(0))
    return Total(
        calls=len(bills),
        failed_calls=sum(isinstance(one.event, ModelFailed) for one in bills),
        unpriced_calls=sum(one.event.usage is not None and one.event.price is None for one in bills),
        lost_calls=sum(_is_lost(one.event) for one in bills),
        input_tokens=sum(usage.input for usage in used),
        cached_tokens=sum(usage.cached for usage in used),
        cache_write_tokens=sum(usage.cache_write for usage in used),
        output_tokens=sum(usage.output for usage in used),
        reasoning_tokens=sum(usage.reasoning for usage in used),
        attos=int(amount * 10**18),
    )


def _is_lost(event: ModelAnswered | ModelFailed) -> bool:
    return event.usage_unknown if isinstance(event, ModelFailed) else event.usage is None


def without_savings(total: Total) -> Total:
    return total._replace(left_out_tokens=0, truncation_attos=0, caching_attos=0)


def _time(form: str) -> Callable[[Billed], str | None]:
    return lambda one: datetime.fromtimestamp(one.at / 1_000_000, UTC).strftime(form)


KEYS: dict[str, Callable[[Billed], str | None]] = {
    "tenant": lambda one: one.tenant,
    "thread": lambda one: one.thread_id,
    "run": lambda one: one.run_id,
    "step": lambda one: one.step_id,
    "assistant": lambda one: one.assistant_id,
    "provider": lambda one: one.provider,
    "model": lambda one: f"{one.provider}/{one.model}",
    "tag": lambda one: ", ".join(f"{label}={one.tags[label]}" for label in sorted(one.tags)) or None,
    "tag:a": lambda one: one.tags.get("a"),
    "hour": _time("%Y-%m-%dT%H:00:00Z"),
    "day": _time("%Y-%m-%d"),
    "month": _time("%Y-%m"),
}


def by_key(bills: Sequence[Billed], by: str) -> dict[str | None, Total]:
    keys = {KEYS[by](one) for one in bills}
    return {key: summed([one for one in bills if KEYS[by](one) == key]) for key in keys}


_TOLD = [name for name in Billed.__dataclass_fields__ if name != "event"]


def told(entry: Entry) -> dict[str, Any]:
    """An entry in the words of `Billed`."""
    return {name: getattr(entry, name) for name in _TOLD}


def as_billed(one: Billed) -> dict[str, Any]:
    return {name: getattr(one, name) for name in _TOLD}
