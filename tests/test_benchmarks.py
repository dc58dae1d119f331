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

from tests.rigs.processes import RECORDING

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parent.parent

SMALL = {
    "append": "--threads 4 --rounds 2 --turns 4",
    "thread": "--lengths 30 1100 --times 3",
    "context": "--lengths 60 400 --times 3",
    "rebuild": "--events 400",
    "serving_rebuild": "--events 400 --clients 3 --seconds 1",
    "replay": "--conversations 2",
    "verify": "--events 400 --proofs 5",
    "ledger": "--entries 600 --messages 40 --times 3",
    "postgres": "--rounds 1 --events 300 --threads 3 --turns 1 --lag-seconds 1",
    "http": "--clients 3 --appends 3 --runs 1 --overhead-runs 3 --streams 5 --stream-ms 50",
    "dialects": "--turns 12",
    "recognition": "--lengths 4 12 --times 10",
    "fleet": "--processes 2 --clients 3 --appends 3 --runs 1 --streams 4 --stream-ms 100 --pieces 5 --ramp-ms 20",
    "soak": "--seconds 4 --servers 2 --workers 1",
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
        "threads.1.newest_20_as_of_a_version_ms",
        "threads.1.newest_20_as_of_a_time_ms",
        "threads.1.as_of_to_now",
        "threads.1.as_of_to_now_uncached",
        "longest_to_shortest.newest_20_as_of_the_middle",
        "threads.1.fork_in_the_middle_ms",
        "threads.1.third_fork_to_thread",
        "longest_to_shortest.fork_in_the_middle",
        "threads.1.first_append_ms",
        "threads.1.append_warm_ms",
        "longest_to_shortest.newest_20",
    ],
    "context": [
        *(
            f"threads.1.{strategy}.p50_ms"
            for strategy in ("auto", "last_messages", "token_budget", "clear_tool_results", "summarise", "none")
        ),
        "threads.1.auto.items_left_out",
        "threads.1.clear_tool_results.results_cleared",
        "threads.1.summarise.items",
        "threads.1.summary_planned_ms",
        "longest_to_shortest.summarise",
        "counting.o200k_base_ms_per_kb",
        "counting.cl100k_base_ms_per_kb",
    ],
    "rebuild": [
        "rebuild_events_per_second.all_together",
        "rebuild_events_per_second.thread_view",
        "verify_events_per_second",
    ],
    "serving_rebuild": [
        "rebuild.events_per_second",
        "appends_before.p99_ms",
        "appends_during.p99_ms",
        "p99_during_to_before",
    ],
    "replay": ["verify.runs", "verify.events", "verify.seconds", "verify.events_per_second"],
    "verify": [
        "events_per_second.chains",
        "events_per_second.everything",
        "events_per_second.following",
        "everything_per_cpu_second",
        "proofs.inclusion_made.p50_ms",
        "proofs.consistency_made.p50_ms",
        "proofs.inclusion_checked.p50_ms",
        "proofs.signature_checked.p50_ms",
    ],
    "ledger": [
        "now.month.p50_ms",
        "now.month_by_day.p50_ms",
        "now.month_top_20_threads.p50_ms",
        "now.a_day_of_the_tenant.p50_ms",
        "as_of_half_way.month.p50_ms",
        "long_thread.carried.p50_ms",
        "plain_sql_to_ledger",
    ],
    "postgres": [
        "bare_log.1.events_per_second",
        "bare_log.64.events_per_second",
        "bare_log.256.p99_ms",
        "bare_log.256.cpu_us_per_event",
        "bare_log.256.ratio_to_raw",
        "desk.threads_at_once.messages_per_second",
        "desk.lone_thread.p50_ms",
        "reading.newest_20.p50_ms",
        "follower_lag.p99_ms",
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
    "fleet": [
        "processes.2.appends.appends_per_second",
        "processes.2.appends.p99_ms",
        "processes.2.runs.runs_per_second",
        "processes.2.streams_at_once.deltas",
        "processes.2.streams_at_once.delta_p50_ms",
        "processes.2.streams_at_once.delta_p99_ms",
    ],
    "dialects": [
        "dialects.openai_append.native.p50_ms",
        "dialects.openai_append.dialect.p50_ms",
        "dialects.mistral.native.p50_ms",
        "dialects.mistral.dialect.p50_ms",
        "dialects.mistral.dialect.p99_ms",
        "dialects.anthropic.dialect.p50_ms",
    ],
    "recognition": [
        "threads.1.messages",
        "threads.1.recognised.p50_ms",
        "threads.1.recognised.found_ms",
        "threads.1.recognised_first_ms",
        "threads.1.named.p50_ms",
        "threads.1.turn_resent.p50_ms",
        "threads.1.turn_named.p50_ms",
        "longest_to_shortest.recognised",
        "longest_to_shortest.named",
        "longest_to_shortest.events_a_turn",
    ],
    "soak": ["acknowledged", "runs_finished", "kills", "crashes"],
}


@pytest.mark.parametrize("name", SMALL)
def test_a_benchmark_prints_one_json_object_with_its_figures(
    name: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if name == "replay" and not RECORDING.exists():
        pytest.skip(f"no recordings beside the repository ({RECORDING})")
    # A server of its own takes longer to start than all the rest; the one of the tests will do.
    server = ("--store", request.getfixturevalue("postgres_dsn")) if name in ("postgres", "fleet") else ()
    found = run(name, tmp_path, *server)
    assert found["benchmark"] == name
    assert found["machine"]["cores"] >= 1
    assert found["sizes"]
    for place in FIGURES[name]:
        assert figure(found, place) > 0, place
    assert all(value > 0 for value in found["floor"].values())
    assert not any(all_called("errors", found)), "some requests failed"
    assert not any(all_called("missed", found)), "whoever followed did not see everything"


def run(name: str, folder: Path, *more: str) -> dict[str, Any]:
    """As a file, by its path: `http.py` must not hide Python's own module of that name."""
    command = [sys.executable, f"benchmarks/{name}.py", "--folder", str(folder), *SMALL[name].split(), *more]
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
