"""What can happen to a run: the agent at work on a thread."""

from __future__ import annotations

from typing import ClassVar, Literal, TypeAlias

from clew.events.base import Event, Value
from clew.events.content import JsonObject, Metadata
from clew.events.tool import Executor
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
    """None, and no `stop`, means: say nothing about it to the provider."""

    temperature: float | None = None
    top_p: float | None = None
    reasoning_effort: str | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    presence_penalty: float | None = None
    frequency_penalty: float | None = None


class Completion(Value):
    """How answers are to be made, as far as anything was said about it.

    `max_output_tokens` is for each answer, where limits of a run are for all of them together.
    """

    sampling: Sampling = Sampling()
    max_output_tokens: int | None = None
    tool_choice: ToolChoice | None = None
    response_format: JsonObject | None = None

    def over(self, other: Completion) -> Completion:
        """This, and where this says nothing, the other."""
        sampling = other.sampling.model_copy(update=_said(self.sampling))
        return other.model_copy(update={**_said(self), "sampling": sampling})


def _said(value: Value) -> dict[str, object]:
    return {name: its for name in type(value).model_fields if (its := getattr(value, name)) not in (None, ())}


class Limits(Value):
    """Limits over all model calls of the run. None means no limit of that kind.

    `tokens` are those of prompts and answers together, `amount` is US dollars, as a decimal; `seconds` are counted
    from when the run was queued.
    """

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    steps: int | None = None
    seconds: int | None = None
    amount: str | None = None
    tokens: int | None = None


Strategy: TypeAlias = Literal["auto", "last_messages", "token_budget", "clear_tool_results", "summarise", "none"]


class Truncation(Value):
    """How a context is made to fit. `n` belongs to `last_messages`, `clear_tool_results` and `token_budget`.

    With `summarise` it may say of how many tokens a context is too many; else as many as there is room for. `model`
    is who summarises, None the run's own; a run's configuration names its `provider`, too.
    """

    strategy: Strategy = "auto"
    n: int | None = None
    model: str | None = None
    provider: str | None = None


class Handoff(Value):
    """An agent that the run's agent may hand the thread over to, by calling the tool of that name."""

    tool_name: str
    assistant_id: str
    name: str = ""


class Rerun(Value):
    """The run is another one made anew, from where that one's thread stood after its event `after_version` on.

    `tools` says where results come from. `recorded`: what the other run got for the same call, and nothing is
    executed. `stub`: the text `stub`, whatever is called. `again`: from whoever executes them, as ever.
    """

    run_id: str
    after_version: int
    tools: Literal["recorded", "again", "stub"] = "recorded"
    stub: str = ""


class RunConfig(Value):
    """Everything that decides what the run does; nothing is looked up elsewhere once it is queued.

    `max_output_tokens` is for each model call, where `limits` are for all of them together. `thinking` is how the
    model is to think, in its provider's words. `hints` are what the client said besides and what decides nothing:
    where it would have its prompt cached, for whom it asks.

    `handoffs_by` says who goes on when the thread is handed over: the server does, with a run of the next agent, or
    the client is asked to. A model of that agent without a provider before its name goes to `default_provider`.
    """

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
    assistant_name: str | None = None
    max_output_tokens: int | None = None
    handoffs: tuple[Handoff, ...] = ()
    handoffs_by: Executor = "server"
    default_provider: str | None = None
    thinking: JsonObject | None = None
    hints: JsonObject = {}
    rerun: Rerun | None = None


class RunQueued(Event):
    """`expires_at` is in microseconds since 1970, None when the run may wait for ever.

    `handed_off_by` is the run that handed the thread over to this one, in the same append. `matched_by` says how it
    was found that the request goes on with this thread, where its API does not name threads: by a header, by the
    message before, by the history that was sent again.
    """

    kind: ClassVar[str] = "run.queued"

    run_id: str
    dialect: str
    config: RunConfig
    expires_at: int | None = None
    metadata: Metadata = {}
    handed_off_by: str | None = None
    matched_by: str | None = None


class RunReconfigured(Event):
    """The client answered what the run waited for, and from here on the run does what `config` says.

    `matched_by` is as it is where a run is queued.
    """

    kind: ClassVar[str] = "run.reconfigured"

    run_id: str
    config: RunConfig
    matched_by: str | None = None


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


class RunHandedOff(Event):
    """The agent hands the thread over to another one. The run ends with this, and run `to_run_id` goes on.

    `to_run_id` None leaves it to the client to go on. `tool_call_id` is the call by which the model wanted it.
    """

    kind: ClassVar[str] = "run.handed_off"

    run_id: str
    fence: int
    tool_call_id: str
    assistant_id: str
    to_run_id: str | None = None


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
    """`reason` is max_completion_tokens, max_prompt_tokens, steps or budget; `message` says more, if there is more."""

    kind: ClassVar[str] = "run.incomplete"

    reason: str
    message: str | None = None


class OfBudget(Event, abstract=True):
    """Where a budget stood for a run that wanted to make a model call.

    `budget` names it, `version` is the one that held; 0 is a limit that came with the run itself. `limit`, `spent`,
    `reserved` (for calls of others under way) and `asked` (by this call) are decimals in its unit: tokens, USD, or
    seconds. `subject` is whose it is, `since` the beginning of the period in microseconds, None where it has none.
    `blind` says why what is spent, or asked, is not known: then the other numbers are not the whole truth.
    """

    run_id: str
    budget: str
    unit: str
    limit: str
    spent: str
    scope: str = ""
    subject: str | None = None
    period: str = ""
    since: int | None = None
    version: int = 0
    asked: str = "0"
    reserved: str = "0"
    blind: str | None = None


class BudgetReached(OfBudget):
    """A hard budget ended the run; another one only says so, once for each subject and period."""

    kind: ClassVar[str] = "budget.reached"

    hard: bool


class BudgetAwaited(OfBudget):
    """What stands in the way is only reserved: the run waits until there is room, until `until` (microseconds)."""

    kind: ClassVar[str] = "budget.awaited"

    until: int


RunEnd: TypeAlias = RunCompleted | RunFailed | RunCancelled | RunExpired | RunIncomplete
RunEvent: TypeAlias = (
    RunQueued
    | RunReconfigured
    | RunChanged
    | RunStarted
    | RunActionRequired
    | RunHandedOff
    | RunCancelRequested
    | RunCompleted
    | RunFailed
    | RunCancelled
    | RunExpired
    | RunIncomplete
    | BudgetReached
    | BudgetAwaited
)
