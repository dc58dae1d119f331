"""Summaries: asked for before an answer, recorded as what they are, and never in the way of the answer."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from clew.audit.prompts import exact_prompts
from clew.audit.telling import audit
from clew.engine.driving import drive
from clew.engine.hand import Hand
from clew.errors import ProviderFailed
from clew.events.content import plain_text
from clew.events.message import MessageAppended
from clew.events.model import ContextAssembled, ContextTruncated, ModelAnswered, ModelCalled, ModelFailed
from clew.events.run import Limits, RunCompleted, RunFailed, RunIncomplete
from clew.events.thread import ThreadCompacted
from clew.rules.commands import RemoveMessage, RequestCancel
from clew_projections import thread_view
from tests.engine.narrating import House, answer, broken, config, shown, told, words

SUMMARY = ["context.assembled", "model.called", "model.answered", "thread.compacted"]
CUT_ANSWER = ["context.assembled", "context.truncated", "model.called", "model.answered", "message.appended"]


def test_a_thread_that_has_outgrown_its_room_is_summarised_before_the_answer(store: str) -> None:
    async def work(here: House) -> None:
        run_id = await here.run(config())
        assert here.kinds(run_id) == ["run.queued", "run.started", *SUMMARY, *CUT_ANSWER, "run.completed"]
        asked, answered = here.of(run_id, ModelCalled)
        assert (asked.purpose, answered.purpose) == ("summary", "answer")
        assembled = here.of(run_id, ContextAssembled)[0]
        assert (assembled.summarises.form, assembled.summarises.limit) == ("summary/1", 120)
        [compacted] = here.of(run_id, ThreadCompacted)
        assert plain_text(compacted.summary).endswith("They spoke of the fox (1).")
        assert compacted.model_call_id == asked.model_call_id
        assert compacted.tokens_before > compacted.tokens.count
        [request] = here.model.sent
        assert shown(request)[0] == "Be brief."
        assert shown(request)[1] == plain_text(compacted.summary)
        assert shown(request)[-1] == words(7)
        assert len(shown(request)) == 2 + 8 - compacted.items
        assert here.of(run_id, RunCompleted)[0].usage.input == 100, "the summary is paid for, too"

    told(work, store)


def test_what_is_summarised_is_shown_to_the_model_as_a_text(store: str) -> None:
    async def work(here: House) -> None:
        here.model.calls = 1
        run_id = await here.run(config())
        assert here.kinds(run_id)[-1] == "run.action_required"
        [request] = here.model.told
        assert [message["role"] for message in request["messages"]] == ["system", "user"]
        assert "tools" not in request
        assert f"User: {words(0)}" in shown(request)[1]
        assert words(7) not in shown(request)[1]

    told(work, store)


def test_a_summary_stands_in_later_contexts_and_is_not_made_again_while_there_is_room() -> None:
    async def work(here: House) -> None:
        await here.run(config())
        again = await here.ask("Short.", config(n=200))
        assert "thread.compacted" not in here.kinds(again)
        assert "(1)" in shown(here.model.sent[-1])[1]
        [cut] = here.of(again, ContextTruncated)
        assert (cut.strategy, cut.limit_name, cut.instead_of) == ("summarise", "summary", None)
        assert {left.reason for left in cut.left_out} == {"summarised"}

    told(work)


def test_the_next_summary_is_made_of_the_one_before_and_of_what_came_since() -> None:
    async def work(here: House) -> None:
        await here.run(config())
        for number in range(8, 12):
            await here.say(words(number))
        run_id = await here.run(config())
        [first, second] = [e for e in here.events() if isinstance(e, ThreadCompacted)]
        assert second.run_id == run_id
        assert (second.first_item, second.items > first.items) == (first.first_item, True)
        conversation = shown(here.model.told[-1])[1]
        assert "They spoke of the fox (1)." in conversation
        assert words(0) not in conversation
        assert words(9) in conversation
        assert "(2)" in shown(here.model.sent[-1])[1]
        assert "(1)" not in shown(here.model.sent[-1])[1]

    told(work)


def test_the_thread_loses_nothing() -> None:
    async def work(here: House) -> None:
        await here.run(config())
        with here.reading() as reader:
            history = thread_view.segments(reader, here.thread_id)
            rows = list(thread_view.walk(reader, history, messages_only=True, newest_first=False))
            assert len(rows) == 9
        await here.ask("All of it, please.", config("none", None))
        assert words(0) in shown(here.model.sent[-1])

    told(work)


def test_every_prompt_of_a_run_with_a_summary_is_proven_and_told() -> None:
    async def work(here: House) -> None:
        run_id = await here.run(config())
        with here.reading() as reader:
            assert [prompt.why_not for prompt in exact_prompts(reader, run_id)] == [None, None]
            found = audit(reader, run_id)
        first, second = found.steps
        assert (first.purpose, second.purpose) == ("summary", "answer")
        assert first.proven
        assert second.proven
        assert first.compacted is not None
        assert first.compacted.text.endswith("(1).")
        assert first.summarises is not None
        assert found.totals.summaries == 1
        assert second.truncated is not None
        assert second.truncated.items_left_out == first.compacted.items
        assert found.items[second.shown[0]].kind == "summary"

    told(work)


def test_a_summary_that_fails_is_tried_again_as_any_call_is() -> None:
    async def work(here: House) -> None:
        here.model.summaries = [broken(retryable=True), broken(retryable=True)]
        run_id = await here.run(config())
        attempts = [(called.purpose, called.attempt) for called in here.of(run_id, ModelCalled)]
        assert attempts == [("summary", 1), ("summary", 2), ("summary", 3), ("answer", 1)]
        assert len(here.of(run_id, ThreadCompacted)) == 1

    told(work)


LONG = "a summary that is longer than what it tells of, " * 40


@pytest.mark.parametrize(
    ("comes", "code", "paid"),
    [
        (broken(retryable=False), "server_error", 50),
        (answer("They spoke of", finish="length"), "no_summary", 100),
        (answer("  "), "no_summary", 100),
        (answer(LONG), "no_summary", 100),
    ],
    ids=["refused", "cut short", "empty", "too long"],
)
def test_where_no_summary_comes_the_middle_is_dropped_and_the_log_says_so(comes: Any, code: str, paid: int) -> None:
    async def work(here: House) -> None:
        here.model.summaries = [comes]
        run_id = await here.run(config())
        [failed] = here.of(run_id, ModelFailed)
        assert (failed.code, failed.final) == (code, True)
        [cut] = here.of(run_id, ContextTruncated)
        assert (cut.strategy, cut.limit_name, cut.limit) == ("auto", "summarise", 120)
        assert (cut.instead_of.strategy, cut.instead_of.reason) == ("summarise", "failed")
        [ended] = here.of(run_id, RunCompleted)
        assert ended.usage.input == paid
        assert shown(here.model.sent[-1])[1] == words(0), "as with auto, what it began with is kept"
        assert "thread.compacted" in here.kinds(await here.run(config())), "the next call tries again"

    told(work)


def test_attempts_that_came_to_nothing_end_the_summary_and_not_the_run() -> None:
    async def work(here: House) -> None:
        here.model.summaries = [broken(retryable=True) for _ in range(3)]
        run_id = await here.run(config(), model_attempts_max=3)
        assert [failed.final for failed in here.of(run_id, ModelFailed)] == [False, False, True]
        assert here.of(run_id, ContextTruncated)[0].instead_of.reason == "failed"
        assert here.kinds(run_id)[-1] == "run.completed"

    told(work)


def test_a_process_that_dies_while_the_model_summarises_loses_the_summary_and_nothing_else(lasting_store: str) -> None:
    async def work(here: House) -> None:
        here.model.waits = True
        run_id = await here.queue(config())
        dies = asyncio.create_task(drive(Hand(here.driving("w1"), here.thread_id, run_id)))
        await asyncio.wait_for(here.model.asked.wait(), 10)
        dies.cancel()
        await asyncio.wait({dies})
        here.model.waits = False
        await drive(Hand(here.driving("w2"), here.thread_id, run_id))
        [lost] = here.of(run_id, ModelFailed)
        assert (lost.code, lost.final, lost.usage_unknown) == ("lost", False, True)
        calls = [(called.purpose, called.attempt) for called in here.of(run_id, ModelCalled)]
        assert calls == [("summary", 1), ("summary", 2), ("answer", 1)]
        assert len(here.of(run_id, ThreadCompacted)) == 1
        assert here.kinds(run_id)[-1] == "run.completed"

    told(work, lasting_store)


def test_a_run_that_is_cancelled_while_the_model_summarises_ends() -> None:
    async def work(here: House) -> None:
        here.model.waits = True
        run_id = await here.queue(config())
        hand = Hand(here.driving(), here.thread_id, run_id)
        driving = asyncio.create_task(drive(hand))
        await asyncio.wait_for(here.model.asked.wait(), 10)
        cancel = RequestCancel(thread_id=here.thread_id, run_id=run_id, past_status=None)
        await here.engine.desk.on_thread(here.thread_id, lambda: cancel)
        hand.interrupted.set()
        await driving
        assert here.kinds(run_id)[-3:] == ["run.cancel_requested", "model.failed", "run.cancelled"]

    told(work)


async def first_message(here: House) -> MessageAppended:
    return next(event for event in here.events() if isinstance(event, MessageAppended))


async def remove_first(here: House) -> None:
    message = await first_message(here)
    count = message.tokens.count if message.tokens is not None else 0
    command = RemoveMessage(thread_id=here.thread_id, message_id=message.message_id, role="user", tokens=count)
    await here.engine.desk.on_thread(here.thread_id, lambda: command)


def test_a_message_that_is_removed_lives_on_in_no_summary() -> None:
    async def work(here: House) -> None:
        await here.run(config())
        await remove_first(here)
        await here.ask("Well?", config("auto", None))
        assert not any("(1)" in said for said in shown(here.model.sent[-1]))
        run_id = await here.run(config())
        assert len(here.of(run_id, ThreadCompacted)) >= 1
        conversation = shown(here.model.told[1])[1]
        assert words(0) not in conversation
        assert "(1)" not in conversation
        assert words(1) in conversation

    told(work)


def test_a_message_that_is_removed_while_the_model_writes_of_it_is_not_told_of_either() -> None:
    async def work(here: House) -> None:
        here.model.waits = True
        run_id = await here.queue(config(n=100))
        driving = asyncio.create_task(drive(Hand(here.driving(), here.thread_id, run_id)))
        await asyncio.wait_for(here.model.asked.wait(), 10)
        await remove_first(here)
        here.model.waits = False
        here.model.go.set()
        await driving
        assert len(here.of(run_id, ThreadCompacted)) == 2, "the first one tells too much"
        assert "(2)" in shown(here.model.sent[-1])[1]
        assert words(0) not in shown(here.model.told[1])[1]

    told(work)


def test_another_model_may_summarise() -> None:
    async def work(here: House) -> None:
        run_id = await here.run(config(model="gpt-4o-mini", provider="other"))
        assert [(c.provider, c.model) for c in here.of(run_id, ModelCalled)] == [
            ("other", "gpt-4o-mini"),
            ("stub", "gpt-4o"),
        ]
        assert len(here.models["other"].told) == 1
        assert here.models["stub"].told == []
        with here.reading() as reader:
            assert all(prompt.proven for prompt in exact_prompts(reader, run_id))

    told(work, ":memory:", "stub", "other")


def test_a_model_that_this_server_does_not_know_summarises_nothing_and_the_log_says_so() -> None:
    async def work(here: House) -> None:
        run_id = await here.run(config(model="gpt-4o-mini", provider="nobody"))
        [cut] = here.of(run_id, ContextTruncated)
        assert (cut.strategy, cut.instead_of.reason) == ("auto", "no_provider")
        assert here.kinds(run_id)[-1] == "run.completed"

    told(work)


def test_a_thread_that_fits_into_no_one_call_is_summarised_in_several(lasting_store: str) -> None:
    async def work(here: House) -> None:
        for number in range(8, 40):
            await here.say(words(number))
        run_id = await here.run(config(n=None), context_tokens=450)
        compacted = here.of(run_id, ThreadCompacted)
        assert len(compacted) > 2
        assert [c.items for c in compacted] == sorted({c.items for c in compacted})
        assert all(c.summarises.limit_name == "context_tokens" for c in here.of(run_id, ContextAssembled)[:-1])
        assert all(c.tokens.total <= 450 for c in here.of(run_id, ContextAssembled))

    told(work, lasting_store)


def test_what_no_summary_can_shorten_is_cut_as_by_auto() -> None:
    async def work(here: House) -> None:
        await here.say(words(8, 40))
        await here.say("Well?")
        run_id = await here.run(config(n=None), context_tokens=300)
        cuts = here.of(run_id, ContextTruncated)
        assert cuts[-1].instead_of.reason == "no_room"
        assert here.kinds(run_id)[-1] == "run.completed"

    told(work)


@pytest.mark.parametrize("limits", [Limits(steps=1), Limits(completion_tokens=5_000), Limits(prompt_tokens=900)])
def test_a_run_with_limits_is_summarised_within_them(limits: Limits) -> None:
    async def work(here: House) -> None:
        run_id = await here.run(config(limits=limits))
        assert len(here.of(run_id, ThreadCompacted)) == 1
        asked, answered = here.of(run_id, ContextAssembled)
        if limits.completion_tokens is not None:
            assert asked.max_output_tokens <= limits.completion_tokens // 2
            assert answered.max_output_tokens == limits.completion_tokens - 10
        assert here.kinds(run_id)[-1] == "run.completed"

    told(work)


@pytest.mark.parametrize("limits", [Limits(completion_tokens=300), Limits(prompt_tokens=256)])
def test_a_run_that_is_near_its_limits_spends_nothing_on_summaries(limits: Limits) -> None:
    async def work(here: House) -> None:
        run_id = await here.run(config(limits=limits))
        assert here.model.told == []
        assert here.of(run_id, ContextTruncated)[0].instead_of.reason == "no_room"
        assert not here.of(run_id, (RunIncomplete, RunFailed))  # type: ignore[arg-type]

    told(work)


def test_a_summary_is_no_step_and_has_none_of_its_own() -> None:
    async def work(here: House) -> None:
        from clew_projections import run_view

        run_id = await here.run(config())
        with here.reading() as reader:
            steps = run_view.steps(reader, run_id, limit=10)
        assert [step.message_id is not None for step in steps] == [True]
        answered = here.of(run_id, ModelAnswered)
        assert steps[0].step_id == answered[-1].step_id

    told(work)


def test_a_failure_to_summarise_is_the_providers_word_in_the_log() -> None:
    async def work(here: House) -> None:
        here.model.summaries = [ProviderFailed("too much", code="context_length_exceeded", retryable=False)]
        run_id = await here.run(config())
        [failed] = here.of(run_id, ModelFailed)
        assert (failed.code, failed.message) == ("context_length_exceeded", "too much")

    told(work)
