"""What can happen to a tool call.

A call of the client's goes from called to returned. A call of the server's is started, then returns, fails, or
is in doubt: the process died between start and outcome, and nobody knows whether it happened.
"""

from __future__ import annotations

from typing import ClassVar, Literal, TypeAlias

from clew.events.base import Event
from clew.events.content import Tokens

Effect: TypeAlias = Literal["pure", "idempotent", "once"]
Executor: TypeAlias = Literal["client", "server"]
SettledOutcome: TypeAlias = Literal["happened", "did_not_happen", "unknown"]
FailedReason: TypeAlias = Literal[
    "error", "timeout", "arguments", "run_cancelled", "run_expired", "run_failed", "run_incomplete", "run_completed"
]


class ToolCalled(Event):
    """`arguments` are exactly what the model wrote, which need not be JSON."""

    kind: ClassVar[str] = "tool.called"

    run_id: str
    fence: int
    model_call_id: str
    step_id: str
    tool_call_id: str
    name: str
    arguments: str
    executor: Executor
    tokens: Tokens | None = None


class ToolStarted(Event):
    kind: ClassVar[str] = "tool.started"

    run_id: str
    fence: int
    step_id: str
    tool_call_id: str
    attempt: int
    effect: Effect
    idempotency_key: str


class ToolReturned(Event):
    """`output` is what the model is shown; `bytes_whole` is set when more came than it is shown."""

    kind: ClassVar[str] = "tool.returned"

    run_id: str
    fence: int
    step_id: str
    tool_call_id: str
    output: str
    duration_ms: float | None = None
    bytes_whole: int | None = None
    tokens: Tokens | None = None


class ToolFailed(Event):
    """`output` is what the model is told. `reason` is error, timeout, arguments, or how the run ended."""

    kind: ClassVar[str] = "tool.failed"

    run_id: str
    fence: int
    step_id: str
    tool_call_id: str
    reason: FailedReason
    output: str
    duration_ms: float | None = None
    tokens: Tokens | None = None


class ToolInDoubt(Event):
    kind: ClassVar[str] = "tool.in_doubt"

    run_id: str
    fence: int
    step_id: str
    tool_call_id: str
    reason: str


class ToolSettled(Event):
    """`outcome` is what was found out, `by` who found out: a person, a probe, or the policy tell_model.

    A call that did not happen is started again; `output` is then empty. Otherwise `output` is what the model is told.
    """

    kind: ClassVar[str] = "tool.settled"

    run_id: str
    fence: int
    step_id: str
    tool_call_id: str
    outcome: SettledOutcome
    output: str
    by: str
    tokens: Tokens | None = None


ToolEvent: TypeAlias = ToolCalled | ToolStarted | ToolReturned | ToolFailed | ToolInDoubt | ToolSettled
