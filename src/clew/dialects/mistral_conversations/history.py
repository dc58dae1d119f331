"""A conversation's entries, oldest first: what the items of its thread are in this API."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from clew import exact_json
from clew.dialects.mistral_conversations import entries
from clew.dialects.mistral_conversations.entries import Object, Result
from clew.dialects.mistral_conversations.identifiers import call_entry, placed_entry
from clew.events.base import Event, Recorded
from clew.events.message import MessageAppended, MessageEdited
from clew.events.model import ReasoningRecorded
from clew.events.run import RunConfig
from clew.events.tool import ToolCalled, ToolFailed, ToolImported, ToolReplaced, ToolReturned, ToolSettled
from clew.log import Reader
from clew_projections import run_view, thread_view
from clew_projections.thread_view import ItemRow, Segment

_PAGE_ITEMS = 200


def entries_of(
    reader: Reader, history: Sequence[Segment], as_of: int | None = None, *, messages_only: bool = False
) -> list[Object]:
    reading = _Reading(reader, as_of)
    page: list[ItemRow] = []
    for row in thread_view.walk(reader, history, newest_first=False, page=_PAGE_ITEMS, as_of=as_of):
        page.append(row)
        if len(page) == _PAGE_ITEMS:
            reading.take(page)
            page = []
    reading.take(page)
    found = [entry for entry in reading.found if entry is not None]
    if messages_only:
        return [entry for entry in found if entry["type"] in ("message.input", "message.output")]
    return found


@dataclass(slots=True)
class _Call:
    """A call whose result may come later. `place` is where its entry is, to be made when that is known."""

    place: int
    recorded: Recorded[Any]
    step_id: str = ""
    index: int = 0

    def entry_id(self, kind: str) -> str:
        if self.step_id:
            return call_entry(kind, self.step_id, self.index)
        return placed_entry(kind, self.recorded.stream, self.recorded.version)


@dataclass(slots=True)
class _Reading:
    reader: Reader
    as_of: int | None
    found: list[Object | None] = field(default_factory=list)
    configs: dict[str, RunConfig] = field(default_factory=dict)
    calls: dict[str, _Call] = field(default_factory=dict)
    steps: dict[str, int] = field(default_factory=dict)
    thinking: dict[str, list[Object]] = field(default_factory=dict)

    def take(self, rows: Sequence[ItemRow]) -> None:
        events = self.reader.events({position for row in rows for position in (row.position, row.created)})
        runs = {row.run_id for row in rows if row.run_id is not None} - self.configs.keys()
        self.configs.update(run_view.configs(self.reader, runs))
        for row in rows:
            self._take(row, events)

    def _take(self, row: ItemRow, events: Mapping[int, Recorded[Event]]) -> None:
        body, first = events[row.position], events[row.created]
        match body.event, first.event:
            case (MessageAppended() | MessageEdited()) as said, MessageAppended() as message:
                self.found.append(self._message(message, said, first))
            case ReasoningRecorded() as reasoning, _:
                chunks = entries.thinking_chunks(reasoning.provider, reasoning.blocks)
                self.thinking[reasoning.model_call_id] = chunks
            case ToolCalled() as call, _:
                self._called(call, first)
            case ToolImported() as call, _:
                self._imported(call, first)
            case (ToolReturned() | ToolFailed() | ToolSettled() | ToolReplaced()) as result, _:
                self._answered(result, body, first)
            case _:
                # A summary is for models; what it stands for is all here.
                pass

    def _message(
        self, message: MessageAppended, said: MessageAppended | MessageEdited, recorded: Recorded[Event]
    ) -> Object:
        if message.role != "assistant":
            return entries.message_input(message.message_id, message.role, said.content, recorded.at)
        spoken_by = entries.spoken_by(self._config(message.run_id), message.assistant_id)
        thinking = self.thinking.pop(message.model_call_id or "", ())
        return entries.message_output(message.message_id, said.content, recorded.at, spoken_by, thinking)

    def _config(self, run_id: str | None) -> RunConfig | None:
        return self.configs.get(run_id) if run_id is not None else None

    # Calls

    def _called(self, call: ToolCalled, recorded: Recorded[Any]) -> None:
        index = self.steps[call.step_id] = self.steps.get(call.step_id, -1) + 1
        made = _Call(len(self.found), recorded, call.step_id, index)
        self.calls[call.tool_call_id] = made
        made_by = entries.spoken_by(self._config(call.run_id))
        if call.handing_over is not None:
            # Shown when it is done; a handoff that is not is none.
            self.found.append(None)
        elif call.executor == "client" or call.confirm:
            status = self._pending(call) if call.confirm else None
            id = made.entry_id("fc")
            self.found.append(
                entries.function_call(id, call.tool_call_id, call.name, call.arguments, recorded.at, made_by, status)
            )
        else:
            self.found.append(self._execution(made, call, None, None))

    def _pending(self, call: ToolCalled) -> str:
        run = run_view.run(self.reader, call.run_id, self.as_of)
        return "pending" if run is not None and call.tool_call_id in run.waits_for else "allowed"

    def _execution(self, made: _Call, call: ToolCalled, result: Result | None, at: int | None) -> Object:
        made_by = entries.spoken_by(self._config(call.run_id))
        info = entries.execution_info(result)
        id = made.entry_id("exec")
        return entries.tool_execution(id, call.name, call.arguments, made_by, made.recorded.at, at, info)

    def _imported(self, call: ToolImported, recorded: Recorded[Any]) -> None:
        made = _Call(len(self.found), recorded)
        self.calls[call.tool_call_id] = made
        if call.handing_over is not None:
            id = made.entry_id("handoff")
            self.found.append(entries.agent_handoff(id, call.handing_over, recorded.at, recorded.at))
            return
        made_by = entries.spoken_by(None)
        if call.executor == "client":
            id = made.entry_id("fc")
            entry = entries.function_call(id, call.tool_call_id, call.name, call.arguments, recorded.at, made_by)
        else:
            id, at = made.entry_id("exec"), recorded.at
            entry = entries.tool_execution(id, call.name, call.arguments, made_by, at, at, {})
        self.found.append(entry)

    # Results

    def _answered(
        self,
        result: ToolReturned | ToolFailed | ToolSettled | ToolReplaced,
        body: Recorded[Event],
        first: Recorded[Event],
    ) -> None:
        made = self.calls.get(result.tool_call_id)
        if made is None:
            return
        call = made.recorded.event
        if isinstance(call, ToolImported):
            self._answer_imported(made, call, result, first)
        elif call.handing_over is not None:
            self._handed(made, call, result, first)
        elif call.executor == "client":
            self.found.append(self._result(made, result, first))
        else:
            self._executed(made, call, result, body, first)

    def _result(self, made: _Call, result: Any, first: Recorded[Event]) -> Object:
        id = made.entry_id("fr")
        if isinstance(result, ToolReplaced) and isinstance(first.event, ToolReplaced):
            # A result that came without any call of it being answered: by a client, or where a fork began.
            id = placed_entry("fr", first.stream, first.version)
        return entries.function_result(id, result.tool_call_id, result.output, first.at)

    def _handed(self, made: _Call, call: ToolCalled, result: Any, first: Recorded[Event]) -> None:
        assert call.handing_over is not None
        if isinstance(result, ToolReturned):
            id = made.entry_id("handoff")
            self.found[made.place] = entries.agent_handoff(id, call.handing_over, made.recorded.at, first.at)

    def _executed(
        self, made: _Call, call: ToolCalled, result: Any, body: Recorded[Event], first: Recorded[Event]
    ) -> None:
        shown = result if not isinstance(result, ToolReplaced) else None
        entry = self._execution(made, call, shown, first.at)
        if shown is None:
            entry["info"] = {"status": "replaced", "output": result.output}
        if not call.confirm:
            self.found[made.place] = entry
            return
        pending = self.found[made.place]
        assert pending is not None, "a call that waits to be confirmed is shown"
        if isinstance(result, ToolFailed) and result.reason == "denied":
            pending["confirmation_status"] = "denied"
            self.found.append(self._result(made, result, first))
        elif isinstance(result, ToolReturned) and result.duration_ms is None:
            # The client answered in the server's stead.
            pending["confirmation_status"] = None
            self.found.append(self._result(made, result, first))
        else:
            self.found.append(entry)

    def _answer_imported(self, made: _Call, call: ToolImported, result: Any, first: Recorded[Event]) -> None:
        if call.executor == "client":
            self.found.append(self._result(made, result, first))
            return
        entry = self.found[made.place]
        if call.handing_over is None and entry is not None:
            entry["info"] = _info(result.output)


def _info(output: str) -> Object:
    """What a client said of an execution, which it said as an object; what a fork says in its place is a text."""
    try:
        said = exact_json.loads(output)
    except ValueError:
        return {"output": output}
    return said if isinstance(said, dict) else {"output": output}
