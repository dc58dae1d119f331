"""The rule book of a thread: which commands lead to which events.

What concerns runs is in `runs.py` (their life) and `calls.py` (what they do).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

from clew.errors import NotFound, ThreadBusy
from clew.events import ThreadStreamEvent
from clew.events.message import MessageChanged, MessageEdited, MessageRemoved
from clew.events.thread import ThreadChanged, ThreadCreated, ThreadDeleted
from clew.rules import calls, runs
from clew.rules.commands import (
    AppendMessages,
    BeginModelCall,
    ChangeMessage,
    ChangeRun,
    ChangeThread,
    CreateThread,
    DeleteThread,
    DoubtTool,
    EditMessage,
    EndIncomplete,
    ExpireRun,
    FailModelCall,
    FailRun,
    FinishCancel,
    FinishTool,
    QueueRun,
    RecordAnswer,
    RemoveMessage,
    RequestCancel,
    RetryModelCall,
    SettleTool,
    StartRun,
    StartTool,
    SubmitToolOutputs,
    ThreadCommand,
)
from clew.rules.decider import Decider
from clew.rules.evolve import evolve
from clew.rules.state import Thread


def decide(command: ThreadCommand, thread: Thread) -> Sequence[ThreadStreamEvent]:
    if isinstance(command, CreateThread):
        return [] if thread.exists else _create(command)
    if not thread.exists or thread.deleted:
        raise NotFound(noun="thread", id=command.thread_id)
    match command:
        case (
            ChangeThread()
            | DeleteThread()
            | AppendMessages()
            | ChangeMessage()
            | EditMessage()
            | RemoveMessage()
            | ChangeRun()
        ):
            return _on_thread(command, thread)
        case QueueRun():
            return runs.queue(command, thread)
        case RequestCancel():
            return runs.request_cancel(command, thread)
        case FinishCancel():
            return runs.finish_cancel(command, thread)
        case ExpireRun():
            return runs.expire(command, thread)
        case SubmitToolOutputs():
            return calls.submit(command, thread)
        case SettleTool():
            return calls.settle(command, thread)
        case _:
            return _of_worker(command, thread)


def _of_worker(
    command: StartRun
    | FailRun
    | EndIncomplete
    | BeginModelCall
    | RetryModelCall
    | FailModelCall
    | RecordAnswer
    | StartTool
    | FinishTool
    | DoubtTool,
    thread: Thread,
) -> Sequence[ThreadStreamEvent]:
    match command:
        case StartRun():
            return runs.start(command, thread)
        case FailRun():
            return runs.fail(command, thread)
        case EndIncomplete():
            return runs.end_incomplete(command, thread)
        case BeginModelCall():
            return calls.begin_model_call(command, thread)
        case RetryModelCall():
            return calls.retry_model_call(command, thread)
        case FailModelCall():
            return calls.fail_model_call(command, thread)
        case RecordAnswer():
            return calls.record_answer(command, thread)
        case StartTool():
            return calls.start_tool(command, thread)
        case FinishTool():
            return calls.finish_tool(command, thread)
        case DoubtTool():
            return calls.doubt_tool(command, thread)
        case _:
            assert_never(command)


def _create(command: CreateThread) -> Sequence[ThreadStreamEvent]:
    created = ThreadCreated(
        tenant=command.tenant,
        metadata=command.metadata,
        tool_resources=command.tool_resources,
        dialect=command.dialect,
    )
    events: list[ThreadStreamEvent] = [created, *map(runs.appended, command.messages)]
    if command.run is not None:
        events += runs.queue(command.run, thread_rules.fold(events))
    return events


def _on_thread(
    command: ChangeThread | DeleteThread | AppendMessages | ChangeMessage | EditMessage | RemoveMessage | ChangeRun,
    thread: Thread,
) -> Sequence[ThreadStreamEvent]:
    match command:
        case ChangeThread(metadata=metadata, tool_resources=tool_resources):
            if metadata is None and tool_resources is None:
                return []
            return [ThreadChanged(metadata=metadata, tool_resources=tool_resources)]
        case DeleteThread(by=by, reason=reason):
            closing = runs.cancelled_with_thread(thread.run) if thread.run else []
            return [*closing, ThreadDeleted(by=by, reason=reason)]
        case AppendMessages(thread_id=thread_id, messages=messages):
            if thread.run is not None:
                raise ThreadBusy(thread_id=thread_id, run_id=thread.run.run_id, wish="message")
            return [runs.appended(message) for message in messages]
        case ChangeMessage(message_id=message_id, metadata=metadata):
            return [MessageChanged(message_id=message_id, metadata=metadata)]
        case EditMessage(message_id=message_id, content=content, tokens=tokens, tokens_before=before):
            if thread.run is not None:
                raise ThreadBusy(thread_id=command.thread_id, run_id=thread.run.run_id, wish="message")
            edited = MessageEdited(message_id=message_id, content=content, tokens=tokens, tokens_before=before)
            return [edited]
        case RemoveMessage(message_id=message_id, role=role, tokens=gone):
            return [MessageRemoved(message_id=message_id, role=role, tokens=gone)]
        case ChangeRun():
            return runs.change(command, thread)
        case _:
            assert_never(command)


thread_rules: Decider[ThreadCommand, Thread, ThreadStreamEvent] = Decider(
    name="thread", version=1, initial=Thread(), decide=decide, evolve=evolve
)
