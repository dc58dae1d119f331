"""A run is queued, taken, perhaps taken again, cancelled or late, and ends once."""

from __future__ import annotations

from dataclasses import replace

import pytest

from clew.errors import CallsUnanswered, NothingToRun, RunEnded, RunUnderWay, StaleFence, ThreadBusy
from clew.events import ThreadStreamEvent
from clew.events.run import RunCancelled, RunCancelRequested, RunChanged, RunExpired, RunFailed, RunIncomplete
from clew.rules.commands import (
    ChangeRun,
    EndIncomplete,
    ExpireRun,
    FailRun,
    FinishCancel,
    RequestCancel,
    StartRun,
    ThreadCommand,
)
from clew.rules.thread import thread_rules
from tests.rules.example import (
    ASKED,
    CANCELLING,
    CLAIM,
    CREATED,
    DOUBTING,
    EXPIRES,
    HELLO,
    IDLE,
    QUEUED,
    TOOL_STARTED,
    USED,
    WAITING,
    WORKING,
    R,
    T,
    answer,
    begin,
    closed_model_call,
    fail_model,
    finish_tool,
    message,
    new_message,
    queue_run,
    queued,
    replied,
    returned,
    said,
    started,
    tool_failed,
)
from tests.specify import given


def start(fence: int) -> StartRun:
    return StartRun(thread_id=T, run_id=R, fence=fence, claim=CLAIM)


START = start(0)
CANCEL = RequestCancel(thread_id=T, run_id=R, past_status=None)
FINISH_CANCEL = FinishCancel(thread_id=T, run_id=R)
LATE = ExpireRun(thread_id=T, run_id=R, now=EXPIRES)
FAIL = FailRun(thread_id=T, run_id=R, fence=1, code="server_error", message="broken")
STOP = EndIncomplete(thread_id=T, run_id=R, fence=1, reason="steps")
TOLD = {
    "run_cancelled": "The run was cancelled before this call was answered.",
    "run_expired": "The run expired before this call was answered.",
    "run_failed": "The run failed before this call was answered.",
    "run_incomplete": "The run ended before this call was answered.",
}


def closed_calls(reason: str) -> list[ThreadStreamEvent]:
    return [tool_failed(id, reason, TOLD[reason]) for id in ("call_a", "call_b")]


def test_a_run_is_queued_on_a_thread_with_a_message() -> None:
    given(thread_rules, *IDLE).when(queue_run()).then(queued())


def test_a_run_needs_a_users_message_or_instructions() -> None:
    given(thread_rules, CREATED).when(queue_run()).then_refused(NothingToRun, thread_id=T)
    given(thread_rules, CREATED, replied()).when(queue_run()).then_refused(NothingToRun, thread_id=T)
    given(thread_rules, CREATED).when(queue_run(instructions="Begin.")).then(queued(instructions="Begin."))


def test_a_run_may_bring_messages_with_it() -> None:
    given(thread_rules, CREATED).when(queue_run(extra=(new_message(),))).then(HELLO, queued())
    only_ours = queue_run(extra=(new_message(role="assistant"),))
    given(thread_rules, CREATED).when(only_ours).then_refused(NothingToRun, thread_id=T)


def test_a_thread_takes_one_run_at_a_time() -> None:
    other = queue_run("run_2", extra=(new_message(),))
    for history in (QUEUED, ASKED, (*WAITING, CANCELLING)):
        given(thread_rules, *history).when(other).then_refused(ThreadBusy, thread_id=T, run_id=R, wish="run")


def test_a_thread_whose_run_waits_for_its_client_says_for_which_calls() -> None:
    other = queue_run("run_2", extra=(new_message(),))
    given(thread_rules, *WAITING).when(other).then_refused(
        CallsUnanswered, thread_id=T, run_id=R, wish="run", tool_call_ids=("call_a", "call_b")
    )


def test_the_same_run_queued_twice_is_queued_once() -> None:
    given(thread_rules, *QUEUED).when(queue_run()).then_nothing()


def test_a_worker_that_takes_a_run_gets_a_fence_that_grows() -> None:
    given(thread_rules, *QUEUED).when(START).then(started(1))
    given(thread_rules, *WORKING).when(start(1)).then(started(2))
    given(thread_rules, *WORKING, started(2)).when(start(2)).then(started(3))


def test_a_run_that_is_over_or_waits_for_its_client_is_not_taken() -> None:
    given(thread_rules, *IDLE).when(START).then_nothing()
    given(thread_rules, *WAITING).when(START).then_nothing()
    given(thread_rules, *WORKING, CANCELLING).when(START).then_nothing()


@pytest.mark.parametrize(
    "command", [begin(), answer(message=said()), fail_model(final=True), FAIL, STOP, finish_tool("call_s")]
)
def test_a_worker_that_lost_the_run_is_refused(command: ThreadCommand) -> None:
    for history in (ASKED, TOOL_STARTED):
        given(thread_rules, *history, started(2)).when(command).then_refused(StaleFence, run_id=R, fence=1, newest=2)
    given(thread_rules, *IDLE).when(command).then_refused(StaleFence, run_id=R, fence=1, newest=-1)


def test_who_would_cancel_a_run_asks_once() -> None:
    asked = RunCancelRequested(run_id=R, by="key_1")
    cancel = RequestCancel(thread_id=T, run_id=R, past_status=None, by="key_1")
    given(thread_rules, *WORKING).when(cancel).then(asked)
    given(thread_rules, *WORKING, asked).when(cancel).then_refused(RunEnded, run_id=R, status="cancelling")


def test_a_run_that_has_ended_cannot_be_cancelled() -> None:
    over = (*QUEUED, RunFailed(run_id=R, code="x", message="y"))
    late = RequestCancel(thread_id=T, run_id=R, past_status="failed")
    given(thread_rules, *over).when(late).then_refused(RunEnded, run_id=R, status="failed")
    given(thread_rules, *over, queued("run_2")).when(late).then_refused(RunEnded, run_id=R, status="failed")


def test_a_cancelled_run_ends_when_its_worker_lets_go() -> None:
    given(thread_rules, *QUEUED, CANCELLING).when(FINISH_CANCEL).then(RunCancelled(run_id=R))
    given(thread_rules, *WORKING).when(FINISH_CANCEL).then_nothing()
    given(thread_rules, *IDLE).when(FINISH_CANCEL).then_nothing()


def test_a_run_cancelled_while_the_model_answers_closes_the_call() -> None:
    closed = closed_model_call("run_cancelled")
    given(thread_rules, *ASKED, CANCELLING).when(FINISH_CANCEL).then(closed, RunCancelled(run_id=R))


def test_a_run_cancelled_while_it_waits_for_its_client_closes_the_calls() -> None:
    over = RunCancelled(run_id=R, usage=USED)
    given(thread_rules, *WAITING, CANCELLING).when(FINISH_CANCEL).then(*closed_calls("run_cancelled"), over)


def test_an_answered_call_is_not_closed_again() -> None:
    half = (*TOOL_STARTED, returned("call_s"), CANCELLING)
    given(thread_rules, *half).when(FINISH_CANCEL).then(RunCancelled(run_id=R, usage=USED))


def test_a_run_expires_at_its_time_and_not_before() -> None:
    early = ExpireRun(thread_id=T, run_id=R, now=EXPIRES - 1)
    given(thread_rules, *QUEUED).when(early).then_nothing()
    given(thread_rules, *QUEUED).when(LATE).then(RunExpired(run_id=R))
    given(thread_rules, *IDLE).when(LATE).then_nothing()
    given(thread_rules, *IDLE, queued(expires_at=None)).when(LATE).then_nothing()


def test_a_run_that_expires_closes_what_is_open() -> None:
    given(thread_rules, *ASKED).when(LATE).then(closed_model_call("run_expired"), RunExpired(run_id=R))
    over = RunExpired(run_id=R, usage=USED)
    given(thread_rules, *WAITING).when(LATE).then(*closed_calls("run_expired"), over)


def test_a_run_with_a_call_in_doubt_does_not_expire() -> None:
    given(thread_rules, *DOUBTING).when(LATE).then_nothing()


def test_a_run_that_fails_closes_what_is_open() -> None:
    failed = RunFailed(run_id=R, code="server_error", message="broken")
    given(thread_rules, *WORKING).when(FAIL).then(failed)
    given(thread_rules, *ASKED).when(FAIL).then(closed_model_call("run_failed"), failed)
    dear = RunFailed(run_id=R, usage=USED, code="server_error", message="broken")
    given(thread_rules, *WAITING).when(FAIL).then(*closed_calls("run_failed"), dear)
    in_doubt = tool_failed("call_s", "run_failed", TOLD["run_failed"])
    given(thread_rules, *DOUBTING).when(FAIL).then(in_doubt, dear)


def test_a_run_that_is_stopped_closes_what_is_open() -> None:
    stopped = RunIncomplete(run_id=R, reason="steps")
    given(thread_rules, *ASKED).when(STOP).then(closed_model_call("run_incomplete"), stopped)
    dear = RunIncomplete(run_id=R, usage=USED, reason="steps")
    given(thread_rules, *WAITING).when(STOP).then(*closed_calls("run_incomplete"), dear)


def test_a_run_is_not_changed_while_it_is_under_way() -> None:
    change = ChangeRun(thread_id=T, run_id=R, metadata={"a": "b"})
    changed = RunChanged(run_id=R, metadata={"a": "b"})
    for history in (
        QUEUED,
        WAITING,
        (*QUEUED, RunCancelled(run_id=R)),
        (*QUEUED, RunCancelled(run_id=R), queued("run_2")),
    ):
        given(thread_rules, *history).when(change).then(changed)
    given(thread_rules, *WORKING).when(change).then_refused(RunUnderWay, run_id=R, status="in_progress")
    given(thread_rules, *WORKING, CANCELLING).when(change).then_refused(RunUnderWay, run_id=R, status="cancelling")


def test_a_client_that_goes_on_without_answering_ends_the_run_that_waits() -> None:
    told = "The run was cancelled before this call was answered."
    command = replace(queue_run("run_2", extra=(new_message("Never mind", id="msg_9"),)), instead_of=R)
    given(thread_rules, *WAITING).when(command).then(
        tool_failed("call_a", "run_cancelled", told),
        tool_failed("call_b", "run_cancelled", told),
        RunCancelled(run_id=R, usage=USED),
        message("Never mind", id="msg_9"),
        queued("run_2"),
    )


def test_only_the_run_that_was_meant_and_waits_makes_room() -> None:
    given(thread_rules, *WORKING).when(replace(queue_run("run_2"), instead_of=R)).then_refused(ThreadBusy, run_id=R)
    given(thread_rules, *WAITING).when(replace(queue_run("run_2"), instead_of="run_0")).then_refused(CallsUnanswered)
