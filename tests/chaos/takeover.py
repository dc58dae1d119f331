"""Runs in flight, all workers killed at once, new ones started: how soon every run goes on, what was done twice.

    python -m tests.chaos.takeover --runs 500

Half of the runs wait for a model that is silent, the others are in tools of every kind. It prints one JSON
object; `slowest_seconds` is from the kill to the first event of the run that waited longest.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx2

from benchmarks.http import upstream
from clew.log import Log, open_store
from clew_projections import run_board
from tests.rigs.history import History, check
from tests.rigs.postgres import Postgres
from tests.rigs.processes import Fleet, Server, Worker
from tests.rigs.proxy import Proxy

_IN_FLIGHT_SECONDS = 60.0
_SETTLED_SECONDS = 120.0
_FOR_EVER_SECONDS = 600.0
_REQUESTS_AT_ONCE = 16
_TOOLS = ("undeclared", "repeatable", "told", "probed")
_PARAMETERS = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}


@dataclass
class Site:
    """A server, workers, the mock of a provider and the file of deeds, on one database."""

    store: str
    fleet: Fleet
    deeds: Path
    lease_seconds: float
    later: dict[str, str]


@contextmanager
def site(store: str, folder: Path, *, workers: int, lease_seconds: float) -> Iterator[Site]:
    """What the first workers begin would take them for ever; for the new ones nothing takes any time."""
    deeds = folder / "deeds.txt"
    deeds.touch()
    with upstream(0) as model, Proxy(model) as silent:
        silent.pause()
        environment = {
            "CLEW_OPENAI_BASE_URL": f"http://127.0.0.1:{silent.port}/v1",
            "CLEW_OPENAI_API_KEY": "takeover",
            "CLEW_DEEDS": str(deeds),
            "CLEW_DEEDS_SECONDS": str(_FOR_EVER_SECONDS),
        }
        later = {"CLEW_OPENAI_BASE_URL": f"http://127.0.0.1:{model}/v1", "CLEW_DEEDS_SECONDS": "0"}
        tools = ["--tools", "tests.rigs.deeds:TOOLS"]
        lease = ["--lease-seconds", str(lease_seconds)]
        fleet = Fleet(
            [Server(store, ["--no-work", *tools], environment)],
            [Worker(store, [*lease, *tools], environment) for _ in range(workers)],
        )
        with fleet:
            yield Site(store, fleet, deeds, lease_seconds, {**environment, **later})


async def make_runs(url: str, count: int, history: History) -> list[str]:
    """Every other one asks the model that is silent, the others a model that calls one of the tools."""
    functions = [{"type": "function", "function": {"name": name, "parameters": _PARAMETERS}} for name in _TOOLS]
    gate = asyncio.Semaphore(_REQUESTS_AT_ONCE)
    async with httpx2.AsyncClient(base_url=f"{url}/v1", timeout=60) as client:
        body = {"model": "openai/instant", "instructions": "Do it.", "tools": functions}
        assistant = (await client.post("/assistants", json=body)).json()["id"]

        async def make(number: int) -> str:
            mark, tool = f"r{number}", _TOOLS[number // 2 % len(_TOOLS)]
            wanted: dict[str, Any] = {
                "assistant_id": assistant,
                "metadata": {"mark": mark},
                "thread": {"messages": [{"role": "user", "content": f"use {tool} {mark}"}]},
            }
            if number % 2:
                wanted["model"] = "scripted/scripted"
            async with gate:
                asked = history.invoke(mark)
                made = await client.post("/threads/runs", json=wanted, headers={"Idempotency-Key": mark})
            assert made.is_success, made.text
            history.end(asked, "ok")
            run_id: str = made.json()["id"]
            return run_id

        return await asyncio.gather(*map(make, range(count)))


def standing(log: Log) -> list[run_board.BoardRow]:
    with log.reading() as reader:
        return list(run_board.under_way(reader))


def wait_until_in_flight(log: Log, runs: int) -> None:
    """Every run was taken by a worker, none has ended."""
    end = time.monotonic() + _IN_FLIGHT_SECONDS
    while sum(row.standing == "working" for row in standing(log)) < runs:
        assert time.monotonic() < end, f"not all were taken: {Counter(row.standing for row in standing(log))}"
        time.sleep(0.05)


def resumed_at(log: Log, run_ids: set[str], head: int) -> dict[str, int]:
    """When each run went on after the position `head`, by the database's clock."""
    found: dict[str, int] = {}
    with log.reading() as reader:
        while page := reader.follow(head, 5_000):
            for one in page:
                run_id = getattr(one.event, "run_id", None)
                if run_id in run_ids:
                    found.setdefault(str(run_id), one.at)
            head = page[-1].position
    return found


def take_over(of: Site, runs: int) -> dict[str, Any]:
    history = History()
    log = Log(open_store(of.store, writing=False))
    try:
        run_ids = set(asyncio.run(make_runs(of.fleet.url(0), runs, history)))
        wait_until_in_flight(log, runs)
        before = [worker.process.pid for worker in of.fleet.workers if worker.process is not None]
        killed_at = log.now()
        for worker in of.fleet.workers:
            worker.kill()
        with log.reading() as reader:
            head = reader.head()
        deeds_before = len(of.deeds.read_text().splitlines())
        in_flight = {row.run_id for row in standing(log)}
        for worker in of.fleet.workers:
            worker.environment = of.later
        of.fleet.start_what_is_down()
        up_at = log.now()
        end = time.monotonic() + _SETTLED_SECONDS
        while left := [row for row in standing(log) if row.standing != "in_doubt"]:
            assert time.monotonic() < end, f"{len(left)} runs did not come to an end: {left[:3]}"
            time.sleep(0.1)
        resumed = resumed_at(log, in_flight, head)
        found = check(of.store, history.asked, of.deeds.read_text().splitlines())
        doubtful = standing(log)
    finally:
        log.close()
    waited = sorted((at - killed_at) / 1_000_000 for at in resumed.values())
    return {
        "runs": runs,
        "in_flight": len(in_flight & run_ids),
        "workers_killed": len(before),
        "lease_seconds": of.lease_seconds,
        "allowed_seconds": 2 * of.lease_seconds + 2,
        "resumed": len(resumed),
        "new_workers_up_seconds": round((up_at - killed_at) / 1_000_000, 2),
        "median_seconds": round(waited[len(waited) // 2], 2),
        "slowest_seconds": round(waited[-1], 2),
        "deeds_under_way": deeds_before,
        "in_doubt_until_a_person_settles": len(doubtful),
        **asdict(found),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--lease-seconds", type=float, default=5)
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        store = stack.enter_context(Postgres()).create_database("takeover")
        found = take_over(
            stack.enter_context(site(store, folder, workers=options.workers, lease_seconds=options.lease_seconds)),
            options.runs,
        )
    json.dump(found, sys.stdout, indent=2)
    print()


if __name__ == "__main__":
    main()
