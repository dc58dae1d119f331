"""A prompt rendered again is the prompt that was sent, whatever happened since; and when it is not, that is said."""

from __future__ import annotations

import asyncio
import hashlib
import json
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import clew
from clew.audit.prompts import ExactPrompt, exact_prompt, exact_prompts
from clew.engine.context import ContextTooLarge, assemble
from clew.errors import NotFound, Refused
from clew.events.base import Event
from clew.events.model import ContextAssembled
from clew.events.run import Limits, RunConfig, RunQueued, RunReconfigured, Tool, Truncation
from clew.events.thread import ThreadCreated, ThreadForked
from clew.events.usage import NO_USAGE
from clew.log import Log, open_store
from clew.providers import openai, scripted
from clew.providers.base import Prompt
from clew.providers.renderers import RENDERERS
from clew.rules import commands as c
from clew.rules import model_commands as m
from clew.rules import parts as p
from clew.rules.state import Thread
from clew.rules.thread import thread_rules
from tests.projections.living import House
from tests.rigs.commands import shown, typed
from tests.rules.example import message
from tests.rules.imagining import World
from tests.test_cli import hold_a_conversation

pytestmark = pytest.mark.slow

_COMMANDS_MAX = 120


class Asking(World):
    """A world whose model calls are real as far as the provider's door: a context, a request, its digest."""

    def __init__(self, thread_id: str, random: Random, house: House) -> None:
        super().__init__(thread_id, random)
        self.house = house
        self.configs: dict[str, RunConfig] = {}

    def note(self, events: Iterable[Event]) -> None:
        told = list(events)
        super().note(told)
        for event in told:
            if isinstance(event, (RunQueued, RunReconfigured)):
                self.configs[event.run_id] = event.config

    def _config(self) -> RunConfig:
        look = Tool(type="function", name="look", description="Look — “there”")
        changes = {
            "instructions": self.random.choice(("", "Be kind.")),
            "tools": self.random.choice(((), (look,))),
            "truncation": self.random.choice((Truncation(), Truncation(strategy="last_messages", n=2))),
            "limits": Limits(prompt_tokens=self.random.choice((None, 40, 100))),
            "stream": self.random.random() < 0.5,
            "max_output_tokens": self.random.choice((None, 9)),
        }
        return super()._config().model_copy(update=changes)

    def _begin(self, thread: Thread) -> c.ThreadCommand:
        run = thread.run
        if run is None or run.run_id not in self.configs:
            return self._append(thread)
        config = self.configs[run.run_id]
        try:
            with self.house.log.reading() as reader:
                context = assemble(reader, self.thread_id, thread, config, NO_USAGE, None)
        except ContextTooLarge:
            return self._append(thread)
        body = RENDERERS["openai-chat/1"](Prompt(config, context.items, context.max_output_tokens))
        return m.BeginModelCall(
            thread_id=self.thread_id,
            run_id=run.run_id,
            fence=run.fence,
            claim=p.Claim(worker="w", lease_seconds=30.0) if run.status == "queued" else None,
            model_call_id=self.new_id("mc"),
            provider="scripted",
            model="m",
            manifest=context.manifest,
            tokens=context.tokens,
            renderer="openai-chat/1",
            digest=hashlib.sha256(body).hexdigest(),
            max_output_tokens=context.max_output_tokens,
            cut=context.cut,
        )


async def live(house: House, random: Random, commands: int) -> None:
    """Threads and forks; between assembling a context and recording it, others edit and remove."""
    worlds: list[Asking] = []
    for number in range(commands):
        if not worlds or random.random() < 0.03:
            worlds.append(Asking(f"thread{number}", random, house))
            await give(house, worlds[-1], worlds[-1].create(), new=True)
        elif random.random() < 0.06:
            worlds.append(await fork(house, random.choice(worlds), f"fork{number}"))
        world = random.choice(worlds)
        command = world.command(house.desk.thread(world.thread_id))
        if isinstance(command, m.BeginModelCall) and random.random() < 0.5:
            other = random.choice([world, *worlds])
            await give(house, other, other._message(house.desk.thread(other.thread_id)))
        if not isinstance(command, c.DeleteThread):
            await give(house, world, command)


async def give(house: House, world: World, command: c.ThreadCommand, *, new: bool = False) -> None:
    try:
        done = await house.desk.on_thread(world.thread_id, lambda: command, new=new)
    except Refused:
        return
    world.note(recorded.event for recorded in done.events)


async def fork(house: House, parent: Asking, thread_id: str) -> Asking:
    with house.log.reading() as reader:
        events = reader.stream(parent.thread_id)
    version = parent.random.randrange(1, len(events) + 1)
    inherited = thread_rules.fold(one.event for one in events[:version])  # type: ignore[misc]
    forked = ThreadForked(
        parent=parent.thread_id,
        parent_version=version,
        tenant="acme",
        user_messages=inherited.user_messages,
        items=inherited.items,
        tokens=inherited.tokens,
        dialect="openai",
    )
    await house.log.append(thread_id, [forked], after=0)
    return Asking(thread_id, parent.random, house)


@settings(max_examples=25)
@given(st.randoms(use_true_random=False), st.integers(1, _COMMANDS_MAX))
def test_every_prompt_can_be_proven_after_edits_removals_and_forks(random: Random, commands: int) -> None:
    asyncio.run(_all_proven(random, commands))


def test_so_they_can_after_a_long_history(store: str) -> None:
    assert asyncio.run(_all_proven(Random(5), 1_200, store)) > 50


async def _all_proven(random: Random, commands: int, store: str = ":memory:") -> int:
    house = await House(store).open()
    try:
        await live(house, random, commands)
        runs = {one.event.run_id for one in house.events() if isinstance(one.event, ContextAssembled)}
        found = 0
        with house.log.reading() as reader:
            for run_id in runs:
                prompts = exact_prompts(reader, run_id)
                for prompt in prompts:
                    assert prompt.proven, prompt
                    assert exact_prompt(reader, run_id, prompt.model_call_id) == prompt
                    assert exact_prompt(reader, run_id, str(prompt.number)) == prompt
                found += len(prompts)
        return found
    finally:
        await house.close()


def test_every_renderer_of_a_provider_is_in_the_register() -> None:
    assert {openai.OpenAI.renderer, scripted.Scripted.renderer} <= set(RENDERERS)


def written(*, renderer: str = "openai-chat/1", digest: str = "0" * 64, items: int = 1) -> ExactPrompt:
    """The prompt of a history that says what it is told to say."""
    made: dict[str, object] = {"run_id": "run_1", "fence": 1, "model_call_id": "mc_1"}
    assembled = ContextAssembled.model_validate(
        {
            **made,
            "manifest": {"shown": [{"stream": "t", "first": 2, "last": 2}], "items": items},
            "tokens": {"instructions": 0, "tools": 0, "items": 1, "exact": True},
            "renderer": renderer,
            "digest": digest,
        }
    )
    events: list[Event] = [
        ThreadCreated(tenant="acme", dialect="openai"),
        message("Hello", id="msg_1"),
        RunQueued(run_id="run_1", dialect="openai", config=RunConfig(provider="p", model="m", asked_model="m")),
        assembled,
    ]

    async def main() -> ExactPrompt:
        house = await House().open()
        try:
            await house.log.append("t", events, after=0)
            with house.log.reading() as reader:
                return exact_prompt(reader, "run_1", "1")
        finally:
            await house.close()

    return asyncio.run(main())


def test_what_a_log_says_of_an_older_clew_is_read_as_of_just_before_it() -> None:
    prompt = written()
    assert prompt.as_of == prompt.position - 1
    assert json.loads(prompt.body or "")["messages"] == [{"role": "user", "content": "Hello"}]
    assert written(digest=prompt.rendered_digest or "").proven


def test_a_digest_that_differs_is_no_proof() -> None:
    prompt = written()
    assert not prompt.proven
    assert prompt.body is not None
    assert prompt.why_not is not None
    assert "what differs is not known" in prompt.why_not


def test_items_that_are_missing_are_counted() -> None:
    assert written(items=3).why_not == "the model was shown 3 items and 1 of them can be found"


def test_a_renderer_that_nobody_knows_renders_nothing() -> None:
    prompt = written(renderer="mistral/9")
    assert (prompt.proven, prompt.body) == (False, None)
    assert prompt.why_not == "no renderer is called 'mistral/9' here"


@pytest.fixture
def kept(tmp_path: Path) -> tuple[Path, str, str]:
    """A store with one conversation: its path, the thread, the run."""
    store = tmp_path / "threads.db"

    async def main() -> tuple[str, str]:
        async with clew.open(str(store)) as engine:
            return await hold_a_conversation(engine)

    return (store, *asyncio.run(main()))


def test_the_command_prints_the_request_and_its_proof(kept: tuple[Path, str, str]) -> None:
    store, _, run_id = kept
    told = shown("prompt", run_id, "1", store=store)
    for words in ("proven", "Hello [bold]there[/]", '"role": "system"', "scripted/2"):
        assert words in told
    found = json.loads(shown("prompt", run_id, "1", "--json", store=store))
    assert found["proven"]
    raw = shown("prompt", run_id, found["model_call_id"], "--raw", store=store)
    assert hashlib.sha256(raw.encode()).hexdigest() == found["digest"]


def test_a_step_is_named_by_its_id_too(kept: tuple[Path, str, str]) -> None:
    store, thread_id, run_id = kept
    log = Log(open_store(str(store), writing=False))
    with log.reading() as reader:
        step_ids = {getattr(one.event, "step_id", None) for one in reader.stream(thread_id)} - {None}
        [step_id] = step_ids
        assert exact_prompt(reader, run_id, str(step_id)).number == 1
        with pytest.raises(NotFound, match="no step has the id '2'"):
            exact_prompt(reader, run_id, "2")
    log.close()


def test_an_erased_item_is_told_and_proves_nothing(kept: tuple[Path, str, str]) -> None:
    store, thread_id, run_id = kept
    with sqlite3.connect(store) as connection:
        connection.execute("update events set state = null, salt = null where topic = 'message.appended'")
    connection.close()
    done = typed("prompt", run_id, "1", store=store)
    assert done.returncode == 1
    assert "not proven" in done.stdout
    assert f"event 2 of {thread_id} was erased" in done.stdout


def test_nothing_is_left_of_a_step_that_was_erased_as_a_whole(kept: tuple[Path, str, str]) -> None:
    store, thread_id, run_id = kept
    with sqlite3.connect(store) as connection:
        connection.execute("update events set state = null, salt = null")
    connection.close()
    done = typed("prompt", run_id, "1", store=store)
    assert done.returncode == 1
    assert f"of {thread_id} was erased: only its hashes are left" in done.stderr
