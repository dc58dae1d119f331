"""Where a budget stands decides what becomes of a run that wants to ask its model: it may, it waits, or it ends."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from clew.errors import StaleFence
from clew.events.model import ModelAnswered, ModelFailed
from clew.events.run import BudgetAwaited, BudgetReached, RunFailed, RunIncomplete
from clew.events.tool import ToolFailed
from clew.rules.moves import AskModel, ReportLost, next_move
from clew.rules.standing import (
    REACHED,
    TAKEN,
    AwaitBudget,
    Fits,
    Over,
    Standing,
    StopAtBudget,
    Waits,
    WarnOfBudget,
    told,
    verdict,
    warnings,
)
from clew.rules.thread import thread_rules
from tests.rules.example import (
    ASKED,
    CANCELLING,
    SERVER_CALL,
    USED,
    WORKING,
    R,
    T,
    answered,
    assembled,
    begin,
    model_called,
    started,
)
from tests.specify import given

MIDNIGHT = 1_764_028_800_000_000
LATER = 1_764_072_120_000_000


def standing(spent: int = 0, reserved: int = 0, asked: int = 10, **changes: Any) -> Standing:
    """Of a budget of 100 tokens a day."""
    facts: dict[str, Any] = {
        "budget": "acme-daily",
        "version": 3,
        "scope": "tenant",
        "subject": "acme",
        "period": "day",
        "since": MIDNIGHT,
        "unit": "tokens",
        "limit": Decimal(100),
        "hard": True,
        "spent": Decimal(spent),
        "reserved": Decimal(reserved),
        "asked": Decimal(asked),
    }
    return Standing(**{**facts, **changes})


FULL = standing(95)
CROWDED = standing(50, reserved=45)
SOFT = standing(95, hard=False)
OWN = standing(95, version=0, budget="limit:tokens", scope="run", subject=R, period="run", since=None)


def facts(of: Standing) -> dict[str, Any]:
    """What the log says of it."""
    return {
        "run_id": R,
        "budget": of.budget,
        "unit": of.unit,
        "limit": str(of.limit),
        "spent": str(of.spent),
        "scope": of.scope,
        "subject": of.subject,
        "period": of.period,
        "since": of.since,
        "version": of.version,
        "asked": str(of.asked),
        "reserved": str(of.reserved),
    }


def reached(of: Standing) -> BudgetReached:
    return BudgetReached(**facts(of), hard=of.hard)


def awaited(of: Standing, until: int = LATER) -> BudgetAwaited:
    return BudgetAwaited(**facts(of), until=until)


def warn(of: Standing, fence: int = 1) -> WarnOfBudget:
    return WarnOfBudget(thread_id=T, run_id=R, fence=fence, standing=of)


def wait(of: Standing, until: int = LATER, *, unsent: bool = False) -> AwaitBudget:
    return AwaitBudget(thread_id=T, run_id=R, fence=1, standing=of, until=until, unsent=unsent)


def stop(of: Standing, fence: int = 1, *, unsent: bool = False) -> StopAtBudget:
    return StopAtBudget(thread_id=T, run_id=R, fence=fence, standing=of, unsent=unsent)


def failed_at(of: Standing) -> RunFailed:
    return RunFailed(run_id=R, code=REACHED, message=told(of))


def not_sent(code: str, message: str, *, final: bool) -> ModelFailed:
    return ModelFailed(
        run_id=R,
        fence=1,
        model_call_id="mc_1",
        attempt=1,
        code=code,
        message=message,
        retryable=not final,
        final=final,
    )


NOT_NOW = not_sent(TAKEN, "not sent: others have reserved meanwhile what it needs; it is asked again", final=False)


def test_what_fits_to_the_last_token_fits() -> None:
    assert verdict([standing(90)], 0, None) == Fits()
    assert verdict([standing(50, reserved=40)], 0, None) == Fits()
    assert verdict([], 0, None) == Fits()


def test_what_is_spent_does_not_come_back_and_what_is_reserved_may() -> None:
    assert verdict([standing(91)], 0, None) == Over(standing(91))
    assert verdict([standing(50, reserved=41)], 0, None) == Waits(standing(50, reserved=41))
    assert verdict([CROWDED, FULL], 0, None) == Over(FULL)


def test_nobody_waits_for_ever() -> None:
    assert verdict([CROWDED], LATER - 1, LATER) == Waits(CROWDED)
    assert verdict([CROWDED], LATER, LATER) == Over(CROWDED)
    assert verdict([standing(50)], LATER + 1, LATER) == Fits()


def test_what_a_hard_budget_cannot_see_it_does_not_admit() -> None:
    blind = standing(0, blind="no price is known for m")
    assert verdict([blind], 0, None) == Over(blind)


def test_a_budget_that_is_not_hard_stops_nobody_and_warns_once() -> None:
    assert verdict([SOFT, standing(0, reserved=99, hard=False)], 0, None) == Fits()
    assert warnings([SOFT, FULL, standing(hard=False), standing(95, hard=False, warned=True)]) == [SOFT]


def test_reservations_are_no_reason_to_warn() -> None:
    assert warnings([standing(50, reserved=99, hard=False)]) == []


def test_a_warning_is_an_event_and_nothing_else() -> None:
    given(thread_rules, *WORKING).when(warn(SOFT)).then(reached(SOFT))
    given(thread_rules, *ASKED).when(warn(SOFT)).then(reached(SOFT))
    for of in (FULL, standing(hard=False), standing(95, hard=False, warned=True)):
        given(thread_rules, *WORKING).when(warn(of)).then_nothing()


def test_a_run_that_meets_a_hard_budget_fails_and_says_which() -> None:
    given(thread_rules, *WORKING).when(stop(FULL)).then(reached(FULL), failed_at(FULL))
    assert told(FULL) == (
        "the budget acme-daily of tenant acme is 100 tokens a day; 95 tokens are spent since 2025-11-25 00:00 UTC,"
        " and the next model call takes about 10 tokens before it is answered"
    )


def test_what_the_run_has_used_is_in_its_end() -> None:
    history = (*ASKED, answered("tool_calls"))
    *_, over = given(thread_rules, *history).when(stop(FULL)).decide()
    assert isinstance(over, RunFailed)
    assert over.usage == USED


def test_a_run_that_meets_a_limit_of_its_own_ends_incomplete_and_says_which() -> None:
    over = RunIncomplete(run_id=R, reason="budget", message=told(OWN))
    given(thread_rules, *WORKING).when(stop(OWN)).then(reached(OWN), over)
    assert told(OWN) == (
        "the run's own limit is 100 tokens; 95 tokens are spent,"
        " and the next model call takes about 10 tokens before it is answered"
    )


def test_a_run_whose_time_is_up_closes_what_is_open() -> None:
    late = standing(101, asked=0, version=0, budget="limit:seconds", unit="seconds", since=None)
    assert told(late) == "the run's own limit is 100 seconds; 101 seconds are spent"
    failed, said, _ = given(thread_rules, *ASKED).when(stop(late)).then_kinds(ModelFailed, BudgetReached, RunIncomplete)
    assert isinstance(failed, ModelFailed)
    assert failed.usage_unknown
    assert isinstance(said, BudgetReached)
    given(thread_rules, *SERVER_CALL).when(stop(late)).then_kinds(ToolFailed, BudgetReached, RunIncomplete)


def test_nobody_is_stopped_by_a_budget_that_has_room_or_only_warns() -> None:
    for of in (standing(), SOFT):
        given(thread_rules, *WORKING).when(stop(of)).then_nothing()


def test_a_run_waits_for_what_is_reserved_and_says_so_once() -> None:
    given(thread_rules, *WORKING).when(wait(CROWDED)).then(awaited(CROWDED))
    given(thread_rules, *WORKING, awaited(CROWDED)).when(wait(CROWDED, LATER + 5)).then_nothing()
    given(thread_rules, *WORKING).when(wait(standing())).then_nothing()


def test_who_goes_on_with_a_waiting_run_waits_until_the_same_moment() -> None:
    run = thread_rules.fold((*WORKING, awaited(CROWDED), started(2))).run
    assert run is not None
    assert run.budget_until == LATER
    assert next_move(run) == AskModel()


def test_waiting_is_over_when_the_model_has_answered() -> None:
    history = (*WORKING, awaited(CROWDED), assembled(), model_called())
    run = thread_rules.fold(history).run
    assert run is not None
    assert run.budget_until == LATER
    run = thread_rules.fold((*history, ModelAnswered(**answered("tool_calls").model_dump()))).run
    assert run is not None
    assert run.budget_until is None


def test_a_call_that_came_second_is_not_sent_and_used_nothing() -> None:
    given(thread_rules, *ASKED).when(wait(CROWDED, unsent=True)).then(NOT_NOW, awaited(CROWDED))
    assert not NOT_NOW.usage_unknown
    given(thread_rules, *WORKING).when(wait(CROWDED, unsent=True)).then_nothing()


def test_it_waits_no_longer_however_often_it_comes_second() -> None:
    history = (*WORKING, awaited(CROWDED), assembled(), model_called())
    given(thread_rules, *history).when(wait(CROWDED, LATER + 5, unsent=True)).then(NOT_NOW, awaited(CROWDED))


def test_what_was_not_sent_is_no_attempt() -> None:
    history = (*ASKED, NOT_NOW, awaited(CROWDED))
    given(thread_rules, *history).when(begin(1, "mc_2")).then(assembled(1, "mc_2"), model_called(1, "mc_2", attempt=1))


def test_a_call_that_came_too_late_for_what_is_spent_is_not_sent_and_ends_the_run() -> None:
    final = not_sent(REACHED, "not sent: a budget was reached meanwhile", final=True)
    given(thread_rules, *ASKED).when(stop(FULL, unsent=True)).then(final, reached(FULL), failed_at(FULL))


def test_a_cancelled_run_is_cancelled_and_what_was_not_sent_used_nothing() -> None:
    cancelled = (*ASKED, CANCELLING)
    given(thread_rules, *cancelled).when(wait(CROWDED, unsent=True)).then(NOT_NOW)
    final = not_sent(REACHED, "not sent: a budget was reached meanwhile", final=True)
    given(thread_rules, *cancelled).when(stop(FULL, unsent=True)).then(final)
    given(thread_rules, *WORKING, CANCELLING).when(stop(FULL)).then_nothing()
    given(thread_rules, *WORKING, CANCELLING).when(wait(CROWDED)).then_nothing()


def test_a_process_that_died_before_it_sent_the_call_leaves_it_to_be_reported_lost() -> None:
    run = thread_rules.fold((*ASKED, started(2))).run
    assert run is not None
    assert isinstance(next_move(run), ReportLost)


def test_only_who_holds_the_run_speaks_for_it() -> None:
    for command in (warn(SOFT, 0), stop(FULL, 0)):
        with pytest.raises(StaleFence):
            given(thread_rules, *WORKING).when(command).decide()


def test_the_other_reasons_are_told_with_what_to_do() -> None:
    vain = standing(50, reserved=45)
    assert told(vain).endswith(
        "50 tokens are spent since 2025-11-25 00:00 UTC, 45 tokens reserved for calls under way, which did not end in"
        " time, and the next model call takes about 10 tokens before it is answered"
    )
    blind = standing(unit="USD", limit=Decimal("2.5"), period="month", blind="no price is known for p/m")
    assert told(blind) == (
        "the budget acme-daily of tenant acme is 2.5 USD a month, and what is spent cannot be told:"
        " no price is known for p/m"
    )
    each = standing(1, subject=None, period="total", since=None, limit=Decimal(1))
    assert told(each).startswith("the budget acme-daily is 1 token in all; 1 token is spent, and")
