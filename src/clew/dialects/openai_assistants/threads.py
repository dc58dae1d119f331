"""Threads. That they can be listed, and found by their metadata, is an extension of ours."""

from __future__ import annotations

import re

from starlette.datastructures import QueryParams

from clew.dialects.openai_assistants import translate
from clew.dialects.openai_assistants.finding import ACTOR, DIALECT
from clew.dialects.openai_assistants.lists import by_position, list_object, page_of
from clew.dialects.openai_assistants.objects import Object, deleted, thread_object
from clew.dialects.openai_assistants.requests import CreateThread, ModifyThread
from clew.events.base import Event, Recorded
from clew.events.thread import ThreadCreated
from clew.ids import DEFAULT_TENANT, new_id
from clew.rules.commands import ChangeThread, DeleteThread, QueueRun
from clew.rules.commands import CreateThread as CreateCommand
from clew.serving.finding import the_thread
from clew.serving.http import Answer, Call
from clew_projections import thread_view
from clew_projections.thread_view import ThreadRow


async def creation(given: CreateThread, thread_id: str, name: str = "", run: QueueRun | None = None) -> CreateCommand:
    """The command that `given` means. `name` is where the request has the thread, when it is part of another one."""
    return CreateCommand(
        thread_id=thread_id,
        tenant=DEFAULT_TENANT,
        dialect=DIALECT,
        metadata=given.metadata or {},
        tool_resources=translate.no_tool_resources(given.tool_resources, f"{name}tool_resources"),
        messages=await translate.messages(given.messages, f"{name}messages"),
        run=run,
    )


def created_object(first: Recorded[Event]) -> Object:
    assert isinstance(first.event, ThreadCreated)
    return thread_object(first.stream, first.at, first.event.metadata, first.event.tool_resources)


async def create(call: Call) -> Answer:
    thread_id = new_id("thread")
    command = await creation(call.read(CreateThread), thread_id)
    done = await call.engine.desk.on_thread(thread_id, lambda: command, actor=ACTOR, key=call.key(), new=True)
    call.shown = done.events[0].position
    return Answer(created_object(done.events[0]))


async def retrieve(call: Call) -> Answer:
    thread_id = call.id("thread_id")
    with call.reading() as reader:
        return Answer(_shown(the_thread(reader, thread_id, call.as_of)))


async def modify(call: Call) -> Answer:
    thread_id = call.id("thread_id")
    given = call.read(ModifyThread)
    named = given.model_fields_set
    command = ChangeThread(
        thread_id=thread_id,
        metadata=(given.metadata or {}) if "metadata" in named else None,
        tool_resources=translate.no_tool_resources(given.tool_resources) if "tool_resources" in named else None,
    )
    await call.engine.desk.on_thread(thread_id, lambda: command, actor=ACTOR, key=call.key())
    with call.reading() as reader:
        return Answer(_shown(the_thread(reader, thread_id)))


async def delete(call: Call) -> Answer:
    thread_id = call.id("thread_id")
    command = DeleteThread(thread_id=thread_id, by=ACTOR)
    await call.engine.desk.on_thread(thread_id, lambda: command, actor=ACTOR)
    return Answer(deleted("thread", thread_id))


async def list_all(call: Call) -> Answer:
    query = call.query()
    page, labels = page_of(query, "thread_id"), _labels(query)
    with call.reading() as reader:
        found, has_more = by_position(
            page,
            lambda id: the_thread(reader, id, call.as_of).created,
            lambda **where: thread_view.threads(
                reader, tenant=DEFAULT_TENANT, labels=labels, as_of=call.as_of, **where
            ),
        )
    return Answer(list_object(list(map(_shown, found)), has_more))


def _labels(query: QueryParams) -> dict[str, str]:
    """`metadata[customer]=42` asks for the threads that have that in their metadata."""
    return {found[1]: value for name, value in query.items() if (found := re.fullmatch(r"metadata\[(.+)\]", name))}


def _shown(row: ThreadRow) -> Object:
    return thread_object(row.thread_id, row.created_at, row.metadata, row.tool_resources)
