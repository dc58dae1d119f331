"""What a worker does next with a run, from any state that a crash can leave."""

from __future__ import annotations

import pytest

from clew.events import ThreadStreamEvent
from clew.events.run import Limits
from clew.events.tool import ToolSettled
from clew.rules.moves import AskModel, Await, Cancel, ReportLost, RunTools, Stop, next_move
from clew.rules.state import ActiveRun
from clew.rules.thread import thread_rules
from tests.rules.example import (
    ASKED,
    CANCELLING,
    DOUBTING,
    IDLE,
    MIXED,
    QUEUED,
    SERVER_CALL,
    TOOL_STARTED,
    WAITING,
    WORKING,
    R,
    answered,
    assembled,
    called,
    in_doubt,
    model_called,
    model_failed,
    queued,
    returned,
    started,
    tool_started,
    waits_for,
)

SETTLED = ToolSettled(
    run_id=R, fence=1, step_id="step_1", tool_call_id="call_s", outcome="happened", output="It did.", by="key_1"
)
NOT_YET = SETTLED.model_copy(update={"outcome": "did_not_happen", "output": ""})


def after(*events: ThreadStreamEvent) -> ActiveRun:
    run = thread_rules.fold(events).run
    assert run is not None
    return run


def test_a_run_that_was_queued_or_taken_asks_the_model() -> None:
    assert next_move(after(*QUEUED)) == AskModel()
    assert next_move(after(*WORKING)) == AskModel()
    assert next_move(after(*WORKING, started(2))) == AskModel()


def test_a_call_that_nobody_waits_for_any_more_is_reported_lost() -> None:
    move = next_move(after(*ASKED))
    assert isinstance(move, ReportLost)
    assert (move.model_call.model_call_id, move.model_call.attempt) == ("mc_1", 1)
    assert next_move(after(*ASKED, model_failed(code="lost"))) == AskModel()


def test_calls_of_the_server_are_made_whether_they_were_started_or_not() -> None:
    for history in (SERVER_CALL, TOOL_STARTED, MIXED):
        move = next_move(after(*history))
        assert isinstance(move, RunTools)
        assert [call.tool_call_id for call in move.calls] == ["call_s"]


def test_only_calls_without_an_answer_are_made() -> None:
    two = (*SERVER_CALL, called("call_t", "server"), returned("call_s"))
    move = next_move(after(*two))
    assert isinstance(move, RunTools)
    assert [call.tool_call_id for call in move.calls] == ["call_t"]


def test_a_run_waits_for_its_client_and_for_whoever_settles_a_doubt() -> None:
    assert next_move(after(*WAITING)) == Await()
    assert next_move(after(*WAITING, returned("call_a"))) == Await()
    assert next_move(after(*DOUBTING)) == Await()
    mixed = (*MIXED, tool_started("call_s"), in_doubt("call_s"), SETTLED, waits_for("call_c"))
    assert next_move(after(*mixed)) == Await()


def test_a_run_whose_calls_are_all_answered_asks_the_model_again() -> None:
    assert next_move(after(*WAITING, returned("call_a"), returned("call_b"))) == AskModel()
    assert next_move(after(*TOOL_STARTED, returned("call_s"))) == AskModel()
    assert next_move(after(*DOUBTING, SETTLED)) == AskModel()


def test_a_call_that_did_not_happen_is_made_again() -> None:
    assert isinstance(next_move(after(*DOUBTING, NOT_YET)), RunTools)


@pytest.mark.parametrize("history", [QUEUED, WORKING, ASKED, WAITING, TOOL_STARTED, DOUBTING])
def test_a_cancelled_run_is_ended_whatever_it_was_at(history: tuple[ThreadStreamEvent, ...]) -> None:
    assert next_move(after(*history, CANCELLING)) == Cancel()


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (Limits(completion_tokens=5), "max_completion_tokens"),
        (Limits(prompt_tokens=10), "max_prompt_tokens"),
        (Limits(steps=1), "steps"),
        (Limits(completion_tokens=5, prompt_tokens=10, steps=1), "max_completion_tokens"),
    ],
)
def test_a_run_that_has_used_up_a_limit_stops(limits: Limits, reason: str) -> None:
    history = (*IDLE, queued(limits=limits), started(), assembled(), model_called())
    called_a = (*history, answered("tool_calls"), called("call_a"), waits_for("call_a"))
    assert next_move(after(*called_a)) == Await(), "an answer that was paid for is not thrown away"
    assert next_move(after(*called_a, returned("call_a"))) == Stop(reason)


def test_a_run_below_its_limits_goes_on() -> None:
    history = (*IDLE, queued(limits=Limits(completion_tokens=6, prompt_tokens=11, steps=2)), *ASKED[3:])
    answered_all = (*history, answered("tool_calls"), called("call_a"), waits_for("call_a"), returned("call_a"))
    assert next_move(after(*answered_all)) == AskModel()
