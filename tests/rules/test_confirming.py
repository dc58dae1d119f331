"""A tool of the server that somebody must allow first."""

from __future__ import annotations

from dataclasses import replace

from clew.errors import NothingToConfirm, OutputsIncomplete
from clew.events.run import RunActionRequired
from clew.events.tool import ToolConfirmed, ToolFailed, ToolReturned
from clew.rules.commands import StartTool, SubmitToolOutputs
from clew.rules.moves import AskModel, Await, RunTools, next_move
from clew.rules.parts import Confirmation, ToolOutput
from clew.rules.thread import thread_rules
from tests.rules.example import (
    ASKED,
    WAITING,
    R,
    T,
    answer,
    answered,
    call,
    called,
    output,
    returned,
    waits_for,
)
from tests.specify import given

ASKING = called("call_s", "server").model_copy(update={"confirm": True})
PENDING = (*ASKED, answered("tool_calls"), ASKING, waits_for("call_s"))
ALLOWED = ToolConfirmed(run_id=R, fence=1, step_id="step_1", tool_call_id="call_s", allowed=True, by="key_1")


def confirm(
    *confirmed: tuple[str, bool], outputs: tuple[ToolOutput, ...] = (), told: str = "not allowed"
) -> SubmitToolOutputs:
    return SubmitToolOutputs(
        thread_id=T,
        run_id=R,
        outputs=outputs,
        past_status=None,
        confirmations=tuple(
            Confirmation(tool_call_id=id, allowed=allowed, told=told, by="key_1") for id, allowed in confirmed
        ),
    )


def test_the_run_waits_for_somebody_to_allow_the_call() -> None:
    asking = replace(call("call_s", "server"), confirm=True)
    *_, recorded, waits = given(thread_rules, *ASKED).when(answer(asking, finish="tool_calls")).decide()
    assert recorded == ASKING
    assert waits == waits_for("call_s")
    run = thread_rules.fold(PENDING).run
    assert run is not None
    assert next_move(run) == Await()


def test_it_is_not_started_before() -> None:
    start = StartTool(thread_id=T, run_id=R, fence=1, tool_call_id="call_s", effect="pure", idempotency_key="k")
    given(thread_rules, *PENDING).when(start).then_nothing()


def test_what_is_allowed_is_made() -> None:
    given(thread_rules, *PENDING).when(confirm(("call_s", True))).then(ALLOWED)
    run = thread_rules.fold((*PENDING, ALLOWED)).run
    assert run is not None
    assert run.status == "queued"
    assert isinstance(next_move(run), RunTools)


def test_what_is_denied_is_not_made_and_the_model_is_told() -> None:
    confirmed, denied = (
        given(thread_rules, *PENDING).when(confirm(("call_s", False))).then_kinds(ToolConfirmed, ToolFailed)
    )
    assert isinstance(denied, ToolFailed)
    assert (denied.reason, denied.output) == ("denied", "not allowed")
    run = thread_rules.fold((*PENDING, confirmed, denied)).run
    assert run is not None
    assert run.status == "queued"
    assert next_move(run) == AskModel()


def test_the_client_may_answer_in_the_servers_stead() -> None:
    instead = confirm(outputs=(output("call_s"),))
    given(thread_rules, *PENDING).when(instead).then_kinds(ToolReturned)


def test_answers_and_confirmations_come_together_or_not_at_all() -> None:
    both = (*ASKED, answered("tool_calls"), ASKING, called("call_c"), waits_for("call_s", "call_c"))
    given(thread_rules, *both).when(confirm(("call_s", True))).then_refused(
        OutputsIncomplete, expected=("call_s", "call_c"), given=("call_s",)
    )
    together = confirm(("call_s", True), outputs=(output("call_c"),))
    given(thread_rules, *both).when(together).then_kinds(ToolReturned, ToolConfirmed)
    halfway = thread_rules.fold((*both, returned("call_c"))).run
    assert halfway is not None
    assert halfway.status == "requires_action"


def test_a_call_of_the_clients_is_not_the_servers_to_make() -> None:
    wrong = confirm(("call_a", True), ("call_b", True))
    given(thread_rules, *WAITING).when(wrong).then_refused(NothingToConfirm, run_id=R)


def test_beside_a_call_that_the_server_makes_it_is_asked_for_afterwards() -> None:
    asking = replace(call("call_s", "server"), confirm=True)
    mixed = answer(call("call_x", "server"), asking, finish="tool_calls")
    events = given(thread_rules, *ASKED).when(mixed).decide()
    assert not any(isinstance(event, RunActionRequired) for event in events)
