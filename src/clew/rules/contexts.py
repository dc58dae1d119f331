"""What is said of a context in commands: what it left out, and a summary that shortens all later ones."""

from __future__ import annotations

from dataclasses import dataclass, field

from clew.events.content import Content, JsonObject, Tokens
from clew.events.items import Place
from clew.events.model import InsteadOf, ItemRange, LeftOut
from clew.events.price import Price, PricingContext
from clew.events.usage import Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """What a context left out or showed cleared, and what forced that."""

    strategy: str
    left_out: tuple[LeftOut, ...]
    items: int
    tokens_before: int
    tokens_after: int
    limit: int
    limit_name: str
    cleared: tuple[ItemRange, ...] = ()
    items_cleared: int = 0
    instead_of: InsteadOf | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordSummary:
    """The summary that a model was asked for, and what it stands for: from one place to another."""

    thread_id: str
    run_id: str
    fence: int
    model_call_id: str
    step_id: str
    model: str
    finish_reason: str
    usage: Usage | None
    usage_reported: JsonObject | None
    provider_ids: dict[str, str]
    duration_ms: float
    item_id: str
    summary: Content
    tokens: Tokens
    first: Place
    last: Place
    items: int
    tokens_before: int
    price: Price | None = None
    pricing_context: PricingContext = field(default_factory=dict)
