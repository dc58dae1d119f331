"""Messages of a thread."""

from __future__ import annotations

from collections.abc import Sequence

from clew.dialects.openai_assistants import translate
from clew.dialects.openai_assistants.finding import ACTOR
from clew.dialects.openai_assistants.handling import checked_id
from clew.dialects.openai_assistants.lists import Page, in_order, list_object, page_of
from clew.dialects.openai_assistants.objects import Object, deleted, message_object
from clew.dialects.openai_assistants.requests import CreateMessage, ModifyMessage
from clew.events.items import Place
from clew.events.message import MessageAppended, MessageChanged, MessageEdited
from clew.log import Reader
from clew.rules.commands import AppendMessages, ChangeMessage, RemoveMessage
from clew.serving.finding import the_message, the_thread
from clew.serving.http import Answer, Call
from clew_projections import thread_view
from clew_projections.thread_view import ItemRow


async def create(call: Call) -> Answer:
    thread_id = call.id("thread_id")
    new = await translate.message(call.read(CreateMessage))
    command = AppendMessages(thread_id=thread_id, messages=(new,))
    done = await call.engine.desk.on_thread(thread_id, lambda: command, actor=ACTOR, key=call.key())
    recorded = done.events[0]
    call.shown = recorded.position
    assert isinstance(recorded.event, MessageAppended)
    return Answer(message_object(thread_id, recorded.event, recorded.at))


async def retrieve(call: Call) -> Answer:
    thread_id, message_id = call.id("thread_id"), call.id("message_id")
    return Answer(_read(call, thread_id, message_id))


async def modify(call: Call) -> Answer:
    thread_id, message_id = call.id("thread_id"), call.id("message_id")
    given = call.read(ModifyMessage)

    def make() -> ChangeMessage:
        with call.engine.log.reading() as reader:
            the_message(reader, thread_id, message_id)
        return ChangeMessage(thread_id=thread_id, message_id=message_id, metadata=given.metadata or {})

    _thread_must_exist(call, thread_id)
    if "metadata" in given.model_fields_set:
        await call.engine.desk.on_thread(thread_id, make, actor=ACTOR, key=call.key())
    return Answer(_read(call, thread_id, message_id))


async def delete(call: Call) -> Answer:
    thread_id, message_id = call.id("thread_id"), call.id("message_id")

    def make() -> RemoveMessage:
        with call.engine.log.reading() as reader:
            row = the_message(reader, thread_id, message_id)
            first = reader.event(row.created).event
        assert isinstance(first, MessageAppended)
        return RemoveMessage(thread_id=thread_id, message_id=message_id, role=first.role, tokens=row.tokens)

    _thread_must_exist(call, thread_id)
    await call.engine.desk.on_thread(thread_id, make, actor=ACTOR)
    return Answer(deleted("thread.message", message_id))


async def list_all(call: Call) -> Answer:
    thread_id, query = call.id("thread_id"), call.query()
    page = page_of(query, "message_id")
    run_id = query.get("run_id") or None
    if run_id is not None:
        checked_id("run_id", run_id)
    with call.reading() as reader:
        the_thread(reader, thread_id, call.as_of)
        found, has_more = in_order(page, _rows(reader, thread_id, page, run_id, call.as_of))
        shown = _shown(reader, thread_id, found)
    return Answer(list_object(shown, has_more))


def _rows(reader: Reader, thread_id: str, page: Page, run_id: str | None, as_of: int | None) -> list[ItemRow]:
    """One more than the page has room for, if there are so many."""
    cursor = page.before if page.backwards else page.after
    beyond = None
    if cursor is not None:
        at = the_message(reader, thread_id, cursor, as_of)
        beyond = Place(at.stream, at.number)
    stop = page.before if page.after is not None else None
    if stop is not None:
        the_message(reader, thread_id, stop, as_of)
    found: list[ItemRow] = []
    for row in thread_view.walk(
        reader,
        thread_view.segments(reader, thread_id, as_of),
        beyond=beyond,
        newest_first=page.newest_first is not page.backwards,
        messages_only=True,
        page=page.limit + 1,
        as_of=as_of,
    ):
        if row.item_id == stop:
            break
        if run_id is None or row.run_id == run_id:
            found.append(row)
            if len(found) > page.limit:
                break
    return found


def _read(call: Call, thread_id: str, message_id: str) -> Object:
    with call.reading() as reader:
        the_thread(reader, thread_id, call.as_of)
        row = the_message(reader, thread_id, message_id, call.as_of)
        return _shown(reader, thread_id, [row])[0]


def _thread_must_exist(call: Call, thread_id: str) -> None:
    """Before a message is looked for, so that the answer names what is missing."""
    with call.engine.log.reading() as reader:
        the_thread(reader, thread_id)


def _shown(reader: Reader, thread_id: str, rows: Sequence[ItemRow]) -> list[Object]:
    positions = {p for row in rows for p in (row.created, row.position, row.metadata_position) if p is not None}
    events = reader.events(positions)
    objects = []
    for row in rows:
        first, body = events[row.created], events[row.position].event
        changed = events[row.metadata_position].event if row.metadata_position is not None else None
        assert isinstance(first.event, MessageAppended)
        objects.append(
            message_object(
                thread_id,
                first.event,
                first.at,
                content=body.content if isinstance(body, MessageEdited) else None,
                metadata=changed.metadata if isinstance(changed, MessageChanged) else None,
            )
        )
    return objects
