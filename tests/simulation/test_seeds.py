"""A thousand seeds, each a small world in which much goes wrong, and nothing is lost, doubled or out of order."""

from __future__ import annotations

import pytest

from tests.simulation.checker import faults_of
from tests.simulation.world import simulate

pytestmark = pytest.mark.slow

_SEEDS = 1_000
_CHUNK = 50


@pytest.mark.parametrize("first", range(0, _SEEDS, _CHUNK))
def test_whatever_goes_wrong_nothing_is_lost_or_done_twice(first: int) -> None:
    failed = {}
    for seed in range(first, first + _CHUNK):
        outcome = simulate(seed)
        found = faults_of(outcome)
        outcome.store.close()
        if found:
            failed[seed] = found
    assert not failed, "\n".join(
        f"python -m tests.simulation --seed {seed} --verbose: {'; '.join(found)}" for seed, found in failed.items()
    )


@pytest.mark.parametrize("seed", [3, 13, 44])
def test_the_same_seed_gives_the_same_history_to_the_byte(seed: int) -> None:
    assert simulate(seed).digest() == simulate(seed).digest()


def test_another_seed_gives_another_history() -> None:
    assert simulate(1).digest() != simulate(2).digest()
