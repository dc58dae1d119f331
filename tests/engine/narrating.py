"""A model that answers and summarises as it is told to, and threads that it does so for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson

import clew
from clew.engine.counting import new_message
from clew.engine.driving import drive
from clew.engine.engine import Engine
from clew.engine.hand import Driving, Hand
from clew.engine.replaying.files import recording
from clew.engine.replaying.verifying import Verdict, Verifier
from clew.engine.tools import Toolbox
from clew.errors import ProviderFailed
from clew.events.base import Event
from clew.events.content import text
from clew.events.run import Limits, RunConfig, Truncation
from clew.events.usage import Usage
from clew.ids import new_id
from clew.providers import openai_render
from clew.providers.base import Answer, CalledTool, ModelInfo, Piece, Prompt
from clew.providers.summaries import is_asked_for
from clew.rules.commands import AppendMessages, CreateThread, QueueRun

WORDS = "the quick brown fox jumps over the lazy dog and runs away from the hounds "
USED = Usage(input=50, output=10)


@dataclass
class Narrator:
    """`summaries` say what comes of the next requests for summaries: a text, or what goes wrong.

    `sent` are the requests, those for summaries apart in `told`. `calls` are the tools that it calls before it answers,
    and `calls_again` for ever. While `waits` is set, a summary is not written before `go` is. A `silent` one never
    answers.
    """

    name: str = "stub"
    renderer: str = openai_render.RENDERER
    summaries: list[str | ProviderFailed | Answer] = field(default_factory=list)
    calls: int = 0
    calls_again: bool = False
    silent: bool = False
    used: Usage = USED
    finish: str = "stop"
    sent: list[dict[str, Any]] = field(default_factory=list)
    told: list[dict[str, Any]] = field(default_factory=list)
    waits: bool = False
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    go: asyncio.Event = field(default_factory=asyncio.Event)

    def render(self, prompt: Prompt) -> bytes:
        return openai_render.render(prompt)

    async def call(self, body: bytes) -> AsyncGenerator[Piece]:
        request = orjson.loads(body)
        first = request["messages"][0]
        if first["role"] == "system" and is_asked_for(first["content"]):
            self.told.append(request)
            self.asked.set()
            if self.waits:
                await self.go.wait()
            comes = self.summaries.pop(0) if self.summaries else f"They spoke of the fox ({len(self.told)})."
            if isinstance(comes, ProviderFailed):
                raise comes
            yield comes if isinstance(comes, Answer) else answer(comes)
            return
        self.sent.append(request)
        if self.silent:
            self.asked.set()
            await asyncio.sleep(60)
        if self.calls and (self.calls_again or request["messages"][-1]["role"] != "tool"):
            calls = tuple(CalledTool(new_id("call"), "look", "{}") for _ in range(self.calls))
            yield answer(None, calls, used=self.used)
            return
        yield answer(f"Answer {len(self.sent)}. " + WORDS, finish=self.finish, used=self.used)

    async def models(self) -> list[ModelInfo]:
        return []

    async def close(self) -> None:
        """Nothing is open."""


def answer(said: str | None, calls: tuple[CalledTool, ...] = (), finish: str = "stop", used: Usage = USED) -> Answer:
    reason = "tool_calls" if calls else finish
    return Answer(said, None, calls, (), reason, "stub-1", used, {"prompt_tokens": used.input}, {})


def broken(*, retryable: bool) -> ProviderFailed:
    return ProviderFailed("the provider says no", code="server_error", retryable=retryable)


def config(strategy: str = "summarise", n: int | None = 120, **more: Any) -> RunConfig:
    limits = more.pop("limits", Limits())
    truncation = Truncation(strategy=strategy, n=n, **more)  # type: ignore[arg-type]
    return RunConfig(
        provider="stub",
        model="gpt-4o",
        asked_model="gpt-4o",
        instructions="Be brief.",
        limits=limits,
        truncation=truncation,
    )


@dataclass
class House:
    """An engine without a worker of its own: the test drives, and can let a driver die."""

    engine: Engine
    models: dict[str, Narrator]
    thread_id: str = ""

    @property
    def model(self) -> Narrator:
        return self.models["stub"]

    async def begin(self, *said: str) -> None:
        self.thread_id = new_id("thread")
        created = CreateThread(
            thread_id=self.thread_id,
            tenant="default",
            dialect="golden",
            metadata={},
            tool_resources={},
            messages=tuple(new_message("user", text(one)) for one in said),
        )
        await self.engine.desk.on_thread(self.thread_id, lambda: created, new=True)

    async def say(self, *said: str) -> None:
        messages = tuple(new_message("user", text(one)) for one in said)
        command = AppendMessages(thread_id=self.thread_id, messages=messages)
        await self.engine.desk.on_thread(self.thread_id, lambda: command)

    async def queue(self, asked: RunConfig) -> str:
        run_id = new_id("run")
        command = QueueRun(
            thread_id=self.thread_id, run_id=run_id, dialect="golden", config=asked, expires_at=None, metadata={}
        )
        await self.engine.desk.on_thread(self.thread_id, lambda: command)
        return run_id

    def driving(self, worker: str = "w1", **more: Any) -> Driving:
        async def no_pause(hand: Hand, seconds: float) -> bool:
            return True

        return Driving(
            log=self.engine.log,
            desk=self.engine.desk,
            bus=self.engine.bus,
            providers=self.models,
            toolbox=more.pop("toolbox", Toolbox()),
            worker=worker,
            pause=no_pause,
            **more,
        )

    async def run(self, asked: RunConfig, **more: Any) -> str:
        """Queue a run and drive it to its end, or to where it waits."""
        run_id = await self.queue(asked)
        await drive(Hand(self.driving(**more), self.thread_id, run_id))
        return run_id

    async def ask(self, said: str, asked: RunConfig, **more: Any) -> str:
        await self.say(said)
        return await self.run(asked, **more)

    def events(self) -> list[Event]:
        with self.engine.log.reading() as reader:
            return [recorded.event for recorded in reader.stream(self.thread_id)]

    def kinds(self, run_id: str) -> list[str]:
        return [event.kind for event in self.events() if getattr(event, "run_id", None) == run_id]

    def of(self, run_id: str, kind: type[Any]) -> list[Any]:
        return [e for e in self.events() if isinstance(e, kind) and getattr(e, "run_id", None) == run_id]

    def reading(self) -> Any:
        return self.engine.log.reading()

    async def verdicts(self) -> list[Verdict]:
        with self.reading() as reader:
            recorded = recording(reader, self.thread_id)
        verifier = Verifier()
        try:
            return await verifier.thread(recorded)
        finally:
            await verifier.close()

    async def happens_again(self) -> None:
        """Today's engine would do all of it again."""
        verdicts = await self.verdicts()
        assert verdicts
        assert [str(one) for verdict in verdicts for one in verdict.differences] == []


@asynccontextmanager
async def house(store: str = ":memory:", *names: str) -> AsyncIterator[House]:
    models = {name: Narrator(name) for name in names or ("stub",)}
    async with clew.open(store, providers=dict(models), works=False, default_provider="stub") as engine:
        yield House(engine, models)


def words(number: int, times: int = 1) -> str:
    return f"Message {number}. " + WORDS * times


def told(work: Callable[[House], Awaitable[None]], store: str = ":memory:", *names: str) -> None:
    """On a thread of eight messages. What happens to it would happen again."""

    async def main() -> None:
        async with house(store, *names) as here:
            await here.begin(*(words(number) for number in range(8)))
            await work(here)
            await here.happens_again()

    asyncio.run(main())


def shown(request: dict[str, Any]) -> list[str]:
    return [str(message["content"]) for message in request["messages"]]
