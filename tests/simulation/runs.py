"""What must hold of one run: its fences, its workers, its end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass

from clew.events.base import Event, Recorded
from clew.events.model import ContextAssembled, ModelAnswered, ModelCalled, ModelFailed
from clew.events.run import (
    RunActionRequired,
    RunCancelRequested,
    RunChanged,
    RunCompleted,
    RunFailed,
    RunIncomplete,
    RunOver,
    RunReconfigured,
    RunStarted,
)
from clew.events.tool import ToolFailed, ToolInDoubt, ToolReturned, ToolSettled, ToolStarted
from clew.rules.state import BY_PROBE, RUN_STARTS_MAX, TOOL_STARTS_MAX

# What a worker may stumble over, when the store refuses to write, and end a run for.
_EXCUSES = ("StoreFailed",)

_HOLDERS = (
    RunStarted,
    ContextAssembled,
    ModelCalled,
    ModelAnswered,
    ToolStarted,
    ToolInDoubt,
    RunCompleted,
    RunFailed,
    RunIncomplete,
)


@dataclass(slots=True)
class _Held:
    """Who took the run last. `free` when it has been anybody's since: settled, answered, to be cancelled."""

    worker: str
    until: int
    free: bool = False


def faults_of_run(run_id: str, events: Sequence[Recorded[Event]], stopped: Set[str]) -> Iterator[str]:
    """`stopped` are workers that were told to end, and gave back what they had."""
    yield from _of_fences(run_id, events)
    yield from _of_holders(run_id, events)
    yield from _of_leases(run_id, events, stopped)
    yield from _of_starts(run_id, events)
    over = [one for one in events if isinstance(one.event, RunOver)]
    if len(over) > 1:
        yield f"{run_id} ended {len(over)} times"
    if over:
        late = [one.event.kind for one in events if one.position > over[0].position]
        if any(kind != RunChanged.kind for kind in late):
            yield f"{run_id} went on after its end: {late}"
    for one in over:
        if isinstance(one.event, RunFailed) and _is_ours(one.event.message):
            yield f"{run_id} was broken off: {one.event.message}"


def _is_ours(message: str) -> bool:
    """Whether a run failed by a fault of our own."""
    return message.startswith("the server had an error") and not any(excuse in message for excuse in _EXCUSES)


def _of_fences(run_id: str, events: Sequence[Recorded[Event]]) -> Iterator[str]:
    highest = 0
    for one in events:
        fence = getattr(one.event, "fence", None)
        if fence is None:
            continue
        if isinstance(one.event, RunStarted) and fence != highest + 1:
            yield f"{run_id} was taken with fence {fence} after {highest}"
        if fence < highest:
            yield f"{run_id} went back from fence {highest} to {fence} at {one.position}"
        highest = max(highest, fence)


def _of_holders(run_id: str, events: Sequence[Recorded[Event]]) -> Iterator[str]:
    """What only the worker that holds a run may do, nobody else does."""
    holder: str | None = None
    for one in events:
        if isinstance(one.event, RunStarted):
            holder = one.event.worker
        if isinstance(one.event, _HOLDERS) and one.actor != holder and (holder, one.event.kind) != (None, "run.failed"):
            yield f"{one.actor} appended {one.event.kind} to {run_id}, which {holder} held"


def _of_leases(run_id: str, events: Sequence[Recorded[Event]], stopped: Set[str]) -> Iterator[str]:
    """A run is somebody else's only when the lease on it ran out, or nobody had one."""
    held: _Held | None = None
    for one in events:
        match one.event:
            case RunStarted(worker=worker, lease_seconds=seconds):
                if held is not None and not held.free and one.at < held.until and held.worker not in stopped:
                    yield f"{worker} took {run_id} from {held.worker} {held.until - one.at} us before its lease ended"
                held = _Held(worker, one.at + round(seconds * 1_000_000))
            case RunActionRequired() | RunCancelRequested() | ToolReturned() | ToolSettled() if held is not None:
                held.free = True
            case _:
                pass


def _of_starts(run_id: str, events: Sequence[Recorded[Event]]) -> Iterator[str]:
    """Nothing is started for ever without anything coming of it."""
    calls: Counter[str] = Counter()
    runs = 0
    for one in events:
        match one.event:
            case ToolStarted(tool_call_id=call_id):
                calls[call_id] += 1
                if calls[call_id] > TOOL_STARTS_MAX:
                    yield f"{call_id} of {run_id} was started {calls[call_id]} times"
            case ToolSettled(outcome="did_not_happen", by=by) if by == BY_PROBE:
                pass
            case ToolSettled(tool_call_id=call_id):
                calls[call_id], runs = 0, 0
            case ModelAnswered() | ToolReturned() | ToolFailed() | RunReconfigured():
                runs = 0
            case RunStarted():
                runs += 1
                if runs > RUN_STARTS_MAX + 1:
                    yield f"{run_id} was started {runs} times, and nothing came of it"
            case _:
                pass


def faults_of_lucky_run(run_id: str, events: Sequence[Recorded[Event]]) -> Iterator[str]:
    """Where nothing befell any process, nobody takes another's place, and nothing is lost or in doubt."""
    for one in events:
        match one.event:
            case ModelFailed(code="lost"):
                yield f"{run_id} lost an answer of the model, though nothing had happened"
            case ToolInDoubt(reason=reason) if not reason.endswith("seconds"):
                yield f"{run_id} has a call in doubt, though nothing had happened: {reason}"
            case _:
                pass
