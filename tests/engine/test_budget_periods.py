"""What is added up: an hour, a day, a month in UTC, one run, or everything; and what calls under way have reserved."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from clew.engine.budgets import Look, Measure, expected
from clew.events.base import Event
from clew.events.model import ContextAssembled, ContextTokens, Manifest, ModelAnswered, ModelCalled
from clew.events.run import RunCompleted, RunConfig, RunQueued, RunStarted
from clew.events.thread import ThreadCreated
from clew.events.usage import Usage
from clew.prices import Prices
from clew.rules.standing import Standing
from clew_projections.budgets import BudgetView
from tests.log.clocks import clock
from tests.projections.living import House


def moment(written: str) -> int:
    return round(datetime.fromisoformat(written).replace(tzinfo=UTC).timestamp()) * 1_000_000


def a_run(thread: str, tokens: int | None, *, tenant: str = "acme", max_output: int | None = None) -> list[Event]:
    """A thread with one run that used so many tokens; None: it is still asking."""
    run: dict[str, Any] = {"run_id": f"run_of_{thread}"}
    call: dict[str, Any] = {**run, "fence": 1, "model_call_id": f"mc_of_{thread}"}
    counted = ContextTokens(instructions=0, tools=0, items=20, exact=True)
    began: list[Event] = [
        ThreadCreated(tenant=tenant, dialect="test"),
        RunQueued(
            **run,
            dialect="test",
            config=RunConfig(assistant_id="asst_1", provider="p", model="gpt-4o", asked_model="m"),
        ),
        RunStarted(**run, worker="w", attempt=1, fence=1, lease_seconds=30.0),
        ContextAssembled(
            **call,
            manifest=Manifest(shown=(), items=3),
            tokens=counted,
            renderer="r/1",
            digest="d",
            max_output_tokens=max_output,
        ),
        ModelCalled(**call, provider="p", model="gpt-4o", attempt=1),
    ]
    if tokens is None:
        return began
    answered = ModelAnswered(
        **call,
        attempt=1,
        step_id="step",
        model="gpt-4o",
        finish_reason="stop",
        usage=Usage(input=tokens),
        duration_ms=1.0,
    )
    return [*began, answered, RunCompleted(**run)]


def view(**changes: Any) -> BudgetView:
    first = BudgetView(
        budget_id="b", version=1, set_at=0, scope="tenant", period="total", unit="tokens", limit="1000", hard=True
    )
    return first.model_copy(update=changes)


def of(happened: list[tuple[str, list[Event]]], look: Callable[[House], Any]) -> Any:
    """What is found after threads were made, each at a time."""

    async def main() -> Any:
        house = await House().open()
        try:
            for number, (at, events) in enumerate(happened):
                with clock(lambda at=at: moment(at)):  # type: ignore[misc]
                    await house.log.append(f"thread_{number}", events, after=0)
            return look(house)
        finally:
            await house.close()

    return asyncio.run(main())


def stands(house: House, budget: BudgetView, subject: str, now: str, **more: Any) -> Standing:
    with house.log.reading() as reader:
        return Look(reader, Measure("tokens", Prices(), moment(now)), **more).at(budget, subject)


YEAR = [
    ("2026-10-31 23:59:59", a_run("a", 1)),
    ("2026-11-01 00:00:00", a_run("b", 2)),
    ("2026-11-25 09:59:59", a_run("c", 4)),
    ("2026-11-25 10:00:00", a_run("d", 8)),
    ("2026-11-25 10:59:59", a_run("e", 16)),
]


@pytest.mark.parametrize(
    ("period", "spent", "since"),
    [
        ("hour", 24, "2026-11-25 10:00:00"),
        ("day", 28, "2026-11-25 00:00:00"),
        ("month", 30, "2026-11-01 00:00:00"),
        ("total", 31, None),
    ],
)
def test_a_period_begins_with_its_first_moment_and_ends_before_the_next_one(
    period: str, spent: int, since: str | None
) -> None:
    found = of(YEAR, lambda house: stands(house, view(period=period), "acme", "2026-11-25 10:59:59"))
    assert (found.spent, found.since) == (spent, None if since is None else moment(since))


def test_in_the_next_period_nothing_is_spent() -> None:
    def look(house: House) -> list[int]:
        nexts = (("hour", "2026-11-25 11:00:00"), ("day", "2026-11-26 00:00:00"), ("month", "2026-12-01 00:00:00"))
        return [int(stands(house, view(period=period), "acme", now).spent) for period, now in nexts]

    assert of(YEAR, look) == [0, 0, 0]


def test_a_run_is_a_period_of_its_own() -> None:
    found = of(YEAR, lambda house: stands(house, view(period="run"), "acme", "2026-12-01 00:00:00", run_id="run_of_d"))
    assert (found.spent, found.reserved, found.since) == (8, 0, None)


def test_as_of_a_position_only_what_was_spent_until_then_counts() -> None:
    def look(house: House) -> list[int]:
        ends = [one.position for one in house.events() if isinstance(one.event, RunCompleted)]
        now = "2026-11-25 10:59:59"
        return [int(stands(house, view(), "acme", now, as_of=position).spent) for position in (0, *ends)]

    assert of(YEAR, look) == [0, 1, 3, 7, 15, 31]


def test_whoever_else_asks_has_reserved_his_prompt_and_the_longest_answer_he_may_get() -> None:
    happened = [
        ("2026-11-25 10:00:00", a_run("a", None, max_output=100)),
        ("2026-11-25 10:00:01", a_run("b", None)),
        ("2026-11-25 10:00:02", a_run("c", None, tenant="another", max_output=100)),
    ]
    prompt = 20 + 4 * 8
    longest = 128_000

    def look(house: House) -> list[int]:
        now = "2026-11-25 10:00:03"
        return [
            int(stands(house, view(), "acme", now).reserved),
            int(stands(house, view(), "acme", now, run_id="run_of_a").reserved),
            int(stands(house, view(), "acme", now, run_id="run_of_b").reserved),
            int(stands(house, view(scope="assistant"), "asst_1", now).reserved),
            int(stands(house, view(hard=False), "acme", now).reserved),
        ]

    both = 2 * prompt + 100 + longest
    assert of(happened, look) == [both, prompt + longest, prompt + 100, both + prompt + 100, 0]


def test_a_prompt_is_expected_to_be_longer_than_its_words_and_more_so_where_its_encoding_is_not_known() -> None:
    assert expected("openai", "gpt-4o", 100, 4, 7).input == 100 + 5 * 8
    assert expected("anthropic", "claude-opus-4-5", 100, 4, 7).input == 125 + 5 * 8
    assert expected("openai", "gpt-4o", 100, 4, 7).output == 7
    assert expected("scripted", "nobody-knows", 100, 4, None).output == 131_072
