"""Verifying by replay: would today's engine do all of it again? On the real conversations that the tests hold, too.

They are held first, against the recorded provider; then `clew replay --verify --all` is timed as one types it, from
the start of its process to its end.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path

if not __package__:  # Run as a file, Python looks for modules beside it and not in the repository.
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

from benchmarks.common import Figures, files_in, floor_figures, options, report, rounded
from benchmarks.turns import make_texts
from tests.rigs.commands import typed
from tests.rigs.processes import RECORDING, Fleet, Server, upstream
from tests.rigs.talks import hold


def held(store: Path, conversations: int) -> Figures:
    with upstream() as url, Fleet([Server(store, environment={"CLEW_OPENAI_BASE_URL": f"{url}/v1"})]) as fleet:
        return asyncio.run(hold(url, fleet, stream=False, count=conversations, at_once=10))


def verified(store: Path) -> Figures:
    began = time.perf_counter()
    done = typed("replay", "--verify", "--all", "--json", store=store)
    seconds = time.perf_counter() - began
    assert done.returncode == 0, done.stderr or done.stdout[:2_000]
    found = json.loads(done.stdout)
    assert found["different"] == []
    return {
        "runs": found["runs"],
        "events": found["events"],
        "seconds": rounded(seconds),
        "verifying_seconds": rounded(found["seconds"]),
        "events_per_second": rounded(found["events"] / found["seconds"]),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    chosen = options(__doc__, conversations=(100, "conversations, 100 at most")).parse_args(arguments)
    if not RECORDING.exists():
        sys.exit(f"there are no recorded conversations beside the repository ({RECORDING})")
    # The SDK marks all of the Assistants API as deprecated, which is why Clew is here.
    warnings.simplefilter("ignore", DeprecationWarning)
    with files_in(chosen.folder) as folder:
        floor = floor_figures(folder / "raw.db", make_texts().answers)
        talks = held(folder / "threads.db", chosen.conversations)
        figures = verified(folder / "threads.db")
    sizes = {"conversations": talks["conversations"], "model_calls": talks["upstream_calls"]}
    report("replay", sizes, held_seconds=rounded(talks["seconds"]), verify=figures, floor=floor)


if __name__ == "__main__":
    main()
