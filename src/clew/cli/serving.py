"""`clew serve`, `clew work` and `clew demo`."""

from __future__ import annotations

import asyncio
import errno
import gc
import signal
import socket
from pathlib import Path
from typing import Annotated

import typer
import uvicorn
import uvloop

from clew import tokens
from clew.cli.common import StoreOption, console, safe
from clew.cli.configuration import print_configuration
from clew.cli.connections import Connection, tell_peers
from clew.cli.log_lines import LogLines, log_lines
from clew.cli.unhandled import tell_of_loop
from clew.engine.engine import Engine
from clew.engine.failure_log import FailureLog
from clew.engine.windows import prompt_window
from clew.errors import Misconfigured
from clew.log import is_postgres, shown
from clew.settings import Settings, from_environment
from clew.wiring import make_engine

_GRACE_SECONDS = 3
_COLLECT_AFTER_OBJECTS = 20_000

ToolsOption = Annotated[
    list[str] | None, typer.Option(help="module:name of tools that the server executes. May be repeated.")
]
ScriptOption = Annotated[
    Path | None, typer.Option(help="Script for the provider `scripted`, which becomes the default.")
]
LogLevelOption = Annotated[
    str | None, typer.Option(help="debug, info, warning or error. Else CLEW_LOG_LEVEL, else info.")
]
ProviderOption = Annotated[str | None, typer.Option(help="Provider of models that are named without one.")]
LeaseOption = Annotated[
    float | None, typer.Option(help="A run whose worker is silent for so long goes to another. Else 30.")
]
GraceOption = Annotated[
    float | None, typer.Option(help="How long to finish what is under way, when told to end. Else 10.")
]


def add_to(app: typer.Typer) -> None:
    app.command(help="Serve the dialects and the native API.")(serve)
    app.command(help="Drive the runs of a PostgreSQL store, beside `clew serve`; as many as you like.")(work)
    app.command(help="A conversation with an agent, a crash in the middle of it, and the audit. No key, no network.")(
        demo
    )


def serve(
    store: StoreOption = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on. Other than loopback needs a key.")] = None,
    port: Annotated[int | None, typer.Option(help="Port; 0 takes any free one. Else CLEW_PORT, else 8787.")] = None,
    tools: ToolsOption = None,
    script: ScriptOption = None,
    default_provider: ProviderOption = None,
    works: Annotated[
        bool, typer.Option("--work/--no-work", help="Drive runs too, or leave them to `clew work`.")
    ] = True,
    lease_seconds: LeaseOption = None,
    grace_seconds: GraceOption = None,
    log_level: LogLevelOption = None,
) -> None:
    settings = from_environment(
        store=store,
        host=host,
        port=port,
        tools=tuple(tools) if tools else None,
        script=script,
        default_provider=default_provider or ("scripted" if script is not None else None),
        works=works,
        lease_seconds=lease_seconds,
        grace_seconds=grace_seconds,
        log_level=log_level.lower() if log_level is not None else None,
    )
    if not works and not is_postgres(settings.store):
        raise Misconfigured("--no-work needs a PostgreSQL store: nobody else can drive the runs of a file")
    with log_lines(settings.log_level) as lines:
        run_server(settings, lines)


def work(
    store: StoreOption = None,
    tools: ToolsOption = None,
    script: ScriptOption = None,
    default_provider: ProviderOption = None,
    lease_seconds: LeaseOption = None,
    grace_seconds: GraceOption = None,
    log_level: LogLevelOption = None,
) -> None:
    settings = from_environment(
        store=store,
        tools=tuple(tools) if tools else None,
        script=script,
        default_provider=default_provider or ("scripted" if script is not None else None),
        lease_seconds=lease_seconds,
        grace_seconds=grace_seconds,
        log_level=log_level.lower() if log_level is not None else None,
    )
    if not is_postgres(settings.store):
        raise Misconfigured("`clew work` needs a PostgreSQL store; on a file, `clew serve` drives the runs itself")
    with log_lines(settings.log_level) as lines:
        engine = _made(settings)
        _warm()
        _keep_memory_still()
        uvloop.run(_work(engine, lines))


async def _work(engine: Engine, lines: LogLines) -> None:
    """Until a signal comes; a second one does not wait for what is under way."""
    told = asyncio.Event()
    asyncio.get_running_loop().set_exception_handler(tell_of_loop)
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signal_number, told.set)
    await engine.start()
    console.print(f"Clew works on {safe(shown(engine.settings.store))}", soft_wrap=True)
    print_configuration(engine.settings)
    await told.wait()
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().remove_signal_handler(signal_number)
    await engine.stop()
    lines.stop()


def _made(settings: Settings) -> Engine:
    """An engine whose failures are logged. Elsewhere whoever uses one is told of them, and need not read a log."""
    engine = make_engine(settings)
    engine.log.listen(FailureLog(engine.log).committed, own_only=True)
    return engine


def run_server(settings: Settings, lines: LogLines) -> None:
    """Serve until a signal comes. Raises `Unusable` or `Misconfigured` before anything is served."""
    from clew.server.app import make_app  # A worker serves nobody.

    listening = _listen(settings)
    try:
        engine = _made(settings)
    except BaseException:
        listening.close()
        raise
    address, port = listening.getsockname()[:2]
    _warm()
    console.print(f"Clew serves http://{address}:{port}/v1  (store {safe(shown(settings.store))})", soft_wrap=True)
    print_configuration(settings)
    config = uvicorn.Config(
        make_app(engine),
        http=Connection,
        ws="none",
        # What it logs itself goes where everything else does.
        log_config=None,
        log_level="warning",
        access_log=False,
        # Nobody stands in front of it whose word about addresses would matter here.
        proxy_headers=False,
        timeout_graceful_shutdown=_GRACE_SECONDS,
        h11_max_incomplete_event_size=16_384,
    )
    tell_peers()
    _keep_memory_still()
    _Server(config, engine, lines).run(sockets=[listening])


def _keep_memory_still() -> None:
    # What start-up made lives as long as the process; the collector need not look at it again and again.
    gc.freeze()
    # What it keeps is mostly events in caches, which form no cycles: looking at them all less often costs nothing.
    gc.set_threshold(_COLLECT_AFTER_OBJECTS, 20, 100)


class _Server(uvicorn.Server):
    """Sends the followers of streams home before it waits for connections to end: they never end by themselves."""

    def __init__(self, config: uvicorn.Config, engine: Engine, lines: LogLines) -> None:
        super().__init__(config)
        self._engine = engine
        self._lines = lines

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        asyncio.get_running_loop().set_exception_handler(tell_of_loop)
        await super().serve(sockets)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._engine.begin_to_stop()
        await super().shutdown(sockets)
        # Uvicorn ends the process by the signal that it was told to end with, and nothing is done after that.
        self._lines.stop()


def _warm() -> None:
    """Load the encodings and the table of models: some tenths of a second, which no request should wait for."""
    tokens.warm()
    prompt_window("gpt-4o")


def _listen(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((settings.host, settings.port))
    except OSError as error:
        listening.close()
        # What is wrong is the port only where somebody has it, or may not have it.
        wrong = "take another --port" if error.errno in (errno.EADDRINUSE, errno.EACCES) else "check --host"
        raise Misconfigured(f"cannot listen on {settings.host}:{settings.port} ({error.strerror}); {wrong}") from error
    listening.set_inheritable(True)
    return listening


def demo() -> None:
    from clew.demo import play  # It is a program of its own; nothing else needs it loaded.

    play(console)
