"""What can happen to a tool call.

A call of the client's goes from called to returned. A call of the server's is started, then returns, fails, or
is in doubt: the process died between start and outcome, and nobody knows whether it happened.
"""

from __future__ import annotations

from typing import ClassVar, Literal, TypeAlias

from clew.events.base import Event, Value
from clew.events.content import Content, Tokens

Effect: TypeAlias = Literal["pure", "idempotent", "once"]
Executor: TypeAlias = Literal["client", "server"]
SettledOutcome: TypeAlias = Literal["happened", "did_not_happen", "unknown"]
FailedReason: TypeAlias = Literal[
    "error",
    "timeout",
    "arguments",
    "denied",
    "run_cancelled",
    "run_expired",
    "run_failed",
    "run_incomplete",
    "run_completed",
]


class HandingOver(Value):
    """From which agent to which. Agents are known by name here for whoever reads this when they are gone."""

    from_id: str | None = None
    from_name: str = ""
    to_id: str
    to_name: str = ""


class ToolCalled(Event):
    """`arguments` are exactly what the model wrote, which need not be JSON.

    With `confirm` set the server waits for somebody to allow or to deny the call. With `handing_over` set the call is
    how the model hands the thread over to another agent.
    """

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
    confirm: bool = False
    handing_over: HandingOver | None = None


class ToolConfirmed(Event):
    """Somebody allowed the call, or denied it: a call that was denied fails in the same append."""

    kind: ClassVar[str] = "tool.confirmed"

    run_id: str
    fence: int
    step_id: str
    tool_call_id: str
    allowed: bool
    by: str | None = None


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
    """`output` is what the model is shown; `bytes_whole` is set when more came than it is shown.

    `content` is set when more than text came of it: `output` is then the text of it. `is_error`: whoever made the
    call says that it went wrong.
    """

    kind: ClassVar[str] = "tool.returned"

    run_id: str
    fence: int
    step_id: str
    tool_call_id: str
    output: str
    duration_ms: float | None = None
    bytes_whole: int | None = None
    tokens: Tokens | None = None
    is_error: bool = False
    content: Content = ()


class ToolFailed(Event):
    """`output` is what the model is told. `reason` is error, timeout, arguments, denied, or how the run ended."""

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


class ToolReplaced(Event):
    """Outside any run: from here on the call's result is this one, whatever it was before, in `tokens_before` tokens.

    `had_result` is false for a call that was still open where its thread was forked, and for one that was imported.
    `content` is as it is where a call returns.
    """

    kind: ClassVar[str] = "tool.replaced"

    tool_call_id: str
    output: str
    is_error: bool = False
    had_result: bool = True
    tokens: Tokens | None = None
    tokens_before: int = 0
    content: Content = ()


class ToolImported(Event):
    """Outside any run: a call that was made elsewhere is a part of the thread, as the client tells it.

    What belongs to one answer of a model bears one `model_call_id`, which was made for it here.
    """

    kind: ClassVar[str] = "tool.imported"

    tool_call_id: str
    model_call_id: str
    name: str
    arguments: str
    executor: Executor
    handing_over: HandingOver | None = None
    tokens: Tokens | None = None


ToolEvent: TypeAlias = (
    ToolCalled
    | ToolConfirmed
    | ToolStarted
    | ToolReturned
    | ToolFailed
    | ToolInDoubt
    | ToolSettled
    | ToolReplaced
    | ToolImported
)
