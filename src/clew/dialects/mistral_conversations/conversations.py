"""Conversations as they are: listed, read, deleted, and the stream of their newest response."""

from __future__ import annotations

from typing import Any

from starlette.datastructures import QueryParams

from clew import exact_json
from clew.dialects.mistral_conversations import translate
from clew.dialects.mistral_conversations.answering import newest_opening
from clew.dialects.mistral_conversations.entries import Object
from clew.dialects.mistral_conversations.errors import rejected, wrong
from clew.dialects.mistral_conversations.finding import settings_of
from clew.dialects.mistral_conversations.handling import DIALECT
from clew.dialects.mistral_conversations.history import entries_of
from clew.dialects.mistral_conversations.identifiers import conversation_id
from clew.dialects.mistral_conversations.objects import conversation_object
from clew.dialects.mistral_conversations.stream import LAST
from clew.dialects.mistral_conversations.streaming import response_frames
from clew.events.content import Metadata
from clew.ids import DEFAULT_TENANT
from clew.log import Reader
from clew.rules.commands import DeleteThread
from clew.serving.finding import the_thread
from clew.serving.http import Answer, Call, Stream
from clew_projections import thread_view
from clew_projections.thread_view import ThreadRow

_PAGE_SIZE, PAGE_SIZE_MAX = 100, 1_000
# No list is that long, and databases count no further.
_PAGE_MAX = 2**40
# What the Python SDK sends for a parameter in JSON that it was not given.
_SDK_SAYS_NOTHING = "~?~unset~?~sentinel~?~"


async def list_all(call: Call) -> Answer:
    query = call.query()
    number = whole_number(query, "page", 0, 0, _PAGE_MAX)
    size = whole_number(query, "page_size", _PAGE_SIZE, 1, PAGE_SIZE_MAX)
    labels = labels_of(query)
    with call.reading() as reader:
        found = thread_view.threads(
            reader, tenant=DEFAULT_TENANT, labels=labels, limit=size, offset=number * size, as_of=call.as_of
        )
        return Answer([_shown(reader, row, call.as_of) for row in found])


def whole_number(query: QueryParams, name: str, default: int, low: int, high: int) -> int:
    given = query.get(name)
    if not given:
        return default
    try:
        number = int(given)
    except ValueError:
        raise wrong(("query", name), "Input should be a valid integer", "int_parsing") from None
    if not low <= number <= high:
        raise wrong(("query", name), f"Input should be from {low} to {high}", "out_of_range")
    return number


def labels_of(query: QueryParams) -> Metadata:
    """`metadata` is a JSON object; what is asked for has all that is in it."""
    given = query.get("metadata")
    if not given:
        return {}
    try:
        wanted: Any = exact_json.loads(given)
    except ValueError:
        raise wrong(("query", "metadata"), "Input should be valid JSON", "json_invalid") from None
    if wanted is None or wanted == _SDK_SAYS_NOTHING:
        return {}
    if not isinstance(wanted, dict):
        raise wrong(("query", "metadata"), "Input should be an object", "dict_type")
    return translate.metadata(wanted)[0]


async def retrieve(call: Call) -> Answer:
    thread_id = call.id("conversation_id")
    with call.reading() as reader:
        return Answer(_shown(reader, the_thread(reader, thread_id, call.as_of), call.as_of))


def _shown(reader: Reader, row: ThreadRow, as_of: int | None) -> Object:
    settings = settings_of(reader, thread_view.segments(reader, row.thread_id, as_of), as_of)
    newest = reader.version(row.thread_id, as_of)
    [last] = reader.stream(row.thread_id, after=newest - 1, upto=newest)
    return conversation_object(row, settings, last.at)


async def history(call: Call) -> Answer:
    return Answer(_entries(call, "conversation.history", "entries", messages_only=False))


async def messages(call: Call) -> Answer:
    return Answer(_entries(call, "conversation.messages", "messages", messages_only=True))


def _entries(call: Call, kind: str, name: str, *, messages_only: bool) -> Object:
    thread_id = call.id("conversation_id")
    with call.reading() as reader:
        the_thread(reader, thread_id, call.as_of)
        segments = thread_view.segments(reader, thread_id, call.as_of)
        found = entries_of(reader, segments, call.as_of, messages_only=messages_only)
    return {"object": kind, "conversation_id": conversation_id(thread_id), name: found}


async def delete(call: Call) -> Answer:
    thread_id = call.id("conversation_id")
    command = DeleteThread(thread_id=thread_id, by=DIALECT)
    await call.engine.desk.on_thread(thread_id, lambda: command, actor=DIALECT)
    return Answer(None, 204)


async def events(call: Call) -> Stream:
    """An extension: attach to the newest response, again or late, also after a restart of client or server.

    As of a point in the past it has what there was until then, and ends.
    """
    thread_id = call.id("conversation_id")
    given = call.headers.get(b"last-event-id", b"").decode("latin-1") or call.query().get("starting_after") or "0"
    version, _, number = given.partition("-")
    if not (version.isdecimal() and (not number or number.isdecimal()) and len(given) < 32):
        message = f"{given!r} is not the id of an event of such a stream, which looks like 7-2."
        raise rejected(400, message, "invalid_request_error", "no_such_event")
    after = (int(version), int(number) if number else LAST)
    with call.reading() as reader:
        the_thread(reader, thread_id, call.as_of)
        opening = newest_opening(reader, thread_id, call.as_of)
        past = reader.version(thread_id, call.as_of) if call.as_of is not None else None
    return Stream(response_frames(call.engine, opening, after=after, past=past))
