"""A budget is set, set otherwise and removed; what cannot be one is refused and says why."""

from __future__ import annotations

from typing import Any

import pytest

from clew.errors import NotABudget, NotFound
from clew.events.budget import BudgetRemoved, BudgetSet
from clew.rules.budget import RemoveBudget, SetBudget, budget_rules
from tests.specify import given

B = "acme-daily"
REMOVE = RemoveBudget(budget_id=B, by="clew")


def set_to(limit: str = "12.5", **changes: Any) -> SetBudget:
    wanted: dict[str, Any] = {
        "budget_id": B,
        "scope": "tenant",
        "subject": "acme",
        "period": "day",
        "unit": "USD",
        "hard": True,
    }
    return SetBudget(limit=limit, **{**wanted, **changes})


def was_set(limit: str = "12.5", **changes: Any) -> BudgetSet:
    first = BudgetSet(budget_id=B, scope="tenant", subject="acme", period="day", unit="USD", limit=limit, hard=True)
    return first.model_copy(update=changes)


def test_a_budget_is_set_as_a_whole() -> None:
    given(budget_rules).when(set_to()).then(was_set())
    given(budget_rules, was_set()).when(set_to("20")).then(was_set("20"))
    given(budget_rules, was_set()).when(set_to(subject=None, hard=False)).then(was_set(subject=None, hard=False))


def test_setting_it_to_what_it_is_does_nothing_however_the_number_is_written() -> None:
    for written in ("12.5", "12.50", "1.25e1", "012.500000"):
        given(budget_rules, was_set()).when(set_to(written)).then_nothing()


def test_what_was_removed_holds_no_more_and_may_be_set_again() -> None:
    given(budget_rules, was_set()).when(REMOVE).then(BudgetRemoved(budget_id=B, by="clew"))
    gone = (was_set(), BudgetRemoved(budget_id=B))
    given(budget_rules, *gone).when(REMOVE).then_refused(NotFound, noun="budget", id=B)
    given(budget_rules, *gone).when(set_to()).then(was_set())
    given(budget_rules).when(REMOVE).then_refused(NotFound, noun="budget", id=B)


def test_nothing_may_be_spent_at_all() -> None:
    for nothing in ("0", "-0", "0.00"):
        given(budget_rules).when(set_to(nothing)).then(was_set("0"))


def test_a_price_of_one_token_is_a_limit_and_so_is_a_fortune() -> None:
    for limit in ("0.000000000000000001", "999999999999999999.999999999999999999"):
        given(budget_rules).when(set_to(limit)).then(was_set(limit))


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"limit": "much"}, "'much' is no decimal number"),
        ({"limit": "NaN"}, "a limit is from 0"),
        ({"limit": "-1"}, "a limit is from 0"),
        ({"limit": "1e18"}, "a limit is from 0"),
        ({"limit": "0.0000000000000000001"}, "at most 18 decimal places"),
        ({"limit": "1.5", "unit": "tokens"}, "whole tokens"),
        ({"subject": ""}, "nobody is called ''"),
        ({"budget_id": "a b"}, "a name has up to 64 letters"),
        ({"budget_id": ""}, "a name has up to 64 letters"),
        ({"budget_id": "limit:tokens"}, "a name has up to 64 letters"),
        ({"budget_id": "x" * 65}, "a name has up to 64 letters"),
    ],
)
def test_what_cannot_be_a_budget_is_refused_and_says_why(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(NotABudget, match=why):
        given(budget_rules).when(set_to(**changes)).decide()
