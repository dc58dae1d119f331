"""What accounts for a difference between a provider's list and the ledger, and what does not."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clew.billing.matching import Call, Counts, Day, Found, explain, plus, total

COUNTED = ("requests", "input", "cached", "output")
MONDAY = date(2026, 11, 23)
TUESDAY = MONDAY + timedelta(days=1)
MIDNIGHT = 1_795_478_400_000_000  # 2026-11-24T00:00:00Z
MINUTE = 60_000_000

_positions = iter(range(1, 10**9))


def call(
    counts: tuple[int, int, int] | None,
    ended: int = MIDNIGHT - 600 * MINUTE,
    *,
    begun: int | None = None,
    failure: str | None = None,
    estimated: int = 100,
) -> Call:
    return Call(
        position=next(_positions),
        begun=ended - 1_000_000 if begun is None else begun,
        ended=ended,
        model="m",
        counts=None if counts is None else (1, *counts),
        failure=failure,
        estimated_tokens=estimated,
        run_id="run_1",
        thread_id="thread_1",
    )


def on(day: date, listed: Counts, *calls: Call, compared: bool = True) -> Day:
    return Day(day, listed, list(calls), compared)


def explained(*days: Day) -> list[str]:
    explain(days, COUNTED)
    return [day.verdict for day in days]


def reasons(day: Day) -> list[str]:
    return [found.reason for found in day.found]


def test_what_agrees_needs_no_reason() -> None:
    day = on(MONDAY, (2, 30, 5, 7), call((10, 5, 3)), call((20, 0, 4)))
    assert explained(day) == ["agrees"]
    assert day.found == []


def test_a_call_under_way_at_midnight_is_counted_on_the_day_it_began_by_some() -> None:
    across = call((10, 0, 5), MIDNIGHT + 20 * MINUTE, begun=MIDNIGHT - 30 * MINUTE)
    early = call((1, 0, 1), MIDNIGHT + MINUTE)
    before, after = on(MONDAY, (1, 10, 0, 5)), on(TUESDAY, (1, 1, 0, 1), across, early)
    assert explained(before, after) == ["explained", "explained"]
    assert before.found == [Found("midnight", (across,), (1, 10, 0, 5), False, TUESDAY, away=False)]
    assert after.found == [Found("midnight", (across,), (1, 10, 0, 5), False, MONDAY, away=True)]


def test_the_last_calls_of_a_day_may_be_the_next_days_first() -> None:
    late = [call((n, 0, 1), MIDNIGHT - n * MINUTE) for n in (1, 2, 3)]
    before, after = on(MONDAY, (1, 3, 0, 1), *late), on(TUESDAY, (2, 3, 0, 2))
    assert explained(before, after) == ["explained", "explained"]
    assert before.found[0].calls == (late[0], late[1])
    assert (before.found[0].away, after.found[0].away) == (True, False)


@pytest.mark.parametrize("minutes", [6, 720])
def test_calls_far_from_midnight_stay_on_their_day(minutes: int) -> None:
    earlier = call((10, 0, 5), MIDNIGHT - minutes * MINUTE)
    before, after = on(MONDAY, (0, 0, 0, 0), earlier), on(TUESDAY, (1, 10, 0, 5))
    assert explained(before, after) == ["unexplained", "unexplained"]
    assert (reasons(before), reasons(after)) == (["only_ours"], ["only_listed"])


def test_a_day_that_agrees_is_left_alone() -> None:
    late = call((10, 0, 5), MIDNIGHT - MINUTE)
    before, after = on(MONDAY, (1, 10, 0, 5), late), on(TUESDAY, (1, 10, 0, 5))
    assert explained(before, after) == ["agrees", "unexplained"]


def test_the_day_beside_the_export_may_have_a_call_of_its_first_day() -> None:
    """It is not compared itself: nobody has said what the provider lists there."""
    late = call((10, 0, 5), MIDNIGHT - MINUTE)
    before, after = on(MONDAY, (0, 0, 0, 0), late, compared=False), on(TUESDAY, (1, 10, 0, 5))
    explain([before, after], COUNTED)
    assert after.verdict == "explained"
    assert after.found == [Found("midnight", (late,), (1, 10, 0, 5), False, MONDAY, away=False)]


def test_a_lost_call_may_account_for_what_the_provider_lists_more() -> None:
    lost = call(None, failure="lost", estimated=100)
    day = on(MONDAY, (2, 130, 64, 57), call((10, 0, 7)), lost)
    assert explained(day) == ["explained"]
    assert day.found == [Found("lost", (lost,), (1, 120, 64, 50), True)]


def test_a_lost_call_does_not_account_for_anything_one_likes() -> None:
    lost = call(None, failure="lost", estimated=100)
    more_than_it_can_have_been = on(MONDAY, (1, 301, 0, 50), lost)
    more_requests = on(MONDAY, (2, 120, 0, 50), lost)
    no_request = on(MONDAY, (1, 10, 0, 57), call((10, 0, 7)), lost)
    for day in (more_than_it_can_have_been, more_requests, no_request):
        assert explained(day) == ["unexplained"]
        assert [(found.reason, found.settles) for found in day.found] == [("lost", False)]


def test_where_requests_are_not_counted_tokens_decide() -> None:
    lost = call(None, failure="lost", estimated=100)
    day = Day(MONDAY, (120, 50), [lost])
    explain([day], ("input", "output"))
    assert day.verdict == "explained"


def test_what_broke_off_may_have_put_out_more() -> None:
    broken = call((10, 0, 2), failure="broken_stream")
    day = on(MONDAY, (1, 10, 0, 9), broken)
    assert explained(day) == ["explained"]
    assert day.found == [Found("broken_off", (broken,), (0, 0, 0, 7), True)]
    other_input = on(MONDAY, (1, 11, 0, 9), call((10, 0, 2), failure="broken_stream"))
    assert explained(other_input) == ["unexplained"]


def test_what_failed_need_not_be_billed() -> None:
    broken = [call((10, 0, 2), failure="broken_stream"), call((11, 0, 3), failure="timeout")]
    all_of_them = on(MONDAY, (1, 5, 0, 5), call((5, 0, 5)), *broken)
    assert explained(all_of_them) == ["explained"]
    assert all_of_them.found == [Found("not_billed", tuple(broken), (2, 21, 0, 5), True)]
    one_of_them = on(MONDAY, (2, 15, 0, 7), call((5, 0, 5)), *broken)
    assert explained(one_of_them) == ["explained"]
    assert one_of_them.found == [Found("not_billed", (broken[1],), (1, 11, 0, 3), True)]


def test_an_answered_call_that_the_provider_does_not_list_is_named_but_not_explained() -> None:
    missing, there = call((10, 4, 2)), call((5, 0, 5))
    day = on(MONDAY, (1, 5, 0, 5), missing, there)
    assert explained(day) == ["unexplained"]
    assert day.found == [Found("only_ours", (missing,), (1, 10, 4, 2), False)]


def test_a_difference_that_no_call_is_stays_a_difference() -> None:
    day = on(MONDAY, (1, 5, 0, 5), call((7, 0, 5)))
    assert explained(day) == ["unexplained"]
    assert day.found == []
    both_ways = on(MONDAY, (1, 5, 0, 6), call((7, 0, 5)))
    assert explained(both_ways) == ["unexplained"]
    assert both_ways.found == []


def test_other_cached_tokens_are_told_apart_from_other_tokens() -> None:
    fewer, more = on(MONDAY, (1, 9, 0, 5), call((9, 8, 5))), on(MONDAY, (1, 9, 9, 5), call((9, 8, 5)))
    assert [explained(day) for day in (fewer, more)] == [["unexplained"], ["unexplained"]]
    assert [reasons(day) for day in (fewer, more)] == [["cached_otherwise"], ["cached_otherwise"]]


calls = st.builds(
    lambda counts, offset, length, failure: call(
        counts, MIDNIGHT + offset, begun=MIDNIGHT + offset - length, failure=failure
    ),
    counts=st.one_of(st.none(), st.tuples(st.integers(0, 50), st.integers(0, 9), st.integers(0, 50))),
    offset=st.integers(-1_440 * MINUTE, 1_440 * MINUTE - 1),
    length=st.integers(0, 90 * MINUTE),
    failure=st.sampled_from([None, None, "broken_stream"]),
)


@given(st.lists(calls, max_size=12), st.integers(-10 * MINUTE, 10 * MINUTE), st.booleans())
def test_a_clock_that_is_off_is_found_out(every: list[Call], off: int, by_begin: bool) -> None:
    """The provider puts calls by when they began, or by a clock that is off: whatever comes of it is explained, and
    what is moved is never more than there is. A clock that is further off than that may leave a difference."""
    known = [one for one in every if one.counts is not None]

    def theirs(one: Call) -> bool:
        return (one.begun if by_begin else one.ended + off) < MIDNIGHT

    listed = [
        total((one.counts for one in known if theirs(one) == is_before and one.counts), 4) for is_before in (1, 0)
    ]
    days = [
        on(day, counts, *(one for one in every if (one.ended < MIDNIGHT) == is_before))
        for day, counts, is_before in zip((MONDAY, TUESDAY), listed, (True, False), strict=True)
    ]
    verdicts = explained(*days)
    assert plus(days[0].ours, days[1].ours) == plus(days[0].listed, days[1].listed)
    if by_begin or abs(off) < 5 * MINUTE:
        assert "unexplained" not in verdicts
    for day in days:
        assert all(found.calls for found in day.found if found.reason == "midnight")
