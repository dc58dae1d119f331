"""A run told step by step: what the model was shown, what it answered, which tools ran, how long, and what it used.

Everything comes from the thread's events between the queueing of the run and its end; nothing is looked up.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from clew.errors import NotFound
from clew.events.base import Recorded
from clew.events.content import plain_text
from clew.events.message import MessageAppended
from clew.events.model import (
    ContextAssembled,
    ContextTokens,
    ContextTruncated,
    LeftOut,
    Manifest,
    ModelAnswered,
    ModelCalled,
    ModelFailed,
)
from clew.events.run import (
    RunActionRequired,
    RunCancelled,
    RunCancelRequested,
    RunCompleted,
    RunConfig,
    RunExpired,
    RunFailed,
    RunIncomplete,
    RunQueued,
    RunStarted,
)
from clew.events.tool import ToolCalled, ToolFailed, ToolInDoubt, ToolReturned, ToolSettled, ToolStarted
from clew.events.usage import NO_USAGE, Usage
from clew.log import Reader
from clew_projections import run_view

_PAGE_EVENTS = 500


class Attempt(BaseModel):
    """One sending of a request. `outcome` is answered, failed, or waiting. Times are in microseconds."""

    attempt: int
    at: int
    outcome: str = "waiting"
    code: str | None = None
    message: str | None = None
    duration_ms: float | None = None


class ToolRecord(BaseModel):
    """One tool call. `outcome` is called, started, returned, failed, in_doubt or settled."""

    tool_call_id: str
    name: str
    arguments: str
    executor: str
    effect: str | None = None
    attempts: int = 0
    outcome: str = "called"
    reason: str | None = None
    output: str | None = None
    called_at: int
    answered_at: int | None = None
    duration_ms: float | None = None
    settled_by: str | None = None


class Truncated(BaseModel):
    strategy: str
    limit_name: str
    limit: int
    items_left_out: int
    tokens_before: int
    tokens_after: int
    left_out: tuple[LeftOut, ...]


class StepRecord(BaseModel):
    """One model call with what came of it."""

    model_call_id: str
    at: int
    manifest: Manifest
    tokens: ContextTokens
    renderer: str
    digest: str
    truncated: Truncated | None = None
    attempts: list[Attempt] = []
    finish_reason: str | None = None
    model: str | None = None
    usage: Usage | None = None
    first_token_ms: float | None = None
    duration_ms: float | None = None
    says: list[str] = []
    tools: list[ToolRecord] = []


class Note(BaseModel):
    """Something that happened to the run beside its steps."""

    at: int
    what: str


class Audit(BaseModel):
    run_id: str
    thread_id: str
    status: str
    dialect: str
    config: RunConfig
    queued_at: int
    ended_at: int | None
    usage: Usage
    error: str | None = None
    steps: list[StepRecord] = []
    notes: list[Note] = []


def audit(reader: Reader, run_id: str) -> Audit:
    """Raises `NotFound`."""
    view = run_view.run(reader, run_id)
    if view is None:
        raise NotFound(noun="run", id=run_id)
    queued = reader.event(view.queued)
    assert isinstance(queued.event, RunQueued)
    found = Audit(
        run_id=run_id,
        thread_id=view.thread_id,
        status=view.status,
        dialect=queued.event.dialect,
        config=queued.event.config,
        queued_at=queued.at,
        ended_at=view.ended_at,
        usage=view.usage,
        error=view.error_message or view.incomplete_reason,
        notes=[Note(at=queued.at, what=f"queued through {queued.event.dialect}")],
    )
    version = queued.version
    while page := reader.stream(view.thread_id, after=version, limit=_PAGE_EVENTS):
        for recorded in page:
            if getattr(recorded.event, "run_id", None) == run_id:
                _tell(found, recorded)
                if isinstance(recorded.event, (RunCompleted, RunFailed, RunCancelled, RunExpired, RunIncomplete)):
                    return found
        version = page[-1].version
    return found


def _tell(found: Audit, recorded: Recorded[Any]) -> None:
    match recorded.event:
        case ContextAssembled() | ContextTruncated() | ModelCalled() | ModelFailed() | ModelAnswered():
            _tell_model(found, recorded)
        case MessageAppended(content=content):
            if found.steps:
                found.steps[-1].says.append(plain_text(content))
        case ToolCalled() | ToolStarted() | ToolReturned() | ToolFailed() | ToolInDoubt() | ToolSettled():
            _tell_tool(found, recorded)
        case _:
            _tell_run(found, recorded)


def _tell_run(found: Audit, recorded: Recorded[Any]) -> None:
    match recorded.event:
        case RunStarted(worker=worker, attempt=attempt, fence=fence):
            orphaned = found.notes[-1].what.startswith("taken")
            again = ", after the worker before it was lost" if orphaned else ""
            what = f"taken by {worker} (time {attempt}, fence {fence}){again}"
        case RunActionRequired(tool_call_ids=calls):
            what = f"waits for the client to answer {len(calls)} tool call{'s' if len(calls) > 1 else ''}"
        case RunCancelRequested(by=by):
            what = f"cancelling was asked for{f' by {by}' if by else ''}"
        case RunFailed(code=code, message=message):
            what = f"failed ({code}): {message}"
        case RunIncomplete(reason=reason):
            what = f"ended incomplete: {reason}"
        case RunCompleted() | RunCancelled() | RunExpired():
            what = recorded.event.kind.removeprefix("run.")
        case _:
            return
    found.notes.append(Note(at=recorded.at, what=what))


def _tell_model(found: Audit, recorded: Recorded[Any]) -> None:
    event = recorded.event
    match event:
        case ContextAssembled():
            found.steps.append(
                StepRecord(
                    model_call_id=event.model_call_id,
                    at=recorded.at,
                    manifest=event.manifest,
                    tokens=event.tokens,
                    renderer=event.renderer,
                    digest=event.digest,
                )
            )
        case ContextTruncated():
            found.steps[-1].truncated = Truncated(**event.model_dump(exclude={"run_id", "fence", "model_call_id"}))
        case ModelCalled(attempt=attempt):
            found.steps[-1].attempts.append(Attempt(attempt=attempt, at=recorded.at))
        case ModelFailed():
            last = found.steps[-1].attempts[-1]
            last.outcome, last.code, last.message = "failed", event.code, event.message
            last.duration_ms = event.duration_ms
        case ModelAnswered():
            step = found.steps[-1]
            step.attempts[-1].outcome = "answered"
            step.attempts[-1].duration_ms = event.duration_ms
            step.finish_reason, step.model = event.finish_reason, event.model
            step.usage = event.usage or NO_USAGE
            step.first_token_ms, step.duration_ms = event.first_token_ms, event.duration_ms
        case _:
            pass


def _tell_tool(found: Audit, recorded: Recorded[Any]) -> None:
    event = recorded.event
    if isinstance(event, ToolCalled):
        found.steps[-1].tools.append(
            ToolRecord(
                tool_call_id=event.tool_call_id,
                name=event.name,
                arguments=event.arguments,
                executor=event.executor,
                called_at=recorded.at,
            )
        )
        return
    record = next(
        (one for step in reversed(found.steps) for one in step.tools if one.tool_call_id == event.tool_call_id), None
    )
    if record is None:
        return
    match event:
        case ToolStarted(attempt=attempt, effect=effect):
            record.outcome, record.attempts, record.effect = "started", attempt, effect
        case ToolReturned(output=output, duration_ms=duration):
            record.outcome, record.output, record.duration_ms = "returned", output, duration
        case ToolFailed(output=output, duration_ms=duration, reason=reason):
            record.outcome, record.output, record.duration_ms = "failed", output, duration
            record.reason = reason
        case ToolInDoubt(reason=reason):
            record.outcome, record.reason = "in_doubt", reason
            found.notes.append(Note(at=recorded.at, what=f"{record.name} is in doubt: {reason}"))
        case ToolSettled(outcome=outcome, output=output, by=by):
            record.outcome, record.output, record.settled_by = "settled", output, by
            found.notes.append(Note(at=recorded.at, what=f"{record.name} was settled by {by}: {outcome}"))
        case _:
            pass
    if not isinstance(event, (ToolStarted, ToolInDoubt)):
        record.answered_at = recorded.at
