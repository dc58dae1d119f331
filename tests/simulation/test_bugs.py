"""The simulation is itself tested: bugs that are planted must be found, and within a few seeds."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.simulation.bugs import BUGS, Planted
from tests.simulation.checker import faults_of
from tests.simulation.world import simulate

# Who looks at a budget but once is rarely caught: few worlds have one that the last two to come both fit into.
_SEEDS_MAX = 1_200


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.__name__)
def test_a_planted_bug_is_found_within_a_few_seeds(bug: Callable[[], Planted]) -> None:
    with bug():
        assert any(faults_of(simulate(seed), tables=False) for seed in range(_SEEDS_MAX)), f"{bug.__name__} goes unseen"
