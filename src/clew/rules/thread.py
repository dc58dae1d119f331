"""The rule book of a thread: which commands lead to which events.

What concerns runs is in `runs.py` (their life) and `calls.py` (what they do).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

from clew.errors import NotFound
from clew.events import ThreadStreamEvent
from clew.events.message import MessageChanged, MessageEdited, MessageRemoved
from clew.events.thread import ThreadChanged, ThreadConfigured, ThreadCreated, ThreadDeleted
from clew.rules import answering, calls, forks, handing_over, runs, spending, summaries
from clew.rules.commands import (
    AppendMessages,
    ChangeMessage,
    ChangeRun,
    ChangeThread,
    ConfigureThread,
    CreateThread,
    DeleteThread,
    DoubtTool,
    EditMessage,
    EndIncomplete,
    ExpireRun,
    FailRun,
    FinishCancel,
    FinishTool,
    ForkThread,
    HandOff,
    QueueRun,
    RemoveMessage,
    ReplaceToolOutput,
    RequestCancel,
    SettleTool,
    StartRun,
    StartTool,
    SubmitToolOutputs,
    ThreadCommand,
)
from clew.rules.contexts import RecordSummary
from clew.rules.decider import Decider
from clew.rules.evolve import evolve
from clew.rules.model_commands import BeginModelCall, FailModelCall, RecordAnswer, RetryModelCall
from clew.rules.standing import AwaitBudget, StopAtBudget, WarnOfBudget
from clew.rules.state import Thread


def decide(command: ThreadCommand, thread: Thread) -> Sequence[ThreadStreamEvent]:
    if isinstance(command, CreateThread):
        return [] if thread.exists else _create(command)
    if isinstance(command, ForkThread):
        return [] if thread.exists else forks.fork(command, _decide)
    if not thread.exists or thread.deleted or (not thread.stored and isinstance(command, _OF_CLIENTS)):
        raise NotFound(noun="thread", id=command.thread_id)
    return _decide(command, thread)


_OF_CLIENTS = (
    ConfigureThread,
    ChangeThread,
    DeleteThread,
    AppendMessages,
    ChangeMessage,
    EditMessage,
    RemoveMessage,
    ReplaceToolOutput,
    QueueRun,
    ChangeRun,
    SubmitToolOutputs,
)


def _decide(command: ThreadCommand, thread: Thread) -> Sequence[ThreadStreamEvent]:
    match command:
        case CreateThread() | ForkThread():
            raise AssertionError("a thread that is there does not begin")
        case ConfigureThread(settings=settings):
            return [ThreadConfigured(settings=settings)]
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
        case ReplaceToolOutput():
            return forks.replace_tool_output(command, thread)
        case QueueRun():
            return runs.queue(command, thread)
        case RequestCancel():
            return runs.request_cancel(command, thread)
        case FinishCancel():
            return runs.finish_cancel(command, thread)
        case ExpireRun():
            return runs.expire(command, thread)
        case SubmitToolOutputs():
            return answering.submit(command, thread)
        case SettleTool():
            return calls.settle(command, thread)
        case WarnOfBudget() | AwaitBudget() | StopAtBudget():
            return spending.on_budget(command, thread)
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
    | RecordSummary
    | StartTool
    | FinishTool
    | HandOff
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
        case RecordSummary():
            return summaries.record(command, thread)
        case StartTool():
            return calls.start_tool(command, thread)
        case FinishTool():
            return calls.finish_tool(command, thread)
        case HandOff():
            return handing_over.hand_off(command, thread)
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
        truncation=command.truncation,
        stored=command.stored,
    )
    events: list[ThreadStreamEvent] = [created]
    if command.settings is not None:
        events.append(ThreadConfigured(settings=command.settings))
    events += map(runs.appended, command.messages)
    if command.run is not None:
        events += runs.queue(command.run, thread_rules.fold(events))
    return events


def _on_thread(
    command: ChangeThread | DeleteThread | AppendMessages | ChangeMessage | EditMessage | RemoveMessage | ChangeRun,
    thread: Thread,
) -> Sequence[ThreadStreamEvent]:
    match command:
        case ChangeThread(metadata=metadata, tool_resources=tool_resources, truncation=truncation):
            if metadata is None and tool_resources is None and truncation is None:
                return []
            return [ThreadChanged(metadata=metadata, tool_resources=tool_resources, truncation=truncation)]
        case DeleteThread(by=by, reason=reason):
            closing = runs.cancelled_unasked(thread.run) if thread.run else []
            return [*closing, ThreadDeleted(by=by, reason=reason)]
        case AppendMessages(thread_id=thread_id, messages=messages):
            if thread.run is not None:
                raise runs.busy(thread_id, thread.run, "message")
            return [runs.appended(message) for message in messages]
        case ChangeMessage(message_id=message_id, metadata=metadata):
            return [MessageChanged(message_id=message_id, metadata=metadata)]
        case EditMessage(message_id=message_id, content=content, tokens=tokens, tokens_before=before):
            if thread.run is not None:
                raise runs.busy(command.thread_id, thread.run, "message")
            edited = MessageEdited(message_id=message_id, content=content, tokens=tokens, tokens_before=before)
            return [edited]
        case RemoveMessage(message_id=message_id, role=role, tokens=gone):
            return [MessageRemoved(message_id=message_id, role=role, tokens=gone)]
        case ChangeRun():
            return runs.change(command, thread)
        case _:
            assert_never(command)


thread_rules: Decider[ThreadCommand, Thread, ThreadStreamEvent] = Decider(
    name="thread", version=2, initial=Thread(), decide=decide, evolve=evolve
)
