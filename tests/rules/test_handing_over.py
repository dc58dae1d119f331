"""An agent hands the thread over: its run ends, and that of the next agent begins, in one append."""

from __future__ import annotations

from dataclasses import replace

from clew.errors import StaleFence
from clew.events import ThreadStreamEvent
from clew.events.run import RunCompleted, RunHandedOff, RunQueued
from clew.events.tool import HandingOver, ToolFailed, ToolReturned
from clew.events.usage import Usage
from clew.rules.commands import HandOff
from clew.rules.model_commands import BeginModelCall
from clew.rules.moves import Await, HandOver, RunTools, next_move
from clew.rules.thread import thread_rules
from tests.rules.example import (
    ASKED,
    R,
    T,
    answer,
    answered,
    begin,
    call,
    called,
    queue_run,
    returned,
    waits_for,
)
from tests.specify import given

TO_BEA = HandingOver(from_id="asst_a", from_name="Ada", to_id="asst_b", to_name="Bea")
WANTED = called("call_h", "server").model_copy(update={"handing_over": TO_BEA})
HANDING = (*ASKED, answered("tool_calls"), WANTED)


def hand_off(*, client: bool = False, fence: int = 1) -> HandOff:
    return HandOff(
        thread_id=T,
        run_id=R,
        fence=fence,
        tool_call_id="call_h",
        assistant_id="asst_b",
        next_run=None if client else queue_run("run_2"),
        output="handed over to Bea",
    )


def move_after(*events: ThreadStreamEvent) -> object:
    run = thread_rules.fold(events).run
    assert run is not None
    return next_move(run)


def test_a_call_that_hands_over_is_the_next_move() -> None:
    wanted = replace(call("call_h", "server"), handing_over=TO_BEA)
    *_, recorded = given(thread_rules, *ASKED).when(answer(wanted, finish="tool_calls")).decide()
    assert recorded == WANTED
    move = move_after(*HANDING)
    assert isinstance(move, HandOver)
    assert move.call.tool_call_id == "call_h"


def test_the_next_agents_run_begins_where_this_one_ends() -> None:
    handed, told, ended, following = (
        given(thread_rules, *HANDING).when(hand_off()).then_kinds(RunHandedOff, ToolReturned, RunCompleted, RunQueued)
    )
    assert isinstance(handed, RunHandedOff)
    assert isinstance(ended, RunCompleted)
    assert isinstance(following, RunQueued)
    assert (handed.assistant_id, handed.to_run_id) == ("asst_b", "run_2")
    assert (following.run_id, following.handed_off_by) == ("run_2", R)
    assert ended.usage == Usage(input=10, output=5)
    run = thread_rules.fold((*HANDING, handed, told, ended, following)).run
    assert run is not None
    assert (run.run_id, run.status) == ("run_2", "queued")


def test_a_client_may_be_the_one_who_goes_on() -> None:
    handed, *_ = (
        given(thread_rules, *HANDING).when(hand_off(client=True)).then_kinds(RunHandedOff, ToolReturned, RunCompleted)
    )
    assert isinstance(handed, RunHandedOff)
    assert handed.to_run_id is None


def test_what_was_called_beside_it_comes_first() -> None:
    beside_client = (*ASKED, answered("tool_calls"), WANTED, called("call_c"))
    assert move_after(*beside_client, waits_for("call_c")) == Await()
    given(thread_rules, *beside_client, waits_for("call_c")).when(hand_off()).then_nothing()
    assert isinstance(move_after(*beside_client, waits_for("call_c"), returned("call_c")), HandOver)
    beside_server = (*ASKED, answered("tool_calls"), WANTED, called("call_s", "server"))
    assert isinstance(move_after(*beside_server), RunTools)


def test_the_client_is_asked_although_a_call_that_hands_over_is_open() -> None:
    wanted = replace(call("call_h", "server"), handing_over=TO_BEA)
    both = answer(wanted, call("call_c"), finish="tool_calls")
    *_, waits = given(thread_rules, *ASKED).when(both).decide()
    assert waits == waits_for("call_c")


def test_of_two_agents_the_first_gets_it() -> None:
    other = WANTED.model_copy(update={"tool_call_id": "call_i"})
    *_, late, _, _ = (
        given(thread_rules, *HANDING, other)
        .when(hand_off())
        .then_kinds(RunHandedOff, ToolReturned, ToolFailed, RunCompleted, RunQueued)
    )
    assert isinstance(late, ToolFailed)
    assert late.tool_call_id == "call_i"


def test_the_model_is_not_asked_before_it_is_handed_over() -> None:
    again: BeginModelCall = begin(model_call_id="mc_2")
    given(thread_rules, *HANDING).when(again).then_nothing()


def test_a_worker_that_lost_its_claim_hands_nothing_over() -> None:
    given(thread_rules, *HANDING).when(hand_off(fence=0)).then_refused(StaleFence, run_id=R)
