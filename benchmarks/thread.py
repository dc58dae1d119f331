"""One thread, short and long: reading its newest items, a page in the middle, the past, opening it, appending to it.

Each length has a file of its own. What should not grow with the thread is given as the ratio of the longest thread
to the shortest, too: 1 is flat.
"""

from __future__ import annotations

import asyncio
import gc
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path

if not __package__:  # Run as a file, Python looks for modules beside it and not in the repository.
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

from benchmarks.common import (
    Figures,
    Floor,
    body_of,
    engine_without_worker,
    files_in,
    median_ms,
    options,
    report,
    rounded,
    steady,
    timed,
    warm_up,
)
from benchmarks.turns import Texts, begin, make_texts, messages, say
from clew.desk import SNAPSHOT_EVERY_EVENTS
from clew.engine.engine import Engine
from clew.engine.forking import fork
from clew.events.items import Item, Place
from clew.events.message import Role
from clew.past import Point
from clew_projections import thread_view

PAGE_ITEMS = 20
_CHUNK_MESSAGES = 1_000


def transcript(texts: Texts, length: int) -> list[tuple[Role, str]]:
    """So many messages, of turns with tool calls."""
    return list(islice((said for turn in range(length) for said in messages(texts, turn)), length))


async def build(engine: Engine, said: Sequence[tuple[Role, str]]) -> str:
    """The thread, many messages a command. Its last events have no snapshot, so that opening it is at its slowest."""
    thread_id = await begin(engine.desk)
    tail = min(len(said), SNAPSHOT_EVERY_EVENTS - 1)
    head = len(said) - tail
    # The odd rest comes first, so that the last snapshot is where the tail begins.
    ends = [*range(head % _CHUNK_MESSAGES, head + 1, _CHUNK_MESSAGES), len(said)]
    for start, end in zip([0, *ends], ends, strict=False):
        if end > start:
            await say(engine.desk, thread_id, *said[start:end])
    return thread_id


class Questions:
    """What is asked of the thread, each in a snapshot of its own."""

    def __init__(self, engine: Engine, thread_id: str) -> None:
        self._log = engine.log
        self._thread_id = thread_id
        with self._log.reading() as reader:
            newest = reader.version(thread_id)
            self.middle = Place(thread_id, newest // 2 + 1)
            middle = reader.stream(thread_id, after=newest // 2, limit=1)[0]
        self.middle_position = middle.position
        self._version = Point(f"v{middle.version}", "")
        at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=middle.at)
        self._time = Point(at.isoformat(), "")

    def newest(self) -> list[Item]:
        return self._page(None, None)

    def newest_uncached(self) -> list[Item]:
        """As for a thread that nobody has looked at for long: every body is read and decoded."""
        self._log.cache.clear()
        return self._page(None, None)

    def in_the_middle(self) -> list[Item]:
        self._log.cache.clear()
        return self._page(self.middle, None)

    def as_of_the_middle(self) -> list[Item]:
        """What was newest when the thread was half as long."""
        return self._page(None, self.middle_position)

    def as_of_the_middle_uncached(self) -> list[Item]:
        self._log.cache.clear()
        return self._page(None, self.middle_position)

    def as_of_a_version(self) -> list[Item]:
        """The same, asked for as `v500`."""
        return self._page(None, self._position(self._version))

    def as_of_a_time(self) -> list[Item]:
        """The same, asked for as a time. What was appended at once is of one time, so this may be a few items later."""
        return self._page(None, self._position(self._time))

    def _position(self, point: Point) -> int:
        with self._log.reading() as reader:
            return point.position(reader, self._thread_id)

    def _page(self, beyond: Place | None, as_of: int | None) -> list[Item]:
        with self._log.reading() as reader:
            history = thread_view.segments(reader, self._thread_id, as_of)
            rows = list(islice(thread_view.walk(reader, history, beyond=beyond, page=PAGE_ITEMS, as_of=as_of), 20))
            return thread_view.items(reader, rows)


def reading(questions: Questions, times: int) -> dict[str, float]:
    """Median milliseconds of each question."""
    asked: dict[str, Callable[[], list[Item]]] = {
        "newest_20_ms": questions.newest,
        "newest_20_uncached_ms": questions.newest_uncached,
        "page_in_the_middle_ms": questions.in_the_middle,
        "newest_20_as_of_the_middle_ms": questions.as_of_the_middle,
        "newest_20_as_of_the_middle_uncached_ms": questions.as_of_the_middle_uncached,
        "newest_20_as_of_a_version_ms": questions.as_of_a_version,
        "newest_20_as_of_a_time_ms": questions.as_of_a_time,
    }
    found: dict[str, float] = {}
    for name, question in asked.items():
        assert 0 < len(question()) <= PAGE_ITEMS
        found[name] = statistics.median(timed(question, times)) * 1000
    past_to_now = {
        "as_of_to_now": found["newest_20_as_of_the_middle_ms"] / found["newest_20_ms"],
        "as_of_to_now_uncached": found["newest_20_as_of_the_middle_uncached_ms"] / found["newest_20_uncached_ms"],
    }
    return {name: rounded(value) for name, value in {**found, **past_to_now}.items()}


async def forked(engine: Engine, thread_id: str, times: int) -> dict[str, float]:
    """Forks in the middle of the thread, and the first look at a fork of a fork of a fork beside one at the thread."""
    with engine.log.reading() as reader:
        middle = max(1, reader.version(thread_id) // 2)
    seconds = []
    for _ in range(times):
        began = time.perf_counter()
        await fork(engine.log, engine.desk, thread_id, dialect="benchmark", version=middle)
        seconds.append(time.perf_counter() - began)
    looks, again, usual, usual_again = [], [], [], []
    for _ in range(times):
        # Right after a commit a reader finds its pages stale, whatever it reads: so the thread is looked at then, too.
        child = await _third_fork(engine, thread_id)
        fresh, plain = Questions(engine, child), Questions(engine, thread_id)
        looks += timed(fresh.newest_uncached, 1)
        again += timed(fresh.newest_uncached, 1)
        await _third_fork(engine, thread_id)
        usual += timed(plain.newest_uncached, 1)
        usual_again += timed(plain.newest_uncached, 1)
    first, second, of_thread, of_thread_again = map(median_ms, (looks, again, usual, usual_again))
    return {
        "fork_in_the_middle_ms": median_ms(seconds),
        "first_look_at_a_third_fork_ms": first,
        "look_at_the_thread_after_as_many_commits_ms": of_thread,
        "third_fork_to_thread": rounded(first / of_thread),
        "second_look_at_a_third_fork_ms": second,
        "third_fork_to_thread_again": rounded(second / of_thread_again),
    }


async def _third_fork(engine: Engine, thread_id: str) -> str:
    for _ in range(3):
        thread_id = (await fork(engine.log, engine.desk, thread_id, dialect="benchmark")).stream
    return thread_id


async def measure(folder: Path, length: int, times: int, texts: Texts) -> Figures:
    store, said = folder / f"{length}.db", transcript(texts, length)
    floor = Floor(folder / f"{length}-raw.db")
    async with engine_without_worker(store) as engine:
        began = time.perf_counter()
        thread_id = await build(engine, said)
        built_seconds = time.perf_counter() - began
    gc.collect()
    extra = transcript(texts, times + 1)
    opening = time.perf_counter()
    async with engine_without_worker(store) as engine:
        began = time.perf_counter()
        await say(engine.desk, thread_id, extra[0])
        first = time.perf_counter() - began
        with engine.log.reading() as reader:
            snapshots = reader.rows("select max(version) from snapshots where stream = ?", (thread_id,))
        await steady(engine)
        seconds = []
        for one in extra[1:]:
            started = time.perf_counter()
            await say(engine.desk, thread_id, one)
            seconds.append(time.perf_counter() - started)
        read = reading(Questions(engine, thread_id), times)
        read |= await forked(engine, thread_id, times)
    floor.fill(thread_id, [body_of(role, what) for role, what in said])
    raw = statistics.median(timed(lambda: floor.newest(thread_id, PAGE_ITEMS), times)) * 1000
    raw_append = statistics.median(
        timed(lambda: floor.append(thread_id, time.perf_counter_ns(), body_of(*extra[0])), times)
    )
    floor.close()
    return {
        "messages": length,
        **read,
        "raw_newest_20_ms": rounded(raw),
        "open_file_ms": rounded((began - opening) * 1000),
        "first_append_ms": rounded(first * 1000),
        "first_append_read_events": length + 1 - min(length + 1, snapshots[0][0] or 0),
        "append_warm_ms": rounded(statistics.median(seconds) * 1000),
        "raw_commit_ms": rounded(raw_append * 1000),
        "built_messages_per_second": rounded(length / built_seconds),
    }


def flatness(found: Sequence[Figures]) -> Figures:
    """Each figure of the longest thread over that of the shortest."""
    first, last = found[0], found[-1]
    names = [name for name in first if name.endswith("_ms") and name not in ("open_file_ms", "first_append_ms")]
    return {name.removesuffix("_ms"): rounded(last[name] / first[name]) for name in names}


async def run(folder: Path, lengths: Sequence[int], times: int) -> None:
    texts = make_texts()
    warm_up()
    found = [await measure(folder, length, times, texts) for length in sorted(lengths)]
    report(
        "thread",
        {"lengths": sorted(lengths), "page_items": PAGE_ITEMS, "times": times},
        threads=found,
        longest_to_shortest=flatness(found),
        floor={"newest_20_ms": found[-1]["raw_newest_20_ms"], "commit_ms": found[-1]["raw_commit_ms"]},
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = options(__doc__, times=(200, "how often each question is asked"))
    parser.add_argument("--lengths", type=int, nargs="+", default=[30, 1_000, 10_000, 100_000], help="messages")
    chosen = parser.parse_args(arguments)
    with files_in(chosen.folder) as folder:
        asyncio.run(run(folder, chosen.lengths, chosen.times))


if __name__ == "__main__":
    main()
