"""The server over HTTP: appends, whole runs, what a run adds to the model's own time, and many streams at once.

`clew serve`, the model (a mock that costs next to nothing) and the load generator are a process each.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

if not __package__:  # Run as a file, Python looks for modules beside it: this one is called like Python's own `http`.
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

import orjson
import uvloop

from benchmarks.client import Connection, Response, connections
from benchmarks.common import Figures, files_in, floor_figures, options, percentile, report, rounded, spread
from benchmarks.turns import make_texts
from tests.rigs.processes import ROOT, Server, end

MODELS = {"scripted": "scripted/scripted", "mock": "openai/instant", "steady": "openai/steady"}
_POLL_SECONDS = 0.02
_PAUSE_SECONDS = 0.01
_SHOWN_MESSAGES = 20
_DELTA = b"event: thread.message.delta"
_ENDED = b"event: thread.run.completed"
_OVER = ("completed", "failed", "cancelled", "expired", "incomplete")


@contextmanager
def upstream(seconds: float, chunks: int = 20) -> Iterator[int]:
    """The mock in a process of its own; gives its port."""
    command = [sys.executable, "-m", "benchmarks.upstream", "--seconds", str(seconds), "--chunks", str(chunks)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline())
    finally:
        end(process)
        if process.stdout is not None:
            process.stdout.close()


@dataclass
class Load:
    """What came of many requests. An answer that is not as it should be is an error, and has no time."""

    seconds: list[float] = field(default_factory=list)
    marked: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    wall_seconds: float = 0.0
    server_cpu_seconds: float = 0.0
    generator_cpu_seconds: float = 0.0

    def note(self, response: Response, good: bool) -> None:
        if not good:
            self.errors.append(f"{response.status} {response.body[-300:].decode(errors='replace')}")
            return
        self.seconds.append(response.seconds)
        if response.marked_seconds is not None:
            self.marked.append(response.marked_seconds)

    def figures(self, noun: str) -> Figures:
        done = len(self.seconds)
        return {
            f"{noun}_per_second": rounded(done / self.wall_seconds),
            **(spread(self.seconds) if done else {}),
            "errors": len(self.errors),
            **({"first_error": self.errors[0]} if self.errors else {}),
            "server_cpu_ms_each": rounded(self.server_cpu_seconds * 1000 / max(1, done)),
            "server_cpu_share": rounded(self.server_cpu_seconds / self.wall_seconds),
            "generator_cpu_share": rounded(self.generator_cpu_seconds / self.wall_seconds),
        }


def cpu_seconds(process_id: int) -> float:
    """What a process has used so far, from Linux's own books; elsewhere 0."""
    try:
        fields = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Bench:
    """A server under load. `assistants` has one for each model."""

    def __init__(self, server: Server, upstream_port: int) -> None:
        assert server.process is not None
        self.port = server.port
        self.upstream_port = upstream_port
        self._process_id = server.process.pid
        self._questions = make_texts().questions
        self.assistants: dict[str, str] = {}

    async def prepare(self) -> None:
        async with connections(self.port, 1) as [connection]:
            for name, model in MODELS.items():
                made = await connection.request("POST", "/v1/assistants", {"model": model, "instructions": "Be short."})
                self.assistants[name] = orjson.loads(made.body)["id"]

    async def load(
        self, clients: int, times: int, work: Callable[[Connection, int, Load], Awaitable[None]], warm: int = 1
    ) -> Load:
        """Each of the clients does `work` so many times, one after the other."""
        async with connections(self.port, clients) as made:
            for number in range(warm):
                await asyncio.gather(*(work(connection, number, Load()) for connection in made))
            found = Load()

            async def client(connection: Connection) -> None:
                for number in range(times):
                    await work(connection, number, found)

            server, own, began = cpu_seconds(self._process_id), time.process_time(), time.perf_counter()
            await asyncio.gather(*map(client, made))
            found.wall_seconds = time.perf_counter() - began
            found.generator_cpu_seconds = time.process_time() - own
            found.server_cpu_seconds = cpu_seconds(self._process_id) - server
        return found

    async def appends(self, clients: int, times: int) -> Figures:
        """Messages of 200 characters; each client has a thread of its own."""
        paths: dict[Connection, str] = {}

        async def append(connection: Connection, number: int, found: Load) -> None:
            if connection not in paths:
                thread = orjson.loads((await connection.request("POST", "/v1/threads", {})).body)
                paths[connection] = f"/v1/threads/{thread['id']}/messages"
            message = {"role": "user", "content": self._questions[number % len(self._questions)]}
            response = await connection.request("POST", paths[connection], message)
            found.note(response, response.status == 200)

        return (await self.load(clients, times, append)).figures("appends")

    def _new_run(self, model: str, number: int, *, stream: bool) -> dict[str, object]:
        message = {"role": "user", "content": self._questions[number % len(self._questions)]}
        return {"assistant_id": self.assistants[model], "stream": stream, "thread": {"messages": [message]}}

    async def streamed(self, model: str, connection: Connection, number: int, found: Load) -> None:
        """A thread and a run, streamed until it is done."""
        body = self._new_run(model, number, stream=True)
        response = await connection.request("POST", "/v1/threads/runs", body, mark=_DELTA)
        good = response.status == 200 and _ENDED in response.body and response.body.rstrip().endswith(b"[DONE]")
        found.note(response, good)

    async def polled(self, model: str, connection: Connection, number: int, found: Load) -> None:
        """The same without a stream: ask again and again until it is done."""
        began = time.perf_counter()
        response = await connection.request("POST", "/v1/threads/runs", self._new_run(model, number, stream=False))
        if response.status == 200:
            run = orjson.loads(response.body)
            path = f"/v1/threads/{run['thread_id']}/runs/{run['id']}"
            while response.status == 200 and orjson.loads(response.body)["status"] not in _OVER:
                await asyncio.sleep(_POLL_SECONDS)
                response = await connection.request("GET", path)
        good = response.status == 200 and orjson.loads(response.body)["status"] == "completed"
        found.note(Response(response.status, response.body, time.perf_counter() - began, None), good)

    async def runs(self, clients: int, times: int) -> Figures:
        found: Figures = {}
        for model in ("scripted", "mock"):
            for name, play in (("streamed", self.streamed), ("polled", self.polled)):

                async def work(
                    connection: Connection,
                    number: int,
                    load: Load,
                    play: Callable[[str, Connection, int, Load], Awaitable[None]] = play,
                    model: str = model,
                ) -> None:
                    await play(model, connection, number, load)

                found[f"{model}_{name}"] = (await self.load(clients, times, work)).figures("runs")
        return found

    async def overhead(self, runs: int) -> Figures:
        """From the client's request to the first byte at the model, one run at a time."""
        async with connections(self.port, 1) as [client], connections(self.upstream_port, 1) as [mock]:
            thread = orjson.loads((await client.request("POST", "/v1/threads", {})).body)["id"]

            def on_a_thread(number: int) -> dict[str, object]:
                question = {"role": "user", "content": self._questions[number % len(self._questions)]}
                return {
                    "assistant_id": self.assistants["mock"],
                    "stream": True,
                    "additional_messages": [question],
                    "truncation_strategy": {"type": "last_messages", "last_messages": _SHOWN_MESSAGES},
                }

            async def play(path: str, make: Callable[[int], dict[str, object]], times: int) -> list[float]:
                began = []
                for number in range(times):
                    body = orjson.dumps(make(number))
                    began.append(time.perf_counter())
                    answer = await client.request("POST", path, body)
                    assert _ENDED in answer.body, answer.body[-300:]
                    await asyncio.sleep(_PAUSE_SECONDS)
                arrivals = orjson.loads((await mock.request("GET", "/arrivals")).body)
                assert len(arrivals) >= len(began), "each run calls the model once"
                return [arrived - start for arrived, start in zip(arrivals[-times:], began, strict=True)]

            found = {}
            for name, path, make in (
                ("new_thread", "/v1/threads/runs", partial(self._new_run, "mock", stream=True)),
                ("on_a_thread", f"/v1/threads/{thread}/runs", on_a_thread),
            ):
                await play(path, make, _SHOWN_MESSAGES)
                found[name] = spread(await play(path, make, runs))
        return found

    async def streams(self, streams: int) -> Figures:
        """So many streamed runs at once, of a model that takes its time."""

        async def work(connection: Connection, number: int, found: Load) -> None:
            await self.streamed("steady", connection, number, found)

        found = await self.load(streams, 1, work)
        first = found.marked or [float("nan")]
        return {
            "seconds": rounded(found.wall_seconds),
            "first_delta_p50_ms": rounded(percentile(first, 50) * 1000),
            "first_delta_p99_ms": rounded(percentile(first, 99) * 1000),
            **found.figures("runs"),
        }


async def measure(bench: Bench, chosen: argparse.Namespace) -> Figures:
    await bench.prepare()
    return {
        "appends": await bench.appends(chosen.clients, chosen.appends),
        "runs": await bench.runs(chosen.clients, chosen.runs),
        "run_overhead": await bench.overhead(chosen.overhead_runs),
        "streams_at_once": await bench.streams(chosen.streams),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = options(
        __doc__,
        clients=(64, "clients at once"),
        appends=(150, "appends of each client"),
        runs=(15, "runs of each client, of each kind"),
        overhead_runs=(200, "runs one after the other"),
        streams=(500, "streamed runs at once"),
        stream_ms=(1_000, "how long each of those takes"),
    )
    chosen = parser.parse_args(arguments)
    # A stream is two connections of the server's; the usual limit of 1,024 would not do for 500 of them.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with files_in(chosen.folder) as folder, upstream(chosen.stream_ms / 1000) as port:
        floor = floor_figures(folder / "raw.db", make_texts().answers)
        environment = {
            "CLEW_OPENAI_BASE_URL": f"http://127.0.0.1:{port}/v1",
            "CLEW_OPENAI_API_KEY": "benchmark",
            "CLEW_API_KEY": "",
        }
        with (
            Server(folder / "http.db", environment=environment) as server,
            asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
        ):
            figures = runner.run(measure(Bench(server, port), chosen))
    on_a_thread = f"a thread with more messages than the {_SHOWN_MESSAGES} that the model is shown"
    sizes = {name: value for name, value in vars(chosen).items() if name != "folder"}
    waited = f"streamed until [DONE], or polled every {_POLL_SECONDS * 1000:.0f} ms"
    told = {"run_is_waited_for": waited, "on_a_thread": on_a_thread}
    report("http", sizes, **told, **figures, floor=floor)


if __name__ == "__main__":
    main()
