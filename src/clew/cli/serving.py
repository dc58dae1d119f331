"""`clew serve` and `clew demo`."""

from __future__ import annotations

import gc
import logging
import socket
from pathlib import Path
from typing import Annotated

import typer
import uvicorn

from clew import tokens
from clew.cli.common import StoreOption, console
from clew.engine.engine import Engine
from clew.engine.windows import prompt_window
from clew.errors import Misconfigured
from clew.server.app import make_app
from clew.settings import Settings, from_environment
from clew.wiring import make_engine

_GRACE_SECONDS = 3
_COLLECT_AFTER_OBJECTS = 20_000


def add_to(app: typer.Typer) -> None:
    app.command(help="Serve the dialects and the native API.")(serve)
    app.command(help="A conversation with an agent, a crash in the middle of it, and the audit. No key, no network.")(
        demo
    )


def serve(
    store: StoreOption = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on. Other than loopback needs a key.")] = None,
    port: Annotated[int | None, typer.Option(help="Port; 0 takes any free one. Else CLEW_PORT, else 8787.")] = None,
    tools: Annotated[
        list[str] | None, typer.Option(help="module:name of tools that the server executes. May be repeated.")
    ] = None,
    script: Annotated[
        Path | None, typer.Option(help="Script for the provider `scripted`, which becomes the default.")
    ] = None,
    default_provider: Annotated[str | None, typer.Option(help="Provider of models that are named without one.")] = None,
) -> None:
    provider = default_provider or ("scripted" if script is not None else None)
    settings = from_environment(
        store=store,
        host=host,
        port=port,
        tools=tuple(tools) if tools else None,
        script=script,
        default_provider=provider,
    )
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    run_server(settings)


def run_server(settings: Settings) -> None:
    """Serve until a signal comes. Raises `Unusable` or `Misconfigured` before anything is served."""
    listening = _listen(settings)
    try:
        engine = make_engine(settings)
    except BaseException:
        listening.close()
        raise
    address, port = listening.getsockname()[:2]
    _warm()
    console.print(f"Clew serves http://{address}:{port}/v1  (store {settings.store})")
    config = uvicorn.Config(
        make_app(engine),
        log_level="warning",
        access_log=False,
        # Nobody stands in front of it whose word about addresses would matter here.
        proxy_headers=False,
        timeout_graceful_shutdown=_GRACE_SECONDS,
        h11_max_incomplete_event_size=16_384,
    )
    # What start-up made lives as long as the process; the collector need not look at it again and again.
    gc.freeze()
    # What it keeps is mostly events in caches, which form no cycles: looking at them all less often costs nothing.
    gc.set_threshold(_COLLECT_AFTER_OBJECTS, 20, 100)
    _Server(config, engine).run(sockets=[listening])


class _Server(uvicorn.Server):
    """Sends the followers of streams home before it waits for connections to end: they never end by themselves."""

    def __init__(self, config: uvicorn.Config, engine: Engine) -> None:
        super().__init__(config)
        self._engine = engine

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._engine.bus.close()
        await super().shutdown(sockets)


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
        raise Misconfigured(
            f"cannot listen on {settings.host}:{settings.port} ({error.strerror}); take another --port"
        ) from error
    listening.set_inheritable(True)
    return listening


def demo() -> None:
    from clew.demo import play  # It is a program of its own; nothing else needs it loaded.

    play(console)
