"""What a dialect adds to the native call: a turn of a conversation through it, and the same turn without any.

A turn is one request: what the user says is appended, a run is queued, and its outcome is waited for; OpenAI's
Assistants API appends by a request of its own, and that is what is measured there. Beside each request through a
dialect the same is done by an endpoint that knows no dialect. Server and client share one event loop, so that nothing
else comes between them, and the model is a script that answers at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import statistics
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

if not __package__:  # Run as a file, Python looks for modules beside it and not in the repository.
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

import orjson
import uvicorn
import uvloop
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route

from benchmarks.client import Connection, connections
from benchmarks.common import Figures, files_in, floor_figures, options, report, rounded, spread, warm_up
from benchmarks.turns import begin, make_texts, say
from clew.engine.configuring import config_of_model
from clew.engine.counting import new_message
from clew.engine.engine import Engine
from clew.engine.outcome import outcome
from clew.events.base import Recorded
from clew.events.content import text
from clew.events.run import Limits, RunQueued
from clew.ids import DEFAULT_TENANT, new_id
from clew.rules.commands import CreateThread, QueueRun
from clew.server.app import make_app
from clew.settings import Settings
from clew.wiring import make_engine

# A thread is left for a new one before its length counts.
_TURNS_OF_A_THREAD = 10


def native(engine: Engine) -> Route:
    """The turn itself: one command, and what comes of it."""
    config = config_of_model(
        "scripted", providers=engine.providers, default_provider="scripted", limits=Limits(steps=128)
    )

    async def turn(request: Request) -> Response:
        said = orjson.loads(await request.body())["inputs"]
        thread_id = request.path_params["thread_id"]
        message = new_message("user", text(said))
        new = thread_id == "new"
        thread_id = new_id("thread") if new else thread_id
        run = QueueRun(
            thread_id=thread_id,
            run_id=new_id("run"),
            dialect="benchmark",
            config=config,
            expires_at=None,
            metadata={},
            additional_messages=(message,),
        )
        begin = CreateThread(
            thread_id=thread_id, tenant=DEFAULT_TENANT, dialect="benchmark", metadata={}, tool_resources={}, run=run
        )
        done = await engine.desk.on_thread(thread_id, lambda: begin if new else run, new=new)
        last = done.events[-1]
        assert isinstance(last.event, RunQueued)
        queued = Recorded(last.position, last.stream, last.version, last.at, last.actor, last.event)
        ended = await outcome(engine, queued)
        return Response(orjson.dumps({"conversation_id": thread_id, "status": ended.status}))

    return Route("/native/{thread_id}", turn, methods=["POST"])


def native_append(engine: Engine) -> Route:
    """A message more, and nothing else."""

    async def append(request: Request) -> Response:
        said = orjson.loads(await request.body())["inputs"]
        thread_id = request.path_params["thread_id"]
        if thread_id == "new":
            thread_id = await begin(engine.desk)
        await say(engine.desk, thread_id, ("user", said))
        return Response(orjson.dumps({"conversation_id": thread_id}))

    return Route("/native/{thread_id}/messages", append, methods=["POST"])


@dataclass(frozen=True)
class Way:
    """How a turn is taken: the first one, and another one behind the answer that had that id, under the first of these
    names that it has."""

    name: str
    first: Callable[[str], tuple[str, dict[str, object]]]
    next: Callable[[str, str], tuple[str, dict[str, object]]]
    ids: tuple[str, ...] = ("conversation_id",)


NATIVE = Way(
    "native", lambda said: ("/native/new", {"inputs": said}), lambda id, said: (f"/native/{id}", {"inputs": said})
)
NATIVE_APPEND = Way(
    "native_append",
    lambda said: ("/native/new/messages", {"inputs": said}),
    lambda id, said: (f"/native/{id}/messages", {"inputs": said}),
)


def message(said: str, **thread: str) -> tuple[str, dict[str, object]]:
    """A request of Anthropic's API that brings only what is new."""
    about = {"model": "scripted", "max_tokens": 1_000, "messages": [{"role": "user", "content": said}]}
    return "/anthropic/v1/messages", {**about, "thread": thread}


# Each with what it is compared to.
DIALECTS = (
    (
        Way(
            "openai_append",
            lambda said: ("/v1/threads", {"messages": [{"role": "user", "content": said}]}),
            lambda id, said: (f"/v1/threads/{id}/messages", {"role": "user", "content": said}),
            ("thread_id", "id"),
        ),
        NATIVE_APPEND,
    ),
    (
        Way(
            "mistral",
            lambda said: ("/mistral/v1/conversations", {"model": "scripted", "inputs": said}),
            lambda id, said: (f"/mistral/v1/conversations/{id}", {"inputs": said}),
        ),
        NATIVE,
    ),
    (
        Way(
            "anthropic",
            lambda said: message(said, type="create"),
            lambda id, said: message(said, type="continue", previous_message_id=id),
            ("id",),
        ),
        NATIVE,
    ),
)


@asynccontextmanager
async def serving(store: Path) -> AsyncIterator[int]:
    """The server on a free port of this machine, in this event loop."""
    engine = make_engine(Settings(store=str(store), default_provider="scripted"))
    served = make_app(engine)
    app = Starlette(
        routes=[native(engine), native_append(engine), Mount("/", app=served)], lifespan=served.router.lifespan_context
    )
    config = uvicorn.Config(app, log_level="warning", lifespan="on", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    with contextlib.closing(socket.socket()) as listening:
        listening.bind(("127.0.0.1", 0))
        task = asyncio.create_task(server.serve(sockets=[listening]))
        while not server.started:
            await asyncio.sleep(0.01)
        try:
            yield listening.getsockname()[1]
        finally:
            server.should_exit = True
            await task


@dataclass
class Took:
    """What each turn took, by the clock and of the processor, client and server together."""

    seconds: list[float] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)

    def figures(self) -> Figures:
        return {**spread(self.seconds), "cpu_p50_ms": rounded(statistics.median(self.cpu_seconds) * 1000)}


async def turns(connection: Connection, ways: Sequence[Way], count: int) -> dict[str, Took]:
    """Each turn but the first of a conversation, the ways taking turns themselves."""
    questions = make_texts().questions
    took = {way.name: Took() for way in ways}
    ids: dict[str, str] = {}
    for number in range(count):
        said = questions[number % len(questions)]
        for way in ways if number % 2 else ways[::-1]:
            begins = number % _TURNS_OF_A_THREAD == 0
            path, body = way.first(said) if begins else way.next(ids[way.name], said)
            cpu = time.process_time()
            answer = await connection.request("POST", path, body)
            cpu = time.process_time() - cpu
            assert answer.status == 200, answer.body[-300:]
            told = orjson.loads(answer.body)
            ids[way.name] = next(told[name] for name in way.ids if name in told)
            if not begins:
                took[way.name].seconds.append(answer.seconds)
                took[way.name].cpu_seconds.append(cpu)
    return took


async def measure(store: Path, count: int) -> Figures:
    async with serving(store) as port, connections(port, 1) as [connection]:
        found: Figures = {}
        for way, plain in DIALECTS:
            await turns(connection, (plain, way), min(count, 4 * _TURNS_OF_A_THREAD))
            took = await turns(connection, (plain, way), count)
            without, through = took[plain.name], took[way.name]
            more = statistics.median(through.seconds) - statistics.median(without.seconds)
            more_cpu = statistics.median(through.cpu_seconds) - statistics.median(without.cpu_seconds)
            found[way.name] = {
                "native": without.figures(),
                "dialect": through.figures(),
                "overhead_p50_ms": rounded(more * 1000),
                "overhead_cpu_p50_ms": rounded(more_cpu * 1000),
            }
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    parser = options(__doc__, turns=(1_000, "turns through each dialect, and as many without"))
    chosen = parser.parse_args(arguments)
    warm_up()
    with files_in(chosen.folder) as folder:
        floor = floor_figures(folder / "raw.db", make_texts().answers)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            found = runner.run(measure(folder / "dialects.db", chosen.turns))
    sizes = {name: value for name, value in vars(chosen).items() if name != "folder"}
    report("dialects", sizes, dialects=found, floor=floor)


if __name__ == "__main__":
    main()
