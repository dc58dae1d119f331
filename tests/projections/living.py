"""Histories for read models: threads, forks and assistants that live on a real desk, over a log in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random
from types import SimpleNamespace
from typing import Any, cast

import clew_projections
from clew.desk import Desk
from clew.errors import Refused
from clew.events import Event, Recorded, ThreadStreamEvent
from clew.events.assistant import AssistantSettings
from clew.events.thread import ThreadForked
from clew.log import Log, chain, open_store
from clew.projecting import Keeper, discover
from clew.rules.assistant import AssistantCommand, ChangeAssistant, CreateAssistant, DeleteAssistant
from clew.rules.thread import thread_rules
from tests.rules.imagining import World


@contextmanager
def clock(now: Callable[[], int]) -> Iterator[None]:
    """The log's clock, in microseconds."""
    real = vars(chain)["time"]
    vars(chain)["time"] = SimpleNamespace(time_ns=lambda: now() * 1000)
    try:
        yield
    finally:
        vars(chain)["time"] = real


@dataclass
class House:
    """A log with all read models and a desk. Made for one event loop."""

    keeper: Keeper = field(default_factory=lambda: Keeper(discover(clew_projections)))

    def __post_init__(self) -> None:
        self.log = Log(open_store(":memory:"), self.keeper.inline, self.keeper.forget)
        self.desk = Desk(self.log)

    async def open(self) -> House:
        await self.keeper.prepare(self.log)
        return self

    async def close(self) -> None:
        await self.desk.close()
        self.log.close()

    def events(self) -> list[Recorded[Event]]:
        with self.log.reading() as reader:
            return reader.follow(0, 1_000_000)

    def tables(self) -> dict[str, list[tuple[Any, ...]]]:
        """Every row of every read model."""
        found = {}
        with self.log.reading() as reader:
            for projection in self.keeper.projections.values():
                for table in projection.tables:
                    rows = reader.rows(f"select * from {table.name}")
                    found[table.name] = sorted((tuple(row) for row in rows), key=repr)
        return found


async def live(house: House, random: Random, commands: int) -> None:
    """Give the desk commands, mostly sensible ones, to a few threads and assistants."""
    worlds: list[World] = []
    assistants: list[str] = []
    for number in range(commands):
        chance = random.random()
        if not worlds or (chance < 0.06 and len(worlds) < 5):
            worlds.append(World(f"thread{number}", random))
            await _ask(house, worlds[-1], new=True)
        elif chance < 0.12 and len(worlds) < 7:
            await _fork(house, random.choice(worlds), worlds, f"fork{number}")
        elif chance < 0.2:
            await _assist(house, random, assistants, f"asst{number}")
        else:
            world = random.choice(worlds)
            await _ask(house, world)
            if house.desk.thread(world.thread_id).deleted and random.random() < 0.3:
                worlds.remove(world)


async def _ask(house: House, world: World, *, new: bool = False) -> None:
    command = world.create() if new else world.command(house.desk.thread(world.thread_id))
    try:
        done = await house.desk.on_thread(world.thread_id, lambda: command, actor="key_1", new=new)
    except Refused:
        return
    world.note(recorded.event for recorded in done.events)


async def _fork(house: House, parent: World, worlds: list[World], thread_id: str) -> None:
    """There is no command for it yet, so the event is written as its rule would."""
    with house.log.reading() as reader:
        events = reader.stream(parent.thread_id)
    version = parent.random.randrange(1, len(events) + 1)
    inherited = thread_rules.fold(cast("ThreadStreamEvent", one.event) for one in events[:version])
    forked = ThreadForked(
        parent=parent.thread_id,
        parent_version=version,
        tenant="acme",
        user_messages=inherited.user_messages,
        items=inherited.items,
        tokens=inherited.tokens,
        metadata={"a": "x"},
        dialect="openai",
    )
    await house.log.append(thread_id, [forked], after=0)
    worlds.append(World(thread_id, parent.random))


async def _assist(house: House, random: Random, assistants: list[str], new_id: str) -> None:
    command: AssistantCommand
    if not assistants or random.random() < 0.3:
        assistants.append(new_id)
        settings = AssistantSettings(model=random.choice("mn"))
        command = CreateAssistant(assistant_id=new_id, tenant="acme", dialect="openai", settings=settings)
    elif random.random() < 0.7:
        changes: dict[str, object] = {"name": random.choice("xyz")}
        command = ChangeAssistant(assistant_id=random.choice(assistants), changes=changes)
    else:
        command = DeleteAssistant(assistant_id=random.choice(assistants))
    try:
        await house.desk.on_assistant(command.assistant_id, lambda: command, new=command.assistant_id == new_id)
    except Refused:
        return
