"""The benchmarks run, small, and print their figures. How good those are is not asked here: machines differ."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent

SMALL = {
    "append": "--threads 4 --rounds 2 --turns 4",
    "thread": "--lengths 30 1100 --times 3",
    "rebuild": "--events 400",
    "http": "--clients 3 --appends 3 --runs 1 --overhead-runs 3 --streams 5 --stream-ms 50",
}
# Where the figures are by which a benchmark is judged.
FIGURES = {
    "append": [
        "lone_thread.messages.p50_ms",
        "lone_thread.messages.ratio_to_raw_commit",
        "lone_thread.runs.messages_per_second",
        "threads_at_once.messages.messages_per_second",
        "threads_at_once.messages.p99_ms",
        "threads_at_once.messages.ratio_to_raw_single_writer",
        "bytes.ratio_to_raw_file",
    ],
    "thread": [
        "threads.1.newest_20_ms",
        "threads.1.page_in_the_middle_ms",
        "threads.1.newest_20_as_of_the_middle_ms",
        "threads.1.first_append_ms",
        "threads.1.append_warm_ms",
        "longest_to_shortest.newest_20",
    ],
    "rebuild": [
        "rebuild_events_per_second.all_one_after_the_other",
        "rebuild_events_per_second.thread_view",
        "verify_events_per_second",
    ],
    "http": [
        "appends.appends_per_second",
        "appends.p99_ms",
        "runs.scripted_streamed.runs_per_second",
        "runs.mock_polled.runs_per_second",
        "run_overhead.new_thread.p50_ms",
        "run_overhead.on_a_thread.p99_ms",
        "streams_at_once.first_delta_p99_ms",
    ],
}


@pytest.mark.parametrize("name", SMALL)
def test_a_benchmark_prints_one_json_object_with_its_figures(name: str, tmp_path: Path) -> None:
    found = run(name, tmp_path)
    assert found["benchmark"] == name
    assert found["machine"]["cores"] >= 1
    assert found["sizes"]
    for place in FIGURES[name]:
        assert figure(found, place) > 0, place
    assert all(value > 0 for value in found["floor"].values())
    assert not any(all_called("errors", found)), "some requests failed"


def run(name: str, folder: Path) -> dict[str, Any]:
    """As a file, by its path: `http.py` must not hide Python's own module of that name."""
    command = [sys.executable, f"benchmarks/{name}.py", "--folder", str(folder), *SMALL[name].split()]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stderr
    assert not list(folder.iterdir()), "a benchmark leaves nothing behind"
    found: dict[str, Any] = json.loads(ended.stdout)
    return found


def figure(found: Any, place: str) -> float:
    for name in place.split("."):
        found = found[int(name) if isinstance(found, list) else name]
    value: float = found
    return value


def all_called(name: str, found: Any) -> Iterator[Any]:
    """The values of that name, wherever they are."""
    if isinstance(found, dict):
        for key, value in found.items():
            yield from [value] if key == name else all_called(name, value)
