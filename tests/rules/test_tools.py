"""Tool calls: the client answers all of its at once; the server's are started, end, or are in doubt."""

from __future__ import annotations

from dataclasses import replace

import pytest

from clew.errors import NotInDoubt, OutputsIncomplete, OutputsNotExpected, StaleFence
from clew.events.run import RunCompleted, RunReconfigured
from clew.events.tool import FailedReason, SettledOutcome, ToolFailed, ToolReturned, ToolSettled
from clew.rules.commands import (
    DoubtTool,
    SettleTool,
    StartTool,
    SubmitToolOutputs,
)
from clew.rules.parts import ToolOutput
from clew.rules.thread import thread_rules
from tests.rules.example import (
    ASKED,
    CANCELLING,
    DOUBTING,
    IDLE,
    MIXED,
    SERVER_CALL,
    TOOL_STARTED,
    WAITING,
    WORKING,
    R,
    T,
    answered,
    called,
    config,
    finish_tool,
    in_doubt,
    message,
    new_message,
    output,
    returned,
    started,
    tool_started,
    waits_for,
)
from tests.specify import given

START = StartTool(thread_id=T, run_id=R, fence=1, tool_call_id="call_s", effect="once", idempotency_key="call_s")
DOUBT = DoubtTool(thread_id=T, run_id=R, fence=1, tool_call_id="call_s", reason="died")
TWO_OF_THE_SERVER = (*ASKED, answered("tool_calls"), called("call_s", "server"), called("call_t", "server"))


def submit(*outputs: ToolOutput, past: str | None = None, run_id: str = R) -> SubmitToolOutputs:
    return SubmitToolOutputs(thread_id=T, run_id=run_id, outputs=outputs, past_status=past)


def settle(outcome: SettledOutcome, told: str = "It did.") -> SettleTool:
    return SettleTool(thread_id=T, run_id=R, tool_call_id="call_s", outcome=outcome, output=told, by="key_1")


def settled(outcome: SettledOutcome, told: str = "It did.") -> ToolSettled:
    return ToolSettled(
        run_id=R, fence=1, step_id="step_1", tool_call_id="call_s", outcome=outcome, output=told, by="key_1"
    )


def status(*history: object) -> str:
    run = thread_rules.fold(history).run  # type: ignore[arg-type]
    assert run is not None
    return run.status


def test_the_client_answers_all_its_calls_at_once_in_any_order() -> None:
    b, a = returned("call_b"), returned("call_a")
    given(thread_rules, *WAITING).when(submit(output("call_b"), output("call_a"))).then(b, a)
    assert status(*WAITING, b) == "requires_action"
    assert status(*WAITING, b, a) == "queued"


@pytest.mark.parametrize(
    "ids", [[], ["call_a"], ["call_a", "call_a"], ["call_a", "call_x"], ["call_a", "call_b", "call_b"]]
)
def test_anything_but_exactly_the_outputs_that_are_waited_for_is_refused(ids: list[str]) -> None:
    given(thread_rules, *WAITING).when(submit(*map(output, ids))).then_refused(
        OutputsIncomplete, run_id=R, expected=("call_a", "call_b"), given=tuple(ids)
    )


def test_outputs_that_nobody_waits_for_are_refused() -> None:
    both = (output("call_a"), output("call_b"))
    answered_once = (*WAITING, returned("call_a"), returned("call_b"))
    refusals = [
        (WORKING, "in_progress"),
        (answered_once, "queued"),
        ((*WAITING, CANCELLING), "cancelling"),
    ]
    for history, found in refusals:
        given(thread_rules, *history).when(submit(*both)).then_refused(OutputsNotExpected, run_id=R, status=found)
    given(thread_rules, *IDLE).when(submit(*both, past="expired")).then_refused(OutputsNotExpected, status="expired")
    given(thread_rules, *WAITING).when(submit(run_id="run_0", past="completed")).then_refused(
        OutputsNotExpected, run_id="run_0", status="completed"
    )


def test_where_the_server_has_answered_the_client_is_asked_for_the_rest() -> None:
    given(thread_rules, *MIXED).when(finish_tool("call_s")).then(returned("call_s"), waits_for("call_c"))
    rest = (*MIXED, returned("call_s"), waits_for("call_c"))
    given(thread_rules, *rest).when(submit(output("call_c"))).then(returned("call_c"))


def test_a_call_of_the_server_is_started_before_it_happens_and_counted() -> None:
    given(thread_rules, *SERVER_CALL).when(START).then(tool_started("call_s"))


def test_a_started_call_is_started_again_only_if_that_does_no_harm() -> None:
    given(thread_rules, *TOOL_STARTED).when(START).then_nothing()
    harmless = (*SERVER_CALL, tool_started("call_s", "idempotent"))
    again = StartTool(
        thread_id=T, run_id=R, fence=1, tool_call_id="call_s", effect="idempotent", idempotency_key="call_s"
    )
    given(thread_rules, *harmless).when(again).then(tool_started("call_s", "idempotent", attempt=2))


def test_a_call_in_doubt_or_answered_or_unknown_is_not_started() -> None:
    given(thread_rules, *DOUBTING).when(START).then_nothing()
    given(thread_rules, *TOOL_STARTED, returned("call_s")).when(START).then_nothing()
    given(thread_rules, *WORKING).when(START).then_nothing()
    given(thread_rules, *SERVER_CALL, CANCELLING).when(START).then_nothing()


def test_a_call_of_the_client_is_not_the_servers_to_make() -> None:
    start = StartTool(thread_id=T, run_id=R, fence=1, tool_call_id="call_a", effect="once", idempotency_key="k")
    given(thread_rules, *WAITING).when(start).then_nothing()
    given(thread_rules, *WAITING).when(finish_tool("call_a")).then_nothing()


def test_a_tool_returns() -> None:
    given(thread_rules, *TOOL_STARTED).when(finish_tool("call_s")).then(returned("call_s"))


@pytest.mark.parametrize("failure", ["error", "timeout", "arguments"])
def test_a_tool_fails_and_the_model_is_told(failure: FailedReason) -> None:
    failed = ToolFailed(
        run_id=R, fence=1, step_id="step_1", tool_call_id="call_s", reason=failure, output="no such place"
    )
    given(thread_rules, *TOOL_STARTED).when(finish_tool("call_s", "no such place", failure)).then(failed)


def test_a_tool_ends_once() -> None:
    given(thread_rules, *TOOL_STARTED, returned("call_s")).when(finish_tool("call_s")).then_nothing()
    given(thread_rules, *DOUBTING).when(finish_tool("call_s")).then_nothing()
    given(thread_rules, *TOOL_STARTED).when(finish_tool("call_unknown")).then_nothing()


def test_a_result_that_comes_after_a_cancel_is_kept() -> None:
    given(thread_rules, *MIXED, CANCELLING).when(finish_tool("call_s")).then(returned("call_s"))


def test_only_a_started_call_can_be_in_doubt() -> None:
    given(thread_rules, *TOOL_STARTED).when(DOUBT).then(in_doubt("call_s"))
    given(thread_rules, *SERVER_CALL).when(DOUBT).then_nothing()
    given(thread_rules, *DOUBTING).when(DOUBT).then_nothing()


def test_a_worker_that_lost_the_run_can_neither_start_nor_doubt() -> None:
    for command in (START, DOUBT):
        given(thread_rules, *TOOL_STARTED, started(2)).when(command).then_refused(StaleFence, fence=1, newest=2)


@pytest.mark.parametrize("outcome", ["happened", "unknown"])
def test_a_call_that_may_have_happened_is_settled_with_what_the_model_is_told(outcome: SettledOutcome) -> None:
    given(thread_rules, *DOUBTING).when(settle(outcome)).then(settled(outcome))
    assert status(*DOUBTING, settled(outcome)) == "queued"


def test_a_call_that_did_not_happen_is_made_again() -> None:
    not_yet = settled("did_not_happen", "")
    given(thread_rules, *DOUBTING).when(settle("did_not_happen", "never mind")).then(not_yet)
    assert status(*DOUBTING, not_yet) == "queued"
    again = (*DOUBTING, not_yet, started(2))
    start = StartTool(thread_id=T, run_id=R, fence=2, tool_call_id="call_s", effect="once", idempotency_key="call_s")
    given(thread_rules, *again).when(start).then(tool_started("call_s", attempt=2, fence=2))


def test_a_settled_call_gives_the_client_its_turn() -> None:
    doubting = (*MIXED, tool_started("call_s"), in_doubt("call_s"))
    given(thread_rules, *doubting).when(settle("happened")).then(settled("happened"), waits_for("call_c"))
    assert status(*doubting, settled("happened"), waits_for("call_c")) == "requires_action"


def test_a_run_goes_on_when_the_last_doubt_is_settled() -> None:
    both = (*TWO_OF_THE_SERVER, tool_started("call_s"), tool_started("call_t"), in_doubt("call_s"), in_doubt("call_t"))
    assert status(*both, settled("happened")) == "in_progress"


def test_what_is_not_in_doubt_is_not_settled() -> None:
    for history in (IDLE, SERVER_CALL, TOOL_STARTED, (*DOUBTING, settled("happened"))):
        given(thread_rules, *history).when(settle("happened")).then_refused(NotInDoubt, tool_call_id="call_s")


def test_a_doubt_may_be_settled_in_a_run_that_is_being_cancelled() -> None:
    given(thread_rules, *DOUBTING, CANCELLING).when(settle("happened")).then(settled("happened"))
    assert status(*DOUBTING, CANCELLING, settled("happened")) == "cancelling"


def test_results_are_items_and_a_call_that_did_not_happen_has_none_yet() -> None:
    before = thread_rules.fold(DOUBTING).items
    assert thread_rules.fold([*DOUBTING, settled("did_not_happen", "")]).items == before
    assert thread_rules.fold([*DOUBTING, settled("happened")]).items == before + 1
    assert thread_rules.fold([*WAITING, returned("call_a"), returned("call_b"), RunCompleted(run_id=R)]).run is None
    assert isinstance(returned("call_a"), ToolReturned)


def test_a_client_may_say_more_with_its_answers_and_have_the_run_go_on_otherwise() -> None:
    otherwise = config(model="n", max_output_tokens=9)
    command = replace(
        submit(output("call_a"), ToolOutput(tool_call_id="call_b", output="no", is_error=True)),
        messages=(new_message("And hurry", id="msg_9"),),
        config=otherwise,
        matched_by="prefix",
    )
    told = (
        returned("call_a"),
        returned("call_b", "no").model_copy(update={"is_error": True}),
        message("And hurry", id="msg_9"),
        RunReconfigured(run_id=R, config=otherwise, matched_by="prefix"),
    )
    given(thread_rules, *WAITING).when(command).then(*told)
    after = thread_rules.fold((*WAITING, *told))
    assert after.run is not None
    assert (after.run.status, after.run.reconfigured, after.run.limits) == ("queued", 1, otherwise.limits)
    assert after.user_messages == 2


def test_a_run_that_waits_for_nothing_is_not_configured_anew() -> None:
    command = replace(submit(), config=config(model="n"))
    given(thread_rules, *WORKING).when(command).then_refused(OutputsNotExpected, status="in_progress")
