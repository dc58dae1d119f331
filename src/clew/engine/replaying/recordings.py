"""What was recorded of a thread, and what it says of the world outside the engine: answers, results, people."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from clew.engine.handing_over import REFUSED
from clew.engine.tools import ServerTool
from clew.errors import Refused
from clew.events.base import Event, Recorded
from clew.events.content import Refusal, plain_text
from clew.events.message import MessageAppended, MessageChanged, MessageEdited, MessageRemoved
from clew.events.model import (
    ContextAssembled,
    ContextTruncated,
    ModelAnswered,
    ModelFailed,
    ReasoningImported,
    ReasoningRecorded,
    Summarising,
)
from clew.events.run import (
    BudgetReached,
    RunCancelled,
    RunCancelRequested,
    RunChanged,
    RunCompleted,
    RunConfig,
    RunExpired,
    RunFailed,
    RunHandedOff,
    RunIncomplete,
    RunOver,
    RunQueued,
    RunReconfigured,
    RunStarted,
)
from clew.events.thread import (
    ThreadChanged,
    ThreadCompacted,
    ThreadConfigured,
    ThreadCreated,
    ThreadDeleted,
    ThreadErased,
    ThreadForked,
)
from clew.events.tool import (
    Effect,
    SettledOutcome,
    ToolCalled,
    ToolConfirmed,
    ToolFailed,
    ToolImported,
    ToolInDoubt,
    ToolReplaced,
    ToolReturned,
    ToolSettled,
    ToolStarted,
)
from clew.log.codec import EVENT_BYTES_MAX
from clew.providers.base import Answer, CalledTool
from clew.providers.summaries import answer_of
from clew.rules.standing import REACHED, TAKEN
from clew.rules.state import BY_POLICY, BY_PROBE

_END_REASONS = ("run_cancelled", "run_expired", "run_failed", "run_incomplete", "run_completed")
_BY_POLICY = (BY_PROBE, BY_POLICY)
_LIMIT = re.compile(r"context_tokens allows (\d+)")
_NO_PROVIDER = "no provider is called "
_NO_TOOL = "is not available on this server any more"
_DIED = "the process ended after the call was started and before its outcome was known"
_ENDS = (RunCompleted, RunFailed, RunCancelled, RunExpired, RunIncomplete)
_GIVEN = (MessageAppended, ToolImported, ReasoningImported, ToolReplaced)


@dataclass(frozen=True)
class Recording:
    """A thread's events, all of them from version 1 on. `lineage` is what it inherited, the oldest stream first."""

    thread_id: str
    events: Sequence[Recorded[Event]]
    lineage: Mapping[str, Sequence[Recorded[Event]]] = field(default_factory=dict)
    # Of the client, until somebody lets the server make them.
    _client_calls: set[str] = field(default_factory=set)
    _calls_of: dict[str, set[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for recorded in self.events:
            match recorded.event:
                case ToolCalled(tool_call_id=tool_call_id, executor=executor, confirm=confirm, name=name):
                    self._calls_of.setdefault(name, set()).add(tool_call_id)
                    if executor == "client" or confirm:
                        self._client_calls.add(tool_call_id)
                case ToolConfirmed(tool_call_id=tool_call_id):
                    self._client_calls.discard(tool_call_id)
                case _:
                    pass

    def at(self, version: int) -> Recorded[Event] | None:
        return self.events[version - 1] if 0 < version <= len(self.events) else None

    def after(self, version: int) -> Iterator[Recorded[Event]]:
        """What comes after event `version`."""
        return (self.events[place] for place in range(version, len(self.events)))

    def runs(self) -> list[Recorded[Event]]:
        """The events that queued them."""
        return [recorded for recorded in self.events if isinstance(recorded.event, RunQueued)]

    def of_run(self, run_id: str, version: int) -> Iterator[Recorded[Event]]:
        """Events of a run from `version` on, up to its end."""
        for recorded in self.after(version - 1):
            if getattr(recorded.event, "run_id", None) == run_id:
                yield recorded
                if isinstance(recorded.event, RunOver):
                    return

    def is_from_outside(self, version: int) -> bool:
        """Whether somebody did this: a client, a person. Everything else was done by the engine."""
        recorded = self.at(version)
        assert recorded is not None
        match recorded.event:
            case MessageAppended(run_id=run_id):
                return run_id is None
            case ToolReturned(tool_call_id=tool_call_id):
                return tool_call_id in self._client_calls
            case ToolSettled(by=by):
                return by not in _BY_POLICY
            case ToolFailed(reason="denied") | ToolConfirmed():
                return True
            case RunQueued(handed_off_by=handed_off_by):
                return handed_off_by is None
            case RunReconfigured() | RunChanged() | RunCancelRequested():
                return True
            case ToolReplaced() | ToolImported() | ReasoningImported():
                return True
            case MessageChanged() | MessageEdited() | MessageRemoved():
                return True
            case ThreadCreated() | ThreadChanged() | ThreadForked() | ThreadDeleted() | ThreadErased():
                return True
            case ThreadConfigured():
                return True
            case ThreadCompacted(run_id=run_id):
                return run_id is None
            case _:
                return self.deletion_at(version) is not None or self.successor_at(version) is not None

    def end_at(self, version: int) -> Recorded[Event] | None:
        """The end of the run, if what stands here is the first event of the append that ended it from without."""
        for recorded in self.after(version - 1):
            match recorded.event:
                case ModelFailed(code=code) if code in _END_REASONS:
                    continue
                case ToolFailed(reason=reason) if reason in _END_REASONS:
                    continue
                case BudgetReached():
                    continue
                case RunOver():
                    return recorded
                case _:
                    return None
        return None

    def deletion_at(self, version: int) -> ThreadDeleted | None:
        """The deletion of the thread that ended a run in the same append."""
        end = self._cancelled_unasked(version)
        after = self.at(end.version + 1) if end is not None else None
        return after.event if after is not None and isinstance(after.event, ThreadDeleted) else None

    def successor_at(self, version: int) -> Recorded[Event] | None:
        """The event that queued a run in place of one that waited, which ended in the same append."""
        end = self._cancelled_unasked(version)
        for recorded in self.after(end.version) if end is not None else ():
            if isinstance(recorded.event, RunQueued):
                return recorded
            if not isinstance(recorded.event, _GIVEN):
                return None
        return None

    def _cancelled_unasked(self, version: int) -> Recorded[Event] | None:
        """The end of the run in the append that begins here, if nobody had asked to cancel it."""
        end = self.end_at(version)
        if end is None or not isinstance(end.event, RunCancelled):
            return None
        asked = any(
            isinstance(one.event, RunCancelRequested) and one.event.run_id == end.event.run_id
            for one in self.events[: end.version]
        )
        return None if asked else end

    def answer(self, version: int) -> Answer:
        """The answer of the model that is recorded from `version` on."""
        recorded = self.at(version)
        assert recorded is not None
        assert isinstance(recorded.event, ModelAnswered)
        answered = recorded.event
        text, refusal = "", ""
        reasoning: tuple[str, ...] = ()
        calls: list[CalledTool] = []
        for one in self.after(version):
            event = one.event
            if getattr(event, "model_call_id", None) != answered.model_call_id:
                break
            if isinstance(event, ReasoningRecorded):
                reasoning = event.blocks
            elif isinstance(event, MessageAppended):
                text = plain_text(event.content)
                refusal = "".join(part.text for part in event.content if isinstance(part, Refusal))
            elif isinstance(event, ToolCalled):
                calls.append(CalledTool(event.tool_call_id, event.name, event.arguments))
            elif isinstance(event, ThreadCompacted):
                text = answer_of(event.summary)
        return Answer(
            text=text or None,
            refusal=refusal or None,
            tool_calls=tuple(calls),
            reasoning=reasoning,
            finish_reason=answered.finish_reason,
            stop_sequence=answered.stop_sequence,
            model=answered.model,
            usage=answered.usage,
            usage_reported=answered.usage_reported,
            provider_ids=answered.provider_ids,
            pricing_context=answered.pricing_context,
        )

    def context(self, version: int) -> ContextAssembled | None:
        """The next one that is assembled."""
        return next((one.event for one in self.after(version) if isinstance(one.event, ContextAssembled)), None)

    def taking(self, version: int) -> RunStarted | None:
        """How the run was taken next."""
        return next((one.event for one in self.after(version) if isinstance(one.event, RunStarted)), None)

    def tool(self, name: str, version: int) -> ServerTool | None:
        """The server's tool of that name as it seems to have been declared after `version`; None for a client's."""
        calls = self._calls_of.get(name, set())
        effect: Effect | None = None
        settled: ToolSettled | None = None
        confirm = False
        begun: set[str] = set()
        for recorded in self.after(version):
            event = recorded.event
            if getattr(event, "tool_call_id", None) not in calls:
                continue
            match event:
                case ToolCalled(executor="client"):
                    return None if effect is None else _tool(name, effect, settled, confirm)
                case ToolCalled():
                    confirm = confirm or event.confirm
                case ToolStarted():
                    effect = effect or event.effect
                    begun.add(event.tool_call_id)
                case ToolFailed(reason="error", output=output) if event.tool_call_id not in begun:
                    if output.endswith(_NO_TOOL):
                        return None
                case ToolInDoubt(reason=reason) if event.tool_call_id not in begun and reason.endswith(_NO_TOOL):
                    return None
                case ToolInDoubt(reason=reason) if event.tool_call_id not in begun and reason == _DIED:
                    # Older versions said so of a call of any effect whose tool was gone.
                    effect = effect or "once"
                case ToolSettled(by=by) if by in _BY_POLICY and settled is None:
                    settled = event
                case _:
                    pass
        return _tool(name, effect or self._effect_before(calls, version), settled, confirm)

    def _effect_before(self, calls: set[str], version: int) -> Effect:
        for recorded in reversed(self.events[:version]):
            if isinstance(recorded.event, ToolStarted) and recorded.event.tool_call_id in calls:
                return recorded.event.effect
        return "once"

    def has_summary_provider(self, run_id: str, version: int) -> bool:
        """Whether the server had the provider that was to summarise."""
        return not any(
            isinstance(one.event, ContextTruncated)
            and one.event.instead_of is not None
            and one.event.instead_of.reason == "no_provider"
            for one in self.of_run(run_id, version)
        )

    def successor(self, version: int) -> tuple[str, RunConfig] | None:
        """The run that goes on where one hands the thread over next. Where a client goes on, which one is no matter.

        Raises `Refused` where it was refused.
        """
        for recorded in self.after(version):
            match recorded.event:
                case RunHandedOff(to_run_id=to_run_id, run_id=run_id):
                    return to_run_id or run_id, self._config_of(to_run_id or run_id)
                case ToolFailed(reason=reason) if reason not in _END_REASONS:
                    return None
                case RunFailed(message=message) if message.startswith(REFUSED):
                    raise Refused(message.removeprefix(REFUSED))
                case _:
                    continue
        return None

    def _config_of(self, run_id: str) -> RunConfig:
        return next(
            one.event.config for one in self.events if isinstance(one.event, RunQueued) and one.event.run_id == run_id
        )

    def providers(self, run_id: str, version: int) -> set[str]:
        """Those that the run is for, as far as the server had them when it needed one next."""
        for one in self.of_run(run_id, version):
            match one.event:
                case ContextAssembled():
                    break
                case RunFailed(message=message) if message.startswith(_NO_PROVIDER):
                    return set()
                case _:
                    continue
        configured = (RunQueued, RunReconfigured)
        return {
            one.event.config.provider
            for one in self.events
            if isinstance(one.event, configured) and one.event.run_id == run_id
        }

    def context_tokens(self, run_id: str, version: int) -> int | None:
        """The server's own limit, as far as it was ever felt."""
        for one in self.of_run(run_id, version):
            match one.event:
                case ContextTruncated(limit=limit, limit_name="context_tokens"):
                    return limit
                case ContextAssembled(summarises=Summarising(limit=limit, limit_name="context_tokens")):
                    return limit
                case RunFailed(message=message) if (found := _LIMIT.search(message)) is not None:
                    return int(found[1])
                case _:
                    continue
        return None

    def attempts_max(self, run_id: str, version: int) -> int:
        """How often the server tried at most; more than ever happened where it never gave up."""
        for one in self.of_run(run_id, version):
            match one.event:
                case ModelFailed(retryable=True, final=True, attempt=attempt, code=code) if code not in _END_REASONS:
                    return attempt
                case _:
                    continue
        return 1_000_000


def _tool(name: str, effect: Effect, settled: ToolSettled | None, confirm: bool) -> ServerTool:
    if settled is None:
        return ServerTool(name, _nobody, effect, requires_confirmation=confirm)
    if settled.by == BY_PROBE:
        found: tuple[SettledOutcome, str] = (settled.outcome, settled.output)
        # What it told was cut before it was recorded.
        whole = EVENT_BYTES_MAX
        return ServerTool(
            name, _nobody, effect, output_bytes_max=whole, probe=lambda key: found, requires_confirmation=confirm
        )
    return ServerTool(name, _nobody, effect, in_doubt="tell_model", requires_confirmation=confirm)


def _nobody() -> None:
    raise AssertionError("a recorded tool is not called")


def is_outcome(event: Event) -> bool:
    """Whether it is how a call of a server's tool turned out, rather than how its run ended."""
    match event:
        case ToolReturned() | ToolInDoubt():
            return True
        case ToolFailed(reason=reason):
            return reason not in _END_REASONS
        case _:
            return False


def is_providers(event: Event) -> bool:
    """Whether it is what came of asking a provider, rather than how the run ended or the process died."""
    match event:
        case ModelAnswered():
            return True
        case ModelFailed(code=code):
            return code not in ("lost", TAKEN, REACHED) and code not in _END_REASONS
        case _:
            return False
