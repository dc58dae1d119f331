"""What an audit of a run says: frozen in no way, filled while the events are told one after the other.

Times are in microseconds since 1970, durations in milliseconds.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from pydantic import BaseModel

from clew.audit.costs import Costs
from clew.events.model import ContextTokens, InsteadOf, ItemRange, LeftOut, Manifest, Purpose, Summarising
from clew.events.price import Price
from clew.events.run import RunConfig
from clew.events.usage import NO_USAGE, Usage

NoteKind: TypeAlias = Literal["run", "crash", "doubt", "cancel", "client"]


class ItemRecord(BaseModel):
    """An item as a model call was shown it. An item that was edited, or cleared, between two calls is two records."""

    stream: str
    number: int
    position: int
    kind: str
    id: str
    role: str | None = None
    name: str | None = None
    text: str = ""
    tokens: int = 0
    is_error: bool = False
    cleared: bool = False


class Attempt(BaseModel):
    """One sending of a request. `outcome` is answered, failed, or waiting; `code` is "lost" when a process died.

    `price` explains the amount, by the table of its day. `usage_unknown`: the provider may bill what nobody told.
    """

    attempt: int
    at: int
    outcome: str = "waiting"
    code: str | None = None
    message: str | None = None
    retryable: bool | None = None
    final: bool | None = None
    retry_after_seconds: float | None = None
    usage: Usage | None = None
    price: Price | None = None
    usage_unknown: bool = False
    duration_ms: float | None = None


class ToolStart(BaseModel):
    at: int
    attempt: int
    worker: str | None


class Doubt(BaseModel):
    """Nobody knew whether it had happened; `by` is who found out, and how it was settled."""

    at: int
    reason: str
    settled_at: int | None = None
    outcome: str | None = None
    by: str | None = None


class ToolRecord(BaseModel):
    """One tool call. `outcome` is called, started, returned, failed, in_doubt or settled.

    `bytes_whole` is set when more came than the model is shown. `answered_by` is who appended the answer.
    """

    tool_call_id: str
    step_id: str
    name: str
    arguments: str
    executor: str
    effect: str | None = None
    idempotency_key: str | None = None
    attempts: int = 0
    starts: list[ToolStart] = []
    outcome: str = "called"
    reason: str | None = None
    output: str | None = None
    bytes_whole: int | None = None
    called_at: int
    answered_at: int | None = None
    answered_by: str | None = None
    duration_ms: float | None = None
    doubts: list[Doubt] = []
    settled_by: str | None = None


class Truncated(BaseModel):
    strategy: str
    limit_name: str
    limit: int
    items_left_out: int
    tokens_before: int
    tokens_after: int
    left_out: tuple[LeftOut, ...]
    items_cleared: int = 0
    cleared: tuple[ItemRange, ...] = ()
    instead_of: InsteadOf | None = None


class Compacted(BaseModel):
    """A summary that a model call gave: it stands for `items` of `tokens_before` tokens from then on."""

    item_id: str
    text: str
    tokens: int
    items: int
    tokens_before: int


class StepRecord(BaseModel):
    """One model call with what came of it. `shown` are places in the audit's list of items, counted from 0.

    A call for a summary `summarises` them, and what came of it is in `compacted`.

    `proven`: the request was rendered again and its digest is the one in the log; `why_not` when it is not.
    """

    number: int
    model_call_id: str
    purpose: Purpose = "answer"
    summarises: Summarising | None = None
    compacted: Compacted | None = None
    asked_provider: str | None = None
    asked_model: str | None = None
    at: int
    position: int
    version: int
    as_of: int
    worker: str | None
    fence: int
    manifest: Manifest
    shown: list[int] = []
    tokens: ContextTokens
    renderer: str
    digest: str
    proven: bool = False
    why_not: str | None = None
    truncated: Truncated | None = None
    attempts: list[Attempt] = []
    costs: Costs = Costs()
    finish_reason: str | None = None
    model: str | None = None
    usage: Usage | None = None
    provider_ids: dict[str, str] = {}
    first_token_ms: float | None = None
    duration_ms: float | None = None
    step_ids: list[str] = []
    reasoning_blocks: int = 0
    message_ids: list[str] = []
    says: list[str] = []
    incomplete: str | None = None
    tools: list[ToolRecord] = []


class Holding(BaseModel):
    """A worker had the run. `how` it ended: lost, waited, or the end of the run; None while it goes on."""

    worker: str
    attempt: int
    fence: int
    lease_seconds: float
    at: int
    until: int | None = None
    how: str | None = None


class Note(BaseModel):
    """Something that happened to the run beside its steps."""

    at: int
    what: str
    kind: NoteKind = "run"


class Totals(BaseModel):
    """`model_ms` and `tool_ms` are what attempts and calls took, added up; calls side by side count each."""

    model_calls: int = 0
    attempts: int = 0
    retries: int = 0
    lost: int = 0
    tool_calls: int = 0
    tool_failures: int = 0
    doubts: int = 0
    workers: int = 0
    crashes_survived: int = 0
    prompts_proven: int = 0
    items_left_out: int = 0
    items_cleared: int = 0
    summaries: int = 0
    model_ms: float = 0
    tool_ms: float = 0
    costs: Costs = Costs()


class Audit(BaseModel):
    """`cancelled_by` is who asked for it. `items` is everything that any of the steps was shown, once."""

    run_id: str
    thread_id: str
    status: str
    dialect: str
    config: RunConfig
    queued_by: str | None = None
    queued_at: int
    ended_at: int | None
    cancelled_by: str | None = None
    usage: Usage = NO_USAGE
    error: str | None = None
    totals: Totals = Totals()
    workers: list[Holding] = []
    items: list[ItemRecord] = []
    steps: list[StepRecord] = []
    notes: list[Note] = []

    @property
    def first_shown(self) -> list[ItemRecord]:
        """What the run began with: what its first answer was asked for with."""
        first = next((step for step in self.steps if step.purpose == "answer"), None)
        return [self.items[place] for place in first.shown] if first is not None else []
