"""What runs there are, and how each stands, step by step, now or at any point in the past.

The views are made by two pure functions, `run_after` and `step_after`: the read model folds with them, and so does
whoever streams a run's events, so that both show the same. Large things (configuration, arguments, outputs) stay
in the log; views hold the positions of the events that carry them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict

from clew.events.base import Event, Recorded
from clew.events.content import Metadata
from clew.events.message import MessageAppended
from clew.events.model import ModelAnswered, ModelFailed
from clew.events.run import (
    RunActionRequired,
    RunCancelled,
    RunCancelRequested,
    RunChanged,
    RunCompleted,
    RunConfig,
    RunExpired,
    RunFailed,
    RunIncomplete,
    RunQueued,
    RunReconfigured,
    RunStarted,
)
from clew.events.tool import ToolCalled, ToolConfirmed, ToolFailed, ToolInDoubt, ToolReturned, ToolSettled
from clew.events.usage import NO_USAGE, Usage
from clew.log import Reader
from clew.projecting import Projection, Rows, documents, moment, upper_bound

_ASKED_AT_ONCE = 500

Status: TypeAlias = Literal[
    "queued",
    "in_progress",
    "requires_action",
    "cancelling",
    "completed",
    "failed",
    "cancelled",
    "expired",
    "incomplete",
]
StepStatus: TypeAlias = Literal["in_progress", "completed", "failed", "cancelled", "expired"]


class _View(BaseModel):
    model_config = ConfigDict(frozen=True)


class RunView(_View):
    """Times are in microseconds. `queued` is the position of the event with the configuration; `reconfigured` that of
    the one with the configuration that took its place, if one did."""

    run_id: str
    thread_id: str
    queued: int
    queued_version: int
    created_at: int
    status: Status = "queued"
    fence: int = 0
    attempts: int = 0
    started_at: int | None = None
    ended_at: int | None = None
    expires_at: int | None = None
    waits_for: tuple[str, ...] = ()
    in_doubt: tuple[str, ...] = ()
    error_code: str | None = None
    error_message: str | None = None
    incomplete_reason: str | None = None
    usage: Usage = NO_USAGE
    metadata: Metadata = {}
    # The step that bears the usage of the newest answer, and that usage, until the step is made.
    step_id: str | None = None
    step_usage: Usage | None = None
    reconfigured: int | None = None

    @property
    def configured(self) -> int:
        """The position of the event with the configuration that holds."""
        return self.queued if self.reconfigured is None else self.reconfigured


class StepCall(_View):
    """`called` and `answered` are positions of the events with arguments and output."""

    tool_call_id: str
    called: int
    answered: int | None = None


class StepView(_View):
    """Either `message_id` or `calls` is set. `created` is the position of its first event."""

    step_id: str
    run_id: str
    thread_id: str
    created: int
    created_at: int
    status: StepStatus
    ended_at: int | None = None
    message_id: str | None = None
    calls: tuple[StepCall, ...] = ()
    usage: Usage | None = None
    model_call_id: str = ""


RUNS = documents(
    "runs",
    RunView,
    key=("run_id",),
    columns={"run_id": "text not null", "thread_id": "text not null", "queued": "integer not null"},
    indexes=(("thread_id", "queued"),),
)
STEPS = documents(
    "steps",
    StepView,
    key=("step_id",),
    columns={"step_id": "text not null", "run_id": "text not null", "created": "integer not null"},
    indexes=(("run_id", "created"),),
)
projection = Projection(name="run_view", version=1, lifecycle="inline", tables=(RUNS, STEPS))


def run_after(run: RunView | None, recorded: Recorded[Any]) -> RunView | None:
    """The run after an event of its thread. Events that say nothing about it leave it as it is."""
    event = recorded.event
    if isinstance(event, RunQueued):
        return RunView(
            run_id=event.run_id,
            thread_id=recorded.stream,
            queued=recorded.position,
            queued_version=recorded.version,
            created_at=recorded.at,
            expires_at=event.expires_at,
            metadata=event.metadata,
        )
    if run is None or getattr(event, "run_id", None) != run.run_id:
        return run
    if isinstance(event, RunReconfigured):
        return run.model_copy(update={"reconfigured": recorded.position})
    changes = _run_changes(run, event, recorded.at)
    return run.model_copy(update=changes) if changes else run


def _run_changes(run: RunView, event: Event, at: int) -> dict[str, Any]:
    match event:
        case RunStarted(fence=fence, attempt=attempt):
            status = "cancelling" if run.status == "cancelling" else "in_progress"
            return {"status": status, "fence": fence, "attempts": attempt, "started_at": at}
        case RunActionRequired(tool_call_ids=tool_call_ids):
            return {"status": "requires_action", "waits_for": tool_call_ids}
        case RunChanged(metadata=metadata):
            return {"metadata": metadata}
        case RunCancelRequested():
            return {"status": "cancelling", "waits_for": ()}
        case ModelAnswered(step_id=step_id, usage=usage):
            return {"step_id": step_id, "step_usage": usage, "usage": run.usage.plus(usage or NO_USAGE)}
        case ModelFailed(usage=usage) if usage is not None:
            return {"usage": run.usage.plus(usage)}
        case ToolReturned(tool_call_id=call) | ToolFailed(tool_call_id=call) | ToolSettled(tool_call_id=call):
            return _answered(run, call)
        case ToolConfirmed(tool_call_id=call, allowed=True):
            return _answered(run, call)
        case ToolInDoubt(tool_call_id=call):
            return {"in_doubt": (*run.in_doubt, call)}
        case RunCompleted() | RunFailed() | RunCancelled() | RunExpired() | RunIncomplete():
            return _ended(event, at)
        case _:
            return {}


def _answered(run: RunView, tool_call_id: str) -> dict[str, Any]:
    in_doubt = tuple(call for call in run.in_doubt if call != tool_call_id)
    waits_for = tuple(call for call in run.waits_for if call != tool_call_id)
    changes: dict[str, Any] = {}
    if in_doubt != run.in_doubt:
        changes["in_doubt"] = in_doubt
        if not in_doubt and run.status == "in_progress":
            changes["status"] = "queued"
    if waits_for != run.waits_for:
        changes["waits_for"] = waits_for
        if not waits_for and run.status == "requires_action":
            changes["status"] = "queued"
    return changes


def _ended(event: RunCompleted | RunFailed | RunCancelled | RunExpired | RunIncomplete, at: int) -> dict[str, Any]:
    ended: dict[str, Any] = {
        "status": event.kind.removeprefix("run."),
        "ended_at": at,
        "usage": event.usage,
        "waits_for": (),
        "in_doubt": (),
    }
    if isinstance(event, RunFailed):
        return {**ended, "error_code": event.code, "error_message": event.message}
    if isinstance(event, RunIncomplete):
        return {**ended, "incomplete_reason": event.reason, "error_message": event.message}
    return ended


_FAILED_AS: dict[str, StepStatus] = {
    "run_cancelled": "cancelled",
    "run_expired": "expired",
    "run_failed": "failed",
    "run_incomplete": "failed",
}


def step_after(step: StepView | None, run: RunView, recorded: Recorded[Any]) -> StepView | None:
    """A step after an event that names it. `run` is the run after that event."""
    event = recorded.event
    match event:
        case MessageAppended(step_id=str(step_id), message_id=message_id, model_call_id=model_call_id):
            made = _new_step(step_id, run, recorded, model_call_id or "")
            return made.model_copy(update={"message_id": message_id, "status": "completed", "ended_at": recorded.at})
        case ToolCalled(step_id=step_id, tool_call_id=tool_call_id, model_call_id=model_call_id):
            made = step or _new_step(step_id, run, recorded, model_call_id)
            call = StepCall(tool_call_id=tool_call_id, called=recorded.position)
            return made.model_copy(update={"calls": (*made.calls, call)})
        case ToolReturned() | ToolSettled():
            if isinstance(event, ToolSettled) and event.outcome == "did_not_happen":
                return step
            return _with_answer(step, event.tool_call_id, recorded, "completed")
        case ToolFailed(reason=reason, tool_call_id=tool_call_id):
            return _with_answer(step, tool_call_id, recorded, _FAILED_AS.get(reason, "completed"))
        case _:
            return step


def _new_step(step_id: str, run: RunView, recorded: Recorded[Any], model_call_id: str) -> StepView:
    return StepView(
        step_id=step_id,
        run_id=run.run_id,
        thread_id=run.thread_id,
        created=recorded.position,
        created_at=recorded.at,
        status="in_progress",
        usage=run.step_usage if run.step_id == step_id else None,
        model_call_id=model_call_id,
    )


def _with_answer(
    step: StepView | None, tool_call_id: str, recorded: Recorded[Any], status: StepStatus
) -> StepView | None:
    """A step ends with the last of its calls, and as the worst of them."""
    if step is None:
        return None
    calls = tuple(
        call.model_copy(update={"answered": recorded.position}) if call.tool_call_id == tool_call_id else call
        for call in step.calls
    )
    if any(call.answered is None for call in calls):
        return step.model_copy(update={"calls": calls})
    return step.model_copy(update={"calls": calls, "status": status, "ended_at": recorded.at})


def _keep(recorded: Recorded[Any], rows: Rows) -> None:
    run_id = getattr(recorded.event, "run_id", None)
    if run_id is None:
        return
    before = rows.load(RUNS, run_id)
    run = run_after(before, recorded)
    if run is None:
        return
    if run is not before:
        rows.save(RUNS, run)
    step_id = getattr(recorded.event, "step_id", None)
    if step_id is not None and not isinstance(recorded.event, ModelAnswered):
        step_before = rows.load(STEPS, step_id)
        step = step_after(step_before, run, recorded)
        if step is not None and step is not step_before:
            rows.save(STEPS, step)


for _event_type in (
    RunQueued,
    RunReconfigured,
    RunStarted,
    RunActionRequired,
    RunChanged,
    RunCancelRequested,
    RunCompleted,
    RunFailed,
    RunCancelled,
    RunExpired,
    RunIncomplete,
    ModelAnswered,
    ModelFailed,
    MessageAppended,
    ToolCalled,
    ToolConfirmed,
    ToolReturned,
    ToolFailed,
    ToolInDoubt,
    ToolSettled,
):
    projection.on(_event_type)(_keep)


# Questions


def run(reader: Reader, run_id: str, as_of: int | None = None) -> RunView | None:
    now, at = moment(as_of)
    rows = reader.rows(f"select doc from runs where run_id = ? and {now} order by since desc limit 1", (run_id, *at))
    return RUNS.read(rows[0][0]) if rows else None


def runs(
    reader: Reader,
    thread_id: str,
    *,
    after: int | None = None,
    before: int | None = None,
    newest_first: bool = True,
    limit: int,
    as_of: int | None = None,
) -> list[RunView]:
    """Runs of a thread by creation; `after` and `before` are `queued` positions."""
    now, at = moment(as_of)
    rows = reader.rows(
        f"select doc from runs where thread_id = ? and {now} and queued > ? and queued < ?"
        f" order by queued {'desc' if newest_first else 'asc'} limit ?",
        (thread_id, *at, after or 0, upper_bound(before, as_of), limit),
    )
    return [RUNS.read(row[0]) for row in rows]


def configs(reader: Reader, run_ids: Iterable[str]) -> dict[str, RunConfig]:
    """The configurations that runs were queued with, which never change."""
    ids = list(run_ids)
    positions: dict[int, str] = {}
    for start in range(0, len(ids), _ASKED_AT_ONCE):
        some = ids[start : start + _ASKED_AT_ONCE]
        marks = ",".join("?" * len(some))
        rows = reader.rows(f"select queued, run_id from runs where until is null and run_id in ({marks})", some)
        positions.update(rows)
    events = reader.events(positions)
    return {run_id: events[position].event.config for position, run_id in positions.items()}  # type: ignore[attr-defined]


def threads(reader: Reader) -> list[str]:
    """The threads that ever had a run, the first first."""
    rows = reader.rows("select thread_id from runs where until is null group by thread_id order by min(queued)")
    return [row[0] for row in rows]


def step(reader: Reader, step_id: str, as_of: int | None = None) -> StepView | None:
    now, at = moment(as_of)
    rows = reader.rows(f"select doc from steps where step_id = ? and {now} order by since desc limit 1", (step_id, *at))
    return STEPS.read(rows[0][0]) if rows else None


def steps(
    reader: Reader,
    run_id: str,
    *,
    after: int | None = None,
    before: int | None = None,
    newest_first: bool = True,
    limit: int,
    as_of: int | None = None,
) -> list[StepView]:
    """Steps of a run by creation; `after` and `before` are `created` positions."""
    now, at = moment(as_of)
    rows = reader.rows(
        f"select doc from steps where run_id = ? and {now} and created > ? and created < ?"
        f" order by created {'desc' if newest_first else 'asc'} limit ?",
        (run_id, *at, after or 0, upper_bound(before, as_of), limit),
    )
    return [STEPS.read(row[0]) for row in rows]
