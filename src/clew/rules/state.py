"""What the rules of a thread remember. Small for a thread of any length: only what rules ask."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from clew.events.model import Purpose
from clew.events.run import Limits, Truncation
from clew.events.tool import Effect, Executor
from clew.events.usage import NO_USAGE, Usage

RunStatus: TypeAlias = Literal["queued", "in_progress", "requires_action", "cancelling"]
CallStatus: TypeAlias = Literal["unconfirmed", "called", "started", "in_doubt", "answered"]

# So often a call is started at most if the process ends each time while the tool runs. When processes are replaced one
# after the other, as in a deployment, an innocent call may be hit by two or three of these ends; five in a row are
# more than that, and whoever looks after the processes can bear five restarts.
TOOL_STARTS_MAX = 5
# So often a run is taken at most without making progress. Calls of tools and of the model have lower bounds of their
# own; this one is for whatever else may go wrong.
RUN_STARTS_MAX = 10
# Who settles a call that is in doubt where no person does.
BY_PROBE, BY_POLICY = "probe", "policy tell_model"


@dataclass(frozen=True, slots=True)
class OpenCall:
    """A tool call of the step that is under way. One that `hands_over` is made when all others are answered.

    `attempts` counts how often it was started; of these, `attempts_settled` were so when a person last said that the
    call had not happened, and was to be made again.
    """

    tool_call_id: str
    step_id: str
    name: str
    executor: Executor
    status: CallStatus = "called"
    attempts: int = 0
    effect: Effect | None = None
    hands_over: bool = False
    attempts_settled: int = 0

    @property
    def starts(self) -> int:
        """How often it was started and came to nothing, since a person last had it made again."""
        return self.attempts - self.attempts_settled

    @property
    def awaits_client(self) -> bool:
        """Whether the client is to answer it, or to say that the server may make it."""
        if self.status == "answered" or self.hands_over:
            return False
        return self.executor == "client" or self.status == "unconfirmed"

    @property
    def is_to_run(self) -> bool:
        """Whether the server is to make it: it is not yet started, or whoever started it may have died."""
        return self.executor == "server" and self.status in ("called", "started") and not self.hands_over


@dataclass(frozen=True, slots=True)
class ModelCall:
    """The newest model call. `waiting` until it answered or failed; then it failed, and may be tried again.

    When it was for a summary and the failure is `final`, the run goes on without that summary.
    """

    model_call_id: str
    attempt: int
    waiting: bool
    purpose: Purpose = "answer"
    final: bool = False

    def waits_for(self, model_call_id: str, purpose: Purpose) -> bool:
        return self.waiting and (self.model_call_id, self.purpose) == (model_call_id, purpose)

    @property
    def without_summary(self) -> bool:
        return self.purpose == "summary" and self.final


@dataclass(frozen=True, slots=True)
class ActiveRun:
    """`changed`: what was changed of the thread since a summary was last asked for; None: too much to be remembered.
    `budget_until` is set while it waits for room in a budget: until when, in microseconds. `reconfigured` counts how
    often its client has given it another configuration. `starts` counts how often it was taken since it last made
    progress: since the model answered, a tool call had a result, or somebody answered what it waited for.
    """

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
    changed: tuple[str, ...] | None = ()
    budget_until: int | None = None
    reconfigured: int = 0
    starts: int = 0

    def call(self, tool_call_id: str) -> OpenCall | None:
        return next((call for call in self.calls if call.tool_call_id == tool_call_id), None)

    @property
    def unanswered(self) -> tuple[OpenCall, ...]:
        return tuple(call for call in self.calls if call.status != "answered")

    @property
    def awaited(self) -> tuple[OpenCall, ...]:
        """What the client is to answer, or to allow or deny."""
        return tuple(call for call in self.calls if call.awaits_client)

    @property
    def in_doubt(self) -> bool:
        return any(call.status == "in_doubt" for call in self.calls)


@dataclass(frozen=True, slots=True)
class Summary:
    """The newest summary, and the messages and tool calls of which something was changed since it was asked for.

    It does not stand for what it does not tell any more; whether one of these is among that, the rules cannot know.
    """

    item_id: str
    changed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Thread:
    """`run` is the one run that may be active; `items` and `tokens` count what a context may show.

    A summary is not counted: it says nothing that was not said. `changes` counts edits, removals and replacements.
    A thread that is not `stored` is there for the run that it was made with, and for nobody else.
    """

    exists: bool = False
    deleted: bool = False
    tenant: str = ""
    user_messages: int = 0
    items: int = 0
    tokens: int = 0
    run: ActiveRun | None = None
    truncation: Truncation | None = None
    summary: Summary | None = None
    changes: int = 0
    stored: bool = True
