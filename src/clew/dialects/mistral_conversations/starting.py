"""Beginning a conversation, going on with it, and beginning it again from an entry: each is one command."""

from __future__ import annotations

from collections.abc import Sequence

from clew.desk import Done
from clew.dialects.mistral_conversations import translate
from clew.dialects.mistral_conversations.answering import answer
from clew.dialects.mistral_conversations.errors import Rejected, wrong
from clew.dialects.mistral_conversations.finding import run_config, settings_of, the_version
from clew.dialects.mistral_conversations.handling import DIALECT
from clew.dialects.mistral_conversations.identifiers import assistant_id, parsed_entry
from clew.dialects.mistral_conversations.requests import (
    Append,
    Entry,
    FunctionCall,
    FunctionResult,
    Restart,
    Start,
    Version,
)
from clew.engine import forking
from clew.engine.counting import counted_text, text_tokens
from clew.errors import NotFound
from clew.events.items import Place
from clew.events.run import Completion
from clew.events.thread import ThreadSettings
from clew.events.tool import ToolCalled, ToolImported, ToolReplaced
from clew.ids import DEFAULT_TENANT, new_id
from clew.log import Reader
from clew.rules.commands import CreateThread, QueueRun, SubmitToolOutputs, ThreadCommand
from clew.rules.parts import Confirmation, NewItem, ToolOutput
from clew.rules.state import ActiveRun, Thread
from clew.serving.finding import the_thread
from clew.serving.http import Answer, Call, Stream
from clew_projections import run_view, thread_view
from clew_projections.thread_view import Segment

_DENIED = "The user did not allow this call, so it was not made."


async def start(call: Call) -> Answer | Stream:
    given = call.read(Start)
    translate.no_guardrails(given.guardrails)
    texts, json_names = translate.metadata(given.metadata)
    settings = _settings(given, json_names)
    items = await translate.items(translate.entries(given.inputs))
    thread_id = new_id("thread")
    with call.engine.log.reading() as reader:
        run = _queue(call, reader, thread_id, settings, given, items, Completion())
    command = CreateThread(
        thread_id=thread_id,
        tenant=DEFAULT_TENANT,
        dialect=DIALECT,
        metadata=texts,
        tool_resources={},
        messages=(),
        run=run,
        settings=settings,
        stored=given.store is not False,
    )
    done = await call.engine.desk.on_thread(thread_id, lambda: command, actor=DIALECT, key=call.key(), new=True)
    return await answer(call, done, stream=bool(given.stream))


def _settings(given: Start, json_names: tuple[str, ...]) -> ThreadSettings:
    if (given.model is None) == (given.agent_id is None):
        raise wrong(("body", "model"), "Give either `model` or `agent_id`.")
    completion = translate.completion(given.completion_args)
    if given.model is not None:
        if given.agent_version is not None:
            raise wrong(("body", "agent_version"), "There is a version of an agent only.")
        return ThreadSettings(
            model=given.model,
            instructions=given.instructions,
            tools=translate.tools(given.tools),
            completion=completion,
            json_metadata=json_names,
            name=given.name,
            description=given.description,
        )
    for name in ("instructions", "tools"):
        if getattr(given, name):
            raise wrong(("body", name), f"An agent has its own `{name}`; change the agent, or give `model`.")
    assert given.agent_id is not None
    return ThreadSettings(
        assistant_id=assistant_id(given.agent_id),
        assistant_version=own_version(given.agent_version),
        completion=completion,
        json_metadata=json_names,
        name=given.name,
        description=given.description,
    )


def own_version(given: Version | None) -> Version | None:
    """Versions count from 0 there, and from 1 in the engine."""
    return given + 1 if isinstance(given, int) else given


def _queue(
    call: Call,
    reader: Reader,
    thread_id: str,
    settings: ThreadSettings | None,
    given: Start | Append | Restart,
    items: tuple[NewItem, ...],
    completion: Completion,
) -> QueueRun:
    """Such a run waits for its client for as long as it takes: there is no time limit in this API."""
    return QueueRun(
        thread_id=thread_id,
        run_id=new_id("run"),
        dialect=DIALECT,
        config=run_config(
            call.engine,
            reader,
            settings,
            completion=completion,
            handoffs_by=given.handoff_execution or "server",
            stream=bool(given.stream),
        ),
        expires_at=None,
        metadata={},
        additional_messages=items,
    )


# Going on


async def append(call: Call) -> Answer | Stream:
    thread_id = call.id("conversation_id")
    given = call.read(Append)
    entries = translate.entries(given.inputs)
    completion = translate.completion(given.completion_args)
    outputs = await _outputs(entries)
    # A call that waits may be answered, or a history be brought along: which of them it is shows when its turn comes.
    try:
        items: tuple[NewItem, ...] | Rejected = await translate.items(entries)
    except Rejected as error:
        items = error
    if given.store is False:
        return await _aside(call, thread_id, given, outputs, items, completion)

    def make() -> ThreadCommand:
        run = _known(call, thread_id).run
        with call.engine.log.reading() as reader:
            if outputs is not None and (given.tool_confirmations or _waits(run)):
                return _submission(reader, thread_id, given, outputs, run)
            if isinstance(items, Rejected) and not _waits(run):
                raise items
            settings = settings_of(reader, thread_view.segments(reader, thread_id))
            # Where calls wait, the rules refuse everything else, whatever is wrong with it besides.
            brought = () if isinstance(items, Rejected) else items
            return _queue(call, reader, thread_id, settings, given, brought, completion)

    done = await call.engine.desk.on_thread(thread_id, make, actor=DIALECT, key=call.key())
    return await answer(call, done, stream=bool(given.stream))


def _known(call: Call, thread_id: str) -> Thread:
    """The thread as the rules know it, which costs no look into the read models. Raises `NotFound`."""
    thread = call.engine.desk.thread(thread_id)
    if not thread.exists or thread.deleted or not thread.stored or thread.tenant != DEFAULT_TENANT:
        raise NotFound(noun="thread", id=thread_id)
    return thread


async def _outputs(entries: Sequence[Entry]) -> tuple[ToolOutput, ...] | None:
    """What the client says of calls that wait; None when it says anything else."""
    if not all(isinstance(entry, FunctionResult) for entry in entries):
        return None
    return tuple(
        [
            ToolOutput(tool_call_id=entry.tool_call_id, output=entry.result, tokens=await counted_text(entry.result))
            for entry in entries
            if isinstance(entry, FunctionResult)
        ]
    )


def _waits(run: ActiveRun | None) -> bool:
    return run is not None and run.status == "requires_action"


def _submission(
    reader: Reader, thread_id: str, given: Append, outputs: tuple[ToolOutput, ...], run: ActiveRun | None
) -> SubmitToolOutputs:
    if given.completion_args is not None:
        message = "The answer is under way: how it is made cannot be changed before it is whole."
        raise wrong(("body", "completion_args"), message)
    newest = run_view.runs(reader, thread_id, limit=1)
    return SubmitToolOutputs(
        thread_id=thread_id,
        run_id=run.run_id if run is not None else "",
        outputs=outputs,
        past_status=newest[0].status if newest else None,
        confirmations=tuple(
            Confirmation(
                tool_call_id=one.tool_call_id,
                allowed=one.confirmation == "allow",
                told=_DENIED,
                tokens=text_tokens(_DENIED),
                by=DIALECT,
            )
            for one in given.tool_confirmations or ()
        ),
    )


async def _aside(
    call: Call,
    thread_id: str,
    given: Append,
    outputs: tuple[ToolOutput, ...] | None,
    items: tuple[NewItem, ...] | Rejected,
    completion: Completion,
) -> Answer | Stream:
    """An answer that is not to be kept: the conversation itself does not get it, nor what it is an answer to."""
    if given.tool_confirmations:
        raise wrong(("body", "store"), "What is allowed is done, and kept: confirm calls without `store`: false.")
    run = _known(call, thread_id).run
    edits: tuple[forking.Otherwise, ...] = ()
    if outputs is not None and _waits(run):
        edits = tuple(forking.Answer(one.tool_call_id, one.output) for one in outputs)
        items = ()
    if isinstance(items, Rejected):
        raise items
    child = new_id("thread")
    with call.engine.log.reading() as reader:
        settings = settings_of(reader, thread_view.segments(reader, thread_id))
        command = forking.fork_command(
            reader,
            call.engine.desk,
            thread_id,
            child,
            at=Place(thread_id, reader.version(thread_id)),
            dialect=DIALECT,
            edits=edits,
            run=_queue(call, reader, child, settings, given, items, completion),
            stored=False,
        )
    done = await call.engine.desk.on_thread(child, lambda: command, actor=DIALECT, key=call.key(), new=True)
    return await answer(call, done, stream=bool(given.stream))


# Beginning again


async def restart(call: Call) -> Answer | Stream:
    parent = call.id("conversation_id")
    given = call.read(Restart)
    translate.no_guardrails(given.guardrails)
    entries = translate.entries(given.inputs)
    completion = translate.completion(given.completion_args)
    child = new_id("thread")
    begun = {entry.tool_call_id for entry in entries if isinstance(entry, FunctionCall)}
    # Results without their calls are of calls up to the entry: these are answered otherwise than they were.
    answers = [one for one in entries if isinstance(one, FunctionResult) and one.tool_call_id not in begun]
    others = [one for one in entries if not isinstance(one, FunctionResult) or one.tool_call_id in begun]
    items = await translate.items(others)
    with call.engine.log.reading() as reader:
        row = the_thread(reader, parent)
        place = _place_of(reader, parent, given.from_entry_id)
        position = reader.stream(place.stream, after=place.number - 1, upto=place.number)[0].position
        history = thread_view.segments_upto(reader, place.stream, place.number, position)
        before = settings_of(reader, history)
        # At the entry it may not have been said yet what would answer; what did answer it does so again.
        settings = _restarted(
            reader, before or settings_of(reader, thread_view.segments(reader, parent)), given, completion
        )
        command = forking.fork_command(
            reader,
            call.engine.desk,
            parent,
            child,
            at=place,
            dialect=DIALECT,
            edits=[forking.Answer(entry.tool_call_id, entry.result) for entry in answers],
            metadata=row.metadata if given.metadata is None else translate.metadata(given.metadata)[0],
            settings=settings if settings != before else None,
            run=_queue(call, reader, child, settings, given, items, Completion()),
            stored=given.store is not False,
        )
    done: Done[Thread] = await call.engine.desk.on_thread(
        child, lambda: command, actor=DIALECT, key=call.key(), new=True
    )
    return await answer(call, done, stream=bool(given.stream))


def _restarted(
    reader: Reader, before: ThreadSettings | None, given: Restart, completion: Completion
) -> ThreadSettings | None:
    """What the new conversation says, where that is not what the old one did."""
    if before is None:
        return None
    changes: dict[str, object] = {}
    if given.completion_args is not None:
        changes["completion"] = completion.over(before.completion)
    if given.metadata is not None:
        changes["json_metadata"] = translate.metadata(given.metadata)[1]
    if given.agent_version is not None:
        if before.assistant_id is None:
            raise wrong(("body", "agent_version"), "There is a version of an agent only; this is of a model.")
        version = own_version(given.agent_version)
        the_version(reader, before.assistant_id, version)
        changes["assistant_version"] = version
    return before.model_copy(update=changes)


def _place_of(reader: Reader, thread_id: str, entry_id: str) -> Place:
    """Where the event is that an entry ends with. Raises `NotFound`."""
    history = thread_view.segments(reader, thread_id)
    place = _message_place(reader, history, entry_id) or _call_place(reader, entry_id)
    upto = {segment.stream: segment.upto_version for segment in history}
    if place is None or place.stream not in upto:
        raise NotFound(noun="entry", id=entry_id)
    last = upto[place.stream]
    if last is not None and place.number > last:
        raise NotFound(noun="entry", id=entry_id)
    return place


def _message_place(reader: Reader, history: Sequence[Segment], entry_id: str) -> Place | None:
    row = thread_view.message(reader, history, entry_id)
    return Place(row.stream, row.number) if row is not None else None


def _call_place(reader: Reader, entry_id: str) -> Place | None:
    parsed = parsed_entry(entry_id)
    if parsed is None:
        return None
    if parsed.place is not None:
        return _brought_along(reader, parsed.place)
    step = run_view.step(reader, parsed.step_id)
    if step is None or parsed.index >= len(step.calls):
        return None
    made = step.calls[parsed.index]
    called = reader.event(made.called)
    assert isinstance(called.event, ToolCalled)
    ends = made.called if parsed.kind == "fc" or made.answered is None else made.answered
    recorded = reader.event(ends)
    return Place(recorded.stream, recorded.version)


def _brought_along(reader: Reader, place: Place) -> Place | None:
    """A call with its result, which follows it, or a result."""
    found = reader.stream(place.stream, after=place.number - 1, upto=place.number + 1)
    if not found or not isinstance(found[0].event, (ToolImported, ToolReplaced)):
        return None
    call = found[0].event
    whole = len(found) > 1 and isinstance(call, ToolImported) and call.executor == "server"
    return Place(place.stream, place.number + 1) if whole else place
