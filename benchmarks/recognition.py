"""What it takes to know a resent history again, and what a turn costs then, by the length of the history.

Threads are held through Anthropic's API, turn by turn, each request with the whole history and no name of a thread.
Then the newest request of each is recognised again and again: everything that a server does with its bytes before it
appends, which is JSON, validation, the digests, finding the thread, and what of the history is new. Beside it the
same for a request that names the response before and brings only what is new. Whole turns are measured over HTTP,
server and client in one event loop, the model a script that answers at once.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import socket
import statistics
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

if not __package__:  # Run as a file, Python looks for modules beside it and not in the repository.
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

import orjson
import uvicorn
import uvloop

from benchmarks.client import Connection, connections
from benchmarks.common import Figures, files_in, floor_figures, options, report, rounded, spread, warm_up
from benchmarks.turns import Texts, make_texts
from clew.dialects.anthropic_messages.configuring import check_request, config_of, hints_of
from clew.dialects.anthropic_messages.continuing import spot_of
from clew.dialects.anthropic_messages.deltas import delta_of
from clew.dialects.anthropic_messages.history import entries_of
from clew.dialects.anthropic_messages.manners import AnthropicManners
from clew.dialects.anthropic_messages.recognising import Spot
from clew.dialects.anthropic_messages.requests import CreateMessage
from clew.engine.engine import Engine
from clew.server.app import make_app
from clew.serving.http import Call
from clew.settings import Settings
from clew.wiring import make_engine

_PATH = "/anthropic/v1/messages"
_SYSTEM = "You are an airline's agent. Be short and exact. Search before you promise."
_STAGES = ("validated", "flattened", "found")


@dataclass
class Talk:
    """A client that keeps its history, and sends all of it each time. `number` tells talks apart."""

    connection: Connection
    texts: Texts
    number: int
    history: list[Any] = field(default_factory=list)
    turns: int = 0
    previous: str = ""

    def said(self) -> str:
        return f"{self.number}.{self.turns} {self.texts.questions[self.turns % len(self.texts.questions)]}"

    def request(self) -> bytes:
        return _body(messages=[*self.history, {"role": "user", "content": self.said()}])

    def continuing(self) -> bytes:
        thread = {"type": "continue", "previous_message_id": self.previous}
        return _body(messages=[{"role": "user", "content": self.said()}], thread=thread)

    async def turn(self, body: bytes) -> float:
        """Say it, and hear the answer; gives the seconds that took."""
        answer = await self.connection.request("POST", _PATH, body)
        assert answer.status == 200, answer.body[-300:]
        message = orjson.loads(answer.body)
        said = {"role": "user", "content": self.said()}
        self.history += [said, {"role": "assistant", "content": message["content"]}]
        self.previous, self.turns = message["id"], self.turns + 1
        return answer.seconds


def _body(**more: Any) -> bytes:
    return orjson.dumps({"model": "scripted", "max_tokens": 1_000, "system": _SYSTEM, **more})


@asynccontextmanager
async def serving(store: Path) -> AsyncIterator[tuple[Engine, int]]:
    """The server on a free port of this machine, in this event loop."""
    engine = make_engine(Settings(store=str(store), default_provider="scripted"))
    config = uvicorn.Config(make_app(engine), log_level="warning", lifespan="on", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    with closing(socket.socket()) as listening:
        listening.bind(("127.0.0.1", 0))
        task = asyncio.create_task(server.serve(sockets=[listening]))
        while not server.started:
            await asyncio.sleep(0.01)
        try:
            yield engine, listening.getsockname()[1]
        finally:
            server.should_exit = True
            await task


async def recognised(engine: Engine, body: bytes) -> tuple[Spot, list[float]]:
    """Everything before the append; gives where the request goes on, and when each stage was done, in seconds."""
    scope = {"type": "http", "method": "POST", "path": _PATH, "query_string": b""}
    began = time.perf_counter()
    call = Call(engine, AnthropicManners(), scope, {}, body)
    given = call.read(CreateMessage)
    check_request(call, given)
    config = config_of(engine, given, hints_of(given))
    validated = time.perf_counter()
    entries = entries_of(given.messages)
    flattened = time.perf_counter()
    spot, _ = spot_of(call, given, entries, config)
    assert spot is not None, "it is known again"
    await delta_of(entries[spot.matched :])
    found = time.perf_counter()
    return spot, [validated - began, flattened - validated, found - flattened]


async def recognise(engine: Engine, body: bytes, known: int, times: int) -> Figures:
    """`known` is how many of the messages the thread has."""
    taken: list[list[float]] = []
    for _ in range(times):
        spot, stages = await recognised(engine, body)
        assert spot.at_end
        assert spot.matched == known
        taken.append(stages)
    by_stage = zip(_STAGES, zip(*taken, strict=True), strict=True)
    parts = {f"{name}_ms": rounded(statistics.median(seconds) * 1000) for name, seconds in by_stage}
    return {**spread([sum(stages) for stages in taken]), **parts}


async def measure(store: Path, chosen: argparse.Namespace) -> Figures:
    texts = make_texts()
    threads: list[Figures] = []
    bodies: list[tuple[bytes, int]] = []
    async with serving(store) as (engine, port), connections(port, 1) as [connection]:
        for number, length in enumerate(sorted(chosen.lengths)):
            talk = Talk(connection, texts, number)
            while len(talk.history) < length:
                await talk.turn(talk.request())
            known = len(talk.history)
            resent, continued = talk.request(), talk.continuing()
            figures: Figures = {"messages": known, "request_bytes": len(resent)}
            figures["recognised"] = await recognise(engine, resent, known, chosen.times)
            figures["named"] = await recognise(engine, continued, 0, chosen.times)
            bodies.append((resent, known))
            figures |= await turns(engine, talk, max(2, chosen.times // 10))
            threads.append(figures)
            await recognise(engine, talk.request(), len(talk.history), 1)
    # A process that has just started knows nothing but what is in the log. A thread has gone on since: it is a fork.
    async with serving(store) as (engine, _):
        for figures, (body, _) in zip(threads, bodies, strict=True):
            _, stages = await recognised(engine, body)
            figures["recognised_first_ms"] = rounded(sum(stages) * 1000)
    first, last = threads[0], threads[-1]
    return {
        "threads": threads,
        "longest_to_shortest": {
            "recognised": rounded(last["recognised"]["p50_ms"] / first["recognised"]["p50_ms"]),
            "named": rounded(last["named"]["p50_ms"] / first["named"]["p50_ms"]),
            "events_a_turn": rounded(last["events_a_turn"] / first["events_a_turn"]),
        },
    }


async def turns(engine: Engine, talk: Talk, count: int) -> Figures:
    """Whole turns, with the history resent and with the response before named, and what each appends."""
    resent, named = [], []
    with engine.log.reading() as reader:
        before = reader.head()
    for _ in range(count):
        resent.append(await talk.turn(talk.request()))
        named.append(await talk.turn(talk.continuing()))
    with engine.log.reading() as reader:
        appended = reader.head() - before
    return {
        "turn_resent": spread(resent),
        "turn_named": spread(named),
        "events_a_turn": rounded(appended / (2 * count)),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = options(__doc__, times=(200, "times that each request is recognised; a tenth of that, turns"))
    parser.add_argument("--lengths", type=int, nargs="+", default=[10, 100, 1_000], help="messages of the threads")
    chosen = parser.parse_args(arguments)
    warm_up()
    with files_in(chosen.folder) as folder:
        floor = floor_figures(folder / "raw.db", make_texts().answers)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            found = runner.run(measure(folder / "recognition.db", chosen))
    sizes = {name: value for name, value in vars(chosen).items() if name != "folder"}
    report("recognition", sizes, **found, floor=floor)


if __name__ == "__main__":
    main()
