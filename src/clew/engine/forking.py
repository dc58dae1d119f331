"""Forking a thread where it stood after any of its events, with edits. Nothing is copied, however long it is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

from clew.desk import Desk, Done, Key
from clew.engine.counting import content_tokens, new_message, text_tokens
from clew.engine.files import check_files
from clew.engine.transcript import Past
from clew.errors import NotFound
from clew.events.content import Content, JsonObject, Metadata, text
from clew.events.items import MessageItem, Place
from clew.events.message import MessageAppended, MessageChanged, MessageEdited, Role, Spot
from clew.events.model import ReasoningImported, ReasoningRecorded
from clew.events.run import RunConfig, Truncation
from clew.events.thread import ThreadSettings
from clew.events.tool import ToolReplaced
from clew.ids import new_id
from clew.log import Log, Reader
from clew.rules import told
from clew.rules.commands import (
    AppendMessages,
    ChangeMessage,
    ConfigureThread,
    Edit,
    EditMessage,
    ForkThread,
    QueueRun,
    RemoveMessage,
    ReplaceToolOutput,
)
from clew.rules.parts import NewItem, NewMessage
from clew.rules.state import Summary, Thread
from clew_projections import thread_view
from clew_projections.thread_view import ItemRow, Segment


@dataclass(frozen=True, slots=True)
class Replace:
    """The message says `content` in the fork."""

    message_id: str
    content: Content | str


@dataclass(frozen=True, slots=True)
class Drop:
    """The message is not in the fork."""

    message_id: str


@dataclass(frozen=True, slots=True)
class Insert:
    """A message more, right before another one that the fork inherits."""

    before: str
    role: Role
    content: Content | str


@dataclass(frozen=True, slots=True)
class Say:
    """A message more, where the fork begins."""

    role: Role
    content: Content | str


@dataclass(frozen=True, slots=True)
class Answer:
    """The tool call has this result in the fork, whether it had one before or not."""

    tool_call_id: str
    output: str
    is_error: bool = False
    content: Content = ()


Otherwise: TypeAlias = Replace | Drop | Insert | Say | Answer


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstRun:
    """The run that a fork begins with."""

    config: RunConfig
    dialect: str
    expires_at: int | None = None
    metadata: Metadata = field(default_factory=dict)


async def fork(
    log: Log,
    desk: Desk,
    parent: str,
    *,
    dialect: str,
    version: int | None = None,
    edits: Sequence[Otherwise] = (),
    metadata: Metadata | None = None,
    truncation: Truncation | Literal["default"] | None = None,
    run: FirstRun | None = None,
    actor: str | None = None,
    key: Key | None = None,
) -> Done[Thread]:
    """Fork `parent` after its event `version`, or as it is now. Raises `NotFound` for what is not there, also for files
    that `edits` name.

    `metadata` and `truncation` None take over the parent's. The parent is not touched, and may go on meanwhile.
    """
    thread_id = new_id("thread")
    for edit in edits:
        if not isinstance(edit, Drop):
            check_files(_parts(edit.content))
    with log.reading() as reader:
        command = fork_command(
            reader,
            desk,
            parent,
            thread_id,
            at=Place(parent, known_version(reader, parent, version)),
            dialect=dialect,
            edits=edits,
            metadata=metadata,
            run=_queue(thread_id, run) if run is not None else None,
        )
        command = replace(command, truncation=truncation)
    return await desk.on_thread(thread_id, lambda: command, actor=actor, key=key, new=True)


def fork_command(
    reader: Reader,
    desk: Desk,
    parent: str,
    thread_id: str,
    *,
    at: Place,
    dialect: str,
    edits: Sequence[Otherwise] = (),
    metadata: Metadata | None = None,
    settings: ThreadSettings | None = None,
    run: QueueRun | None = None,
    given: tuple[NewItem, ...] = (),
    stored: bool = True,
) -> ForkThread:
    """The command by which `thread_id` begins as `parent` was after the event at `at`, with what is `given` behind it.

    That may be an event of a thread that the parent was forked from itself. The fork is then one of that thread, with
    what was said otherwise of it since: however deep, a fork is one event.
    """
    whole = thread_view.segments(reader, parent)
    if not any(segment.stream == at.stream for segment in whole):
        raise NotFound(noun="thread", id=at.stream)
    [recorded] = reader.stream(at.stream, after=at.number - 1, upto=at.number)
    history = thread_view.segments_upto(reader, at.stream, at.number, recorded.position)
    row = thread_view.thread(reader, parent, recorded.position) or thread_view.thread(reader, parent)
    known = [*_otherwise_since(reader, whole, history, thread_id)]
    made = [_edit(reader, history, thread_id, one) for one in edits if not isinstance(one, Insert)]
    inserts = _inserts(reader, history, [one for one in edits if isinstance(one, Insert)])
    answered = {one.tool_call_id for one in edits if isinstance(one, Answer)}
    closing = [_edit(reader, history, thread_id, one) for one in _brought_open(reader, history, answered)]
    further = [AppendMessages(thread_id=thread_id, messages=given)] if given else []
    configured = [ConfigureThread(thread_id=thread_id, settings=settings)] if settings is not None else []
    return ForkThread(
        thread_id=thread_id,
        parent=at.stream,
        parent_version=at.number,
        parent_position=recorded.position,
        inherited=_inherited(reader, history, desk.thread_at(reader, at.stream, at.number), recorded.position),
        dialect=dialect,
        metadata=metadata if metadata is not None else row.metadata if row is not None else {},
        tool_resources=_resources(row),
        edits=(*known, *made, *closing, *further, *configured),
        inserts=_in_order(history, [*_inserted_since(reader, whole, history), *inserts]),
        run=run,
        stored=stored,
    )


def _inherited(reader: Reader, history: Sequence[Segment], thread: Thread, as_of: int) -> Thread:
    """The parent's state where it is left. A summary that still tells what is so is handed on as such."""
    if thread.summary is None or not thread.summary.changed:
        return thread
    stands = Past(reader, history, as_of).standing(thread) is not None
    return replace(thread, summary=Summary(thread.summary.item_id) if stands else None)


def known_version(reader: Reader, thread_id: str, version: int | None) -> int:
    """The version, or the newest one. Raises `NotFound`."""
    newest = reader.version(thread_id)
    if newest == 0:
        raise NotFound(noun="thread", id=thread_id)
    if version is not None and not 1 <= version <= newest:
        raise NotFound(noun="version", id=f"{thread_id}@v{version}")
    return version or newest


def _queue(thread_id: str, run: FirstRun) -> QueueRun:
    return QueueRun(
        thread_id=thread_id,
        run_id=new_id("run"),
        dialect=run.dialect,
        config=run.config,
        expires_at=run.expires_at,
        metadata=run.metadata,
    )


def _later(whole: Sequence[Segment], history: Sequence[Segment]) -> list[Segment]:
    """Of a whole lineage, the stretches of the threads that come after those of `history`."""
    known = {segment.stream for segment in history}
    return [segment for segment in whole if segment.stream not in known]


def _inserted_since(
    reader: Reader, whole: Sequence[Segment], history: Sequence[Segment]
) -> Iterator[tuple[Spot, NewMessage]]:
    """What later threads put into what is in `history`, where it still stands there: said once more by the fork."""
    later = {segment.stream for segment in _later(whole, history)}
    for number, segment in enumerate(whole):
        if segment.stream not in later:
            continue
        following = next((one for one in whole[number + 1 :] if one.stream not in later), None)
        place = (following.stream, following.after_version + 1) if following is not None else None
        if place is None or not any(one.holds(*place) for one in history):
            continue
        for row in thread_view.walk(reader, [*whole[:number], segment], newest_first=False, messages_only=True):
            if row.stream != segment.stream or not segment.holds(row.stream, row.number):
                continue
            (item,) = thread_view.items(reader, [row])
            assert isinstance(item, MessageItem), "only messages are put into what a fork inherits"
            yield Spot(stream=place[0], number=place[1]), new_message(item.role, item.content)


def _inserts(reader: Reader, history: Sequence[Segment], wanted: Sequence[Insert]) -> Iterator[tuple[Spot, NewMessage]]:
    for one in wanted:
        row = thread_view.message(reader, history, one.before)
        if row is None:
            raise NotFound(noun="message", id=one.before)
        row = _beginning(reader, history, row)
        yield Spot(stream=row.stream, number=row.number), new_message(one.role, _parts(one.content))


def _in_order(history: Sequence[Segment], placed: Sequence[tuple[Spot, NewMessage]]) -> tuple[NewMessage, ...]:
    """In the order in which they will stand, whatever the order in which they are asked for."""

    def stands(pair: tuple[Spot, NewMessage]) -> tuple[int, int]:
        spot = pair[0]
        return next(n for n, segment in enumerate(history) if segment.holds(spot.stream, spot.number)), spot.number

    return tuple(replace(message, before=spot) for spot, message in sorted(placed, key=stands))


def _beginning(reader: Reader, history: Sequence[Segment], row: ItemRow) -> ItemRow:
    """What a model said in one call is not parted: its reasoning stands before its words."""
    appended = reader.event(row.created).event
    call = appended.model_call_id if isinstance(appended, MessageAppended) else None
    if call is None:
        return row
    for earlier in thread_view.walk(reader, history, beyond=Place(row.stream, row.number), page=5):
        event = reader.event(earlier.created).event
        if not isinstance(event, (ReasoningRecorded, ReasoningImported)) or event.model_call_id != call:
            break
        row = earlier
    return row


def _otherwise_since(
    reader: Reader, whole: Sequence[Segment], history: Sequence[Segment], thread_id: str
) -> Iterator[Edit]:
    """What the threads of a lineage that come after those of `history` say otherwise of what is in it."""
    for kind, item_id, said in thread_view.said_otherwise(reader, _later(whole, history)):
        if thread_view.item(reader, history, kind, item_id) is None:
            continue
        if said["removed"]:
            yield _edit(reader, history, thread_id, Drop(item_id))
            continue
        body = reader.event(said["position"]).event if "position" in said else None
        match body:
            case MessageEdited(content=content):
                yield _edit(reader, history, thread_id, Replace(item_id, content))
            case ToolReplaced(output=output, is_error=is_error, content=content):
                yield _edit(reader, history, thread_id, Answer(item_id, output, is_error, content))
            case _:
                pass
        if "metadata_position" in said:
            changed = reader.event(said["metadata_position"]).event
            assert isinstance(changed, MessageChanged), "metadata is said by the event that changes it"
            yield ChangeMessage(thread_id=thread_id, message_id=item_id, metadata=changed.metadata)


def _brought_open(reader: Reader, history: Sequence[Segment], given: set[str]) -> Iterator[Answer]:
    """Calls that were brought along, and whose results come after the place where the fork begins."""
    answered = set(given)
    for row in thread_view.walk(reader, history, page=20):
        if row.kind == "result":
            answered.add(row.item_id)
        elif row.kind != "call" or row.run_id is not None:
            return
        elif row.item_id not in answered:
            yield Answer(row.item_id, told.FORKED, is_error=True)


def _resources(row: thread_view.ThreadRow | None) -> JsonObject:
    return row.tool_resources if row is not None else {}


def _edit(reader: Reader, history: Sequence[Segment], thread_id: str, otherwise: Replace | Drop | Say | Answer) -> Edit:
    match otherwise:
        case Say(role=role, content=content):
            return AppendMessages(thread_id=thread_id, messages=(new_message(role, _parts(content)),))
        case Answer():
            return _answer(reader, history, thread_id, otherwise)
        case Replace(message_id=message_id) | Drop(message_id=message_id):
            row = thread_view.message(reader, history, message_id)
    appended = reader.event(row.created).event if row is not None else None
    if row is None or not isinstance(appended, MessageAppended):
        raise NotFound(noun="message", id=message_id)
    if isinstance(otherwise, Drop):
        return RemoveMessage(thread_id=thread_id, message_id=message_id, role=appended.role, tokens=row.tokens)
    return EditMessage(
        thread_id=thread_id,
        message_id=message_id,
        content=_parts(otherwise.content),
        tokens=content_tokens(_parts(otherwise.content)),
        tokens_before=row.tokens,
    )


def _parts(content: Content | str) -> Content:
    return text(content) if isinstance(content, str) else content


def _answer(reader: Reader, history: Sequence[Segment], thread_id: str, answer: Answer) -> ReplaceToolOutput:
    if thread_view.item(reader, history, "call", answer.tool_call_id) is None:
        raise NotFound(noun="tool call", id=answer.tool_call_id)
    result = thread_view.item(reader, history, "result", answer.tool_call_id)
    return ReplaceToolOutput(
        thread_id=thread_id,
        tool_call_id=answer.tool_call_id,
        output=answer.output,
        is_error=answer.is_error,
        content=answer.content,
        had_result=result is not None,
        tokens=text_tokens(answer.output),
        tokens_before=result.tokens if result is not None else 0,
    )
