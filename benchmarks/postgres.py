"""The log on PostgreSQL: the bare log, the desk with everything on, reading, and how far another process is behind.

Rounds of raw psycopg, of the bare log and of the desk take turns, so that all of them meet the same server. It is a
server of our own, with fsync, on a WAL that has stopped growing; or the one that --store names.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from urllib.parse import quote, urlencode

import psycopg
import uvloop
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.sql import SQL, Identifier

if not __package__:  # Run as a file, Python looks for modules beside it and not in the repository.
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

from benchmarks.append import as_messages
from benchmarks.common import Figures, body_of, engine_without_worker, options, report, rounded, spread, timed, warm_up
from benchmarks.turns import Texts, begin, make_texts, messages, say
from clew.bus import Bus
from clew.engine.engine import Engine
from clew.engine.relay import Relay
from clew.events import Event, Recorded
from clew.events.thread import ThreadChanged
from clew.ids import new_id
from clew.log import Log, open_store
from clew_projections import thread_view
from tests.rigs.postgres import Postgres

_CALLERS = (1, 16, 64, 256)
_DATABASES = ("raw", "bare", "desk", "lag")
_PAGE_ITEMS = 20
_READ_THREAD_MESSAGES = 1_000
_TICK_SECONDS = 0.01
# The lone thread has more turns than each of many.
_LONE_TIMES = 8
# A server that has run for a while has files for its WAL that it uses again; making and syncing a new one of 16 MB
# holds every commit up for tens of milliseconds.
_WAL_FILES = 96
_SETTINGS = {"min_wal_size": f"{_WAL_FILES * 16}MB", "max_wal_size": f"{_WAL_FILES * 32}MB"}
_WHAT = (
    "`bare_log`: Log.append without read models, one small event each, every caller on a stream of its own and waiting"
    " for its append before the next; `cpu_us_per_event` is that of our process. `desk`: AppendMessages on a thread"
    " each, with validation, tokens, the chain, inline read models and one that follows. `raw`: psycopg, one prepared"
    " insert a commit. `follower_lag`: from the acknowledgement in one process to a listener in another."
)
_EVENT = ThreadChanged(
    metadata={"said": "about as much as there is in a short message, and certainly no more than that"}
)


class Raw:
    """Plain psycopg: one insert, one commit. Each writer has a connection of its own."""

    def __init__(self, dsn: str, writers: int) -> None:
        self._connections = [psycopg.connect(dsn, autocommit=True) for _ in range(writers)]
        self._connections[0].execute(
            "create table messages (id bigint generated always as identity primary key, thread text not null,"
            " seq integer not null, body text, unique (thread, seq))"
        )
        self._seq = 0

    def write(self, connection: psycopg.Connection, thread: str, body: str, count: int, seconds: list[float]) -> None:
        for seq in range(self._seq, self._seq + count):
            began = time.perf_counter()
            connection.execute("insert into messages (thread, seq, body) values (%s, %s, %s)", (thread, seq, body))
            seconds.append(time.perf_counter() - began)

    def block(self, writers: int, body: str, count: int, seconds: list[float]) -> float:
        """Each of so many threads makes so many commits; gives the commits a second of all together."""
        work = [
            threading.Thread(target=self.write, args=(connection, f"{writers}-{number}", body, count, seconds))
            for number, connection in enumerate(self._connections[:writers])
        ]
        began = time.perf_counter()
        for one in work:
            one.start()
        for one in work:
            one.join()
        rate = writers * count / (time.perf_counter() - began)
        self._seq += count
        return rate

    def close(self) -> None:
        for connection in self._connections:
            connection.close()


@dataclass
class Found:
    """Of each round a rate, of each call its seconds, and of each event the processor's seconds of our process."""

    rates: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def figures(self, called: str) -> Figures:
        cpu = {f"cpu_us_per_{called}": rounded(statistics.median(self.cpu) * 1e6)} if self.cpu else {}
        return {
            f"{called}s_per_second": rounded(statistics.median(self.rates)),
            f"{called}s_per_second_best_round": rounded(max(self.rates)),
            **spread(self.seconds),
            **cpu,
        }


async def call(log: Log, appends: int, seconds: list[float]) -> None:
    stream = new_id("thread")
    for version in range(appends):
        began = time.perf_counter()
        await log.append(stream, [_EVENT], after=version)
        seconds.append(time.perf_counter() - began)


async def bare_block(log: Log, callers: int, events: int, found: Found) -> None:
    each = max(2, events // callers)
    seconds: list[float] = []
    began, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(call(log, each, seconds) for _ in range(callers)))
    found.rates.append(callers * each / (time.perf_counter() - began))
    found.cpu.append((time.process_time() - cpu) / (callers * each))
    found.seconds += seconds


async def desk_block(engine: Engine, texts: Texts, threads: Sequence[str], turns: range, found: Found) -> None:
    began, cpu = time.perf_counter(), time.process_time()
    counts = await asyncio.gather(*(as_messages(engine.desk, texts, id, turns, found.seconds) for id in threads))
    found.rates.append(sum(counts) / (time.perf_counter() - began))
    found.cpu.append((time.process_time() - cpu) / sum(counts))


@dataclass(frozen=True)
class Sizes:
    rounds: int
    events: int
    threads: int
    turns: int
    lag_seconds: int


class Writers:
    """All that writes, in rounds that take turns."""

    def __init__(self, dsns: dict[str, str], sizes: Sizes, texts: Texts) -> None:
        self.sizes = sizes
        self.texts = texts
        self.commits = max(5, sizes.events // 100)
        self.raw = Raw(dsns["raw"], sizes.threads)
        self.bare = Log(open_store(dsns["bare"]))
        self.begin()

    def begin(self) -> None:
        self.raw_lone, self.raw_many, self.lone, self.many = Found(), Found(), Found(), Found()
        self.by_callers = {callers: Found() for callers in _CALLERS}

    async def round(self, number: int, engine: Engine, threads: Sequence[str]) -> None:
        body = body_of("user", self.texts.questions[0])
        for writers, found in (1, self.raw_lone), (self.sizes.threads, self.raw_many):
            found.rates.append(self.raw.block(writers, body, max(2, self.commits // writers), found.seconds))
        for callers, found in self.by_callers.items():
            await bare_block(self.bare, callers, self.sizes.events * min(callers, 64) // 64, found)
        turns = range(number * self.sizes.turns, (number + 1) * self.sizes.turns)
        lone_turns = range(turns.start * _LONE_TIMES, turns.stop * _LONE_TIMES)
        await desk_block(engine, self.texts, threads[:1], lone_turns, self.lone)
        await desk_block(engine, self.texts, threads, turns, self.many)

    def figures(self) -> Figures:
        raw_rate, raw_seconds = statistics.median(self.raw_many.rates), statistics.median(self.raw_lone.seconds)
        writers = self.sizes.threads
        return {
            "bare_log": {
                str(callers): {
                    **found.figures("event"),
                    "ratio_to_raw": rounded(statistics.median(found.rates) / raw_rate),
                }
                for callers, found in self.by_callers.items()
            },
            "desk": {
                "threads_at_once": {
                    **self.many.figures("message"),
                    "ratio_to_raw": rounded(statistics.median(self.many.rates) / raw_rate),
                },
                "lone_thread": {
                    **self.lone.figures("message"),
                    "ratio_to_raw_commit": rounded(statistics.median(self.lone.seconds) / raw_seconds),
                },
            },
            "raw": {"one_writer": self.raw_lone.figures("commit"), "together": self.raw_many.figures("commit")},
            "floor": {
                **spread(self.raw_lone.seconds),
                "commits_per_second": rounded(statistics.median(self.raw_lone.rates)),
                f"commits_per_second_of_{writers}_writers": rounded(raw_rate),
            },
        }


async def appending_and_reading(dsns: dict[str, str], sizes: Sizes, texts: Texts) -> Figures:
    writers = Writers(dsns, sizes, texts)
    async with engine_without_worker(dsns["desk"]) as engine:
        threads = [await begin(engine.desk) for _ in range(sizes.threads)]
        # One round more, to warm everything up.
        await writers.round(0, engine, threads)
        writers.begin()
        gc.collect()
        gc.freeze()
        for number in range(1, sizes.rounds + 1):
            await writers.round(number, engine, threads)
        read = await reading(engine, texts, writers.commits)
    writers.raw.close()
    writers.bare.close()
    return {**writers.figures(), "reading": read}


async def reading(engine: Engine, texts: Texts, times: int) -> Figures:
    """The newest items of a thread: as a server in use finds them, and with every body read and decoded."""
    said = list(islice((one for turn in range(_READ_THREAD_MESSAGES) for one in messages(texts, turn)), 1_000))
    thread_id = await begin(engine.desk)
    await say(engine.desk, thread_id, *said)

    def newest() -> None:
        with engine.log.reading() as reader:
            history = thread_view.segments(reader, thread_id)
            rows = list(islice(thread_view.walk(reader, history, page=_PAGE_ITEMS), _PAGE_ITEMS))
            assert len(thread_view.items(reader, rows)) == _PAGE_ITEMS

    def uncached() -> None:
        engine.log.cache.clear()
        newest()

    return {"newest_20": spread(timed(newest, times)), "newest_20_uncached": spread(timed(uncached, times))}


@asynccontextmanager
async def process_on(dsn: str) -> AsyncIterator[Log]:
    """A log that hears of other processes and tells them, as a server's does."""
    log, others = Log(open_store(dsn)), asyncio.Event()
    signals = log.store.signals()
    assert signals is not None
    relay = Relay(Bus(), signals, others)
    log.listen(relay.committed, own_only=True)
    tasks = [asyncio.create_task(log.follow_others(others, 0)), asyncio.create_task(relay.run())]
    try:
        yield log
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        log.close()


async def follow(dsn: str) -> None:
    """The other process: says when it is there, and at the end of its input when it saw which position."""
    seen: dict[int, float] = {}

    def note(recorded: Sequence[Recorded[Event]]) -> None:
        now = time.monotonic()
        for one in recorded:
            seen.setdefault(one.position, now)

    async with process_on(dsn) as log:
        log.listen(note)
        await asyncio.sleep(0.5)
        print("there", flush=True)
        await asyncio.to_thread(sys.stdin.read)
    print(json.dumps(list(seen.items())))


async def follower_lag(dsn: str, seconds: int, events_per_second: int = 2_000) -> Figures:
    """Appends on a steady clock, whatever became of those before them, as clients of many threads make them."""
    acknowledged: dict[int, float] = {}
    async with process_on(dsn) as log:
        command = [sys.executable, os.path.abspath(__file__), "--follow", dsn]
        other = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert other.stdout is not None
        assert await asyncio.to_thread(other.stdout.readline) == "there\n"

        async def append() -> None:
            done = await log.append(new_id("thread"), [_EVENT], after=0)
            acknowledged[done.events[0].position] = time.monotonic()

        began = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for tick in range(1, int(seconds / _TICK_SECONDS) + 1):
                for _ in range(int(events_per_second * _TICK_SECONDS)):
                    group.create_task(append())
                await asyncio.sleep(began + tick * _TICK_SECONDS - time.monotonic())
        rate = len(acknowledged) / (time.monotonic() - began)
        await asyncio.sleep(0.5)
        told, _ = await asyncio.to_thread(other.communicate)
    seen = dict(json.loads(told))
    missed = acknowledged.keys() - seen.keys()
    lags = [max(seen[position] - at, 0.0) for position, at in acknowledged.items() if position in seen]
    return {"events_per_second": rounded(rate), **spread(lags), "missed": len(missed)}


@contextmanager
def databases(server: str) -> Iterator[dict[str, str]]:
    """Fresh ones, gone afterwards; gives their connection strings."""
    names = {name: f"clew_benchmark_{os.getpid()}_{name}" for name in _DATABASES}
    with psycopg.connect(server, autocommit=True) as connection:
        try:
            for name in names.values():
                connection.execute(SQL("create database {}").format(Identifier(name)))
            yield {short: _url(server, name) for short, name in names.items()}
        finally:
            for name in names.values():
                connection.execute(SQL("drop database if exists {} with (force)").format(Identifier(name)))


def _url(server: str, database: str) -> str:
    """A store's name is a URL; everything but the database comes from the server's."""
    parameters = conninfo_to_dict(make_conninfo(server, dbname=database))
    return f"postgresql:///?{urlencode(parameters, quote_via=quote)}"


@contextmanager
def server_of(store: str | None, folder: Path | None) -> Iterator[str]:
    if store is not None:
        yield store
        return
    with Postgres(folder=Path(tempfile.mkdtemp(prefix="clew-benchmark-", dir=folder)), settings=_SETTINGS) as server:
        with server.connect() as connection:
            connection.execute("create table filler (number integer)")
            for number in range(_WAL_FILES):
                connection.execute("insert into filler values (%s)", (number,))
                connection.execute("select pg_switch_wal()")
            connection.execute("checkpoint")
        yield server.dsn()


def run(server: str, sizes: Sizes) -> None:
    texts = make_texts()
    warm_up()
    with databases(server) as dsns, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        figures = runner.run(appending_and_reading(dsns, sizes, texts))
        figures["follower_lag"] = runner.run(follower_lag(dsns["lag"], sizes.lag_seconds))
        with psycopg.connect(server) as connection:
            version = connection.info.parameter_status("server_version")
            row = connection.execute("select current_setting('fsync')").fetchone()
    fsync = row[0] if row is not None else ""
    report(
        "postgres",
        vars(sizes),
        store=f"PostgreSQL {version}, fsync {fsync}, uvloop",
        measured=_WHAT,
        **figures,
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = options(
        __doc__,
        rounds=(6, "how often raw, the bare log and the desk take turns"),
        events=(20_000, "events of 64 and more callers in a round, of fewer callers fewer"),
        threads=(50, "threads at once"),
        turns=(4, "turns of each thread in a round; of the lone thread eight times as many"),
        lag_seconds=(5, "for how long another process follows"),
    )
    parser.add_argument("--store", help="a server's DSN: databases of our own are made there, and dropped")
    parser.add_argument("--follow", help="only follow this log: the other process of the lag", metavar="DSN")
    chosen = parser.parse_args(arguments)
    if chosen.follow is not None:
        uvloop.run(follow(chosen.follow))
        return
    sizes = Sizes(chosen.rounds, chosen.events, chosen.threads, chosen.turns, chosen.lag_seconds)
    with server_of(chosen.store, chosen.folder) as server:
        run(server, sizes)


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        main()
