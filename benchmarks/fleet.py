"""A fleet on one PostgreSQL: appends, runs and the delivery of deltas with 1, 2 and 4 processes of each kind.

Servers serve (`clew serve --no-work`), workers drive the runs (`clew work`): what a client hears was said in another
process. The database is our own, which syncs, unless --store names one; the load generator shares the machine.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import resource
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

if not __package__:  # Run as a file, Python looks for modules beside it and not in the repository.
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

import orjson
import psycopg
import uvloop

from benchmarks.client import Connection
from benchmarks.common import Figures, percentile, report, rounded, spread, timed
from benchmarks.http import Load, cpu_seconds, upstream
from benchmarks.postgres import server_of
from benchmarks.turns import make_texts
from tests.rigs.processes import Fleet, Server, Worker

_STAMP = re.compile(rb"<(\d+\.\d+)>")
_STAMP_BYTES_MAX = 40
_ENDED = b"event: thread.run.completed"
_FLOOR_COMMITS = 500
_LATE_MS = 100


class Listening(Connection):
    """Notes how old each stamp in an answer was when it came first: at the end the whole text comes once more."""

    def __init__(self) -> None:
        super().__init__()
        self.ages: list[float] = []
        self._seen: set[bytes] = set()
        self._rest = b""

    def on_body(self, piece: bytes) -> None:
        now = time.perf_counter()
        seen = self._rest + piece
        end = 0
        for stamp in _STAMP.finditer(seen):
            end = stamp.end()
            if stamp[1] not in self._seen:
                self._seen.add(stamp[1])
                self.ages.append(now - float(stamp[1]))
        # A stamp may come in two pieces.
        self._rest = seen[max(end, len(seen) - _STAMP_BYTES_MAX) :]
        super().on_body(piece)


class Bench:
    """A fleet under load."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self._questions = make_texts().questions

    @asynccontextmanager
    async def clients(self, count: int) -> AsyncIterator[list[Listening]]:
        """Spread evenly over the servers."""
        loop = asyncio.get_running_loop()
        made: list[Listening] = []
        try:
            for number in range(count):
                port = self.fleet.servers[number % len(self.fleet.servers)].port
                made.append((await loop.create_connection(Listening, "127.0.0.1", port))[1])
            yield made
        finally:
            for one in made:
                one.close()

    def _cpu_seconds(self) -> float:
        return sum(cpu_seconds(one.process.pid) for one in self.fleet.all if one.process is not None)

    async def load(
        self, clients: Sequence[Listening], times: int, work: Callable[[Listening, int, Load], Awaitable[None]]
    ) -> Load:
        """Each of the clients does `work` so many times, one after the other; once before that for nothing."""
        await asyncio.gather(*(work(one, 0, Load()) for one in clients))
        for one in clients:
            one.ages.clear()
        found = Load()

        async def client(one: Listening) -> None:
            for number in range(times):
                await work(one, number, found)

        fleet, own, began = self._cpu_seconds(), time.process_time(), time.perf_counter()
        await asyncio.gather(*map(client, clients))
        found.wall_seconds = time.perf_counter() - began
        found.generator_cpu_seconds = time.process_time() - own
        found.server_cpu_seconds = self._cpu_seconds() - fleet
        return found

    async def appends(self, count: int, times: int) -> Figures:
        """Messages of 200 characters; each client has a thread of its own."""
        paths: dict[Listening, str] = {}

        async def append(one: Listening, number: int, found: Load) -> None:
            if one not in paths:
                thread = orjson.loads((await one.request("POST", "/v1/threads", {})).body)
                paths[one] = f"/v1/threads/{thread['id']}/messages"
            response = await one.request("POST", paths[one], self._question(number))
            found.note(response, response.status == 200)

        async with self.clients(count) as clients:
            return (await self.load(clients, times, append)).figures("appends")

    def _question(self, number: int) -> dict[str, str]:
        return {"role": "user", "content": self._questions[number % len(self._questions)]}

    async def assistant(self, model: str) -> str:
        async with self.clients(1) as [one]:
            made = await one.request("POST", "/v1/assistants", {"model": model, "instructions": "Be short."})
        found: str = orjson.loads(made.body)["id"]
        return found

    async def runs(self, model: str, count: int, times: int, ramp_seconds: float = 0) -> tuple[Load, list[float]]:
        """A thread and a run, streamed until it is done; with the ages of the stamps in it. The clients begin one
        after the other, all within `ramp_seconds`."""
        assistant = await self.assistant(model)
        places: dict[Listening, int] = {}

        async def run(one: Listening, number: int, found: Load) -> None:
            await asyncio.sleep(ramp_seconds * places.setdefault(one, len(places)) / count)
            thread = {"messages": [self._question(number)]}
            body = {"assistant_id": assistant, "stream": True, "thread": thread}
            response = await one.request("POST", "/v1/threads/runs", body, mark=b"event: thread.message.delta")
            found.note(response, response.status == 200 and _ENDED in response.body)

        async with self.clients(count) as clients:
            found = await self.load(clients, times, run)
            return found, [age for one in clients for age in one.ages]


async def appends(fleet: Fleet, chosen: argparse.Namespace) -> Figures:
    """Without workers, which would only read along."""
    return {"appends": await Bench(fleet).appends(chosen.clients, chosen.appends)}


async def runs_and_streams(fleet: Fleet, chosen: argparse.Namespace) -> Figures:
    bench = Bench(fleet)
    runs, _ = await bench.runs("scripted/scripted", chosen.clients, chosen.runs)
    streams, ages = await bench.runs("openai/stamped", chosen.streams, 1, chosen.ramp_ms / 1000)
    first = streams.marked or [float("nan")]
    return {
        "runs": runs.figures("runs"),
        "streams_at_once": {
            "first_delta_p50_ms": rounded(percentile(first, 50) * 1000),
            "deltas": len(ages),
            "deltas_per_second": rounded(len(ages) / streams.wall_seconds),
            **{f"delta_{name}": value for name, value in spread(ages or [float("nan")]).items()},
            "late_percent": rounded(100 * sum(age * 1000 > _LATE_MS for age in ages) / max(1, len(ages))),
            **{name: value for name, value in streams.figures("runs").items() if "first" not in name},
        },
    }


def floor_of(dsn: str) -> Figures:
    """What a commit of one row costs this database, on one connection, with nothing else going on."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("drop table if exists clew_benchmark_floor")
        connection.execute("create table clew_benchmark_floor (id bigint primary key, body text)")
        numbers = iter(range(_FLOOR_COMMITS))
        body = make_texts().answers[0]
        seconds = timed(
            lambda: connection.execute("insert into clew_benchmark_floor values (%s, %s)", (next(numbers), body)),
            _FLOOR_COMMITS,
        )
        connection.execute("drop table clew_benchmark_floor")
    return {**spread(seconds), "commits_per_second": rounded(len(seconds) / sum(seconds))}


@contextmanager
def up(processes: Sequence[Server | Worker]) -> Iterator[None]:
    """Started one after the other: on few cores, many that start at once are all late."""
    try:
        for one in processes:
            one.start()
        yield
    finally:
        for one in processes:
            one.stop()


def version_of(dsn: str) -> str:
    with psycopg.connect(dsn) as connection:
        row = connection.execute(
            "select 'PostgreSQL ' || current_setting('server_version') || ', fsync ' || current_setting('fsync')"
            " || ', synchronous_commit ' || current_setting('synchronous_commit')"
        ).fetchone()
    assert row is not None
    told: str = row[0]
    return told


def arguments_of(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--store", help="the PostgreSQL to use; else one of our own, which is gone afterwards")
    parser.add_argument("--folder", type=Path, help="where ours is made; else the system's temporary folder")
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2, 4], help="how many of each kind (1 2 4)")
    sizes = {
        "clients": (64, "clients at once"),
        "appends": (150, "appends of each client"),
        "runs": (15, "runs of each client"),
        "streams": (200, "streamed runs at once"),
        "stream-ms": (10_000, "how long each of those takes"),
        "pieces": (50, "pieces of each of those"),
        "ramp-ms": (4_000, "within which all of them begin"),
    }
    for name, (default, told) in sizes.items():
        parser.add_argument(f"--{name}", type=int, default=default, help=f"{told} ({default})")
    return parser.parse_args(given)


def main(arguments: Sequence[str] | None = None) -> None:
    chosen = arguments_of(arguments)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    found = {}
    with server_of(chosen.store, chosen.folder) as dsn, upstream(chosen.stream_ms / 1000, chosen.pieces) as port:
        environment = {
            "CLEW_OPENAI_BASE_URL": f"http://127.0.0.1:{port}/v1",
            "CLEW_OPENAI_API_KEY": "benchmark",
            "CLEW_API_KEY": "",
        }
        floor = floor_of(dsn)
        for count in chosen.processes:
            servers = [Server(dsn, ["--no-work"], environment) for _ in range(count)]
            workers = [Worker(dsn, [], environment) for _ in range(count)]
            with up(servers), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                figures = runner.run(appends(Fleet(servers), chosen))
                with up(workers):
                    figures |= runner.run(runs_and_streams(Fleet(servers, workers), chosen))
            found[str(count)] = figures
        store = version_of(dsn)
    sizes = {name: value for name, value in vars(chosen).items() if name not in ("folder", "store")}
    report("fleet", sizes, store=store, processes=found, floor=floor)


if __name__ == "__main__":
    main()
