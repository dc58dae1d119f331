"""What comes of one request: a fold over the events behind it, until it is over.

It is over when the run has ended, or waits for its client, or when nobody knows whether a call happened. Where the
server hands over to another agent, that agent's run is a part of the same response. Subclasses make of it the outputs
of a plain answer, or the frames of a stream.

Each output has a place that grows and is never used twice: the message of an answer has the first place of that
answer, its calls have the following ones. So the place of an output is the same whether it is seen coming or is read
from the log afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from clew.dialects.mistral_conversations import entries
from clew.dialects.mistral_conversations.entries import Object, Result
from clew.dialects.mistral_conversations.errors import Fault, fault_of_run
from clew.dialects.mistral_conversations.identifiers import call_entry
from clew.events.base import Event, Recorded
from clew.events.message import MessageAppended
from clew.events.model import ModelAnswered, ModelCalled, ModelFailed, ReasoningRecorded
from clew.events.run import RunConfig, RunHandedOff, RunQueued
from clew.events.tool import ToolCalled, ToolFailed, ToolReturned, ToolSettled
from clew.events.usage import NO_USAGE, Usage
from clew_projections.run_view import RunView, run_after

_ENDED = frozenset(("completed", "failed", "cancelled", "expired", "incomplete"))
# Of an answer that broke off, as many calls may have been seen as nobody has ever made at once.
_BROKEN_PLACES = 100


@dataclass(frozen=True, slots=True)
class Opening:
    """Where a response begins: behind event `version` of the thread, with the run as it is there.

    `allowed` are the calls that the server makes because the request allows them, with their place in their step.
    """

    thread_id: str
    version: int
    run: RunView
    config: RunConfig
    allowed: tuple[tuple[Recorded[ToolCalled], int], ...] = ()


@dataclass(frozen=True, slots=True)
class Made:
    """A call that is part of the response: the event, its place in its step, and the place of what is shown of it."""

    recorded: Recorded[Any]
    index: int
    place: int

    @property
    def call(self) -> ToolCalled:
        call: ToolCalled = self.recorded.event
        return call

    def entry_id(self, kind: str) -> str:
        return call_entry(kind, self.call.step_id, self.index)


class Response:
    """It is told of everything behind its opening, in order."""

    def __init__(self, opening: Opening) -> None:
        self.opening = opening
        self.run = opening.run
        self.config = opening.config
        self.usage: Usage = NO_USAGE
        self.over = False
        self._calls: dict[str, Made] = {}
        self._indexes: dict[str, int] = {}
        self._thinking: dict[str, list[Object]] = {}
        self._base = self._next = 0
        self._handed_off = False
        self._awaits_next = False
        for recorded, index in opening.allowed:
            self._calls[recorded.event.tool_call_id] = Made(recorded, index, self._next)
            self._next += 1

    @property
    def fault(self) -> Fault | None:
        """Why there is no whole answer."""
        return fault_of_run(self.run)

    @property
    def speaker(self) -> Object:
        return entries.spoken_by(self.config)

    def hear(self, recorded: Recorded[Event]) -> None:
        event = recorded.event
        if self.over or recorded.version <= self.opening.version:
            return
        if self._awaits_next and isinstance(event, RunQueued):
            self._goes_on(recorded, event)
            return
        if getattr(event, "run_id", None) != self.run.run_id:
            return
        self.run = run_after(self.run, recorded) or self.run
        self._happened(recorded, event)
        if self.run.status in _ENDED and self._handed_off:
            self._awaits_next = True
        elif self.run.status in _ENDED or self.run.status == "requires_action" or self.run.in_doubt:
            self.over = True
            self.closed(recorded)

    def _goes_on(self, recorded: Recorded[Any], queued: RunQueued) -> None:
        following = run_after(None, recorded)
        assert following is not None, "a run that was queued is a run"
        self.run, self.config = following, queued.config
        self._handed_off = self._awaits_next = False

    def _happened(self, recorded: Recorded[Any], event: Event) -> None:
        match event:
            case ModelCalled(model_call_id=model_call_id):
                self._base = self._next
                self.asked(model_call_id)
            case ModelAnswered(usage=usage):
                self.usage = self.usage.plus(usage or NO_USAGE)
                self._next = self._base + 1
            case ModelFailed(usage=usage):
                self.usage = self.usage.plus(usage or NO_USAGE)
                self._next = self._base + _BROKEN_PLACES
            case ReasoningRecorded() as reasoning:
                chunks = entries.thinking_chunks(reasoning.provider, reasoning.blocks)
                self._thinking[reasoning.model_call_id] = chunks
            case MessageAppended() as message:
                self.said(recorded, message, self._base, self._thinking.get(message.model_call_id or "", ()))
            case ToolCalled() as call:
                self._called(recorded, call)
            case RunHandedOff(to_run_id=to_run_id):
                self._handed_off = to_run_id is not None
            case ToolReturned() | ToolFailed() | ToolSettled():
                self._answered(recorded, event)
            case _:
                pass

    def _called(self, recorded: Recorded[Any], call: ToolCalled) -> None:
        index = self._indexes[call.step_id] = self._indexes.get(call.step_id, -1) + 1
        made = self._calls[call.tool_call_id] = Made(recorded, index, self.place_of_call(index))
        self._next = max(self._next, made.place + 1)
        if call.handing_over is not None:
            return
        if call.executor == "client" or call.confirm:
            self.called(recorded, made)
        else:
            self.executing(recorded, made)

    def _answered(self, recorded: Recorded[Any], result: Result) -> None:
        made = self._calls.get(result.tool_call_id)
        if made is None:
            return
        if made.call.handing_over is not None:
            if isinstance(result, ToolReturned):
                self.handed_off(recorded, made)
        elif made.call.executor == "server" and not (isinstance(result, ToolSettled) and not result.output):
            self.executed(recorded, made, result)

    def place_of_call(self, index: int) -> int:
        return self._base + 1 + index

    # For subclasses: what is to be shown

    def asked(self, model_call_id: str) -> None:
        """The model is asked for an answer."""

    def said(self, recorded: Recorded[Any], message: MessageAppended, place: int, thinking: Sequence[Object]) -> None:
        """A message was recorded."""

    def called(self, recorded: Recorded[Any], made: Made) -> None:
        """The client is to execute the call, or to say that the server may."""

    def executing(self, recorded: Recorded[Any], made: Made) -> None:
        """The server makes the call."""

    def executed(self, recorded: Recorded[Any], made: Made, result: Result) -> None:
        """It is done, or has failed."""

    def handed_off(self, recorded: Recorded[Any], made: Made) -> None:
        """Another agent has the conversation from here on."""

    def closed(self, recorded: Recorded[Any]) -> None:
        """It is over."""


class Outputs(Response):
    """The entries of a plain answer."""

    def __init__(self, opening: Opening) -> None:
        super().__init__(opening)
        self._found: dict[int, Object] = {}
        for made in self._calls.values():
            self._found[made.place] = self._execution(made, None, None)

    @property
    def entries(self) -> list[Object]:
        return [self._found[place] for place in sorted(self._found)]

    def said(self, recorded: Recorded[Any], message: MessageAppended, place: int, thinking: Sequence[Object]) -> None:
        self._found[place] = entries.message_output(
            message.message_id, message.content, recorded.at, self.speaker, thinking
        )

    def called(self, recorded: Recorded[Any], made: Made) -> None:
        call = made.call
        status = "pending" if call.confirm else None
        self._found[made.place] = entries.function_call(
            made.entry_id("fc"), call.tool_call_id, call.name, call.arguments, recorded.at, self.speaker, status
        )

    def executing(self, recorded: Recorded[Any], made: Made) -> None:
        self._found[made.place] = self._execution(made, None, None)

    def executed(self, recorded: Recorded[Any], made: Made, result: Result) -> None:
        self._found[made.place] = self._execution(made, result, recorded.at)

    def handed_off(self, recorded: Recorded[Any], made: Made) -> None:
        assert made.call.handing_over is not None
        self._found[made.place] = entries.agent_handoff(
            made.entry_id("handoff"), made.call.handing_over, made.recorded.at, recorded.at
        )

    def _execution(self, made: Made, result: Result | None, at: int | None) -> Object:
        call, info = made.call, entries.execution_info(result)
        return entries.tool_execution(
            made.entry_id("exec"), call.name, call.arguments, self.speaker, made.recorded.at, at, info
        )
