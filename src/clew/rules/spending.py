"""The rules of a run that budgets hold for: it is warned of, it waits, or it ends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, assert_never

from clew.events import ThreadStreamEvent
from clew.events.model import ModelFailed
from clew.events.run import BudgetAwaited, BudgetReached, RunEnd, RunFailed, RunIncomplete
from clew.rules.runs import closing, held
from clew.rules.standing import (
    REACHED,
    TAKEN,
    AwaitBudget,
    OnBudget,
    Standing,
    StopAtBudget,
    WarnOfBudget,
    plain,
    told,
)
from clew.rules.state import ActiveRun, Thread


def on_budget(command: OnBudget, thread: Thread) -> Sequence[ThreadStreamEvent]:
    run = held(thread, command.run_id, command.fence)
    match command:
        case WarnOfBudget(standing=standing):
            if standing.hard or standing.warned or not standing.used_up:
                return []
            return [_reached(run, standing)]
        case AwaitBudget():
            return _await(command, run)
        case StopAtBudget():
            return _stop(command, run)
        case _:
            assert_never(command)


def _await(command: AwaitBudget, run: ActiveRun) -> Sequence[ThreadStreamEvent]:
    """However often it finds no room, it waits until the end that was set first."""
    standing = command.standing
    if command.unsent:
        if not _waiting(run):
            return []
        failed = _unsent(run, TAKEN, final=False)
        if run.status == "cancelling":
            return [failed]
        return [failed, _awaited(run, standing, run.budget_until or command.until)]
    if run.status == "cancelling" or run.budget_until is not None or _waiting(run) or not standing.taken:
        return []
    return [_awaited(run, standing, command.until)]


def _stop(command: StopAtBudget, run: ActiveRun) -> Sequence[ThreadStreamEvent]:
    standing = command.standing
    if not standing.hard or not (standing.used_up or standing.taken):
        return []
    failed: list[ThreadStreamEvent] = []
    if command.unsent and _waiting(run):
        failed = [_unsent(run, REACHED, final=True)]
    if run.status == "cancelling":
        return failed
    reached = _reached(run, standing)
    if failed:
        return [*failed, reached, _end(run, standing)]
    *closed, end = closing(run, _end(run, standing), "run_failed" if standing.version else "run_incomplete")
    return [*closed, reached, end]


def _waiting(run: ActiveRun) -> bool:
    return run.model_call is not None and run.model_call.waiting


def _end(run: ActiveRun, standing: Standing) -> RunEnd:
    """A limit that came with the run is its caller's own: it ends incomplete, as with his other limits."""
    if not standing.version:
        return RunIncomplete(run_id=run.run_id, usage=run.usage, reason="budget", message=told(standing))
    return RunFailed(run_id=run.run_id, usage=run.usage, code=REACHED, message=told(standing))


def _unsent(run: ActiveRun, code: str, *, final: bool) -> ModelFailed:
    """Nobody heard of this call, so it used nothing."""
    assert run.model_call is not None
    taken = "not sent: others have reserved meanwhile what it needs; it is asked again"
    return ModelFailed(
        run_id=run.run_id,
        fence=run.fence,
        model_call_id=run.model_call.model_call_id,
        attempt=run.model_call.attempt,
        code=code,
        message="not sent: a budget was reached meanwhile" if final else taken,
        retryable=not final,
        final=final,
    )


def _facts(run: ActiveRun, standing: Standing) -> dict[str, Any]:
    return {
        "run_id": run.run_id,
        "budget": standing.budget,
        "unit": standing.unit,
        "limit": plain(standing.limit),
        "spent": plain(standing.spent),
        "scope": standing.scope,
        "subject": standing.subject,
        "period": standing.period,
        "since": standing.since,
        "version": standing.version,
        "asked": plain(standing.asked),
        "reserved": plain(standing.reserved),
        "blind": standing.blind,
    }


def _reached(run: ActiveRun, standing: Standing) -> BudgetReached:
    return BudgetReached(**_facts(run, standing), hard=standing.hard)


def _awaited(run: ActiveRun, standing: Standing, until: int) -> BudgetAwaited:
    return BudgetAwaited(**_facts(run, standing), until=until)
