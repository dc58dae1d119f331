"""Messages: asking for one, counting what one would be asked with, and reading one again."""

from __future__ import annotations

from dataclasses import dataclass, replace

from clew.desk import Done
from clew.dialects.anthropic_messages import deciding
from clew.dialects.anthropic_messages.answering import Waiting, attached, of_past, streamed, whole
from clew.dialects.anthropic_messages.configuring import (
    check_request,
    config_of,
    hints_of,
    instructions_of,
    resolve_model,
    tools_of,
)
from clew.dialects.anthropic_messages.continuing import is_retry, spot_of
from clew.dialects.anthropic_messages.deciding import Moved, Wish
from clew.dialects.anthropic_messages.deltas import delta_of, part_of
from clew.dialects.anthropic_messages.errors import Rejected, in_flight, rejected
from clew.dialects.anthropic_messages.finding import config_before, configuring, held, is_open
from clew.dialects.anthropic_messages.history import Entry, blocks_of_result, entries_of
from clew.dialects.anthropic_messages.recognising import Spot
from clew.dialects.anthropic_messages.reply import Reply
from clew.dialects.anthropic_messages.requests import CountTokens, CreateMessage
from clew.engine.counting import content_tokens, instruction_tokens, text_tokens, tool_tokens
from clew.errors import NotFound, ThreadBusy
from clew.events.run import RunConfig, RunQueued, RunReconfigured
from clew.rules.state import Thread
from clew.serving.http import Answer, Call, Stream
from clew_projections import run_view

# A thread that is never where it was when it was looked at is being written by somebody else.
_LOOKS_MAX = 5


async def create(call: Call) -> Answer | Stream:
    given = call.read(CreateMessage)
    check_request(call, given)
    waiting = _came_before(call)
    if waiting is None:
        try:
            waiting = await _taken(call, given)
        except (Rejected, ThreadBusy):
            # What stands in the way may be what this very request did, when it came the first time, elsewhere.
            waiting = _came_before(call)
            if waiting is None:
                raise
    return await _answered(call, waiting, stream=bool(given.stream))


def _came_before(call: Call) -> Waiting | None:
    """What a request with the same key came to. It is looked up first: the thread has gone on since."""
    key = call.key()
    done = call.engine.desk.thread_outcome(key) if key is not None else None
    return _waiting(done) if done is not None else None


async def _taken(call: Call, given: CreateMessage) -> Waiting:
    """Raises `Rejected`, and `ThreadBusy`."""
    entries = entries_of(given.messages)
    if not entries:
        raise rejected("messages: at least one message is required")
    config = config_of(call.engine, given, hints_of(given))
    for _ in range(_LOOKS_MAX):
        spot, config = spot_of(call, given, entries, config)
        waiting = _again(call, spot, entries, config) if is_retry(call) else None
        if waiting is not None:
            return waiting
        _check_end(call, entries, spot)
        wish = Wish(await delta_of(entries[spot.matched :] if spot is not None else entries), config, _metadata(given))
        try:
            return _waiting(await _done(call, given, spot, wish))
        except Moved:
            continue
    raise rejected(in_flight().message, code="thread_continue_in_flight")


async def _done(call: Call, given: CreateMessage, spot: Spot | None, wish: Wish) -> Done[Thread]:
    engine, key = call.engine, call.key()
    if spot is None:
        return await deciding.begin(engine, wish, key)
    created = given.thread is not None and given.thread.type == "create"
    if not spot.at_end or created:
        # Whoever creates a thread goes on with none, also when all of it is known.
        return await deciding.fork(engine, spot, wish, key)
    try:
        return await deciding.go_on(engine, spot, wish, key)
    except ThreadBusy:
        if given.thread is not None or spot.matched_by == "header":
            raise
        # Whoever names no thread cannot be told to wait for one.
        return await deciding.fork(engine, spot, wish, key)


def _metadata(given: CreateMessage) -> dict[str, str]:
    return given.metadata.model_dump(exclude_none=True) if given.metadata is not None else {}


def _check_end(call: Call, entries: list[Entry], spot: Spot | None) -> None:
    """The model speaks next. What it said last itself is sent only for it to go on where it paused."""
    if entries[-1].role != "assistant":
        return
    if spot is not None and spot.at_end and spot.matched == len(entries):
        with call.engine.log.reading() as reader:
            found = run_view.runs(reader, spot.thread_id, limit=1)
        if found and (found[0].incomplete_reason == "steps" or found[0].status == "requires_action"):
            return
    raise rejected(
        "messages: this server does not support assistant message prefill. The conversation must end with a user"
        " message."
    )


def _again(call: Call, spot: Spot | None, entries: list[Entry], config: RunConfig) -> Waiting | None:
    """What this very request came to the first time it was sent, if it came to something."""
    if spot is None or spot.matched < len(entries):
        return None
    with call.engine.log.reading() as reader:
        configured = configuring(reader, spot.known.stream, spot.known.number)
    if configured is None or not (spot.answered or call.engine.desk.thread(spot.thread_id).run is not None):
        return None
    waiting = Waiting(configured.stream, configured.event.run_id, configured.version, config.asked_model)
    past = of_past(call, waiting)
    return None if past.outcome == "failed" else waiting


def _waiting(done: Done[Thread]) -> Waiting:
    for recorded in done.events:
        match recorded.event:
            case RunQueued(run_id=run_id, config=config) | RunReconfigured(run_id=run_id, config=config):
                return Waiting(done.stream, run_id, recorded.version, config.asked_model)
            case _:
                continue
    raise AssertionError("a request that was taken began a run, or went on with one")


async def _answered(call: Call, waiting: Waiting, *, stream: bool) -> Answer | Stream:
    headers = ((b"x-thread-id", waiting.thread_id.encode()),)
    if stream:
        return Stream(streamed(call, waiting), headers)
    return replace(await whole(call, waiting), headers=headers)


async def count_tokens(call: Call) -> Answer:
    """By our own count, which is an estimate for models of which nobody knows how they count."""
    given = call.read(CountTokens)
    check_request(call, given)
    _, model = resolve_model(call.engine, given.model)
    count = instruction_tokens(instructions_of(given.system), model).count
    count += tool_tokens(tools_of(given.tools or ()), model)
    count += sum(_tokens(entry, model) for entry in entries_of(given.messages))
    return Answer({"input_tokens": count})


def _tokens(entry: Entry, model: str) -> int:
    block = entry.block
    match entry.kind:
        case "called":
            return text_tokens(f"{block['name']}{block['input']}", model).count
        case "thought":
            return text_tokens(str(block.get("thinking") or ""), model).count
        case "returned":
            return content_tokens(tuple(map(part_of, blocks_of_result(block)))).count
        case "said":
            return content_tokens((part_of(block),)).count


# Extensions: a message that was answered once is there


async def retrieve(call: Call) -> Answer:
    return Answer(_read(call).message())


@dataclass(frozen=True, slots=True)
class _Found:
    """An answer of a thread that can be read, and up to which version of it, if not as of now."""

    waiting: Waiting
    upto: int | None


def _found(call: Call, message_id: str) -> _Found:
    with call.reading() as reader:
        found = held(reader, message_id, call.as_of)
        if found is None or found.call is None or not is_open(reader, found.stream, call.as_of):
            raise NotFound(noun="message", id=message_id)
        config = config_before(reader, found.call)
        upto = None if call.as_of is None else reader.version(found.stream, call.as_of)
    # Of the events just before the model was called, one says how large its context is.
    return _Found(Waiting(found.stream, found.call.run_id, found.call.version - 3, config.asked_model), upto)


def _read(call: Call) -> Reply:
    message_id = call.id("message_id")
    found = _found(call, message_id)
    reply = of_past(call, found.waiting, found.upto, shows_served=True)
    if not reply.over:
        raise rejected(f"message: {message_id} is still being answered; attach to /v1/messages/{message_id}/events")
    if reply.fault is not None:
        raise NotFound(noun="message", id=message_id)
    return reply


async def events(call: Call) -> Stream:
    """The stream of a message, again or late, also after a restart; as of a point in the past it ends there."""
    after = _last_seen(call)
    found = _found(call, call.id("message_id"))
    thread_id = found.waiting.thread_id.encode()
    return Stream(attached(call, found.waiting, after, found.upto), ((b"x-thread-id", thread_id),))


def _last_seen(call: Call) -> tuple[int, int]:
    where, given = "last-event-id", call.headers.get(b"last-event-id", b"").decode("latin-1")
    if not given:
        where, given = "starting_after", call.query().get("starting_after") or "0-0"
    version, _, number = given.partition("-")
    if not (version.isdecimal() and number.isdecimal() and len(given) < 32):
        raise rejected(f"{where}: {given!r} is not the id of an event of this stream, such as '7-2'")
    return int(version), int(number)
