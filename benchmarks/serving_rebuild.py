"""Rebuilding every read model of a large log while the server serves: what it does to those who append meanwhile.

`clew serve` and the load generator are a process each. The clients append at a steady pace over HTTP, a thread each,
before the rebuilding and during it; the floor, a plain commit on the same disk, is measured before.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

if not __package__:  # Run as a file, Python looks for modules beside it and not in the repository.
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

import orjson
import uvloop

from benchmarks.client import Connection, connections
from benchmarks.common import (
    Figures,
    engine_without_worker,
    files_in,
    floor_figures,
    options,
    percentile,
    report,
    rounded,
    spread,
    warm_up,
)
from benchmarks.rebuild import build
from benchmarks.turns import make_texts
from clew.proof.checkpoint import parse_note
from tests.rigs.processes import Server

_LOOK_SECONDS = 0.1


class Appends:
    """Clients that each append a message so often, until they are told to stop, and wait for each answer."""

    def __init__(self, made: Sequence[Connection], pause_seconds: float) -> None:
        self._made = made
        self._pause_seconds = pause_seconds
        self._paths: dict[Connection, str] = {}
        self._questions = make_texts().questions

    async def prepare(self) -> None:
        for connection in self._made:
            thread = orjson.loads((await connection.request("POST", "/v1/threads", {})).body)
            self._paths[connection] = f"/v1/threads/{thread['id']}/messages"

    async def during(self, work: asyncio.Task[None]) -> list[float]:
        """Seconds of every append that was begun while `work` went on."""
        found: list[float] = []

        async def client(connection: Connection, number: int) -> None:
            await asyncio.sleep(self._pause_seconds * number / len(self._made))
            while not work.done():
                message = {"role": "user", "content": self._questions[len(found) % len(self._questions)]}
                response = await connection.request("POST", self._paths[connection], message)
                assert response.status == 200, response.body
                found.append(response.seconds)
                await asyncio.sleep(self._pause_seconds)

        await asyncio.gather(*(client(connection, number) for number, connection in enumerate(self._made)))
        await work
        return found


async def rebuilding(control: Connection, told: Figures) -> None:
    """All read models, until the server says that they are swapped."""
    began = time.perf_counter()
    response = await control.request("POST", "/clew/v1/projections/rebuild", {})
    assert response.status == 202, response.body
    while True:
        now = orjson.loads((await control.request("GET", "/clew/v1/projections/rebuild")).body)
        if not now["running"]:
            break
        await asyncio.sleep(_LOOK_SECONDS)
    assert now["error"] is None, now
    seconds = time.perf_counter() - began
    told |= {"seconds": rounded(seconds), "events": now["done"], "events_per_second": rounded(now["done"] / seconds)}


async def signed(control: Connection, events: int) -> None:
    """What was appended without a server has no checkpoints yet: the server catches up on that, once."""
    while True:
        response = await control.request("GET", "/clew/v1/log/checkpoint")
        if response.status == 200 and parse_note(response.body).checkpoint.size >= events:
            return
        await asyncio.sleep(_LOOK_SECONDS)


async def measure(port: int, chosen: argparse.Namespace) -> Figures:
    async with connections(port, 1) as [control]:
        await signed(control, chosen.events)
    async with connections(port, chosen.clients) as made, connections(port, 1) as [control]:
        appends = Appends(made, chosen.pause_ms / 1000)
        await appends.prepare()
        await appends.during(asyncio.create_task(asyncio.sleep(min(2.0, chosen.seconds))))
        before = await appends.during(asyncio.create_task(asyncio.sleep(chosen.seconds)))
        told: Figures = {}
        during = await appends.during(asyncio.create_task(rebuilding(control, told)))
        behind = orjson.loads((await control.request("GET", "/clew/v1/projections")).body)
    assert all(one["lifecycle"] == "follow" or one["behind"] == 0 for one in behind)
    return {
        "rebuild": told,
        "appends_before": {"count": len(before), **spread(before), "worst_ms": rounded(max(before) * 1000)},
        "appends_during": {"count": len(during), **spread(during), "worst_ms": rounded(max(during) * 1000)},
        "p99_during_to_before": rounded(percentile(during, 99) / percentile(before, 99)),
    }


async def fill(store: Path, events: int) -> float:
    """Seconds."""
    began = time.perf_counter()
    async with engine_without_worker(store) as engine:
        await build(engine, events, make_texts())
    return time.perf_counter() - began


def main(arguments: Sequence[str] | None = None) -> None:
    parser = options(
        __doc__,
        events=(1_000_000, "events in the log"),
        clients=(8, "clients that append"),
        pause_ms=(20, "pause of each between its appends"),
        seconds=(20, "how long appends are measured before"),
    )
    chosen = parser.parse_args(arguments)
    warm_up()
    with files_in(chosen.folder) as folder:
        floor = floor_figures(folder / "raw.db", make_texts().answers)
        built_seconds = asyncio.run(fill(folder / "log.db", chosen.events))
        with (
            Server(folder / "log.db", ("--default-provider", "scripted"), environment={"CLEW_API_KEY": ""}) as server,
            asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
        ):
            figures = runner.run(measure(server.port, chosen))
    sizes = {name: value for name, value in vars(chosen).items() if name != "folder"}
    report("serving_rebuild", sizes, built_seconds=rounded(built_seconds), **figures, floor=floor)


if __name__ == "__main__":
    main()
