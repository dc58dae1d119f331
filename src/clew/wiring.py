"""The one place where everything is put together."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import clew_projections
from clew.bus import Bus
from clew.desk import Desk
from clew.engine.engine import Engine
from clew.engine.hand import Driving
from clew.engine.strategies import callable_by, written
from clew.engine.tool_modules import load_tools
from clew.engine.tools import ServerTool, Toolbox
from clew.engine.worker import Worker
from clew.errors import Misconfigured, NoSuchProvider, NoSuchStrategy
from clew.events.run import Truncation
from clew.feed import Feed
from clew.log import Log, open_store
from clew.prices import Prices, read_overrides
from clew.projecting import Keeper, discover
from clew.proof.keys import signer_of
from clew.proof.notary import Notary
from clew.providers.anthropic import Anthropic
from clew.providers.base import Provider
from clew.providers.mistral import Mistral
from clew.providers.openai import OpenAI
from clew.providers.scripted import Script, Scripted
from clew.settings import Settings, from_environment

_PROVIDERS: dict[str, Callable[..., Provider]] = {"openai": OpenAI, "anthropic": Anthropic, "mistral": Mistral}


def make_providers(settings: Settings) -> dict[str, Provider]:
    """The providers that can be called. The scripted one needs no network and no key, so it is always there."""
    script = Script.from_file(settings.script) if settings.script is not None else None
    providers: dict[str, Provider] = {"scripted": Scripted(script)}
    for name, its in settings.providers.items():
        if not its.lacks_key(name):
            providers[name] = _PROVIDERS[name](base_url=its.base_url, api_key=its.api_key, name=name)
    return providers


def make_prices(settings: Settings) -> Prices:
    """Raises `Misconfigured` when the operator's own prices cannot be read."""
    overrides = read_overrides(settings.prices) if settings.prices is not None else ()
    return Prices(overrides, {name: its.base_url for name, its in settings.providers.items()})


def _truncation(settings: Settings, providers: Mapping[str, Provider]) -> Truncation | None:
    if settings.truncation is None:
        return None
    try:
        return callable_by(written(settings.truncation, "CLEW_TRUNCATION"), providers, "CLEW_TRUNCATION")
    except (NoSuchStrategy, NoSuchProvider) as error:
        raise Misconfigured(str(error)) from error


def _check_default(name: str, known: Mapping[str, Provider], *, given: bool) -> None:
    """One of Clew's own may be the default without its key: models are then named with their providers."""
    choices = list(known) if given else list(dict.fromkeys((*known, *_PROVIDERS)))
    if name not in choices:
        raise Misconfigured(f"no provider is called {name!r}; the default may be one of {', '.join(choices)}")


def make_engine(
    settings: Settings, *, providers: dict[str, Provider] | None = None, toolbox: Toolbox | None = None
) -> Engine:
    """An engine that is not yet started. Raises `Unusable` when the store cannot be opened."""
    known = providers if providers is not None else make_providers(settings)
    _check_default(settings.default_provider, known, given=providers is not None)
    tools = toolbox if toolbox is not None else load_tools(settings.tools)
    prices = make_prices(settings)
    truncation = _truncation(settings, known)
    keeper = Keeper(discover(clew_projections))
    store = open_store(settings.store)
    try:
        notary = Notary(signer_of(settings.store, settings.signing_key))
    except Misconfigured:
        store.close()
        raise
    log = Log(store, keeper.inline, keeper.forget, keeper.swapped)
    desk, bus = Desk(log), Bus()
    driving = Driving(
        log=log,
        desk=desk,
        bus=bus,
        providers=known,
        toolbox=tools,
        # Machines may bear one name and processes one number; what was random once was never twice.
        worker=f"{socket.gethostname()}:{os.getpid()}" + (f":{secrets.token_hex(3)}" if store.shared else ""),
        lease_seconds=settings.lease_seconds,
        model_attempts_max=settings.model_attempts_max,
        context_tokens=settings.context_tokens,
        prices=prices,
    )
    return Engine(
        settings=settings,
        log=log,
        keeper=keeper,
        notary=notary,
        desk=desk,
        bus=bus,
        feed=Feed(log, bus),
        worker=Worker(driving, alone=not store.shared) if settings.works else None,
        signals=store.signals(),
        providers=known,
        toolbox=tools,
        prices=prices,
        truncation=truncation,
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
