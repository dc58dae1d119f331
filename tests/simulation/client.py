"""Clients: they talk to whichever process answers, ask again under the same key when they hear nothing, and write
down what they asked and heard."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, TypeVar

from clew.desk import Key
from clew.engine.counting import tool_tokens
from clew.engine.engine import Engine
from clew.errors import ClewError, Refused
from clew.events.base import Event, Recorded
from clew.events.content import Tokens, text
from clew.events.run import Limits, RunConfig, Truncation
from clew.events.tool import SettledOutcome
from clew.ids import new_id
from clew.rules import commands as c
from clew.rules import parts as p
from clew.rules.state import Thread
from tests.simulation.history import Asked, Ended, History, What
from tests.simulation.marks import is_marked
from tests.simulation.outside import ANSWER_TOKENS, OFFERED
from tests.simulation.process import NotListening, Process, is_sure

T = TypeVar("T")
Events = Sequence[Recorded[Event]]
Work = Callable[[Engine], Coroutine[Any, Any, T]]
Make = Callable[[Engine], c.ThreadCommand]

_PATIENCE_SECONDS = 0.8
_TRIES_MAX = 4
_THINKS_SECONDS_MAX = 0.4
_HASTE_SECONDS_MAX = 0.04
# As if they were long: some runs have hardly room for two of them.
_LONG = Tokens(encoding="o200k_base", count=25, exact=False)
_SETTLED: tuple[SettledOutcome, ...] = ("happened", "did_not_happen", "unknown")


@dataclass
class Client:
    """`processes` gives those that may be asked now; `threads` are everybody's. An `eager` one begins with a run."""

    name: str
    random: Random
    history: History
    processes: Callable[[], Sequence[Process]]
    threads: list[str]
    twice: float = 0.0
    eager: bool = False
    config: RunConfig = field(default_factory=lambda: _config())

    async def converse(self, turns: int) -> None:
        if self.eager:
            await asyncio.sleep(self.random.random() * _HASTE_SECONDS_MAX)
        if self.threads and not self.eager and self.random.random() < 0.3:
            thread_id: str | None = self.random.choice(self.threads)
        else:
            thread_id = await self._create()
        for _ in range(turns):
            if thread_id is None:
                return
            await asyncio.sleep(self.random.random() * _THINKS_SECONDS_MAX)
            thread = await self._peek(thread_id)
            if thread is not None and not thread.deleted:
                await self._turn(thread_id, thread)

    async def _turn(self, thread_id: str, thread: Thread) -> None:
        luck = self.random.random()
        run = thread.run
        if run is None and luck < 0.04:
            await self._do("delete", thread_id, lambda mark: lambda _: c.DeleteThread(thread_id=thread_id, by=mark))
        elif (run is None and luck < 0.3) or (run is not None and luck < 0.08):
            await self._say(thread_id)
        elif run is None or luck < 0.16:
            await self._run(thread_id)
        elif luck < 0.24:
            await self._cancel(thread_id, run.run_id)
        elif run.in_doubt:
            doubted = next(call.tool_call_id for call in run.calls if call.status == "in_doubt")
            await self._settle(thread_id, run.run_id, doubted)
        elif run.status == "requires_action":
            await self._submit(thread_id, run.run_id, tuple(call.tool_call_id for call in run.unanswered))

    async def _create(self) -> str | None:
        asked = self._begin("create", None)
        queued = self.eager or self.random.random() < 0.5

        def make(engine: Engine) -> c.CreateThread:
            thread_id = new_id("thread")
            return c.CreateThread(
                thread_id=thread_id,
                tenant="t",
                dialect="simulated",
                metadata={"op": asked.mark},
                tool_resources={},
                messages=(_message("hello"),),
                run=self._queue(thread_id, "with its thread", engine) if queued else None,
            )

        done = await self._insist(asked, make, new=True)
        if not done:
            return None
        asked.thread_id = done[0].stream
        self.threads.append(done[0].stream)
        return done[0].stream

    async def _say(self, thread_id: str) -> None:
        await self._do(
            "message",
            thread_id,
            lambda mark: lambda _: c.AppendMessages(thread_id=thread_id, messages=(_message(mark),)),
        )

    async def _run(self, thread_id: str) -> None:
        await self._do("run", thread_id, lambda mark: lambda engine: self._queue(thread_id, mark, engine))

    def _queue(self, thread_id: str, mark: str, engine: Engine) -> c.QueueRun:
        soon = self.random.random() < 0.15
        seconds = self.random.choice((1, 2)) if soon else 600
        return c.QueueRun(
            thread_id=thread_id,
            run_id=new_id("run"),
            dialect="simulated",
            config=_summarising(self.config) if _even(mark) else self.config,
            expires_at=engine.log.now() + seconds * 1_000_000,
            metadata={"op": mark},
        )

    async def _cancel(self, thread_id: str, run_id: str) -> None:
        await self._do(
            "cancel",
            thread_id,
            lambda mark: lambda _: c.RequestCancel(thread_id=thread_id, run_id=run_id, past_status=None, by=mark),
        )

    async def _settle(self, thread_id: str, run_id: str, call_id: str) -> None:
        outcome = self.random.choice(_SETTLED)
        await self._do(
            "settle",
            thread_id,
            lambda mark: (
                lambda _: c.SettleTool(
                    thread_id=thread_id, run_id=run_id, tool_call_id=call_id, outcome=outcome, output="", by=mark
                )
            ),
        )

    async def _submit(self, thread_id: str, run_id: str, calls: tuple[str, ...]) -> None:
        def make(mark: str) -> Make:
            outputs = tuple(p.ToolOutput(tool_call_id=call, output=mark) for call in calls)
            return lambda _: c.SubmitToolOutputs(thread_id=thread_id, run_id=run_id, outputs=outputs, past_status=None)

        await self._do("submit", thread_id, make, events=len(calls))

    async def _do(self, what: What, thread_id: str, make: Callable[[str], Make], events: int = 1) -> None:
        asked = self._begin(what, thread_id, events)
        await self._insist(asked, make(asked.mark))

    def _begin(self, what: What, thread_id: str | None, events: int = 1) -> Asked:
        asked = Asked(f"op{len(self.history.asked)}", what, thread_id, _now(), events=events)
        self.history.asked.append(asked)
        self.history.note(_now(), f"{self.name} invoke {asked.mark} {what} {thread_id}")
        return asked

    async def _insist(self, asked: Asked, make: Make, *, new: bool = False) -> Events | None:
        """Ask until an answer is heard, or patience ends. Without a key nothing is ever asked twice."""
        keyed = self.random.random() < 0.8
        key = Key(f"key {asked.mark}", asked.mark.encode()) if keyed else None
        unsure = False
        for _ in range(_TRIES_MAX if keyed else 1):
            twice = keyed and self.random.random() < self.twice
            asked.doubled |= twice
            try:
                found = await self._ask(_command(asked, make, key, new), twice=twice)
            except NotListening:
                asked.why = "nobody listened"
                unsure = unsure or twice
                await asyncio.sleep(self.random.random() * 0.2)
                continue
            except ClewError as error:
                asked.why = f"{type(error).__name__}: {error}"
                # That the store failed one of two copies says nothing of the other.
                if isinstance(error, Refused) or (is_sure(error) and not twice):
                    self._end(asked, "info" if unsure else "fail")
                    return None
            except TimeoutError:
                asked.why = "no answer"
            else:
                asked.positions = tuple(one.position for one in found if is_marked(asked, one.event))
                self._end(asked, "ok")
                return found
            unsure = True
            await asyncio.sleep(self.random.random() * 0.2)
        self._end(asked, "info" if unsure else "fail")
        return None

    def _end(self, asked: Asked, how: Ended) -> None:
        asked.returned, asked.ended = _now(), how
        told = asked.positions if how == "ok" else asked.why
        self.history.note(_now(), f"{self.name} {how} {asked.mark} {told}")

    async def _peek(self, thread_id: str) -> Thread | None:
        async def look(engine: Engine) -> Thread:
            return engine.desk.thread(thread_id)

        try:
            return await self._ask(look)
        except (ClewError, TimeoutError):
            return None

    async def _ask(self, work: Work[T], *, twice: bool = False) -> T:
        process = self.random.choice(self.processes())
        answer = process.ask(work)
        if twice:
            # The network delivers it twice, maybe to another process behind the same address.
            second = self.random.choice(self.processes()).ask(work)
            if self.random.random() < 0.5:
                answer = second
        return await asyncio.wait_for(answer, _PATIENCE_SECONDS)


def _command(asked: Asked, make: Make, key: Key | None, new: bool) -> Work[Events]:
    async def work(engine: Engine) -> Events:
        command = make(engine)
        done = await engine.desk.on_thread(command.thread_id, lambda: command, actor=asked.mark, key=key, new=new)
        return done.events

    return work


def _message(said: str) -> p.NewMessage:
    return p.NewMessage(message_id=new_id("msg"), role="user", content=text(said), tokens=_LONG)


def _config() -> RunConfig:
    limits = Limits(steps=4, completion_tokens=ANSWER_TOKENS)
    return RunConfig(provider="simulated", model="m", asked_model="m", tools=OFFERED, limits=limits, stream=True)


def _summarising(config: RunConfig) -> RunConfig:
    """The same, in which hardly more than tools has room."""
    n = tool_tokens(config.tools, config.model) + 60
    return config.model_copy(
        update={"truncation": Truncation(strategy="summarise", n=n, model="gpt-4o", provider="simulated")}
    )


def _even(mark: str) -> bool:
    """Every other one, without asking chance for it."""
    return sum(map(ord, mark)) % 2 == 0


def _now() -> float:
    return asyncio.get_running_loop().time()
