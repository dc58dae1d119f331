"""Budgets at work: before each model call they are asked, and what they say is in the log."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import clew
from clew.errors import ProviderFailed
from clew.events.run import BudgetReached, Tool, Truncation
from clew.ids import DEFAULT_TENANT
from clew_projections import billing_ledger
from clew_projections import budgets as catalogue
from tests.engine.spending import ASKED, COSTS, Shop, at, kinds

WEATHER = Tool(type="function", name="get_weather", parameters={"type": "object", "properties": {}})
CUT = ProviderFailed("the line was cut", code="broken_stream", retryable=False)
PRICES = """
[[price]]
provider = "scripted"
model = "echo"
input = 1000
output = 2000
"""
# By that table, what a hello costs: 13 tokens at a thousandth, 8 at two thousandths. And what it asks for: 23.
COSTS_USD, ASKED_USD = "0.029", "0.023"


@clew.tool(effect="pure")
def get_weather() -> str:
    return "sunny"


@pytest.fixture
def prices(tmp_path: Path) -> Path:
    path = tmp_path / "prices.toml"
    path.write_text(PRICES)
    return path


def test_a_run_that_meets_a_hard_budget_fails_and_says_which_with_its_limit_and_what_is_spent(store: str) -> None:
    async def work(shop: Shop) -> None:
        await shop.budget("daily", COSTS + ASKED)
        assert [(await shop.run()).status for _ in range(2)] == ["completed", "completed"]
        run = await shop.run()
        assert (run.status, run.error_code) == ("failed", "budget_exceeded")
        assert run.error_message is not None
        assert run.error_message.startswith(
            "the budget daily of tenant default is 44 tokens a day; 42 tokens are spent"
        )
        assert run.error_message.endswith("and the next model call takes about 23 tokens before it is answered")
        assert len(shop.model.asked) == 2, "nothing was sent"
        [reached] = shop.events("budget.reached")
        assert reached.event.model_dump(exclude={"run_id", "since"}, exclude_defaults=True) == {
            "budget": "daily",
            "unit": "tokens",
            "limit": "44",
            "spent": "42",
            "asked": "23",
            "scope": "tenant",
            "subject": DEFAULT_TENANT,
            "period": "day",
            "version": 1,
            "hard": True,
        }
        assert await shop.replayed() == []

    at(store, work)


@pytest.mark.parametrize(
    ("scope", "subject", "period", "statuses"),
    [
        ("tenant", "default", "total", ["completed", "failed", "failed"]),
        ("tenant", None, "month", ["completed", "failed", "failed"]),
        ("tenant", "another", "total", ["completed", "completed", "completed"]),
        ("assistant", "asst_a", "hour", ["completed", "completed", "failed"]),
        ("assistant", None, "day", ["completed", "completed", "failed"]),
        ("thread", None, "total", ["completed", "failed", "completed"]),
        ("run", None, "total", ["completed", "completed", "completed"]),
        ("tenant", "default", "run", ["completed", "completed", "completed"]),
    ],
)
def test_a_budget_is_of_whom_it_is_set_for(
    store: str, scope: str, subject: str | None, period: str, statuses: list[str]
) -> None:
    """Three runs, each of which fits alone and not after another: the second is on the thread of the first, the third
    of the assistant of the first."""
    long = "word " * 40

    async def work(shop: Shop) -> list[str]:
        await shop.budget("of", 141, scope=scope, subject=subject, period=period)
        first = await shop.begin(assistant="asst_a", said=long)
        ended = [await shop.end(first)]
        ended.append(await shop.run(assistant="asst_b", said="And?", thread=first.stream))
        ended.append(await shop.run(assistant="asst_a", said=long))
        return [run.status for run in ended]

    assert at(store, work) == statuses


def test_what_a_run_may_spend_is_counted_over_all_its_calls() -> None:
    async def work(shop: Shop) -> None:
        await shop.budget("each-run", 120, scope="run", subject=None, period="run")
        run = await shop.run(said="get_weather please", tools=(WEATHER,))
        assert run.status == "completed"
        spent = run.usage.total
        await shop.budget("each-run", spent - 20, scope="run", subject=None, period="run")
        run = await shop.run(said="get_weather please", tools=(WEATHER,))
        assert (run.status, run.error_code) == ("failed", "budget_exceeded")
        assert 0 < run.usage.total < spent, "what it used until then is told"
        assert await shop.replayed() == []

    at(":memory:", work, tools=[get_weather])


def test_money_is_counted_by_the_prices_that_calls_were_billed_with(store: str, prices: Path) -> None:
    async def work(shop: Shop) -> None:
        await shop.budget("daily", "0.052", unit="USD")
        assert [(await shop.run()).status for _ in range(3)] == ["completed", "completed", "failed"]
        [reached] = shop.events("budget.reached")
        assert (reached.event.spent, reached.event.asked) == ("0.058", ASKED_USD)
        assert await shop.replayed() == []

    at(store, work, prices=prices)


def test_a_hard_budget_of_money_admits_nothing_that_has_no_price(store: str) -> None:
    async def work(shop: Shop) -> None:
        await shop.budget("daily", 5, unit="USD")
        run = await shop.run()
        assert run.error_message == (
            "the budget daily of tenant default is 5 USD a day, and what is spent cannot be told: no price is known for"
            " scripted/echo; name one in the file of your own prices (CLEW_PRICES)"
        )
        assert shop.model.asked == []
        assert await shop.replayed() == []

    at(store, work)


def test_one_that_only_warns_says_once_that_it_cannot_see() -> None:
    async def work(shop: Shop) -> None:
        await shop.budget("watch", 5, unit="USD", hard=False)
        assert [(await shop.run()).status for _ in range(3)] == ["completed"] * 3
        [warning] = shop.events("budget.reached")
        assert (warning.event.hard, warning.event.spent) == (False, "0")
        assert "no price is known" in warning.event.blind

    at(":memory:", work)


def test_what_was_spent_without_a_price_is_priced_when_there_is_one(tmp_path: Path, prices: Path) -> None:
    store = str(tmp_path / "log.db")

    async def unpriced(shop: Shop) -> None:
        assert (await shop.run()).status == "completed"

    async def priced(shop: Shop) -> None:
        await shop.budget("daily", COSTS_USD, unit="USD")
        run = await shop.run()
        assert run.status == "failed"
        [reached] = shop.events("budget.reached")
        assert (reached.event.spent, reached.event.blind) == (COSTS_USD, None)

    at(store, unpriced)
    at(store, priced, prices=prices)


def test_a_lost_call_counts_with_its_estimate() -> None:
    async def work(shop: Shop) -> None:
        shop.model.faults.append(CUT)
        assert (await shop.run()).status == "failed"
        await shop.budget("daily", ASKED)
        run = await shop.run()
        assert run.error_code == "budget_exceeded"
        [reached] = shop.events("budget.reached")
        assert reached.event.spent == "5", "the five tokens that were counted of the prompt"

    at(":memory:", work)


def test_each_attempt_is_a_call_that_budgets_are_asked_for() -> None:
    async def work(shop: Shop) -> None:
        await shop.budget("daily", ASKED)
        shop.model.faults.append(ProviderFailed("cut", code="broken_stream", retryable=True))
        run = await shop.run()
        assert run.error_code == "budget_exceeded"
        assert len(shop.model.asked) == 1
        assert kinds(shop.events("model.called", "model.failed", "budget.reached")) == [
            "model.called",
            "model.failed",
            "budget.reached",
        ]
        assert await shop.replayed() == []

    at(":memory:", work)


def test_a_budget_that_is_set_otherwise_or_removed_holds_so_from_the_next_call_on(store: str) -> None:
    async def work(shop: Shop) -> list[str]:
        found = [(await shop.run()).status]
        for limit in (0, 1_000):
            await shop.budget("daily", limit)
            found.append((await shop.run()).status)
        await shop.budget("daily", 1)
        await shop.no_budget("daily")
        return [*found, (await shop.run()).status]

    assert at(store, work) == ["completed", "failed", "completed", "completed"]


def test_a_warning_is_said_once_for_each_setting_subject_and_period(lasting_store: str) -> None:
    async def first(shop: Shop) -> None:
        await shop.budget("watch", 30, hard=False)
        assert [(await shop.run()).status for _ in range(4)] == ["completed"] * 4
        [warning] = shop.events("budget.reached")
        assert (warning.event.spent, warning.event.hard) == ("21", False)
        assert await shop.replayed() == []

    async def later(shop: Shop) -> None:
        await shop.run()
        assert len(shop.events("budget.reached")) == 1
        await shop.budget("watch", 31, hard=False)
        await shop.run()
        await shop.run()
        assert [one.event.version for one in shop.events("budget.reached")] == [1, 2]

    at(lasting_store, first)
    at(lasting_store, later)


def test_a_warning_is_said_once_though_many_runs_see_it_at_the_same_moment(store: str) -> None:
    async def work(shop: Shop) -> None:
        await shop.budget("watch", 1, hard=False)
        begun = [await shop.begin() for _ in range(8)]
        for queued in begun:
            await shop.until("model.called", queued.stream)
        shop.model.go.set()
        assert {(await shop.end(queued)).status for queued in begun} == {"completed"}
        assert len(shop.events("budget.reached")) == 1

    at(store, work, held=True)


def test_a_warning_is_told_before_the_end_that_another_budget_makes() -> None:
    async def work(shop: Shop) -> None:
        await shop.budget("watch", 1, hard=False)
        await shop.budget("daily", 2)
        assert (await shop.run()).status == "failed"
        assert [(one.event.budget, one.event.hard) for one in shop.events("budget.reached")] == [
            ("watch", False),
            ("daily", True),
        ]
        assert await shop.replayed() == []

    at(":memory:", work)


def test_where_there_is_no_budget_nothing_is_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(shop: Shop) -> None:
        await shop.run()
        monkeypatch.setattr(catalogue, "budgets", None)
        monkeypatch.setattr(billing_ledger, "total", None)
        monkeypatch.setattr(billing_ledger, "open_calls", None)
        assert (await shop.run()).status == "completed"
        await shop.budget("daily", 1)
        assert (await shop.run()).error_code == "server_error", "now it would be"

    at(":memory:", work)


def test_a_summary_is_a_model_call_as_any_other() -> None:
    long, short = "word " * 300, Truncation(strategy="summarise", n=1_000)

    async def work(shop: Shop) -> None:
        first = await shop.begin(said=long)
        await shop.end(first)
        await shop.run(said=long, thread=first.stream)
        await shop.budget("watch", 1, hard=False)
        await shop.budget("daily", 0)
        run = await shop.run(said=long, thread=first.stream, truncation=short)
        assert run.error_code == "budget_exceeded"
        assert len(shop.model.asked) == 2
        await shop.no_budget("daily")
        await shop.budget("watch", 2, hard=False)
        run = await shop.run(said="And?", thread=first.stream, truncation=short)
        assert run.status == "completed"
        called, warning = [
            one.event
            for one in shop.events("model.called", "budget.reached", stream=first.stream)
            if one.event.run_id == run.run_id
        ][:2]
        assert (called.purpose, warning.hard) == ("summary", False)
        assert await shop.replayed() == []

    at(":memory:", work)


# Limits that come with a run


def test_a_run_keeps_its_own_limits_of_tokens_and_money(store: str, prices: Path) -> None:
    async def work(shop: Shop) -> None:
        for limits, reason in (
            ({"tokens": 22}, "22 tokens; 0 tokens are spent"),
            ({"amount": "0.022"}, "0.022 USD; 0 USD is spent"),
        ):
            run = await shop.run(**limits)
            assert (run.status, run.incomplete_reason) == ("incomplete", "budget")
            assert run.error_message is not None
            assert run.error_message.startswith(f"the run's own limit is {reason}, and the next model call takes about")
        assert (await shop.run(tokens=23, amount="0.023")).status == "completed"
        assert {one.event.budget for one in shop.events("budget.reached")} == {"limit:tokens", "limit:USD"}
        assert await shop.replayed() == []

    at(store, work, prices=prices)


def test_a_run_ends_when_its_time_is_up_whatever_it_is_doing(store: str) -> None:
    async def work(shop: Shop) -> None:
        queued = await shop.begin(seconds=1)
        await shop.until("model.called", queued.stream)
        run = await shop.end(queued)
        assert (run.status, run.incomplete_reason) == ("incomplete", "budget")
        # How soon after the second it is told depends on the machine.
        assert re.match(r"the run's own limit is 1 second; \d+\.\d+ seconds are spent", run.error_message or "")
        [failed] = shop.events("model.failed")
        assert failed.event.usage_unknown, "it had been sent"
        assert isinstance(shop.events("budget.reached")[0].event, BudgetReached)
        assert await shop.replayed() == []

    at(store, work, held=True)


def test_a_run_within_its_time_ends_as_ever() -> None:
    async def work(shop: Shop) -> str:
        return (await shop.run(seconds=60)).status

    assert at(":memory:", work) == "completed"
