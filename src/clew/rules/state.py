"""What the rules of a thread remember. Small for a thread of any length: only what rules ask."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from clew.events.run import Limits
from clew.events.tool import Effect, Executor
from clew.events.usage import NO_USAGE, Usage

RunStatus: TypeAlias = Literal["queued", "in_progress", "requires_action", "cancelling"]
CallStatus: TypeAlias = Literal["called", "started", "in_doubt", "answered"]


@dataclass(frozen=True, slots=True)
class OpenCall:
    """A tool call of the step that is under way."""

    tool_call_id: str
    step_id: str
    name: str
    executor: Executor
    status: CallStatus = "called"
    attempts: int = 0
    effect: Effect | None = None


@dataclass(frozen=True, slots=True)
class ModelCall:
    """The newest model call. `waiting` until it answered or failed; then it failed, and may be tried again."""

    model_call_id: str
    attempt: int
    waiting: bool


@dataclass(frozen=True, slots=True)
class ActiveRun:
    run_id: str
    status: RunStatus = "queued"
    expires_at: int | None = None
    limits: Limits = field(default_factory=Limits)
    fence: int = 0
    attempts: int = 0
    steps: int = 0
    usage: Usage = NO_USAGE
    model_call: ModelCall | None = None
    calls: tuple[OpenCall, ...] = ()

    def call(self, tool_call_id: str) -> OpenCall | None:
        return next((call for call in self.calls if call.tool_call_id == tool_call_id), None)

    @property
    def unanswered(self) -> tuple[OpenCall, ...]:
        return tuple(call for call in self.calls if call.status != "answered")

    @property
    def in_doubt(self) -> bool:
        return any(call.status == "in_doubt" for call in self.calls)


@dataclass(frozen=True, slots=True)
class Thread:
    """`run` is the one run that may be active; `items` and `tokens` count what a context may show."""

    exists: bool = False
    deleted: bool = False
    tenant: str = ""
    user_messages: int = 0
    items: int = 0
    tokens: int = 0
    run: ActiveRun | None = None
