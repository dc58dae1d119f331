"""Conversations to make contexts of: users' messages, and turns of an agent that calls tools."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from clew.engine.context import Context, assemble
from clew.events import Event
from clew.events.content import text
from clew.events.items import Item, Place, ToolCallItem, ToolResultItem
from clew.events.message import MessageAppended, Role
from clew.events.model import ItemRange, ModelAnswered, ModelCalled, ReasoningRecorded
from clew.events.run import RunCancelled, RunCompleted, RunConfig, RunQueued, RunStarted
from clew.events.thread import ThreadCreated
from clew.events.tool import ToolCalled, ToolFailed, ToolReturned
from clew.events.usage import NO_USAGE, Usage
from clew.log import Reader
from clew_projections import thread_view
from tests.projections.living import House
from tests.rules.example import config, tokens

THREAD = "thread_1"


@dataclass
class Talk:
    """Writes down a conversation, event by event. Everything has as many tokens as it is given."""

    events: list[Event] = field(default_factory=lambda: [ThreadCreated(tenant="acme", dialect="openai")])
    made: int = 0
    output: str = "42"

    def id(self, prefix: str) -> str:
        self.made += 1
        return f"{prefix}_{self.made}"

    def says(self, count: int, role: Role = "user") -> Talk:
        said = MessageAppended(message_id=self.id("msg"), role=role, content=text("…"), tokens=tokens(count))
        self.events.append(said)
        return self

    def turn(
        self, *calls: int, count: int = 1, reasons: bool = False, cancelled: bool = False, output: str = "42"
    ) -> Talk:
        """A run: one model call for each number of `calls`, which makes so many tool calls, then a message."""
        self.output = output
        run_id = self.id("run")
        self.events += [
            RunQueued(run_id=run_id, dialect="openai", config=config()),
            RunStarted(run_id=run_id, worker="w", attempt=1, fence=1, lease_seconds=30.0),
        ]
        for number in calls:
            self._model_call(run_id, number, count, reasons, says=False, cancelled=cancelled)
        if cancelled:
            self.events.append(RunCancelled(run_id=run_id))
        else:
            self._model_call(run_id, 0, count, reasons, says=True, cancelled=False)
            self.events.append(RunCompleted(run_id=run_id))
        return self

    def _model_call(self, run_id: str, calls: int, count: int, reasons: bool, *, says: bool, cancelled: bool) -> None:
        of: dict[str, Any] = {"run_id": run_id, "fence": 1, "model_call_id": self.id("mc")}
        step: dict[str, Any] = {"step_id": self.id("step")}
        self.events += [
            ModelCalled(**of, provider="p", model="m", attempt=1),
            ModelAnswered(**of, **step, attempt=1, model="m", finish_reason="stop", duration_ms=1.0),
        ]
        if reasons:
            reasoning = ReasoningRecorded(
                **of, item_id=self.id("rs"), provider="p", blocks=("{}",), tokens=tokens(count)
            )
            self.events.append(reasoning)
        if says or calls % 2:
            self.events.append(
                MessageAppended(
                    **of,
                    **step,
                    message_id=self.id("msg"),
                    role="assistant",
                    content=text("…"),
                    tokens=tokens(count),
                )
            )
        ids = [self.id("call") for _ in range(calls)]
        made: dict[str, Any] = {"run_id": run_id, "fence": 1, **step, "tokens": tokens(count)}
        self.events += [
            ToolCalled(**of, **step, tool_call_id=id, name="f", arguments="{}", executor="server", tokens=tokens(count))
            for id in ids
        ]
        for id in reversed(ids):
            if cancelled:
                self.events.append(ToolFailed(**made, tool_call_id=id, reason="run_cancelled", output="gone"))
            else:
                self.events.append(ToolReturned(**made, tool_call_id=id, output=self.output))


async def house_of(talk: Talk, thread_id: str = THREAD) -> House:
    house = await House().open()
    await house.log.append(thread_id, talk.events, after=0)
    house.desk.thread(thread_id)  # Known from here on: in memory, nobody can read while somebody reads.
    return house


def context_of(
    house: House,
    reader: Reader,
    asked: RunConfig,
    *,
    spent: Usage = NO_USAGE,
    server_limit: int | None = None,
    thread_id: str = THREAD,
) -> Context:
    return assemble(reader, thread_id, house.desk.thread(thread_id), asked, spent, server_limit)


def past_context_of(
    house: House, reader: Reader, asked: RunConfig, version: int, *, thread_id: str = THREAD
) -> Context:
    """The context as it would have been after the thread's event `version`."""
    [recorded] = reader.stream(thread_id, after=version - 1, upto=version)
    thread = house.desk.thread_at(reader, thread_id, version)
    return assemble(reader, thread_id, thread, asked, NO_USAGE, None, as_of=recorded.position)


def whole(reader: Reader, thread_id: str = THREAD) -> list[Item]:
    """Every item of the thread, oldest first."""
    history = thread_view.segments(reader, thread_id)
    return thread_view.items(reader, list(thread_view.walk(reader, history, newest_first=False)))


def within(items: Sequence[Item], ranges: Sequence[ItemRange]) -> list[Place]:
    """The places that the ranges name, range by range."""
    return [
        item.place
        for one in ranges
        for item in items
        if item.place.stream == one.stream and one.first <= item.place.number <= one.last
    ]


def parted(shown: Sequence[Item], every: Sequence[Item]) -> list[str]:
    """Model calls of which some items are shown and some are not; a result belongs where its call does."""
    call_of = {i.tool_call_id: i.model_call_id for i in every if isinstance(i, ToolCallItem)}

    def owner(item: Item) -> str | None:
        if isinstance(item, ToolResultItem):
            return call_of[item.tool_call_id]
        return getattr(item, "model_call_id", None)

    places = {item.place for item in shown}
    inside = {owner(item) for item in every if item.place in places}
    outside = {owner(item) for item in every if item.place not in places}
    return sorted(filter(None, inside & outside))
