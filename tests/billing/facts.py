"""A bill made by hand: events with round numbers, straight into a log that keeps the ledger."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from clew.events.base import Event
from clew.events.model import (
    ContextAssembled,
    ContextTokens,
    ContextTruncated,
    Manifest,
    ModelAnswered,
    ModelCalled,
    ModelFailed,
)
from clew.events.price import Price, PriceLine
from clew.events.run import RunChanged, RunCompleted, RunConfig, RunQueued
from clew.events.thread import ThreadCreated
from clew.events.usage import Usage
from tests.projections.living import House


def price(usage: Usage, currency: str = "USD") -> Price:
    """Two dollars for a million tokens in, half of that from a cache, ten for a million out."""
    lines = (
        PriceLine(kind="input", tokens=usage.input - usage.cached, price="2"),
        PriceLine(kind="cache_read", tokens=usage.cached, price="1"),
        PriceLine(kind="output", tokens=usage.output, price="10"),
    )
    micros = 2 * (usage.input - usage.cached) + usage.cached + 10 * usage.output
    return Price(
        amount=f"{micros / 1_000_000:.6f}",
        currency=currency,
        table="by hand/1",
        provider="p",
        model="m",
        lines=tuple(line for line in lines if line.tokens),
    )


@dataclass
class Books:
    """Events of threads, one after the other."""

    house: House
    versions: dict[str, int] = field(default_factory=dict)

    async def write(self, thread_id: str, *events: Event) -> None:
        after = self.versions.get(thread_id, 0)
        if not after:
            events = (ThreadCreated(tenant="default", dialect="test"), *events)
        await self.house.log.append(thread_id, events, after=after)
        self.versions[thread_id] = after + len(events)

    async def call(self, thread_id: str, run_id: str, usage: Usage | None, **otherwise: Any) -> None:
        """A run of one call."""
        await self.write(thread_id, *run(run_id, usage, **otherwise))


def run(
    run_id: str,
    usage: Usage | None,
    *,
    model: str = "m",
    assistant_id: str | None = None,
    tags: dict[str, str] | None = None,
    tags_later: dict[str, str] | None = None,
    currency: str | None = "USD",
    left_out: int = 0,
    failed: bool = False,
    unknown: bool = False,
) -> Sequence[Event]:
    config = RunConfig(provider="p", model=model, asked_model=model, assistant_id=assistant_id)
    events: list[Event] = [RunQueued(run_id=run_id, dialect="test", config=config, metadata=tags or {})]
    if tags_later is not None:
        events.append(RunChanged(run_id=run_id, metadata=tags_later))
    of: dict[str, Any] = {"run_id": run_id, "fence": 1, "model_call_id": f"mc_{run_id}"}
    events.append(
        ContextAssembled(
            **of,
            manifest=Manifest(shown=(), items=0),
            tokens=ContextTokens(instructions=10, tools=0, items=0, exact=True),
            renderer="test/1",
            digest="d",
        )
    )
    if left_out:
        events.append(
            ContextTruncated(
                **of,
                strategy="auto",
                left_out=(),
                items_left_out=3,
                tokens_before=10 + left_out,
                tokens_after=10,
                limit=10,
                limit_name="context_tokens",
            )
        )
    paid = price(usage, currency) if usage is not None and currency is not None else None
    events.append(ModelCalled(**of, provider="p", model=model, attempt=1))
    events.append(_failed(of, usage, paid, unknown=unknown) if failed else _answered(of, run_id, model, usage, paid))
    return [*events, RunCompleted(run_id=run_id)]


def _failed(of: dict[str, Any], usage: Usage | None, paid: Price | None, *, unknown: bool) -> ModelFailed:
    return ModelFailed(
        **of,
        attempt=1,
        code="timeout",
        message="",
        retryable=False,
        final=True,
        usage=usage,
        price=paid,
        usage_unknown=unknown,
    )


def _answered(of: dict[str, Any], run_id: str, model: str, usage: Usage | None, paid: Price | None) -> ModelAnswered:
    return ModelAnswered(
        **of,
        attempt=1,
        step_id=f"step_{run_id}",
        model=model,
        finish_reason="stop",
        usage=usage,
        duration_ms=1.0,
        price=paid,
    )
