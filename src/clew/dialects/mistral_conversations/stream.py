"""The encoder of a response's stream: recorded events, and previews between them, in; frames out.

Each frame has an `event:` line that says what `type` in its data says, and there is no mark behind the last one.
Frames of recorded events have ids, `version-number`; what a preview has not shown before, the recorded event shows.
A text that is recorded has a frame also where previews have shown all of it: it says that it is whole. Calls are shown
when they are recorded, never before: no frame takes one back, and `run_stream_async` executes each that it was shown,
also those of an answer that broke off and was asked for again.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from clew.bus import AnswerDropped, Heard, Preview, TextPreview
from clew.dialects.mistral_conversations import entries
from clew.dialects.mistral_conversations.entries import Object, Result
from clew.dialects.mistral_conversations.identifiers import conversation_id, public_id
from clew.dialects.mistral_conversations.objects import usage_object
from clew.dialects.mistral_conversations.response import Made, Opening, Response
from clew.events.base import Recorded
from clew.events.content import plain_text
from clew.events.message import MessageAppended
from clew.serving.streaming import frame

# Larger than the number of any frame of an event.
LAST = 1 << 30


@dataclass(slots=True)
class _Begun:
    """What previews have shown of an answer's message."""

    message_id: str = ""
    text: str = ""


def _data(kind: str, at: int, **fields: Any) -> Object:
    return {"type": kind, "created_at": entries.time(at), **fields}


class ResponseEncoder(Response):
    """Frames up to `after` (version, number) are not made."""

    def __init__(self, opening: Opening, after: tuple[int, int] = (0, LAST)) -> None:
        super().__init__(opening)
        self._after = after
        self._frames: list[bytes] = []
        self._version = opening.version
        self._number = 0
        self._begun = _Begun()
        # The model call whose answer is on its way, and previews of one that is not known of yet.
        self._answering: str | None = None
        self._early: list[Preview] = []

    @property
    def ended(self) -> bool:
        return self.over

    def opened(self) -> bytes:
        """The frame that a stream begins with; nothing for who has seen it."""
        at = self.opening.run.started_at or self.opening.run.created_at
        shown = conversation_id(self.opening.thread_id)
        self._add("conversation.response.started", at, conversation_id=shown)
        for made in self._calls.values():
            self.executing(made.recorded, made)
        frames, self._frames = self._frames, []
        return b"".join(frames)

    def encode(self, heard: Heard) -> list[bytes]:
        if isinstance(heard, Recorded):
            self._version, self._number = heard.version, 0
            self.hear(heard)
            frames, self._frames = self._frames, []
            return frames
        if not self.over:
            self._preview(heard)
        frames, self._frames = self._frames, []
        return frames

    def _preview(self, preview: Preview) -> None:
        if isinstance(preview, AnswerDropped):
            # There is no frame for what is taken back. The next attempt is another output.
            self._answering, self._early = None, []
        elif preview.model_call_id != self._answering:
            # It came by another way than the recorded event that the model was asked, and before it.
            self._early.append(preview)
        elif isinstance(preview, TextPreview):
            self._text_preview(preview)

    def asked(self, model_call_id: str) -> None:
        self._begun, self._answering = _Begun(), model_call_id
        early, self._early = self._early, []
        for preview in early:
            self._preview(preview)

    def _add(self, kind: str, at: int, **fields: Any) -> None:
        if (self._version, self._number) > self._after:
            self._frames.append(frame(kind, _data(kind, at, **fields), f"{self._version}-{self._number}"))
        self._number += 1

    # What was recorded

    def said(self, recorded: Recorded[Any], message: MessageAppended, place: int, thinking: Sequence[Object]) -> None:
        begun = self._begun
        shown = begun.text if begun.message_id == message.message_id else ""
        whole = plain_text(message.content)
        left = whole[len(shown) :] if whole.startswith(shown) else ""
        content = entries.chunks(message.content)
        others = [] if isinstance(content, str) else [chunk for chunk in content if chunk["type"] != "text"]
        others += thinking
        if not whole and not others and not isinstance(content, str):
            # A refusal, say: all that there is comes as it is.
            others = list(content)
        fields = {"output_index": place, "id": message.message_id, "role": "assistant", **self.speaker}
        if left or not others:
            self._add("message.output.delta", recorded.at, content_index=0, content=left, **fields)
        for index, chunk in enumerate(others, 1 if whole else 0):
            self._add("message.output.delta", recorded.at, content_index=index, content=chunk, **fields)

    def called(self, recorded: Recorded[Any], made: Made) -> None:
        call = made.call
        status = "pending" if call.confirm else None
        fields = self._call_fields(made.place, made.entry_id("fc"), call.name, call.tool_call_id)
        self._add("function.call.delta", recorded.at, arguments=call.arguments, confirmation_status=status, **fields)

    def executing(self, recorded: Recorded[Any], made: Made) -> None:
        fields = {"output_index": made.place, "id": made.entry_id("exec"), "name": made.call.name}
        arguments = made.call.arguments
        self._add("tool.execution.started", recorded.at, arguments=arguments, **self.speaker, **fields)

    def executed(self, recorded: Recorded[Any], made: Made, result: Result) -> None:
        fields = {"output_index": made.place, "id": made.entry_id("exec"), "name": made.call.name}
        self._add("tool.execution.done", recorded.at, info=entries.execution_info(result), **fields)

    def handed_off(self, recorded: Recorded[Any], made: Made) -> None:
        handing_over = made.call.handing_over
        assert handing_over is not None
        fields = {"output_index": made.place, "id": made.entry_id("handoff")}
        self._add(
            "agent.handoff.started",
            made.recorded.at,
            previous_agent_id=public_id(handing_over.from_id or ""),
            previous_agent_name=handing_over.from_name,
            **fields,
        )
        self._add(
            "agent.handoff.done",
            recorded.at,
            next_agent_id=public_id(handing_over.to_id),
            next_agent_name=handing_over.to_name,
            **fields,
        )

    def closed(self, recorded: Recorded[Any]) -> None:
        fault = self.fault
        if fault is None:
            self._add("conversation.response.done", recorded.at, usage=usage_object(self.usage))
        else:
            self._add("conversation.response.error", recorded.at, message=fault.message, code=fault.status)

    # Previews

    def _text_preview(self, preview: TextPreview) -> None:
        if not preview.text:
            return
        self._begun.message_id = preview.message_id
        self._begun.text += preview.text
        fields = {"output_index": self._base, "id": preview.message_id, "role": "assistant", **self.speaker}
        self._show("message.output.delta", content_index=0, content=preview.text, **fields)

    def _show(self, kind: str, **fields: Any) -> None:
        """Previews are not recorded, so the log has no time for them, and their frames no id."""
        self._frames.append(frame(kind, _data(kind, time.time_ns() // 1000, **fields)))

    def _call_fields(self, place: int, id: str, name: str, tool_call_id: str) -> Object:
        return {"output_index": place, "id": id, "name": name, "tool_call_id": tool_call_id, **self.speaker}
