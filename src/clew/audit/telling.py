"""A run told step by step: what went in, what was left out and why, what came out, and who did it.

Everything comes from the thread's events between the queueing of the run and its end; nothing is looked up
elsewhere. A crash that was survived is told as such: a worker that took the run from one that still held it, an
answer that was lost, a tool call that nobody knew the outcome of.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clew.audit.costs import cost_of, total
from clew.audit.history import events_of, moment_of, run_of, shown_rows
from clew.audit.prompts import prove, unproven
from clew.audit.records import (
    Attempt,
    Audit,
    Compacted,
    Holding,
    ItemRecord,
    Note,
    NoteKind,
    StepRecord,
    Totals,
    Truncated,
)
from clew.audit.tools import tell_tool
from clew.engine.clearing import as_shown
from clew.errors import Erased
from clew.events.base import Event, Recorded
from clew.events.content import plain_text
from clew.events.items import Item, MessageItem, ReasoningItem, SummaryItem, ToolCallItem, ToolResultItem
from clew.events.message import MessageAppended
from clew.events.model import (
    FINISH_REASONS,
    ContextAssembled,
    ContextTruncated,
    ModelAnswered,
    ModelCalled,
    ModelFailed,
    ReasoningRecorded,
)
from clew.events.run import (
    BudgetAwaited,
    BudgetReached,
    OfBudget,
    RunActionRequired,
    RunCancelRequested,
    RunConfig,
    RunFailed,
    RunHandedOff,
    RunIncomplete,
    RunOver,
    RunQueued,
    RunReconfigured,
    RunStarted,
)
from clew.events.thread import ThreadCompacted
from clew.events.tool import ToolCalled, ToolConfirmed, ToolFailed, ToolInDoubt, ToolReturned, ToolSettled, ToolStarted
from clew.events.usage import NO_USAGE
from clew.log import Reader
from clew.providers.renderers import RENDERERS, Renderer
from clew_projections import thread_view
from clew_projections.run_view import RunView, run_after
from clew_projections.thread_view import ItemRow

_TOOL_EVENTS = (ToolCalled, ToolConfirmed, ToolStarted, ToolReturned, ToolFailed, ToolInDoubt, ToolSettled)


def audit(
    reader: Reader, run_id: str, as_of: int | None = None, renderers: Mapping[str, Renderer] = RENDERERS
) -> Audit:
    """Now, or what could be told of the run as of a position.

    Raises `NotFound`, and `Erased` when events of the run itself are gone.
    """
    view = run_of(reader, run_id, as_of)
    queued = reader.event(view.queued)
    assert isinstance(queued.event, RunQueued)
    found = Audit(
        run_id=run_id,
        thread_id=view.thread_id,
        status=view.status,
        dialect=queued.event.dialect,
        config=queued.event.config,
        queued_by=queued.actor,
        queued_at=queued.at,
        ended_at=view.ended_at,
        usage=view.usage,
        error=view.error_message or view.incomplete_reason,
    )
    teller = _Teller(reader, found, queued.event.config, renderers)
    for recorded in events_of(reader, view, as_of=as_of):
        teller.tell(recorded)
    found.totals = _totals(found)
    return found


class _Teller:
    def __init__(self, reader: Reader, found: Audit, config: RunConfig, renderers: Mapping[str, Renderer]) -> None:
        self._reader = reader
        self._found = found
        self._config = config
        self._renderers = renderers
        self._run: RunView | None = None
        self._places: dict[tuple[str, int, int, bool], int] = {}

    def tell(self, recorded: Recorded[Any]) -> None:
        if isinstance(recorded.event, _TOOL_EVENTS):
            tell_tool(self._found, recorded)
        elif isinstance(recorded.event, ContextAssembled):
            self._step(recorded)
        elif self._found.steps:
            _tell_model(self._found.steps[-1], recorded)
        self._life(recorded)
        self._run = run_after(self._run, recorded)

    def _note(self, recorded: Recorded[Any], what: str, kind: NoteKind = "run") -> None:
        self._found.notes.append(Note(at=recorded.at, what=what, kind=kind))

    def _life(self, recorded: Recorded[Any]) -> None:
        match recorded.event:
            case RunQueued(handed_off_by=str(before)):
                self._note(recorded, f"handed over by run {before}")
            case RunQueued(dialect=dialect, config=config):
                by = f" by {recorded.actor}" if recorded.actor and recorded.actor != dialect else ""
                self._note(recorded, f"queued through {dialect}{by}{_anew(config)}")
            case RunHandedOff(assistant_id=assistant_id, to_run_id=to_run_id):
                goes_on = f"run {to_run_id} goes on" if to_run_id is not None else "its client is to go on"
                self._note(recorded, f"handed over to {assistant_id}; {goes_on}")
            case RunReconfigured(config=config):
                self._config = config
                self._note(recorded, "goes on with the configuration that the client sent with its answers", "client")
            case RunStarted():
                self._taken(recorded)
            case RunActionRequired(tool_call_ids=calls):
                self._released(recorded, "waited")
                plural = "s" if len(calls) > 1 else ""
                self._note(recorded, f"waits for the client to answer {len(calls)} tool call{plural}", "client")
            case RunCancelRequested(by=by):
                self._found.cancelled_by = by or recorded.actor
                by_whom = f" by {self._found.cancelled_by}" if self._found.cancelled_by else ""
                self._note(recorded, f"cancelling was asked for{by_whom}", "cancel")
            case ModelAnswered(finish_reason=reason) if reason not in FINISH_REASONS:
                self._note(recorded, f"an answer ended for a reason that Clew does not know: {reason!r}")
            case ModelFailed(code="lost"):
                self._note(recorded, "an answer of the model was lost with the process that waited for it", "crash")
            case BudgetReached(hard=hard):
                self._note(recorded, f"{'' if hard else 'warning: '}{_budget(recorded.event)} was reached")
            case BudgetAwaited(reserved=reserved, unit=unit):
                taken = f"{reserved} {unit} are reserved for calls under way"
                self._note(recorded, f"waits for room in {_budget(recorded.event)}: {taken}")
            case RunOver():
                self._released(recorded, recorded.event.kind.removeprefix("run."))
                self._note(recorded, _ended(recorded.event))
            case _:
                pass

    def _taken(self, recorded: Recorded[RunStarted]) -> None:
        started = recorded.event
        orphaned = self._run is not None and self._run.status == "in_progress"
        self._released(recorded, "lost" if orphaned else "waited")
        again = ", after the worker before it was lost" if orphaned else ""
        what = f"taken by {started.worker} (time {started.attempt}, fence {started.fence}){again}"
        self._note(recorded, what, "crash" if orphaned else "run")
        self._found.workers.append(
            Holding(**started.model_dump(include={"worker", "attempt", "fence", "lease_seconds"}), at=recorded.at)
        )

    def _released(self, recorded: Recorded[Any], how: str) -> None:
        if self._found.workers and self._found.workers[-1].until is None:
            self._found.workers[-1].until = recorded.at
            self._found.workers[-1].how = how

    def _step(self, recorded: Recorded[ContextAssembled]) -> None:
        event = recorded.event
        step = StepRecord(
            number=len(self._found.steps) + 1,
            at=recorded.at,
            position=recorded.position,
            version=recorded.version,
            as_of=moment_of(recorded),
            worker=self._found.workers[-1].worker if self._found.workers else recorded.actor,
            **event.model_dump(include={"model_call_id", "fence", "renderer", "digest"}),
            purpose="answer" if event.summarises is None else "summary",
            summarises=event.summarises,
            manifest=event.manifest,
            tokens=event.tokens,
        )
        self._found.steps.append(step)
        try:
            rows = shown_rows(self._reader, recorded)
            kept = thread_view.items(self._reader, rows)
        except Erased as error:
            step.why_not = str(error)
            return
        items = as_shown(kept, event.manifest)
        step.shown = [
            self._place(row, item, cleared=item is not whole)
            for row, item, whole in zip(rows, items, kept, strict=True)
        ]
        prompt = prove(unproven(self._found.run_id, step.number, recorded), self._config, items, event, self._renderers)
        step.proven, step.why_not = prompt.proven, prompt.why_not

    def _place(self, row: ItemRow, item: Item, *, cleared: bool) -> int:
        key = (row.stream, row.number, row.position, cleared)
        if key not in self._places:
            self._places[key] = len(self._found.items)
            record = item_record(row, item)
            record.cleared, record.tokens = cleared, item.tokens
            self._found.items.append(record)
        return self._places[key]


def item_record(row: ItemRow, item: Item) -> ItemRecord:
    record = ItemRecord(
        stream=row.stream, number=row.number, position=row.position, kind=row.kind, id=row.item_id, tokens=row.tokens
    )
    match item:
        case MessageItem(role=role, content=content):
            record.role = role
            others = [part.type for part in content if part.type != "text"]
            record.text = plain_text(content) + "".join(f" [{other}]" for other in others)
        case ToolCallItem(name=name, arguments=arguments):
            record.name, record.text = name, arguments
        case ToolResultItem(output=output, is_error=is_error):
            record.text, record.is_error = output, is_error
        case ReasoningItem(provider=provider, blocks=blocks):
            record.text = f"{len(blocks)} blocks, kept for {provider}"
        case SummaryItem(content=content):
            record.text = plain_text(content)
    return record


def _budget(event: OfBudget) -> str:
    whose = f" of {event.scope} {event.subject}" if event.scope and event.subject is not None else ""
    name = "the run's own limit" if event.budget.startswith("limit:") else f"the budget {event.budget}{whose}"
    blind = f", not counting what is not known ({event.blind})" if event.blind is not None else ""
    return f"{name} ({event.spent} of {event.limit} {event.unit} spent{blind}; the next call asks for {event.asked})"


_RESULTS = {"recorded": "as recorded there", "stub": "made up", "again": "asked for again"}


def _anew(config: RunConfig) -> str:
    again = config.rerun
    if again is None:
        return ""
    where = f"after version {again.after_version} of its thread"
    return f", as {again.run_id} made anew from {where}, results of tools {_RESULTS[again.tools]}"


def _ended(event: Event) -> str:
    match event:
        case RunFailed(code=code, message=message):
            return f"failed ({code}): {message}"
        case RunIncomplete(reason=reason, message=message):
            return f"ended incomplete ({reason}): {message}" if message is not None else f"ended incomplete: {reason}"
        case _:
            return event.kind.removeprefix("run.")


def _tell_model(step: StepRecord, recorded: Recorded[Any]) -> None:
    event = recorded.event
    match event:
        case ContextTruncated():
            step.truncated = Truncated(**event.model_dump(exclude={"run_id", "fence", "model_call_id"}))
        case ModelCalled(attempt=attempt):
            step.asked_provider, step.asked_model = event.provider, event.model
            step.attempts.append(Attempt(attempt=attempt, at=recorded.at))
        case ModelFailed():
            last = step.attempts[-1]
            last.outcome = "failed"
            last.code, last.message = event.code, event.message
            last.retryable, last.final = event.retryable, event.final
            last.retry_after_seconds, last.duration_ms = event.retry_after_seconds, event.duration_ms
            _tell_cost(step, event)
        case ModelAnswered():
            last = step.attempts[-1]
            last.outcome, last.duration_ms = "answered", event.duration_ms
            _tell_cost(step, event)
            step.finish_reason, step.model = event.finish_reason, event.model
            step.usage, step.provider_ids = event.usage or NO_USAGE, event.provider_ids
            step.first_token_ms, step.duration_ms = event.first_token_ms, event.duration_ms
            step.step_ids.append(event.step_id)
        case ThreadCompacted():
            step.compacted = Compacted(
                text=plain_text(event.summary),
                tokens=event.tokens.count if event.tokens is not None else 0,
                **event.model_dump(include={"item_id", "items", "tokens_before"}),
            )
        case ReasoningRecorded(blocks=blocks):
            step.reasoning_blocks += len(blocks)
        case MessageAppended():
            step.says.append(plain_text(event.content))
            step.message_ids.append(event.message_id)
            step.incomplete = event.incomplete
            if event.step_id is not None and event.step_id not in step.step_ids:
                step.step_ids.insert(0, event.step_id)
        case _:
            pass


def _tell_cost(step: StepRecord, event: ModelAnswered | ModelFailed) -> None:
    last = step.attempts[-1]
    last.usage, last.price = event.usage, event.price
    last.usage_unknown = event.usage_unknown if isinstance(event, ModelFailed) else event.usage is None
    step.costs = total((step.costs, cost_of(event)))


def _totals(found: Audit) -> Totals:
    attempts = [one for step in found.steps for one in step.attempts]
    tools = [one for step in found.steps for one in step.tools]
    return Totals(
        model_calls=len(found.steps),
        attempts=len(attempts),
        retries=sum(max(0, len(step.attempts) - 1) for step in found.steps),
        lost=sum(one.code == "lost" for one in attempts),
        tool_calls=len(tools),
        tool_failures=sum(one.outcome == "failed" for one in tools),
        doubts=sum(len(one.doubts) for one in tools),
        workers=len({one.worker for one in found.workers}),
        crashes_survived=sum(one.how == "lost" for one in found.workers),
        prompts_proven=sum(step.proven for step in found.steps),
        items_left_out=sum(step.truncated.items_left_out for step in found.steps if step.truncated),
        items_cleared=sum(step.truncated.items_cleared for step in found.steps if step.truncated),
        summaries=sum(step.compacted is not None for step in found.steps),
        model_ms=sum(one.duration_ms or 0 for one in attempts),
        tool_ms=sum(one.duration_ms or 0 for one in tools),
        costs=total(step.costs for step in found.steps),
    )
