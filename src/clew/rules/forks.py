"""The rules of forks: a child begins with what its parent was at some version, and with what is otherwise in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from clew.errors import NotFound, ThreadBusy
from clew.events import ThreadStreamEvent
from clew.events.run import Truncation
from clew.events.thread import ThreadForked
from clew.events.tool import ToolReplaced
from clew.rules import told
from clew.rules.commands import ForkThread, ReplaceToolOutput, ThreadCommand
from clew.rules.evolve import evolve
from clew.rules.runs import appended
from clew.rules.state import Thread

Decide = Callable[[ThreadCommand, Thread], Sequence[ThreadStreamEvent]]


def fork(command: ForkThread, decide: Decide) -> Sequence[ThreadStreamEvent]:
    """A deleted thread is not forked as it is now; as it was before, it is. One that was never kept is not."""
    inherited = command.inherited
    if not inherited.exists or inherited.deleted or not inherited.stored:
        raise NotFound(noun="thread", id=command.parent)
    events: list[ThreadStreamEvent] = [
        ThreadForked(
            parent=command.parent,
            parent_version=command.parent_version,
            parent_position=command.parent_position,
            tenant=inherited.tenant,
            user_messages=inherited.user_messages,
            items=inherited.items,
            tokens=inherited.tokens,
            metadata=command.metadata,
            tool_resources=command.tool_resources,
            dialect=command.dialect,
            truncation=_truncation(command),
            summary=_summary(command),
            stored=command.stored,
        )
    ]
    # Before everything else of the child's own: what its numbers are up to here does not stand at its end.
    events += map(appended, command.inserts)
    events += _closing(command)
    child = Thread()
    for event in events:
        child = evolve(child, event)
    further: list[ThreadCommand] = [*command.edits, *((command.run,) if command.run is not None else ())]
    for wanted in further:
        for event in decide(wanted, child):
            events.append(event)
            child = evolve(child, event)
    return events


def _truncation(command: ForkThread) -> Truncation | None:
    if command.truncation is None:
        return command.inherited.truncation
    return None if command.truncation == "default" else command.truncation


def _summary(command: ForkThread) -> str | None:
    """One that may tell what is not true any more is not taken over: nobody could know it for that in the child."""
    summary = command.inherited.summary
    if command.inserts:
        # What is put in may stand in the midst of what it tells.
        return None
    return summary.item_id if summary is not None and not summary.changed else None


def _closing(command: ForkThread) -> Sequence[ToolReplaced]:
    """A provider takes no call without a result: what was open in the parent's run gets one, unless it is given."""
    run = command.inherited.run
    given = {edit.tool_call_id for edit in command.edits if isinstance(edit, ReplaceToolOutput)}
    return [
        ToolReplaced(tool_call_id=call.tool_call_id, output=told.FORKED, is_error=True, had_result=False)
        for call in (run.unanswered if run is not None else ())
        if call.tool_call_id not in given
    ]


def replace_tool_output(command: ReplaceToolOutput, thread: Thread) -> Sequence[ToolReplaced]:
    if thread.run is not None:
        raise ThreadBusy(thread_id=command.thread_id, run_id=thread.run.run_id, wish="edit")
    replaced = ToolReplaced(
        tool_call_id=command.tool_call_id,
        output=command.output,
        is_error=command.is_error,
        had_result=command.had_result,
        content=command.content,
        tokens=command.tokens,
        tokens_before=command.tokens_before,
    )
    return [replaced]
