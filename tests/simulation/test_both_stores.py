"""What a simulated history leads to is the same on both databases, row by row."""

from __future__ import annotations

import pytest

import clew_projections
from clew.log import Log, open_store
from clew.projecting import Keeper, discover
from tests.simulation.tables import AtOnce, catch_up, replay, rows_of
from tests.simulation.world import simulate

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("seed", [5, 6])
def test_read_models_of_a_simulated_history_are_equal_on_both_stores(seed: int, postgres_dsn: str) -> None:
    outcome = simulate(seed)
    log = Log(outcome.store, make_writer=AtOnce)
    keeper = Keeper(discover(clew_projections))
    catch_up(keeper, log)
    with log.reading() as reader:
        sealed, recorded = reader.sealed(0, 100_000), reader.follow(0, 100_000)
    assert len(recorded) > 20, "too little happened for a comparison"
    store = open_store(postgres_dsn)
    try:
        assert replay(sealed, recorded, store) == rows_of(log, keeper)
    finally:
        store.close()
        log.close()
