"""Conversations that Hypothesis thinks up: who said how much, which tools were called, what was cancelled."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import strategies as st

from tests.engine.talking import Talk

SIZES = st.integers(1, 12)
STEPS = st.one_of(
    st.builds(lambda count: lambda talk: talk.says(count), SIZES),
    st.builds(lambda count: lambda talk: talk.says(count, "assistant"), SIZES),
    st.builds(
        lambda calls, count, reasons, cancelled, output: (
            lambda talk: talk.turn(*calls, count=count, reasons=reasons, cancelled=cancelled, output=output)
        ),
        st.lists(st.integers(1, 3), max_size=3),
        SIZES,
        st.booleans(),
        st.booleans(),
        st.sampled_from(("42", "a long result, of which there is more than a note would say")),
    ),
)
TALKS = st.lists(STEPS, max_size=12)


def talked(steps: list[Callable[[Talk], Talk]]) -> Talk:
    talk = Talk()
    for step in steps:
        step(talk)
    return talk
