"""The one place where everything is put together."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

import clew_projections
from clew.bus import Bus
from clew.desk import Desk
from clew.engine.engine import Engine
from clew.engine.hand import Driving
from clew.engine.tools import ServerTool, Toolbox, load_tools
from clew.engine.worker import Worker
from clew.errors import Misconfigured
from clew.feed import Feed
from clew.log import Log, open_store
from clew.projecting import Keeper, discover
from clew.providers.base import Provider
from clew.providers.openai import OpenAI
from clew.providers.scripted import Script, Scripted
from clew.settings import Settings, from_environment


def make_providers(settings: Settings) -> dict[str, Provider]:
    """The providers that the settings name. The scripted one needs no network and no key, so it is always there."""
    script = Script.from_file(settings.script) if settings.script is not None else None
    providers: dict[str, Provider] = {"scripted": Scripted(script)}
    for name, its in settings.providers.items():
        providers[name] = OpenAI(base_url=its.base_url, api_key=its.api_key, name=name)
    return providers


def make_engine(
    settings: Settings, *, providers: dict[str, Provider] | None = None, toolbox: Toolbox | None = None
) -> Engine:
    """An engine that is not yet started. Raises `Unusable` when the store cannot be opened."""
    known = providers if providers is not None else make_providers(settings)
    if settings.default_provider not in known:
        raise Misconfigured(
            f"no provider is called {settings.default_provider!r}; the default may be one of {', '.join(known)}"
        )
    tools = toolbox if toolbox is not None else load_tools(settings.tools)
    keeper = Keeper(discover(clew_projections))
    log = Log(open_store(settings.store), keeper.inline, keeper.forget)
    desk, bus = Desk(log), Bus()
    driving = Driving(
        log=log,
        desk=desk,
        bus=bus,
        providers=known,
        toolbox=tools,
        worker=f"{socket.gethostname()}:{os.getpid()}",
        lease_seconds=settings.lease_seconds,
        model_attempts_max=settings.model_attempts_max,
        context_tokens=settings.context_tokens,
    )
    return Engine(
        settings=settings,
        log=log,
        keeper=keeper,
        desk=desk,
        bus=bus,
        feed=Feed(log, bus),
        worker=Worker(driving, alone=True),
        providers=known,
        toolbox=tools,
    )


@asynccontextmanager
async def open(
    store: str,
    *,
    tools: Iterable[ServerTool | Callable[..., Any]] = (),
    providers: dict[str, Provider] | None = None,
    **settings: Any,
) -> AsyncIterator[Engine]:
    """The engine as a library: `async with clew.open("threads.db") as engine:`. `settings` are fields of Settings."""
    engine = make_engine(from_environment(store=store, **settings), providers=providers, toolbox=Toolbox(tools))
    await engine.start()
    try:
        yield engine
    finally:
        await engine.stop()
