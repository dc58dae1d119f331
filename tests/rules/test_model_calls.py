"""The model is asked, fails and is asked again, answers, and what follows from an answer."""

from __future__ import annotations

from clew.events.model import ContextAssembled, ContextTruncated, ModelAnswered, ModelCalled, ReasoningRecorded
from clew.events.run import RunActionRequired, RunCompleted, RunFailed, RunIncomplete
from clew.events.tool import ToolCalled, ToolFailed
from clew.events.usage import Usage
from clew.rules.contexts import Cut
from clew.rules.model_commands import RetryModelCall
from clew.rules.thread import thread_rules
from tests.rules.example import (
    ASKED,
    CANCELLING,
    CLAIM,
    CLIENT_CALLS,
    DOUBTING,
    MC,
    MIXED,
    QUEUED,
    SERVER_CALL,
    USED,
    WAITING,
    WORKING,
    R,
    T,
    answer,
    answered,
    assembled,
    begin,
    call,
    called,
    fail_model,
    model_called,
    model_failed,
    replied,
    said,
    started,
    tokens,
    waits_for,
)
from tests.specify import given

RETRY = RetryModelCall(thread_id=T, run_id=R, fence=1, model_call_id=MC, provider="scripted", model="m")
CUT = Cut(
    strategy="auto", left_out=(), items=7, tokens_before=90, tokens_after=40, limit=50, limit_name="max_prompt_tokens"
)


def test_the_context_is_in_the_log_before_the_call() -> None:
    given(thread_rules, *WORKING).when(begin()).then(assembled(), model_called())


def test_taking_a_run_and_asking_the_model_may_be_one_append() -> None:
    given(thread_rules, *QUEUED).when(begin(0, claim=CLAIM)).then(started(1), assembled(), model_called())


def test_only_a_queued_run_is_taken_so_and_only_a_taken_run_goes_on() -> None:
    given(thread_rules, *QUEUED).when(begin(0)).then_nothing()
    given(thread_rules, *WORKING).when(begin(1, claim=CLAIM)).then_nothing()


def test_what_a_context_left_out_is_said_beside_it() -> None:
    events = (
        given(thread_rules, *WORKING).when(begin(cut=CUT)).then_kinds(ContextAssembled, ContextTruncated, ModelCalled)
    )
    truncated = events[1]
    assert isinstance(truncated, ContextTruncated)
    facts = (truncated.items_left_out, truncated.tokens_before, truncated.tokens_after, truncated.limit_name)
    assert facts == (7, 90, 40, "max_prompt_tokens")


def test_the_model_is_not_asked_while_it_answers() -> None:
    given(thread_rules, *ASKED).when(begin(model_call_id="mc_2")).then_nothing()


def test_the_model_is_not_asked_while_a_call_of_its_last_answer_is_open() -> None:
    for history in (CLIENT_CALLS, WAITING, SERVER_CALL, DOUBTING, MIXED):
        given(thread_rules, *history).when(begin(model_call_id="mc_2")).then_nothing()


def test_a_cancelled_run_asks_nothing_more() -> None:
    given(thread_rules, *WORKING, CANCELLING).when(begin()).then_nothing()
    given(thread_rules, *ASKED, model_failed(), CANCELLING).when(RETRY).then_nothing()


def test_a_failed_call_may_be_made_again_and_is_counted() -> None:
    given(thread_rules, *ASKED).when(fail_model(final=False)).then(model_failed())
    given(thread_rules, *ASKED, model_failed()).when(RETRY).then(model_called(attempt=2))


def test_a_call_is_made_again_only_after_it_failed() -> None:
    given(thread_rules, *ASKED).when(RETRY).then_nothing()
    given(thread_rules, *WORKING).when(RETRY).then_nothing()


def test_attempts_count_on_after_a_lost_answer() -> None:
    lost = (*ASKED, started(2), model_failed(code="lost", fence=2))
    given(thread_rules, *lost).when(begin(2, "mc_2")).then(assembled(2, "mc_2"), model_called(2, "mc_2", attempt=2))


def test_a_final_failure_ends_the_run() -> None:
    spent = Usage(input=3)
    failed, over = given(thread_rules, *ASKED).when(fail_model(final=True, usage=spent)).decide()
    assert failed == model_failed(final=True).model_copy(update={"usage": spent})
    assert over == RunFailed(run_id=R, code="timeout", message="no answer", usage=spent)


def test_a_failure_is_recorded_once() -> None:
    given(thread_rules, *ASKED, model_failed()).when(fail_model(final=True)).then_nothing()
    given(thread_rules, *WORKING).when(fail_model(final=True)).then_nothing()


def test_a_final_failure_of_a_cancelled_run_leaves_the_end_to_the_cancelling() -> None:
    given(thread_rules, *ASKED, CANCELLING).when(fail_model(final=True)).then(model_failed(final=True))


def test_an_answer_without_calls_completes_the_run() -> None:
    given(thread_rules, *ASKED).when(answer(message=said())).then(
        answered(), replied(), RunCompleted(run_id=R, usage=USED)
    )


def test_an_answer_may_come_without_usage() -> None:
    given(thread_rules, *ASKED).when(answer(message=said(), usage=None)).then(
        answered(usage=None), replied(), RunCompleted(run_id=R)
    )


def test_usage_adds_up_over_the_calls_of_a_run() -> None:
    first = model_failed().model_copy(update={"usage": Usage(input=7, cached=2)})
    again = (*ASKED, first, model_called(attempt=2))
    events = given(thread_rules, *again).when(answer(message=said())).decide()
    assert events[-1] == RunCompleted(run_id=R, usage=Usage(input=17, output=5, cached=2))


def test_reasoning_stands_before_what_it_led_to() -> None:
    command = answer(call("call_a"), message=said(), finish="tool_calls", reasoning=('{"signature":"x"}',))
    events = (
        given(thread_rules, *ASKED)
        .when(command)
        .then_kinds(ModelAnswered, ReasoningRecorded, type(replied()), ToolCalled, RunActionRequired)
    )
    assert isinstance(events[1], ReasoningRecorded)
    assert events[1].blocks == ('{"signature":"x"}',)


def test_an_answer_is_recorded_once() -> None:
    over = (*ASKED, answered(), replied(), RunCompleted(run_id=R, usage=USED))
    calls = answer(call("call_s", "server"), finish="tool_calls")
    given(thread_rules, *SERVER_CALL).when(calls).then_nothing()
    given(thread_rules, *ASKED).when(answer(message=said(), model_call_id="mc_other")).then_nothing()
    assert thread_rules.fold(over).run is None


def test_an_answer_to_a_call_that_was_given_up_counts_for_nothing() -> None:
    given(thread_rules, *ASKED, model_failed()).when(answer(message=said())).then_nothing()


def test_calls_of_the_client_make_the_run_wait() -> None:
    command = answer(call("call_a"), call("call_b"), finish="tool_calls")
    given(thread_rules, *ASKED).when(command).then(*WAITING[len(ASKED) :])


def test_calls_of_the_server_do_not_make_the_run_wait() -> None:
    command = answer(call("call_s", "server"), finish="tool_calls")
    given(thread_rules, *ASKED).when(command).then(*SERVER_CALL[len(ASKED) :])


def test_where_both_have_calls_the_servers_come_first() -> None:
    command = answer(call("call_s", "server"), call("call_c"), finish="tool_calls")
    given(thread_rules, *ASKED).when(command).then(*MIXED[len(ASKED) :])


def test_a_message_and_calls_in_one_answer_are_both_kept() -> None:
    command = answer(call("call_a"), message=said(), finish="tool_calls")
    given(thread_rules, *ASKED).when(command).then(
        answered("tool_calls"), replied(), called("call_a"), waits_for("call_a")
    )


def test_an_answer_cut_short_by_length_leaves_the_run_incomplete() -> None:
    given(thread_rules, *ASKED).when(answer(message=said(), finish="length")).then(
        answered("length"),
        replied(incomplete="max_tokens"),
        RunIncomplete(run_id=R, usage=USED, reason="max_completion_tokens"),
    )


def test_calls_of_an_answer_cut_short_are_not_made() -> None:
    command = answer(call("call_a"), call("call_s", "server"), finish="length")
    events = (
        given(thread_rules, *ASKED)
        .when(command)
        .then_kinds(ModelAnswered, ToolCalled, ToolCalled, ToolFailed, ToolFailed, RunIncomplete)
    )
    assert [event.reason for event in events if isinstance(event, ToolFailed)] == ["run_incomplete"] * 2


def test_a_content_filter_fails_the_run_and_keeps_what_was_said() -> None:
    over = RunFailed(
        run_id=R, usage=USED, code="server_error", message="The provider's content filter cut the answer short."
    )
    given(thread_rules, *ASKED).when(answer(message=said(), finish="content_filter")).then(
        answered("content_filter"), replied(incomplete="content_filter"), over
    )


def test_an_answer_that_comes_after_a_cancel_is_kept_and_leads_to_nothing() -> None:
    given(thread_rules, *ASKED, CANCELLING).when(answer(message=said())).then(answered(), replied())
    command = answer(call("call_a"), finish="tool_calls")
    given(thread_rules, *ASKED, CANCELLING).when(command).then(answered("tool_calls"), called("call_a"))


def test_an_answer_is_an_item_and_its_tokens_count() -> None:
    thread = thread_rules.fold([*ASKED, answered(), replied()])
    assert (thread.items, thread.tokens) == (2, 3 + tokens(2).count)
