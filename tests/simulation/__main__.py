"""By hand: `python -m tests.simulation --seeds 1000`, and `--seed 17 --verbose` to see what one of them did."""

from __future__ import annotations

import argparse
import sys
import time

from tests.simulation.checker import faults_of
from tests.simulation.world import Outcome, simulate


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1_000, help="how many to run")
    parser.add_argument("--first", type=int, default=0, help="the seed to begin with")
    parser.add_argument("--seed", type=int, help="run only this one")
    parser.add_argument("--verbose", action="store_true", help="show plans, histories and events")
    given = parser.parse_args()
    seeds = range(given.first, given.first + given.seeds) if given.seed is None else [given.seed]
    began = time.perf_counter()
    failed = 0
    for seed in seeds:
        outcome = simulate(seed)
        found = faults_of(outcome)
        if given.verbose:
            show(outcome)
        if found:
            failed += 1
            print(f"seed {seed}:", *found, sep="\n  ", flush=True)
        outcome.store.close()
    seconds = time.perf_counter() - began
    print(f"{len(seeds)} seeds, {failed} failed, {len(seeds) / seconds:.1f} seeds/s")
    return 1 if failed else 0


def show(outcome: Outcome) -> None:
    print(outcome.plan)
    print(*outcome.history.lines, sep="\n")
    for position, stream, kind, at, actor, state in outcome.events():
        print(f"{position:4} {at} {stream[-6:]} {actor} {kind} {state.decode()}")


if __name__ == "__main__":
    sys.exit(main())
