"""An audit tells all of a run: who held it, what went in, what was left out, what came out, what was survived."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from clew.audit.records import Audit
from clew.cli.audit_text import print_audit
from tests.audit.histories import PRICE, audit_of, cancelled, everything, hostile


@pytest.fixture(scope="module")
def told() -> Audit:
    return audit_of(everything())


def test_each_step_tells_what_it_was_shown(told: Audit) -> None:
    assert [step.model_call_id for step in told.steps] == ["mc_1", "mc_2", "mc_3", "mc_4"]
    first = told.items[told.steps[0].shown[0]]
    assert (first.kind, first.role, first.text, first.tokens) == ("message", "user", "words 2", 7)
    third = [told.items[place] for place in told.steps[2].shown]
    assert [item.kind for item in third] == ["message", "reasoning", "message", "call", "call", "result", "result"]
    assert [item.text for item in third][3:] == ["words 5", '{"x": 1}', "words 6", "words 7"]


def test_each_item_is_told_once_however_often_it_is_shown(told: Audit) -> None:
    assert len({(item.stream, item.number, item.position) for item in told.items}) == len(told.items)
    assert told.steps[0].shown == told.steps[1].shown
    assert set(told.steps[1].shown) < set(told.steps[2].shown) < set(told.steps[3].shown)


def test_what_was_left_out_is_told_with_its_reason(told: Audit) -> None:
    cut = told.steps[2].truncated
    assert cut is not None
    assert (cut.items_left_out, cut.limit_name, cut.left_out[0].items.first) == (2, "max_prompt_tokens", 3)
    assert told.totals.items_left_out == 2


def test_what_the_provider_had_no_place_for_is_told_with_its_reason(told: Audit) -> None:
    assert list(map(str, told.steps[2].manifest.not_rendered)) == [
        "reasoning (2 in 14 to 30 of thread_1): words 13",
        "image (2 of thread_1): words 14",
        "seed: words 15",
    ]
    assert told.steps[0].manifest.not_rendered == ()


def test_each_attempt_is_told_with_its_error(told: Audit) -> None:
    attempts = [(one.attempt, one.outcome, one.code) for one in told.steps[0].attempts]
    assert attempts == [(1, "failed", "rate_limit"), (2, "failed", "lost")]
    assert told.steps[0].attempts[0].retry_after_seconds == 1.5
    assert told.steps[1].attempts[0].outcome == "answered"
    assert (told.totals.attempts, told.totals.retries, told.totals.lost) == (5, 1, 1)


def test_what_each_attempt_cost_is_told_and_what_nobody_knows_too(told: Audit) -> None:
    assert [step.costs.amounts for step in told.steps] == [{}, {}, {"USD": "0.00045"}, {"USD": "0.00045"}]
    assert told.steps[2].attempts[0].price == PRICE
    assert [one.usage_unknown for one in told.steps[0].attempts] == [False, True]
    assert (told.totals.costs.amounts, told.totals.costs.unpriced, told.totals.costs.unknown) == (
        {"USD": "0.0009"},
        1,
        1,
    )


def test_each_tool_call_is_told_from_its_start_to_its_end(told: Audit) -> None:
    a, b, c, d = (tool for step in told.steps for tool in step.tools)
    assert (a.outcome, a.output, a.duration_ms, a.effect, a.bytes_whole) == (
        "returned",
        "words 6",
        8.0,
        "idempotent",
        99,
    )
    assert [(start.attempt, start.worker) for start in a.starts] == [(1, "two"), (2, "three")]
    assert (a.idempotency_key, a.answered_by) == ("key a", "three")
    assert (b.executor, b.outcome, b.output) == ("client", "returned", "words 7")
    assert (c.outcome, c.reason, c.output) == ("failed", "error", "words 8")
    assert (d.outcome, d.output, d.settled_by) == ("settled", "words 10", "words 11")
    [doubt] = d.doubts
    assert (doubt.reason, doubt.outcome, doubt.by) == ("words 9", "happened", "words 11")


def test_who_held_the_run_is_told_and_which_of_them_were_lost(told: Audit) -> None:
    held = [(one.worker, one.fence, one.how) for one in told.workers]
    assert held == [
        ("one", 1, "lost"),
        ("two", 2, "lost"),
        ("three", 3, "waited"),
        ("three", 4, "waited"),
        ("three", 5, "completed"),
    ]
    assert (told.totals.crashes_survived, told.totals.workers) == (2, 3)
    assert [step.worker for step in told.steps] == ["one", "two", "three", "three"]
    crashes = [note.what for note in told.notes if note.kind == "crash"]
    assert len(crashes) == 4
    assert "after the worker before it was lost" in crashes[0]
    assert "an answer of the model was lost" in crashes[1]
    assert "do_a was started again" in crashes[3]


def test_who_cancelled_is_told() -> None:
    told = audit_of(cancelled("somebody"))
    assert (told.status, told.cancelled_by) == ("cancelled", "somebody")
    assert told.workers[0].how == "cancelled"
    assert audit_of(cancelled(None)).cancelled_by == "one"


def test_a_run_that_is_not_over_is_told_as_far_as_it_is() -> None:
    events = everything()
    for upto in range(3, len(events) + 1):
        told = audit_of(events[:upto])
        assert told.run_id == "run_1"
        assert (told.ended_at is None) == (upto < len(events))


def test_it_is_printed_with_everything_in_it_and_nothing_taken_for_markup() -> None:
    console = Console(width=240, record=True, file=io.StringIO())
    print_audit(console, audit_of(everything(hostile)))
    printed = console.export_text()
    for words in (
        "attempt 2 failed: lost",
        "in doubt",
        "2 crashes survived",
        "started 2 times",
        "left out",
        "not sent",
        "fence 3",
    ):
        assert words in printed
    for words in ("cost 0.0009 USD, 1 unpriced, 1 of unknown cost", "stop), cost 0.00045 USD"):
        assert words in printed
    assert "[bold red]markup[/]" in printed
    assert not any(mark in printed for mark in "\x1b\x07\x7f\u202e")
    assert "\\u001b[2J" in printed
