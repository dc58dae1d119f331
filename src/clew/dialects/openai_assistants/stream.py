"""The encoder of a run's stream: recorded events, and previews between them, in; frames out.

It folds with the functions that the read model folds with, so a run or step in a frame is what a GET would have
shown at that moment. What a preview has not shown before, the recorded event shows: a run that is followed live, one
that is attached to late and one that is replayed tell the same story. Only frames of recorded events have ids,
`version-number`, and the number of a frame is the same whether or not previews came before it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from clew.bus import AnswerDropped, CallPreview, Heard, ReasoningPreview, TextPreview
from clew.dialects.openai_assistants.objects import (
    ENDED,
    Object,
    bare_step,
    call_object,
    content_parts,
    message_object,
    run_object,
    step_object,
    thread_object,
)
from clew.events.base import Event, Recorded
from clew.events.content import plain_text, text
from clew.events.message import MessageAppended
from clew.events.model import ModelFailed
from clew.events.run import RunConfig, RunQueued, RunReconfigured
from clew.events.thread import ThreadCreated
from clew.events.tool import ToolCalled, ToolFailed, ToolReturned, ToolSettled
from clew.serving.streaming import frame
from clew_projections.run_view import RunView, StepView, run_after, step_after

# Larger than the number of any frame of an event.
LAST = 1 << 30


@dataclass(slots=True)
class _BegunCall:
    """A tool call that previews have shown the beginning of."""

    index: int
    tool_call_id: str
    name: str
    arguments: str = ""


@dataclass(slots=True)
class _Begun:
    """A step that is shown before it is recorded: of a message, when `message_id` is set, or of tool calls."""

    step: StepView
    model_call_id: str
    message_id: str | None = None
    text: str = ""
    calls: dict[int, _BegunCall] = field(default_factory=dict)

    def call(self, tool_call_id: str) -> _BegunCall | None:
        return next((call for call in self.calls.values() if call.tool_call_id == tool_call_id), None)


class _Frames:
    """The frames of one recorded event that the client has not seen yet."""

    def __init__(self, version: int, after: tuple[int, int]) -> None:
        self._version = version
        self._after = after
        self.made: list[bytes] = []

    def add(self, number: int, name: str, data: Any) -> None:
        if (self._version, number) > self._after:
            self.made.append(frame(name, data, f"{self._version}-{number}"))


class RunEncoder:
    """It must hear of its run from `run.queued` on. Frames up to `after` (version, number) are not made."""

    def __init__(self, run_id: str, after: tuple[int, int] = (0, LAST)) -> None:
        self._run_id = run_id
        self._after = after
        self._run: RunView | None = None
        self._config: RunConfig | None = None
        self._steps: dict[str, StepView] = {}
        self._bodies: dict[int, Recorded[Event]] = {}
        self._begun: dict[str, _Begun] = {}

    @property
    def over(self) -> bool:
        """Whether the run has ended, or waits for its client."""
        return self._run is not None and (self._run.status in ENDED or self._run.status == "requires_action")

    @property
    def ended(self) -> bool:
        return self._run is not None and self._run.status in ENDED

    def encode(self, heard: Heard) -> list[bytes]:
        if isinstance(heard, Recorded):
            return self._recorded(heard)
        if heard.run_id != self._run_id or self._run is None or self.over:
            return []
        match heard:
            case TextPreview():
                return self._text_preview(heard, self._run)
            case CallPreview():
                return self._call_preview(heard, self._run)
            case ReasoningPreview():
                # This API shows nothing of it.
                return []
            case AnswerDropped():
                return self._drop(heard.model_call_id, self._run)

    # What was recorded

    def _recorded(self, recorded: Recorded[Event]) -> list[bytes]:
        frames = _Frames(recorded.version, self._after)
        event = recorded.event
        if isinstance(event, ThreadCreated):
            created = thread_object(recorded.stream, recorded.at, event.metadata, event.tool_resources)
            frames.add(0, "thread.created", created)
        if getattr(event, "run_id", None) != self._run_id:
            return frames.made
        before = self._run
        run = run_after(before, recorded)
        if run is None:
            return frames.made
        self._run = run
        match event:
            case RunQueued():
                self._config = event.config
                frames.add(0, "thread.run.created", self._run_object(run))
                frames.add(1, "thread.run.queued", self._run_object(run))
            case RunReconfigured():
                self._config = event.config
            case MessageAppended():
                self._message(frames, recorded, event, run)
            case ToolCalled():
                self._called(frames, recorded, event, run)
            case ToolReturned() | ToolFailed() | ToolSettled():
                self._answered(frames, recorded, event.step_id, run)
            case ModelFailed():
                frames.made += self._drop(event.model_call_id, run)
            case _:
                pass
        if before is not None and run.status != before.status:
            # The answer to a tool call may have ended its step before.
            number = 1 if isinstance(event, (ToolReturned, ToolFailed, ToolSettled)) else 0
            frames.add(number, f"thread.run.{run.status}", self._run_object(run))
        return frames.made

    def _message(self, frames: _Frames, recorded: Recorded[Event], message: MessageAppended, run: RunView) -> None:
        step = step_after(None, run, recorded)
        assert step is not None, "what a model says is a step"
        self._steps[step.step_id] = step
        begun = self._begun.pop(step.step_id, None)
        if begun is None:
            created = self._step_object(step.model_copy(update={"status": "in_progress", "ended_at": None}), run)
            frames.add(0, "thread.run.step.created", created)
            frames.add(1, "thread.run.step.in_progress", created)
            beginning = _unfinished_message(run, message, recorded.at)
            frames.add(2, "thread.message.created", beginning)
            frames.add(3, "thread.message.in_progress", beginning)
        if left := _left_to_say(message, begun.text if begun is not None else None):
            frames.add(4, "thread.message.delta", _message_delta(message.message_id, left))
        whole = message_object(run.thread_id, message, recorded.at)
        frames.add(5, f"thread.message.{whole['status']}", whole)
        frames.add(6, "thread.run.step.completed", self._step_object(step, run))

    def _called(self, frames: _Frames, recorded: Recorded[Event], call: ToolCalled, run: RunView) -> None:
        before = self._steps.get(call.step_id)
        step = step_after(before, run, recorded)
        assert step is not None, "a call belongs to a step"
        self._steps[call.step_id] = step
        self._bodies[recorded.position] = recorded
        begun = self._begun.get(call.step_id)
        if begun is None and before is None:
            created = self._step_object(step.model_copy(update={"calls": (), "usage": None}), run)
            frames.add(0, "thread.run.step.created", created)
            frames.add(1, "thread.run.step.in_progress", created)
        shown = begun.call(call.tool_call_id) if begun is not None else None
        index = shown.index if shown is not None else len(step.calls) - 1
        if shown is None:
            frames.add(2, "thread.run.step.delta", _call_begins(step.step_id, index, call.tool_call_id, call.name))
        said = shown.arguments if shown is not None else ""
        if call.arguments.startswith(said) and (left := call.arguments[len(said) :]):
            frames.add(3, "thread.run.step.delta", _call_goes_on(step.step_id, index, left))

    def _answered(self, frames: _Frames, recorded: Recorded[Event], step_id: str, run: RunView) -> None:
        self._bodies[recorded.position] = recorded
        before = self._steps.get(step_id)
        step = step_after(before, run, recorded)
        if step is None or before is None:
            return
        self._steps[step_id] = step
        if step.status != before.status:
            frames.add(0, f"thread.run.step.{step.status}", self._step_object(step, run))

    # Previews

    def _text_preview(self, preview: TextPreview, run: RunView) -> list[bytes]:
        if preview.step_id in self._steps or self._other_open(preview.model_call_id, preview.step_id):
            return []
        made: list[bytes] = []
        begun = self._begun.get(preview.step_id)
        if begun is None:
            begun = self._begin(run, preview.step_id, preview.model_call_id, preview.message_id)
            step = self._begun_object(begun, run)
            message = MessageAppended(
                message_id=preview.message_id,
                role="assistant",
                content=(),
                run_id=run.run_id,
                assistant_id=self._known_config.assistant_id,
            )
            beginning = _unfinished_message(run, message, begun.step.created_at)
            made += [
                frame("thread.run.step.created", step),
                frame("thread.run.step.in_progress", step),
                frame("thread.message.created", beginning),
                frame("thread.message.in_progress", beginning),
            ]
        if preview.text:
            piece: Object = {"value": preview.text} if begun.text else {"value": preview.text, "annotations": []}
            begun.text += preview.text
            delta = _message_delta(preview.message_id, [{"index": 0, "type": "text", "text": piece}])
            made.append(frame("thread.message.delta", delta))
        return made

    def _call_preview(self, preview: CallPreview, run: RunView) -> list[bytes]:
        if preview.step_id in self._steps or self._other_open(preview.model_call_id, preview.step_id):
            return []
        made: list[bytes] = []
        begun = self._begun.get(preview.step_id)
        call = begun.calls.get(preview.index) if begun is not None else None
        if call is None:
            if not preview.tool_call_id or not preview.name:
                # Nothing can be shown of a call without id or name; its recorded event shows it whole.
                return []
            if begun is None:
                begun = self._begin(run, preview.step_id, preview.model_call_id, None)
                step = self._begun_object(begun, run)
                made = [frame("thread.run.step.created", step), frame("thread.run.step.in_progress", step)]
            call = _BegunCall(len(begun.calls), preview.tool_call_id, preview.name)
            begun.calls[preview.index] = call
            delta = _call_begins(preview.step_id, call.index, call.tool_call_id, call.name)
            made.append(frame("thread.run.step.delta", delta))
        if preview.arguments:
            call.arguments += preview.arguments
            delta = _call_goes_on(preview.step_id, call.index, preview.arguments)
            made.append(frame("thread.run.step.delta", delta))
        return made

    def _other_open(self, model_call_id: str, step_id: str) -> bool:
        """Steps come one after the other: what a model says beside its first step is shown when it is recorded."""
        return any(
            begun.model_call_id == model_call_id and begun.step.step_id != step_id for begun in self._begun.values()
        )

    def _begin(self, run: RunView, step_id: str, model_call_id: str, message_id: str | None) -> _Begun:
        step = StepView(
            step_id=step_id,
            run_id=run.run_id,
            thread_id=run.thread_id,
            created=0,
            created_at=_now(),
            status="in_progress",
            message_id=message_id,
        )
        begun = self._begun[step_id] = _Begun(step, model_call_id, message_id)
        return begun

    def _drop(self, model_call_id: str, run: RunView) -> list[bytes]:
        """An answer broke off: end what was begun of it, so that another attempt starts cleanly."""
        dropped = [
            begun
            for begun in self._begun.values()
            if begun.model_call_id == model_call_id and begun.step.step_id not in self._steps
        ]
        made: list[bytes] = []
        for begun in dropped:
            del self._begun[begun.step.step_id]
            made += self._ended(begun, run)
        return made

    def _ended(self, begun: _Begun, run: RunView) -> list[bytes]:
        now = _now()
        expired = run.expires_at is not None and now >= run.expires_at
        how = "cancelled" if run.status in ("cancelling", "cancelled") else "expired" if expired else "failed"
        made: list[bytes] = []
        if begun.message_id is not None:
            message = MessageAppended(
                message_id=begun.message_id,
                role="assistant",
                # OpenAI's helper looks for a first part, also where nothing was said yet.
                content=text(begun.text),
                run_id=run.run_id,
                assistant_id=self._known_config.assistant_id,
                incomplete=f"run_{how}",
            )
            made.append(frame("thread.message.incomplete", message_object(run.thread_id, message, now)))
        step = begun.step.model_copy(update={"status": how, "ended_at": now})
        error = {"code": "server_error", "message": "The model's answer broke off."} if how == "failed" else None
        made.append(frame(f"thread.run.step.{how}", self._begun_object(begun, run, step, error)))
        return made

    # Objects

    @property
    def _known_config(self) -> RunConfig:
        assert self._config is not None, "a run is heard of from its queueing on"
        return self._config

    def _run_object(self, run: RunView) -> Object:
        called = [
            recorded.event
            for recorded in self._bodies.values()
            if isinstance(recorded.event, ToolCalled) and recorded.event.tool_call_id in run.waits_for
        ]
        return run_object(run, self._known_config, called)

    def _step_object(self, step: StepView, run: RunView) -> Object:
        return step_object(step, run, self._known_config, self._bodies)

    def _begun_object(
        self, begun: _Begun, run: RunView, step: StepView | None = None, error: Object | None = None
    ) -> Object:
        details: Object
        if begun.message_id is not None:
            details = {"type": "message_creation", "message_creation": {"message_id": begun.message_id}}
        else:
            calls = [call_object(c.tool_call_id, c.name, c.arguments, None) for c in begun.calls.values()]
            details = {"type": "tool_calls", "tool_calls": calls}
        return bare_step(step or begun.step, run, self._known_config, details, error)


def _now() -> int:
    """Previews are not recorded, so the log has no time for them."""
    return time.time_ns() // 1000


def _unfinished_message(run: RunView, message: MessageAppended, at: int) -> Object:
    shown = message_object(run.thread_id, message, at, content=(), metadata={})
    return {**shown, "status": "in_progress", "incomplete_details": None, "incomplete_at": None, "completed_at": None}


def _left_to_say(message: MessageAppended, said: str | None) -> list[Object]:
    """The parts of a delta with everything that `said`, the text that previews showed, leaves out."""
    parts = [{"index": index, **part} for index, part in enumerate(content_parts(message.content))]
    if not said:
        return [part for part in parts if part["type"] != "text" or part["text"]["value"]]
    whole = plain_text(message.content)
    left = whole[len(said) :] if whole.startswith(said) else ""
    rest: list[Object] = [{"index": 0, "type": "text", "text": {"value": left}}] if left else []
    return rest + [part for part in parts if part["type"] != "text"]


def _message_delta(message_id: str, parts: list[Object]) -> Object:
    return {"id": message_id, "object": "thread.message.delta", "delta": {"content": parts}}


def _call_begins(step_id: str, index: int, tool_call_id: str, name: str) -> Object:
    return _step_delta(step_id, {"index": index, **call_object(tool_call_id, name, "", None)})


def _call_goes_on(step_id: str, index: int, arguments: str) -> Object:
    return _step_delta(step_id, {"index": index, "type": "function", "function": {"arguments": arguments}})


def _step_delta(step_id: str, call: Object) -> Object:
    details = {"type": "tool_calls", "tool_calls": [call]}
    return {"id": step_id, "object": "thread.run.step.delta", "delta": {"step_details": details}}
