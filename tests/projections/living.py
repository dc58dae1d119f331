"""Histories for read models: threads, forks and assistants that live on a real desk, over a log in memory."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import Any, cast

import clew_projections
from clew.desk import Desk
from clew.errors import Refused
from clew.events import Event, Recorded, ThreadStreamEvent
from clew.events.assistant import AssistantSettings
from clew.events.content import text
from clew.events.message import MessageAppended, Spot
from clew.events.tool import ToolFailed, ToolReturned
from clew.ids import new_id
from clew.log import Log, open_store
from clew.projecting import Keeper, discover
from clew.rules.assistant import (
    AssistantCommand,
    ChangeAssistant,
    CreateAssistant,
    DeleteAssistant,
    RemoveAlias,
    SelectVersion,
    SetAlias,
)
from clew.rules.budget import BudgetCommand, RemoveBudget, SetBudget
from clew.rules.commands import Edit, EditMessage, ForkThread, RemoveMessage, ReplaceToolOutput
from clew.rules.parts import NewMessage
from clew.rules.thread import thread_rules
from clew_projections import thread_view
from clew_projections.thread_view import ItemRow
from tests.rules.imagining import World


@dataclass
class House:
    """A log with all read models and a desk. Made for one event loop."""

    store: str = ":memory:"
    keeper: Keeper = field(default_factory=lambda: Keeper(discover(clew_projections)))

    def __post_init__(self) -> None:
        self.log = Log(open_store(self.store), self.keeper.inline, self.keeper.forget, self.keeper.swapped)
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
    """Give the desk commands, mostly sensible ones, to a few threads, assistants and budgets."""
    worlds: list[World] = []
    assistants: list[str] = []
    for number in range(commands):
        chance = random.random()
        if not worlds or (chance < 0.06 and len(worlds) < 5):
            worlds.append(World(f"thread{number}", random, stored=random.random() < 0.9))
            await _ask(house, worlds[-1], new=True)
        elif chance < 0.12 and len(worlds) < 7:
            await _fork(house, random.choice(worlds), worlds, f"fork{number}")
        elif chance < 0.15:
            await _budget(house, random)
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
    """From any version, with edits of what is inherited: some of them of what is not there."""
    random = parent.random
    with house.log.reading() as reader:
        events = reader.stream(parent.thread_id)
        version = random.randrange(1, len(events) + 1)
        before = events[:version]
        history = thread_view.segments_upto(reader, parent.thread_id, version, before[-1].position)
        inherited = list(thread_view.walk(reader, history, newest_first=False, messages_only=True))
    edits: list[Edit] = []
    for recorded in before:
        if isinstance(recorded.event, MessageAppended) and random.random() < 0.2:
            edits.append(_edit_of(random, thread_id, recorded.event))
        elif isinstance(recorded.event, (ToolReturned, ToolFailed)) and random.random() < 0.2:
            edits.append(
                ReplaceToolOutput(
                    thread_id=thread_id,
                    tool_call_id=recorded.event.tool_call_id,
                    output="otherwise",
                    is_error=random.random() < 0.3,
                    had_result=True,
                    tokens=None,
                    tokens_before=0,
                )
            )
    command = ForkThread(
        thread_id=thread_id,
        parent=parent.thread_id,
        parent_version=version,
        parent_position=before[-1].position,
        inherited=thread_rules.fold(cast("ThreadStreamEvent", one.event) for one in before),
        dialect="openai",
        metadata={"a": "x"},
        tool_resources={},
        edits=tuple(edits),
        stored=random.random() < 0.9,
        inserts=tuple(_insert_before(row) for row in inherited if random.random() < 0.1),
    )
    try:
        await house.desk.on_thread(thread_id, lambda: command, new=True)
    except Refused:
        return
    worlds.append(World(thread_id, random))


def _insert_before(row: ItemRow) -> NewMessage:
    before = Spot(stream=row.stream, number=row.number)
    return NewMessage(message_id=new_id("msg"), role="user", content=text("between"), before=before)


def _edit_of(random: Random, thread_id: str, message: MessageAppended) -> Edit:
    if random.random() < 0.5:
        return RemoveMessage(thread_id=thread_id, message_id=message.message_id, role=message.role, tokens=0)
    return EditMessage(
        thread_id=thread_id, message_id=message.message_id, content=text("otherwise"), tokens=None, tokens_before=0
    )


async def _budget(house: House, random: Random) -> None:
    """One of a few names, also that of the budget that imagined runs meet."""
    name = random.choice(("acme-daily", "b", "c"))
    command: BudgetCommand = RemoveBudget(budget_id=name)
    if random.random() < 0.7:
        subject = random.choice((None, "acme"))
        limit = str(random.randrange(3))
        command = SetBudget(
            budget_id=name, scope="tenant", subject=subject, period="day", unit="tokens", limit=limit, hard=True
        )
    try:
        await house.desk.on_budget(name, lambda: command)
    except Refused:
        return


async def _assist(house: House, random: Random, assistants: list[str], new_id: str) -> None:
    command: AssistantCommand
    if not assistants or random.random() < 0.3:
        assistants.append(new_id)
        settings = AssistantSettings(model=random.choice("mn"))
        command = CreateAssistant(assistant_id=new_id, tenant="acme", dialect="openai", settings=settings)
    elif random.random() < 0.5:
        changes: dict[str, object] = {"name": random.choice("xyz")}
        command = ChangeAssistant(assistant_id=random.choice(assistants), changes=changes, message="better")
    elif random.random() < 0.6:
        command = _of_versions(random, random.choice(assistants))
    else:
        command = DeleteAssistant(assistant_id=random.choice(assistants))
    try:
        await house.desk.on_assistant(command.assistant_id, lambda: command, new=command.assistant_id == new_id)
    except Refused:
        return


def _of_versions(random: Random, assistant_id: str) -> AssistantCommand:
    version, alias = random.randrange(4), random.choice(("prod", "test"))
    return random.choice(
        (
            SelectVersion(assistant_id=assistant_id, version=version, settings=AssistantSettings(model="selected")),
            SetAlias(assistant_id=assistant_id, alias=alias, version=version),
            RemoveAlias(assistant_id=assistant_id, alias=alias),
        )
    )
