"""What all benchmarks share: the machine, the floor, percentiles, an engine without a worker, and the printing.

The floor is what the same disk does in the same minute with plain sqlite3: absolutes differ from machine to
machine and from hour to hour, ratios to the floor hardly do.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import math
import os
import platform
import sqlite3
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, TypeAlias

from clew import tokens
from clew.engine.ending import end
from clew.engine.engine import Engine
from clew.settings import Settings
from clew.wiring import make_engine

Figures: TypeAlias = dict[str, Any]

# SQLite begins its WAL anew after 1,000 pages, and a sync of a file that still grows takes twice as long. So each
# file is brought to where the growing ends before anything is measured: a page a commit, so that it gets no larger.
_COMMITS_UNTIL_STEADY = 1_100


class Floor:
    """Plain sqlite3: WAL, synchronous=FULL, one commit an insert."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._connection.execute("pragma journal_mode = wal")
        self._connection.execute("pragma synchronous = off")
        self._connection.execute(
            "create table messages (id integer primary key, thread text not null, seq integer not null, body text)"
        )
        self._connection.execute("create unique index messages_thread on messages (thread, seq)")
        for number in range(_COMMITS_UNTIL_STEADY):
            self._connection.execute(f"pragma user_version = {number}")
        self._connection.execute("pragma synchronous = full")

    def append(self, thread: str, seq: int, body: str) -> None:
        self._connection.execute("insert into messages (thread, seq, body) values (?,?,?)", (thread, seq, body))

    def fill(self, thread: str, bodies: Sequence[str]) -> None:
        """All of them in one commit, for what is only to be read."""
        self._connection.execute("begin")
        for seq, body in enumerate(bodies):
            self.append(thread, seq, body)
        self._connection.execute("commit")

    def newest(self, thread: str, count: int) -> list[Any]:
        rows = self._connection.execute(
            "select body from messages where thread = ? order by seq desc limit ?", (thread, count)
        ).fetchall()
        return [json.loads(body) for (body,) in rows]

    def close(self) -> None:
        self._connection.close()


def floor_figures(path: Path, said: Sequence[str], commits: int = 300) -> Figures:
    """What a commit costs here and now, where nothing of ours is compared with it one by one."""
    floor = Floor(path)
    seqs = iter(range(commits))

    def append() -> None:
        seq = next(seqs)
        floor.append("thread", seq, body_of("assistant", said[seq % len(said)]))

    seconds = timed(append, commits)
    floor.close()
    return {**spread(seconds), "commits_per_second": rounded(commits / sum(seconds))}


def body_of(role: str, said: str) -> str:
    """A message as the floor stores it."""
    return json.dumps({"role": role, "content": said})


def file_bytes(path: Path) -> int:
    """How large an SQLite file is once everything in its WAL is in it."""
    connection = sqlite3.connect(path)
    connection.execute("pragma wal_checkpoint(truncate)")
    connection.close()
    return path.stat().st_size


@asynccontextmanager
async def engine_without_worker(store: Path | str) -> AsyncIterator[Engine]:
    """All that an engine does at an append, but nobody takes runs: the benchmark drives those itself."""
    engine = make_engine(Settings(store=str(store), default_provider="scripted"))
    await engine.keeper.prepare(engine.log)
    woken = asyncio.Event()
    engine.log.listen(engine.bus.committed)
    engine.log.listen(lambda recorded: woken.set())
    follower = asyncio.create_task(engine.keeper.keep_following(engine.log, woken))
    try:
        yield engine
    finally:
        # Cancelled once, it may not notice: `wait_for` of Python 3.11 swallows what comes when it is over.
        await end([follower])
        await engine.stop()


async def steady(engine: Engine) -> None:
    """Bring the engine's WAL to its lasting size, with commits that change nothing."""

    def touch(cursor: Any) -> None:
        cursor.execute("update projections set position = position where name = 'thread_view'")

    for _ in range(_COMMITS_UNTIL_STEADY):
        await engine.log.write(touch)


def warm_up() -> None:
    """What `clew serve` does before it serves."""
    tokens.warm()
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 100)


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that at least so many percent of `values` do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def spread(seconds: Sequence[float]) -> Figures:
    """Median and p99 in milliseconds."""
    return {"p50_ms": rounded(statistics.median(seconds) * 1000), "p99_ms": rounded(percentile(seconds, 99) * 1000)}


def median_ms(seconds: Sequence[float]) -> float:
    return rounded(statistics.median(seconds) * 1000)


def rounded(value: float) -> float:
    """Three digits: the fourth is noise."""
    return float(f"{value:.3g}") if value < 1000 else float(round(value))


def timed(work: Callable[[], object], times: int) -> list[float]:
    """Seconds of each call."""
    found = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        found.append(time.perf_counter() - began)
    return found


def options(description: str | None, **sizes: tuple[int, str]) -> argparse.ArgumentParser:
    """A parser with an option for each size, and one for where the files are made."""
    parser = argparse.ArgumentParser(description=(description or "").partition("\n")[0])
    parser.add_argument("--folder", type=Path, help="where the files are made; else the system's temporary folder")
    for name, (default, told) in sizes.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=default, help=f"{told} ({default})")
    return parser


@contextmanager
def files_in(folder: Path | None) -> Iterator[Path]:
    """A folder of its own for the files, gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="clew-benchmark-", dir=folder) as made:
        yield Path(made)


def report(
    benchmark: str, sizes: Figures, *, store: str = "SQLite file, WAL, synchronous=FULL", **figures: Any
) -> None:
    """The one JSON object on standard output."""
    machine = {
        "cores": os.cpu_count(),
        "load": rounded(os.getloadavg()[0]),
        "system": platform.platform(),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
    }
    print(json.dumps({"benchmark": benchmark, "machine": machine, "store": store, "sizes": sizes, **figures}, indent=2))
