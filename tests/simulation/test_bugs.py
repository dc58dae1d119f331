"""The simulation is itself tested: bugs that are planted must be found, and within a few seeds."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.simulation.bugs import BUGS, Planted, no_second_look
from tests.simulation.checker import faults_of
from tests.simulation.plan import BUDGET_EVERY
from tests.simulation.world import simulate

pytestmark = pytest.mark.slow

_SEEDS = range(400)
# Who looks at a budget but once is rarely caught: few worlds have one, and fewer one that the last two to come both
# fit into. So the search is among those, and begins near one that is known.
_SEEDS_OF = {no_second_look: range(900, 2_500, BUDGET_EVERY)}


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.__name__)
def test_a_planted_bug_is_found_within_a_few_hundred_seeds(bug: Callable[[], Planted]) -> None:
    seeds = _SEEDS_OF.get(bug, _SEEDS)
    with bug():
        assert any(faults_of(simulate(seed), tables=False) for seed in seeds), f"{bug.__name__} goes unseen"
