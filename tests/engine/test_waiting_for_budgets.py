"""What calls of others have reserved is waited for; of two that race for the last room, the first in the log goes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest

from clew.engine import gate
from clew.engine.budgets import Budgets, Call
from clew.engine.hand import Hand
from clew.events.base import Recorded
from clew.events.run import RunConfig
from clew.ids import DEFAULT_TENANT
from clew.rules.commands import RequestCancel
from clew.rules.standing import Standing
from clew_projections import billing_ledger
from tests.engine.spending import ASKED, COSTS, Shop, at


async def one_waits(shop: Shop, limit: int = 52) -> tuple[Recorded[Any], Recorded[Any], Recorded[Any]]:
    """A run whose call is under way, with 31 tokens reserved, and one that finds no room beside it."""
    await shop.budget("daily", limit)
    first = await shop.begin(completion_tokens=8)
    await shop.until("model.called", first.stream)
    second = await shop.begin(completion_tokens=8)
    return first, second, await shop.until("budget.awaited", second.stream)


def test_a_run_waits_for_room_that_calls_of_others_have_reserved_and_goes_on_when_there_is(store: str) -> None:
    async def work(shop: Shop) -> None:
        first, second, awaited = await one_waits(shop)
        assert (awaited.event.spent, awaited.event.reserved, awaited.event.asked) == ("0", "31", "23")
        assert len(shop.model.asked) == 1
        shop.model.go.set()
        assert [(await shop.end(run)).status for run in (first, second)] == ["completed", "completed"]
        assert await shop.replayed() == []

    at(store, work, held=True)


def test_a_run_that_waits_ends_when_what_was_reserved_was_spent() -> None:
    async def work(shop: Shop) -> None:
        first, second, _ = await one_waits(shop, limit=40)
        shop.model.go.set()
        assert (await shop.end(first)).status == "completed"
        run = await shop.end(second)
        assert (run.status, run.error_code) == ("failed", "budget_exceeded")
        assert await shop.replayed() == []

    at(":memory:", work, held=True)


def test_a_run_that_waits_can_be_cancelled(store: str) -> None:
    async def work(shop: Shop) -> None:
        _, second, _ = await one_waits(shop)
        cancel = RequestCancel(thread_id=second.stream, run_id=second.event.run_id, past_status=None)
        await shop.engine.desk.on_thread(second.stream, lambda: cancel)
        assert (await shop.end(second)).status == "cancelled"
        shop.model.go.set()

    at(store, work, held=True)


def test_nobody_waits_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "WAIT_SECONDS_MAX", 0.2)

    async def work(shop: Shop) -> None:
        _, second, _ = await one_waits(shop)
        run = await shop.end(second)
        assert (run.status, run.error_code) == ("failed", "budget_exceeded")
        assert "31 tokens reserved for calls under way, which did not end in time" in (run.error_message or "")
        shop.model.go.set()
        assert await shop.replayed() == []

    at(":memory:", work, held=True)


def test_a_run_whose_process_ended_while_it_waited_waits_on_and_ends(lasting_store: str) -> None:
    async def dies(shop: Shop) -> int:
        _, _, awaited = await one_waits(shop)
        until: int = awaited.event.until
        return until

    async def goes_on(shop: Shop) -> None:
        [queued, *_] = shop.events("budget.awaited")
        await shop.until("run.completed", queued.stream)
        assert {one.event.until for one in shop.events("budget.awaited", stream=queued.stream)} == {until}

    until = at(lasting_store, dies, held=True, grace_seconds=0)
    at(lasting_store, goes_on)


def test_of_many_at_once_as_many_get_through_as_fit_and_none_is_sent_in_vain(store: str) -> None:
    """Each takes 21 tokens and asks for 23: of 200 tokens, nine fit, and nine only."""

    async def work(shop: Shop) -> None:
        await shop.budget("daily", 200)
        begun = [await shop.begin(completion_tokens=8) for _ in range(14)]
        ended = Counter([(await shop.end(queued)).status for queued in begun])
        assert ended == {"completed": 9, "failed": 5}
        assert len(shop.model.asked) == 9
        assert shop.events("model.failed") == []

    at(store, work)


# Two that race


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Runs that find nothing in their way the first time they look: as if others had not appended yet."""
    runs: list[str] = []
    look = Budgets.before

    def before(budgets: Budgets, hand: Hand, config: RunConfig, call: Call) -> Sequence[Standing]:
        if hand.run_id in runs:
            runs.remove(hand.run_id)
            return ()
        return look(budgets, hand, config, call)

    monkeypatch.setattr(Budgets, "before", before)
    return runs


def test_of_two_that_race_the_first_in_the_log_is_sent_and_the_other_waits(store: str, hasty: list[str]) -> None:
    async def work(shop: Shop) -> None:
        await shop.budget("daily", 52)
        first = await shop.begin(completion_tokens=8)
        await shop.until("model.called", first.stream)
        second = await shop.begin(completion_tokens=8, hears=hasty.append)
        await shop.until("budget.awaited", second.stream)
        assert len(shop.model.asked) == 1
        [unsent] = shop.events("model.failed")
        assert (unsent.event.code, unsent.event.final, unsent.event.usage_unknown) == ("budget_taken", False, False)
        shop.model.go.set()
        assert [(await shop.end(run)).status for run in (first, second)] == ["completed", "completed"]
        assert [one.event.attempt for one in shop.events("model.called", stream=second.stream)] == [1, 1]
        assert await shop.replayed() == []

    at(store, work, held=True)


def test_a_call_that_finds_the_budget_used_up_once_it_is_in_the_log_is_not_sent(store: str, hasty: list[str]) -> None:
    async def work(shop: Shop) -> None:
        await shop.budget("daily", ASKED)
        assert (await shop.run()).status == "completed"
        run = await shop.end(await shop.begin(hears=hasty.append))
        assert (run.status, run.error_code, run.usage.total) == ("failed", "budget_exceeded", 0)
        [unsent] = shop.events("model.failed")
        assert (unsent.event.code, unsent.event.final, unsent.event.usage_unknown) == ("budget_exceeded", True, False)
        assert len(shop.model.asked) == 1
        with shop.engine.log.reading() as reader:
            spent = billing_ledger.spending(reader, tenant=DEFAULT_TENANT)
        assert (spent.input_tokens + spent.output_tokens, spent.lost_calls) == (COSTS, 0)
        assert await shop.replayed() == []

    at(store, work)


def test_it_waits_no_longer_for_having_come_second_twice(hasty: list[str]) -> None:
    async def work(shop: Shop) -> None:
        await shop.budget("daily", 52)
        first = await shop.begin(completion_tokens=8)
        await shop.until("model.called", first.stream)
        second = await shop.begin(completion_tokens=8)
        awaited = await shop.until("budget.awaited", second.stream)
        # Once as it waits, and once more as it makes its context anew.
        hasty.extend([second.event.run_id] * 2)
        again = await shop.until("budget.awaited", second.stream, times=2)
        assert again.event == awaited.event
        shop.model.go.set()
        assert (await shop.end(second)).status == "completed"
        assert await shop.replayed() == []

    at(":memory:", work, held=True)
