"""Servers and workers on one PostgreSQL, while any of them is killed, the database crashes, or the network is cut.

Clients append and make runs all the while. Afterwards the history is held against the log. The long form, with all
of it mixed: `python benchmarks/soak.py --seconds 600`.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import httpx2
import pytest

from tests.chaos.load import Load
from tests.rigs.history import Found, check
from tests.rigs.killing import kill_again_and_again
from tests.rigs.postgres import Postgres
from tests.rigs.processes import Fleet, Server, Worker
from tests.rigs.proxy import Proxy

pytestmark = pytest.mark.slow

_APPENDERS, _RUNNERS = 6, 4
_WITHIN_SECONDS = 30.0
_KILLS = 5
_KILLING_SECONDS_MAX = 60.0


@pytest.fixture(scope="module")
def proxy(own_postgres: Postgres) -> Iterator[Proxy]:
    with Proxy(own_postgres.port) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def deeds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("fleet") / "deeds.txt"
    path.touch()
    return path


@pytest.fixture(scope="module")
def fleet(own_postgres: Postgres, proxy: Proxy, deeds: Path) -> Iterator[Fleet]:
    own_postgres.create_database("fleet")
    store = own_postgres.tcp_dsn("fleet", proxy.port)
    options = ["--default-provider", "scripted", "--tools", "tests.rigs.deeds:TOOLS"]
    environment = {"CLEW_DEEDS": str(deeds), "CLEW_DEEDS_SECONDS": "0.2"}
    fleet = Fleet(
        [Server(store, ["--no-work", *options], environment) for _ in range(2)],
        [Worker(store, ["--lease-seconds", "2", *options], environment) for _ in range(2)],
    )
    with fleet:
        yield fleet


def weather(fleet: Fleet, own_postgres: Postgres, deeds: Path, trouble: Callable[[Load], Awaitable[None]]) -> Found:
    """Clients at work during `trouble`, until they are done; then what came of it."""
    load = Load([server.url for server in fleet.servers])
    deeds.write_text("")

    async def main() -> None:
        working = asyncio.create_task(load.run(_APPENDERS, _RUNNERS))
        try:
            await load.answered(50, _WITHIN_SECONDS)
            await trouble(load)
            await load.answered(50, _WITHIN_SECONDS)
        finally:
            load.over.set()
            await working

    asyncio.run(main())
    found = check(own_postgres.tcp_dsn("fleet"), load.history.asked, deeds.read_text().splitlines())
    assert not load.faults
    assert not found.faults
    assert found.lost == found.doubled == found.deeds_doubled == 0
    assert found.unknown == 0, "all came back in time, so everybody was told"
    assert found.runs == found.runs_finished
    return found


async def health(server: Server) -> int:
    async with httpx2.AsyncClient(timeout=_WITHIN_SECONDS) as client:
        return (await client.get(f"{server.url}/healthz")).status_code


def process_ids(fleet: Fleet) -> list[int | None]:
    """Of those that are up."""
    return [one.process.pid if one.process and one.process.poll() is None else None for one in fleet.all]


def test_nothing_is_lost_or_done_twice_while_servers_and_workers_are_killed(
    fleet: Fleet, own_postgres: Postgres, deeds: Path
) -> None:
    killed: Counter[str] = Counter()

    async def kill(load: Load) -> None:
        killer = asyncio.create_task(kill_again_and_again(fleet, 0.8, killed))
        began = time.monotonic()
        while killed.total() < _KILLS and time.monotonic() - began < _KILLING_SECONDS_MAX:
            await asyncio.sleep(0.1)
        killer.cancel()
        await asyncio.gather(killer, return_exceptions=True)
        await asyncio.to_thread(fleet.start_what_is_down)

    weather(fleet, own_postgres, deeds, kill)
    assert killed.total() >= _KILLS


def test_nothing_is_lost_while_postgresql_crashes_and_every_process_goes_on_by_itself(
    fleet: Fleet, own_postgres: Postgres, deeds: Path
) -> None:
    ids = process_ids(fleet)

    async def crash(load: Load) -> None:
        for end in (own_postgres.crash, own_postgres.kill, own_postgres.crash):
            try:
                await asyncio.to_thread(end)
                assert [await health(server) for server in fleet.servers] == [503, 503]
            finally:
                await asyncio.to_thread(own_postgres.start)
            await load.answered(30, _WITHIN_SECONDS)
            await asyncio.sleep(0.3)

    found = weather(fleet, own_postgres, deeds, crash)
    assert found.acknowledged > found.refused
    assert process_ids(fleet) == ids


def test_nothing_is_lost_while_the_network_to_postgresql_fails_in_every_way(
    fleet: Fleet, own_postgres: Postgres, proxy: Proxy, deeds: Path
) -> None:
    ids = process_ids(fleet)

    async def fail(load: Load) -> None:
        for _ in range(2):
            await asyncio.to_thread(proxy.cut)
            await load.answered(30, _WITHIN_SECONDS)
            for stop, go_on in ((proxy.pause, proxy.resume), (proxy.refuse, proxy.accept)):
                await asyncio.to_thread(stop)
                with contextlib.ExitStack() as stack:
                    stack.callback(go_on)
                    if stop == proxy.refuse:
                        await asyncio.to_thread(proxy.cut)
                    await asyncio.sleep(0.7)
                await load.answered(30, _WITHIN_SECONDS)

    weather(fleet, own_postgres, deeds, fail)
    assert process_ids(fleet) == ids
