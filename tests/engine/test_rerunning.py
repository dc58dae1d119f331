"""A fork may run at once, and a run may be made anew: as it was but for what is said otherwise, by the library."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest

import clew
from clew.audit.records import Audit
from clew.audit.telling import audit
from clew.desk import Done
from clew.engine.counting import new_message
from clew.engine.engine import Engine
from clew.engine.forking import Otherwise
from clew.engine.outcome import outcome
from clew.engine.replaying.files import recording
from clew.engine.replaying.verifying import Verifier
from clew.engine.rerunning import run_of
from clew.engine.standing_in import NOT_RECORDED
from clew.errors import NotFound, Refused
from clew.events.content import plain_text, text
from clew.events.items import MessageItem
from clew.events.run import RunConfig, RunQueued, Sampling, Tool, Truncation
from clew.ids import new_id
from clew.providers.base import Provider
from clew.providers.scripted import Call, Rule, Script, Scripted, When
from clew.rules.commands import CreateThread, QueueRun
from clew.rules.state import Thread
from clew_projections import thread_view

# The model asks for the time twice, with the same words, and then says what it heard last.
SCRIPT = Script(
    rules=(
        Rule(when=When(user="time"), call=(Call(name="get_time", arguments={"zone": "Tokyo"}),)),
        Rule(when=When(user="other"), call=(Call(name="get_other"),)),
        Rule(when=When(tool="get_time"), say="It is {result}."),
        Rule(say="You said: {user}"),
    )
)
TIME = Tool(type="function", name="get_time", parameters={"type": "object"})
OTHER = Tool(type="function", name="get_other", parameters={"type": "object"})


@dataclass
class Desk:
    """An engine whose one tool counts how often it was executed."""

    engine: Engine
    executed: list[str] = field(default_factory=list)

    async def talk(self, *words: str, **config: Any) -> tuple[str, str]:
        """A thread with these words of a user, and a run on it that is over."""
        thread_id, run_id = new_id("thread"), new_id("run")
        said = RunConfig(
            provider="scripted",
            model="echo",
            asked_model="echo",
            tools=(TIME, OTHER),
            sampling=Sampling(temperature=0.5),
            **config,
        )
        run = QueueRun(
            thread_id=thread_id, run_id=run_id, dialect="openai", config=said, expires_at=None, metadata={"a": "b"}
        )
        command = CreateThread(
            thread_id=thread_id,
            tenant="default",
            dialect="openai",
            metadata={},
            tool_resources={},
            messages=tuple(new_message("user", text(one)) for one in words),
            run=run,
        )
        done = await self.engine.desk.on_thread(thread_id, lambda: command, new=True)
        await self.over(done)
        return thread_id, run_id

    async def over(self, done: Done[Thread]) -> str:
        """The id of the run that was begun, once it has ended."""
        queued: Any = next(one for one in done.events if isinstance(one.event, RunQueued))
        view = await asyncio.wait_for(outcome(self.engine, queued), 20)
        assert view.status == "completed"
        return view.run_id

    def said(self, thread_id: str) -> list[str]:
        with self.engine.log.reading() as reader:
            rows = list(thread_view.walk(reader, thread_view.segments(reader, thread_id), newest_first=False))
            items = thread_view.items(reader, rows)
        return [plain_text(item.content) for item in items if isinstance(item, MessageItem)]

    def ids(self, thread_id: str) -> list[str]:
        with self.engine.log.reading() as reader:
            history = thread_view.segments(reader, thread_id)
            rows = thread_view.walk(reader, history, newest_first=False, messages_only=True)
            return [row.item_id for row in rows]

    def audit(self, run_id: str) -> Audit:
        with self.engine.log.reading() as reader:
            return audit(reader, run_id)

    async def verified(self, thread_id: str) -> bool:
        """Whether today's engine would do again what it did, with nothing called."""
        with self.engine.log.reading() as reader:
            recorded = recording(reader, thread_id)
        verifier = Verifier()
        verdicts = await verifier.thread(recorded)
        await verifier.close()
        return bool(verdicts) and all(verdict.same for verdict in verdicts)


@asynccontextmanager
async def a_desk(store: str) -> AsyncIterator[Desk]:
    executed: list[str] = []

    @clew.tool(effect="once")
    def get_time(zone: str) -> str:
        executed.append(zone)
        return f"{len(executed)} o'clock"

    async with clew.open(
        store, tools=[get_time], providers={"scripted": Scripted(SCRIPT)}, default_provider="scripted"
    ) as engine:
        yield Desk(engine, executed)


def on_a_desk(store: str, work: Callable[[Desk], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        async with a_desk(store) as desk:
            await work(desk)

    asyncio.run(main())


def test_a_fork_with_every_edit_runs_at_once_and_its_parent_does_not_know(store: str) -> None:
    async def work(desk: Desk) -> None:
        thread_id, _ = await desk.talk("one", "two", "three")
        with desk.engine.log.reading() as reader:
            before = reader.stream(thread_id)
        one, two, three, _ = desk.ids(thread_id)
        done = await desk.engine.forks.fork(
            thread_id,
            edits=[
                clew.Replace(one, text("ONE")),
                clew.Drop(two),
                clew.Insert(three, "user", text("before three")),
                clew.Say("user", text("four")),
            ],
            run=clew.Changes(instructions="Be brief."),
        )
        anew = await desk.over(done)
        assert desk.said(done.stream) == ["ONE", "before three", "three", "You said: three", "four", "You said: four"]
        told = desk.audit(anew)
        assert [step.proven for step in told.steps] == [True]
        assert (told.config.instructions, told.config.sampling.temperature) == ("Be brief.", 0.5)
        with desk.engine.log.reading() as reader:
            assert reader.stream(thread_id) == before
        assert await desk.verified(done.stream)

    on_a_desk(store, work)


def test_a_fork_of_a_fork_puts_messages_before_those_that_were_put_there(store: str) -> None:
    async def work(desk: Desk) -> None:
        thread_id, _ = await desk.talk("one", "two")
        _, two, _ = desk.ids(thread_id)
        child = await desk.engine.forks.fork(
            thread_id, edits=(clew.Insert(two, "user", text("b")), clew.Insert(two, "assistant", text("c")))
        )
        _, b, c, _, answer = desk.ids(child.stream)
        inserts = (clew.Insert(answer, "user", text("d")), clew.Insert(b, "user", text("a")), clew.Drop(c))
        grandchild = await desk.engine.forks.fork(child.stream, edits=inserts, run=clew.Changes())
        anew = await desk.over(grandchild)
        assert desk.said(grandchild.stream)[:-1] == ["one", "a", "b", "two", "d", "You said: two"]
        assert desk.said(child.stream) == ["one", "b", "c", "two", "You said: two"]
        assert desk.audit(anew).steps[0].proven
        early = await desk.engine.forks.fork(child.stream, version=1)
        assert desk.said(early.stream) == ["one", "two", "You said: two"]

    on_a_desk(store, work)


def test_what_is_left_out_of_a_fork_and_what_is_shown_is_all_of_it(store: str) -> None:
    async def work(desk: Desk) -> None:
        thread_id, _ = await desk.talk(*(f"{number}" for number in range(8)))
        ids = desk.ids(thread_id)
        edits: list[Otherwise] = [clew.Drop(ids[4])]
        edits += [clew.Insert(ids[place], "user", text(f"before {place}")) for place in (6, 1, 3)]
        done = await desk.engine.forks.fork(
            thread_id,
            edits=edits,
            run=clew.Changes(truncation=Truncation(strategy="last_messages", n=4)),
        )
        [step] = desk.audit(await desk.over(done)).steps
        assert step.proven
        with desk.engine.log.reading() as reader:
            history = thread_view.segments(reader, done.stream)
            ranges = [*(left.items for left in step.manifest.left_out), *step.manifest.shown]
            rows = [
                row for one in ranges for row in thread_view.between(reader, history, one.stream, one.first, one.last)
            ]
            whole = list(thread_view.walk(reader, history, newest_first=False))
        assert rows == whole[:-1]
        assert step.truncated is not None
        assert step.truncated.items_left_out == len(whole) - 1 - 4

    on_a_desk(store, work)


@pytest.mark.parametrize(
    ("tools", "heard", "executions"),
    [("recorded", "It is 1 o'clock.", 0), ("stub", "It is noon.", 0), ("again", "It is 2 o'clock.", 1)],
)
def test_a_run_is_made_anew_with_results_that_were_recorded_made_up_or_asked_for_again(
    tools: Literal["recorded", "stub", "again"], heard: str, executions: int, store: str
) -> None:
    async def work(desk: Desk) -> None:
        thread_id, run_id = await desk.talk("What time is it?", stream=True)
        assert desk.executed == ["Tokyo"]
        done = await desk.engine.forks.rerun(run_id, clew.Changes(model="other"), tools=tools, stub="noon")
        anew = await desk.over(done)
        assert len(desk.executed) == 1 + executions
        assert desk.said(done.stream)[-1] == heard
        told, was = desk.audit(anew), desk.audit(run_id)
        assert told.config.model_copy(update={"rerun": None}) == was.config.model_copy(
            update={"model": "other", "asked_model": "other"}
        )
        assert all(step.proven for step in told.steps)
        assert f"as {run_id} made anew" in told.notes[0].what
        assert await desk.verified(done.stream)
        assert desk.said(thread_id)[-1] == "It is 1 o'clock."

    on_a_desk(store, work)


def test_it_is_made_anew_from_a_step_with_what_that_step_was_shown() -> None:
    async def work(desk: Desk) -> None:
        _, run_id = await desk.talk("What time is it?")
        done = await desk.engine.forks.rerun(run_id, clew.Changes(model="other"), step=2)
        anew, was = desk.audit(await desk.over(done)), desk.audit(run_id)
        assert len(anew.steps) == 1
        before, after = (
            [told.items[place].text for place in step.shown]
            for told, step in ((was, was.steps[1]), (anew, anew.steps[0]))
        )
        assert before == after
        assert desk.executed == ["Tokyo"]

    on_a_desk(":memory:", work)


def test_the_second_of_two_same_calls_gets_the_second_result() -> None:
    script = Script(
        rules=(
            Rule(when=When(user="go"), call=tuple(Call(name="get_time", arguments={"zone": "A"}) for _ in range(2))),
            Rule(say="Done."),
        )
    )

    async def main() -> None:
        results = iter(["first", "second"])

        @clew.tool(effect="pure")
        async def get_time(zone: str) -> str:
            return next(results)

        providers: dict[str, Provider] = {"scripted": Scripted(script)}
        async with clew.open(":memory:", tools=[get_time], providers=providers, default_provider="scripted") as engine:
            desk = Desk(engine)
            _, run_id = await desk.talk("go")
            anew = await desk.over(await engine.forks.rerun(run_id))
            for told in (desk.audit(run_id), desk.audit(anew)):
                assert [tool.output for tool in told.steps[0].tools] == ["first", "second"]

    asyncio.run(main())


def test_a_call_that_was_never_recorded_is_told_so() -> None:
    async def work(desk: Desk) -> None:
        thread_id, run_id = await desk.talk("What time is it?")
        [first, _] = desk.ids(thread_id)
        done = await desk.engine.forks.rerun(run_id, edits=[clew.Replace(first, text("Something other"))])
        [step, _] = desk.audit(await desk.over(done)).steps
        assert [(tool.name, tool.outcome, tool.output) for tool in step.tools] == [
            ("get_other", "failed", NOT_RECORDED)
        ]

    on_a_desk(":memory:", work)


def test_a_fork_from_before_the_first_run_runs_as_that_one_did() -> None:
    async def work(desk: Desk) -> None:
        thread_id, run_id = await desk.talk("one", "two")
        done = await desk.engine.forks.fork(thread_id, version=2, run=clew.Changes())
        anew = await desk.over(done)
        assert desk.said(done.stream) == ["one", "You said: one"]
        assert desk.audit(anew).config == desk.audit(run_id).config

    on_a_desk(":memory:", work)


def test_a_fork_that_runs_after_nothing_has_run_needs_a_model() -> None:
    async def work(desk: Desk) -> None:
        command = CreateThread(
            thread_id="t",
            tenant="default",
            dialect="library",
            metadata={},
            tool_resources={},
            messages=(new_message("user", text("Hello")),),
        )
        await desk.engine.desk.on_thread("t", lambda: command, new=True)
        with pytest.raises(Refused, match="name an assistant or a model"):
            await desk.engine.forks.fork("t", run=clew.Changes())
        done = await desk.engine.forks.fork("t", run=clew.Changes(model="scripted/echo"))
        anew = desk.audit(await desk.over(done))
        assert (anew.config.provider, anew.config.limits.steps) == ("scripted", 128)

    on_a_desk(":memory:", work)


def test_what_is_not_there_is_refused() -> None:
    async def work(desk: Desk) -> None:
        thread_id, run_id = await desk.talk("one")
        forks = desk.engine.forks
        for wrong in (
            forks.rerun("run_x"),
            forks.rerun(run_id, clew.Changes(assistant_id="asst_x")),
            forks.fork("thread_x", run=clew.Changes()),
            forks.fork(thread_id, version=99, run=clew.Changes()),
            forks.fork(thread_id, edits=[clew.Insert("msg_x", "user", text("x"))]),
        ):
            with pytest.raises(NotFound):
                await wrong
        with pytest.raises(Refused, match="has 1 steps; there is no step 2"):
            await forks.rerun(run_id, step=2)
        for truncation in (Truncation(strategy="last_messages"), Truncation(strategy="none", n=3)):
            with pytest.raises(Refused, match="number"):
                await forks.rerun(run_id, clew.Changes(truncation=truncation))
        assert run_of(await forks.fork(thread_id)) is None

    on_a_desk(":memory:", work)
