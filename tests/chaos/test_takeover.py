"""All workers die with runs in flight: new ones go on with each of them, and do nothing twice that must not be.

With 500 runs: `python -m tests.chaos.takeover --runs 500`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.takeover import site, take_over

pytestmark = pytest.mark.slow

_RUNS = 60
_LEASE_SECONDS = 3.0


def test_new_workers_go_on_with_every_run_within_two_leases_and_two_seconds(postgres_dsn: str, tmp_path: Path) -> None:
    with site(postgres_dsn, tmp_path, workers=2, lease_seconds=_LEASE_SECONDS) as here:
        found = take_over(here, _RUNS)
    assert not found["faults"]
    assert found["in_flight"] == found["resumed"] == found["acknowledged"] == _RUNS
    # From when they are up: how long a process takes to start is the machine's, and others are busy on it.
    assert found["slowest_seconds"] - found["new_workers_up_seconds"] <= found["allowed_seconds"]
    assert found["deeds_doubled"] == found["lost"] == found["doubled"] == 0
    assert found["runs_finished"] + found["in_doubt_until_a_person_settles"] == _RUNS
    assert found["calls_in_doubt"] > 0
