"""`clew chat`: a conversation in the terminal, kept in a thread like any other."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from clew.bus import TextPreview
from clew.cli.common import StoreOption, console, safe
from clew.engine.counting import new_message
from clew.engine.engine import Engine
from clew.engine.models import resolve
from clew.errors import NotFound
from clew.events.base import Recorded
from clew.events.content import plain_text, text
from clew.events.message import MessageAppended
from clew.events.run import RunCancelled, RunCompleted, RunConfig, RunExpired, RunFailed, RunIncomplete
from clew.ids import DEFAULT_TENANT, new_id
from clew.rules.commands import AppendMessages, CreateThread, QueueRun
from clew.settings import from_environment
from clew.wiring import make_engine


def add_to(app: typer.Typer) -> None:
    app.command(help="Talk with a model; the thread is kept. End with Ctrl-D.")(chat)


def chat(
    store: StoreOption = None,
    model: Annotated[str, typer.Option(help="provider/model; scripted/echo needs no key.")] = "scripted/echo",
    thread: Annotated[str | None, typer.Option(help="Go on with this thread.")] = None,
    instructions: Annotated[str, typer.Option()] = "You are a helpful assistant.",
) -> None:
    asyncio.run(_chat(make_engine(from_environment(store=store)), model, thread, instructions))


async def _chat(engine: Engine, model: str, thread: str | None, instructions: str) -> None:
    await engine.start()
    try:
        resolve(model, engine.providers, engine.settings.default_provider, "--model")
        thread_id = thread or await _new_thread(engine)
        if not engine.desk.thread(thread_id).exists:
            raise NotFound(noun="thread", id=thread_id)
        console.print(f"[dim]{thread_id}; Ctrl-D ends[/]")
        while (said := await _read_line()) is not None:
            if said.strip():
                await _turn(engine, thread_id, model, instructions, said)
    finally:
        await engine.stop()


async def _new_thread(engine: Engine) -> str:
    thread_id = new_id("thread")
    command = CreateThread(thread_id=thread_id, tenant=DEFAULT_TENANT, dialect="chat", metadata={}, tool_resources={})
    await engine.desk.on_thread(thread_id, lambda: command, new=True)
    return thread_id


async def _read_line() -> str | None:
    try:
        return await asyncio.to_thread(console.input, "[bold blue]you[/]  ")
    except EOFError:
        return None


async def _turn(engine: Engine, thread_id: str, model: str, instructions: str, said: str) -> None:
    message = new_message("user", text(said))
    appended = await engine.desk.on_thread(
        thread_id, lambda: AppendMessages(thread_id=thread_id, messages=(message,)), actor="chat"
    )
    provider, name = resolve(model, engine.providers, engine.settings.default_provider)
    config = RunConfig(provider=provider, model=name, asked_model=model, instructions=instructions, stream=True)
    expires = engine.settings.run_expires_seconds
    queue = QueueRun(
        thread_id=thread_id,
        run_id=new_id("run"),
        dialect="chat",
        config=config,
        expires_at=engine.log.now() + expires * 1_000_000 if expires else None,
        metadata={},
    )
    await engine.desk.on_thread(thread_id, lambda: queue, actor="chat")
    await _print_answer(engine, thread_id, appended.events[-1].version)


async def _print_answer(engine: Engine, thread_id: str, after: int) -> None:
    console.print("[bold green]model[/]", end="  ")
    shown = ""
    async for heard in engine.feed.follow(thread_id, after):
        if isinstance(heard, TextPreview):
            shown += heard.text
            console.print(safe(heard.text), end="", soft_wrap=True)
        elif isinstance(heard, Recorded):
            match heard.event:
                case MessageAppended(content=content) if not shown:
                    console.print(safe(plain_text(content)), end="", soft_wrap=True)
                case RunFailed(message=why):
                    console.print(f"[red]{safe(why)}[/]")
                    return
                case RunCompleted() | RunCancelled() | RunExpired() | RunIncomplete():
                    console.print()
                    return
                case _:
                    continue
