"""Everything that can crash, crashes, for as long as one likes; then the history is held against the log.

Servers and workers on one PostgreSQL: any of them is killed at random, the database is stopped hard, the network to
it fails in every way, while clients append and make runs with tools. It ends with status 1 if anything was lost,
doubled, or otherwise not as it must be.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path

if not __package__:  # Run as a file, Python looks for modules beside it and not in the repository.
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

from benchmarks.common import Figures, files_in, floor_figures, options, report, rounded
from benchmarks.turns import make_texts
from tests.chaos.load import Load
from tests.rigs.history import check
from tests.rigs.killing import kill_again_and_again
from tests.rigs.postgres import Postgres
from tests.rigs.processes import Fleet, Server, Worker
from tests.rigs.proxy import Proxy

_DATABASE = "soak"
_LEASE_SECONDS = 2.0
_KILL_SECONDS = 2.0
_TROUBLE_SECONDS_MAX = 5.0
_TOLD_SHOWN = 10


@dataclass
class Weather:
    """What befalls the fleet, and how often it did."""

    postgres: Postgres
    proxy: Proxy
    befell: Counter[str] = field(default_factory=Counter)
    _crashing: threading.Lock = field(default_factory=threading.Lock)

    async def rage(self) -> None:
        """Until cancelled; what was broken then is whole again."""
        troubles: list[Callable[[], Awaitable[None]]] = [self.crash, self._cut, self._pause, self._refuse]
        while True:
            await asyncio.sleep(random.uniform(0.2, _TROUBLE_SECONDS_MAX))
            trouble = asyncio.ensure_future(random.choice(troubles)())
            try:
                await asyncio.shield(trouble)
            finally:
                await trouble

    async def crash(self) -> None:
        await asyncio.to_thread(self._crash_and_start)
        self.befell["crashes"] += 1

    def _crash_and_start(self) -> None:
        # Two at once would stop what the other one starts.
        with self._crashing:
            self._crash_once()

    def _crash_once(self) -> None:
        random.choice((self.postgres.crash, self.postgres.kill))()
        time.sleep(random.uniform(0, 1))
        self.postgres.start()

    async def _cut(self) -> None:
        await asyncio.to_thread(self.proxy.cut)
        self.befell["cuts"] += 1

    async def _pause(self) -> None:
        await asyncio.to_thread(self.proxy.pause)
        await asyncio.sleep(random.uniform(0.1, 2))
        await asyncio.to_thread(self.proxy.resume)
        self.befell["pauses"] += 1

    async def _refuse(self) -> None:
        await asyncio.to_thread(self.proxy.refuse)
        await asyncio.to_thread(self.proxy.cut)
        await asyncio.sleep(random.uniform(0.1, 2))
        await asyncio.to_thread(self.proxy.accept)
        self.befell["refusals"] += 1


async def stop(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait({task})
    if not task.cancelled() and (error := task.exception()) is not None:
        raise error


async def soak(fleet: Fleet, weather: Weather, killed: Counter[str], load: Load, seconds: float) -> None:
    began = time.monotonic()
    working = asyncio.create_task(load.run(appenders=8, runners=6))
    raging = asyncio.create_task(weather.rage())
    killing = asyncio.create_task(kill_again_and_again(fleet, min(_KILL_SECONDS, seconds / 3), killed))
    try:
        await asyncio.wait({working, raging, killing}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        # So that at least one of them happened, however short this was.
        await weather.crash()
    finally:
        await stop(raging)
        await stop(killing)
        await asyncio.to_thread(fleet.start_what_is_down)
        load.over.set()
    await working
    print(f"{load.answers} answers in {time.monotonic() - began:.0f} s", file=sys.stderr)


def a_fleet(store: str, deeds: Path, servers: int, workers: int) -> Fleet:
    environment = {"CLEW_DEEDS": str(deeds), "CLEW_DEEDS_SECONDS": "0.3"}
    told = ["--default-provider", "scripted", "--tools", "tests.rigs.deeds:TOOLS"]
    lease = ["--lease-seconds", str(_LEASE_SECONDS)]
    return Fleet(
        [Server(store, ["--no-work", *told], environment) for _ in range(servers)],
        [Worker(store, [*lease, *told], environment) for _ in range(workers)],
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = options(
        __doc__, seconds=(600, "how long"), servers=(2, "processes that serve"), workers=(3, "processes that work")
    )
    chosen = parser.parse_args(arguments)
    load, killed = Load([], patience_seconds=90), Counter[str]()
    with files_in(chosen.folder) as folder, ExitStack() as stack:
        floor = floor_figures(folder / "raw.db", make_texts().answers)
        deeds = folder / "deeds.txt"
        deeds.touch()
        postgres = stack.enter_context(Postgres(loopback=True))
        postgres.create_database(_DATABASE)
        proxy = stack.enter_context(Proxy(postgres.port))
        fleet = a_fleet(postgres.tcp_dsn(_DATABASE, proxy.port), deeds, chosen.servers, chosen.workers)
        stack.enter_context(fleet)
        load.urls = [server.url for server in fleet.servers]
        weather = Weather(postgres, proxy)
        asyncio.run(soak(fleet, weather, killed, load, chosen.seconds))
        found = check(postgres.tcp_dsn(_DATABASE), load.history.asked, deeds.read_text().splitlines())
    faults = [*load.faults, *found.faults]
    figures: Figures = {
        **asdict(found),
        "faults": len(faults),
        "first_faults": faults[:_TOLD_SHOWN],
        "kills": killed.total(),
        "killed": dict(killed),
        "crashes": weather.befell["crashes"],
        "befell": dict(weather.befell),
        "streams_broken": load.streams_broken,
        "slowest_answer_seconds": rounded(load.slowest_seconds),
    }
    sizes = {name: value for name, value in vars(chosen).items() if name != "folder"}
    report("soak", sizes, store="PostgreSQL of its own, fsync on", **figures, floor=floor)
    sys.exit(bool(faults or found.lost or found.doubled or found.deeds_doubled))


if __name__ == "__main__":
    main()
