"""What a call would have used, worked out from what it did use."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from clew.billing.estimating import Ratio, Shown, scaled, shared
from clew.events.usage import Usage


def shown(*items: tuple[int, int], head_tokens: int = 10, model: str = "m") -> Shown:
    """Items as number and tokens."""
    return Shown({"model": model}, head_tokens, tuple(("t", number, tokens) for number, tokens in items))


def test_two_requests_share_their_beginning() -> None:
    before = shown((1, 5), (2, 7), (3, 9))
    assert shared(before, before) == 10 + 5 + 7 + 9
    assert shared(before, shown((1, 5), (2, 7), (3, 9), (4, 1))) == 31
    assert shared(before, shown((1, 5), (3, 9))) == 15
    assert shared(before, shown((2, 7), (3, 9))) == 10  # A window that moved on shares what stands before it.
    assert shared(before, shown((1, 5), (2, 2), (3, 9))) == 15  # The second was shown cleared.
    assert shared(before, shown((1, 5), model="another")) == 0


def test_input_is_so_much_as_was_counted_for_each_of_our_tokens() -> None:
    """The provider counted 1,200 where we counted 1,000: 1.2 for each. Of 250 of ours it makes 300."""
    usage = Usage(input=1_200, output=77, reasoning=30, output_audio=2, web_searches=1)
    assert scaled(usage, Ratio((250, 1_000))) == usage.model_copy(update={"input": 300})
    assert scaled(usage, Ratio((3_000, 1_000))).input == 3_600
    assert scaled(Usage(input=1), Ratio((1, 2))).input == 1  # Half goes up.
    assert scaled(Usage(input=7), Ratio((5, 0))).input == 7  # Nothing was counted, so there is nothing to go by.


def test_of_what_is_shared_as_much_is_cached_as_was() -> None:
    """900 of 1,000 shared tokens were cached. Of 400 that would have been shared 360 are, however long the rest is."""
    usage = Usage(input=2_000, cached=900, output=5)
    assert scaled(usage, Ratio((1_000, 2_000), (400, 1_000))) == Usage(input=1_000, cached=360, output=5)
    # Nothing is known of what was shared: as much as was cached, as far as there is as much.
    assert scaled(usage, Ratio((1_000, 2_000))) == Usage(input=1_000, cached=900, output=5)
    assert scaled(usage, Ratio((500, 2_000))) == Usage(input=500, cached=500, output=5)
    # What was cached came from somewhere else than the request before.
    assert scaled(usage, Ratio((2_000, 2_000), (300, 0))).cached == 900
    assert scaled(Usage(input=2_000), Ratio((2_000, 2_000), (900, 100))).cached == 0


def test_what_is_written_to_a_cache_is_its_part_of_what_is_fresh() -> None:
    """1,000 fresh, of which 800 were written, 200 of these for an hour; of 500 fresh 400 are, and 100."""
    usage = Usage(input=1_500, cached=500, cache_write=800, cache_write_1h=200, input_audio=150)
    found = scaled(usage, Ratio((750, 1_500), (250, 500)))
    assert found == Usage(input=750, cached=250, cache_write=400, cache_write_1h=100, input_audio=75)


counts = st.integers(0, 3_000_000)


@st.composite
def usages(draw: st.DrawFn) -> Usage:
    given_in = draw(counts)
    cached = draw(st.integers(0, given_in))
    written = draw(st.integers(0, given_in - cached))
    return Usage(
        input=given_in,
        cached=cached,
        cache_write=written,
        cache_write_1h=draw(st.integers(0, written)),
        input_audio=draw(st.integers(0, given_in - cached - written)),
        output=draw(counts),
    )


@given(usages(), counts, counts, st.none() | st.tuples(counts, counts))
def test_parts_stay_within_the_whole(usage: Usage, now: int, was: int, both: tuple[int, int] | None) -> None:
    found = scaled(usage, Ratio((now, was), both))
    assert min(found.model_dump().values()) >= 0
    assert found.cached + found.cache_write + found.input_audio <= found.input
    assert found.cache_write_1h <= found.cache_write
    assert found.output == usage.output


@given(usages(), counts, st.none() | counts)
def test_what_would_have_been_the_same_is_the_same(usage: Usage, counted: int, both: int | None) -> None:
    ratio = Ratio((counted, counted), (both, both) if both is not None else None)
    assert scaled(usage, ratio) == usage
