"""Where a request goes on, and with which instructions and tools: as its `thread`, its header or its history say."""

from __future__ import annotations

from clew.dialects.anthropic_messages.answering import Waiting, of_past
from clew.dialects.anthropic_messages.configuring import instructions_of, tools_of
from clew.dialects.anthropic_messages.errors import (
    already_continued,
    fingerprint_mismatch,
    rejected,
    thread_not_found,
)
from clew.dialects.anthropic_messages.finding import Held, held, is_open, newest_config
from clew.dialects.anthropic_messages.history import Entry
from clew.dialects.anthropic_messages.recognising import Spot, by_header, by_history, follow
from clew.dialects.anthropic_messages.reply import message_id
from clew.dialects.anthropic_messages.requests import ContinueThreadIn, CreateMessage
from clew.errors import NotFound, ThreadBusy
from clew.events.model import ModelAnswered
from clew.events.run import RunConfig, RunFailed
from clew.ids import has_prefix
from clew.log import Reader
from clew.serving.http import Call
from clew_projections import recognition, thread_view

HEADER = b"x-thread-id"


def spot_of(call: Call, given: CreateMessage, entries: list[Entry], config: RunConfig) -> tuple[Spot | None, RunConfig]:
    """None is a new thread. Raises `Rejected`."""
    named = call.headers.get(HEADER, b"").decode("latin-1") or None
    with call.engine.log.reading() as reader:
        if named is not None and not (has_prefix(named, "thread") and is_open(reader, named)):
            raise NotFound(noun="thread", id=named)
        if isinstance(given.thread, ContinueThreadIn):
            return _continued(call, reader, given, given.thread.previous_message_id, named, entries, config)
        if named is not None:
            return by_header(call.engine, reader, named, entries, retried=is_retry(call)), config
        scope = recognition.scope_of(config)
        return by_history(call.engine, reader, entries, scope, retried=is_retry(call)), config


def _continued(
    call: Call,
    reader: Reader,
    given: CreateMessage,
    previous: str,
    named: str | None,
    entries: list[Entry],
    config: RunConfig,
) -> tuple[Spot, RunConfig]:
    """A message may be gone on from once; one whose answer failed was not gone on from."""
    found = held(reader, previous)
    thread_id = named or (found.stream if found is not None else "")
    if found is None or not is_open(reader, thread_id):
        raise thread_not_found(previous)
    history = thread_view.segments(reader, thread_id)
    if not any(segment.stream == found.stream for segment in history):
        raise rejected(f"x-thread-id: {thread_id} does not have the message {previous}")
    if found.end is None:
        raise ThreadBusy(thread_id=thread_id, run_id=found.call.run_id if found.call is not None else "", wish="run")
    if found.call is not None and isinstance(found.end.event, RunFailed):
        # A model that broke off, because it would not say more, has answered all the same.
        waiting = Waiting(found.stream, found.call.run_id, found.call.version - 1, given.model)
        if of_past(call, waiting).outcome == "failed":
            raise thread_not_found(previous)
    spot = follow(reader, thread_id, history, found.place, entries, 0, "message", exact=True)
    newest = _newest_answer(reader, thread_id, found)
    if not spot.at_end and newest is not None and not (spot.answered and is_retry(call)):
        raise already_continued(previous, newest)
    run = call.engine.desk.thread(thread_id).run
    if run is not None and run.status != "requires_action" and not is_retry(call):
        raise ThreadBusy(thread_id=thread_id, run_id=run.run_id, wish="run")
    return spot, _as_created(given, config, newest_config(reader, history))


def _newest_answer(reader: Reader, thread_id: str, found: Held) -> str | None:
    """The id of the newest answer of the thread behind a message, if there is one."""
    after = found.place.number if found.place.stream == thread_id else 0
    kinds = (ModelAnswered.kind,)
    for recorded in reader.stream(thread_id, after=after, kinds=kinds, newest_first=True, limit=1):
        assert isinstance(recorded.event, ModelAnswered)
        return message_id(recorded.event.model_call_id)
    return None


def is_retry(call: Call) -> bool:
    """The SDKs say so when they send a request once more, because they did not hear what came of it."""
    return call.headers.get(b"x-stainless-retry-count", b"0") not in (b"", b"0")


def _as_created(given: CreateMessage, config: RunConfig, before: RunConfig | None) -> RunConfig:
    """Instructions and tools stay those that the thread was created with; the rest is for each request to say.

    A thread that was made elsewhere may be of an agent that hands over to others: that is a tool of the agent's run.
    """
    if before is None:
        return config
    handing_over = {handoff.tool_name for handoff in before.handoffs}
    tools = tuple(tool for tool in before.tools if tool.name not in handing_over)
    said = {
        "system": given.system is not None and instructions_of(given.system) != before.instructions,
        "tools": given.tools is not None and tools_of(given.tools) != tools,
    }
    if differing := [name for name, differs in said.items() if differs]:
        raise fingerprint_mismatch(differing)
    return config.model_copy(update={"instructions": before.instructions, "tools": tools})
