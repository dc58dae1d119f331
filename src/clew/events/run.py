"""What can happen to a run: the agent at work on a thread."""

from __future__ import annotations

from typing import ClassVar, Literal, TypeAlias

from clew.events.base import Event, Value
from clew.events.content import JsonObject, Metadata
from clew.events.usage import NO_USAGE, Usage


class Tool(Value):
    """A function that the model may call. Who executes it is decided, and recorded, when it is called."""

    type: Literal["function"]
    name: str
    description: str | None = None
    parameters: JsonObject | None = None
    strict: bool | None = None


class ToolChoice(Value):
    """`name` is set when `mode` is "function"."""

    mode: Literal["auto", "none", "required", "function"]
    name: str | None = None


class Sampling(Value):
    """None means: say nothing about it to the provider."""

    temperature: float | None = None
    top_p: float | None = None
    reasoning_effort: str | None = None


class Limits(Value):
    """Budgets over all model calls of the run. None means no limit of that kind."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    steps: int | None = None
    seconds: int | None = None
    amount: str | None = None


class Truncation(Value):
    """How a context is made to fit. `n` belongs to `last_messages`, `clear_tool_results` and `token_budget`."""

    strategy: Literal["auto", "last_messages", "token_budget", "clear_tool_results", "summarise", "none"] = "auto"
    n: int | None = None


class RunConfig(Value):
    """Everything that decides what the run does; nothing is looked up elsewhere once it is queued."""

    assistant_id: str | None = None
    assistant_version: int | None = None
    provider: str
    model: str
    asked_model: str
    instructions: str = ""
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool = True
    response_format: JsonObject | None = None
    sampling: Sampling = Sampling()
    limits: Limits = Limits()
    truncation: Truncation = Truncation()
    tool_resources: JsonObject = {}
    stream: bool = False


class RunQueued(Event):
    """`expires_at` is in microseconds since 1970, None when the run may wait for ever."""

    kind: ClassVar[str] = "run.queued"

    run_id: str
    dialect: str
    config: RunConfig
    expires_at: int | None = None
    metadata: Metadata = {}


class RunChanged(Event):
    kind: ClassVar[str] = "run.changed"

    run_id: str
    metadata: Metadata


class RunStarted(Event):
    """A worker took the run, for the first time or again. `fence` grows with each taking.

    It holds the run for `lease_seconds` from then on, and longer if it renews.
    """

    kind: ClassVar[str] = "run.started"

    run_id: str
    worker: str
    attempt: int
    fence: int
    lease_seconds: float


class RunActionRequired(Event):
    """The run waits for the client to answer these calls."""

    kind: ClassVar[str] = "run.action_required"

    run_id: str
    fence: int
    tool_call_ids: tuple[str, ...]


class RunCancelRequested(Event):
    kind: ClassVar[str] = "run.cancel_requested"

    run_id: str
    by: str | None = None


class RunOver(Event, abstract=True):
    """The run has ended. `usage` is what all its model calls used together."""

    run_id: str
    usage: Usage = NO_USAGE


class RunCompleted(RunOver):
    kind: ClassVar[str] = "run.completed"


class RunFailed(RunOver):
    kind: ClassVar[str] = "run.failed"

    code: str
    message: str


class RunCancelled(RunOver):
    kind: ClassVar[str] = "run.cancelled"


class RunExpired(RunOver):
    kind: ClassVar[str] = "run.expired"


class RunIncomplete(RunOver):
    """`reason` is max_completion_tokens, max_prompt_tokens, steps or budget."""

    kind: ClassVar[str] = "run.incomplete"

    reason: str


class BudgetReached(Event):
    """`budget` names it, `limit` and `spent` are in its unit (tokens, or money as a decimal string)."""

    kind: ClassVar[str] = "budget.reached"

    run_id: str
    budget: str
    unit: str
    limit: str
    spent: str
    hard: bool


RunEnd: TypeAlias = RunCompleted | RunFailed | RunCancelled | RunExpired | RunIncomplete
RunEvent: TypeAlias = (
    RunQueued
    | RunChanged
    | RunStarted
    | RunActionRequired
    | RunCancelRequested
    | RunCompleted
    | RunFailed
    | RunCancelled
    | RunExpired
    | RunIncomplete
    | BudgetReached
)
