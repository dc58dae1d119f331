"""What can be asked of a model call: to begin it, to try it again, and to record how it ended."""

from __future__ import annotations

from dataclasses import dataclass, field

from clew.events.content import JsonObject
from clew.events.model import ContextTokens, Manifest, Summarising
from clew.events.price import Price, PricingContext
from clew.events.usage import Usage
from clew.rules.contexts import Cut
from clew.rules.parts import AnsweredCall, AnsweredMessage, AnsweredReasoning, Claim


@dataclass(frozen=True, slots=True, kw_only=True)
class BeginModelCall:
    """With `claim` set, the same append takes the run (`fence` is then the one it is taken from).

    A call that `summarises` does so from the thread as it was after so many `changes`; where there were more since,
    it is not made.
    """

    thread_id: str
    run_id: str
    fence: int
    claim: Claim | None
    model_call_id: str
    provider: str
    model: str
    manifest: Manifest
    tokens: ContextTokens
    renderer: str
    digest: str
    max_output_tokens: int | None
    cut: Cut | None
    summarises: Summarising | None = None
    changes: int | None = None
    origin: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryModelCall:
    thread_id: str
    run_id: str
    fence: int
    model_call_id: str
    provider: str
    model: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FailModelCall:
    thread_id: str
    run_id: str
    fence: int
    code: str
    message: str
    retryable: bool
    final: bool
    retry_after_seconds: float | None = None
    usage: Usage | None = None
    usage_reported: JsonObject | None = None
    price: Price | None = None
    pricing_context: PricingContext = field(default_factory=dict)
    duration_ms: float | None = None
    usage_unknown: bool = False
    status: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordAnswer:
    """The whole answer of a model: it goes into the log in one append, with what follows from it."""

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
    first_token_ms: float | None
    duration_ms: float
    reasoning: AnsweredReasoning | None
    message: AnsweredMessage | None
    calls: tuple[AnsweredCall, ...]
    price: Price | None = None
    pricing_context: PricingContext = field(default_factory=dict)
    stop_sequence: str | None = None
