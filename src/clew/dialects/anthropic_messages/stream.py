"""The encoder of a message's stream: recorded events, and previews between them, in; frames out.

What a preview has not shown before, the recorded event shows. Only frames of recorded events have ids,
`version-number`, and of those only the ones that begin or end something: whoever attaches again names the last one
that he has seen, forgets what came without an id behind it, and is sent that again. There is no way to take a block
back, so an answer that breaks off when some of it was shown ends the stream, though the model is asked again: whoever
attaches again is shown the new one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from clew import exact_json
from clew.bus import AnswerDropped, CallPreview, Heard, Preview, ReasoningPreview, TextPreview
from clew.dialects.anthropic_messages.deltas import PROVIDER
from clew.dialects.anthropic_messages.errors import Fault
from clew.dialects.anthropic_messages.reply import Object, Reply, shown
from clew.events.base import Recorded
from clew.events.model import ModelCalled, ModelFailed
from clew.events.run import RunQueued, RunReconfigured
from clew.serving.streaming import frame
from clew_projections.recognition import text_block

# Larger than the number of any frame of an event.
LAST = 1 << 30
_END = 1 << 20
PING = b'event: ping\ndata: {"type": "ping"}\n\n'
_BROKE_OFF = (
    "The model's answer broke off, and it is being asked again. What was shown of this answer counts for nothing;"
    " attach to the message's events to see the new one."
)


def error_frame(fault: Fault, request_id: str, id: str | None = None) -> bytes:
    return frame("error", fault.body(request_id), id)


@dataclass(slots=True)
class _Shown:
    """A block that previews have shown the beginning of. `text` is what of it was shown in pieces.

    A `signature` is not shown before it is whole: to the SDKs the last piece of one is all of it.
    """

    kind: str
    index: int
    call: int | None = None
    text: str = ""
    signature: str = ""
    closed: bool = False


class ReplyEncoder:
    """It must hear of its run from before the model call. Frames up to `after` (version, number) are not made."""

    def __init__(self, reply: Reply, request_id: str, after: tuple[int, int] = (0, LAST)) -> None:
        self.reply = reply
        self._request_id = request_id
        self._after = after
        self._frames: list[bytes] = []
        self._next = 0
        self._answering: str | None = None
        self._early: list[Preview] = []
        # Of the answer that is on its way: what previews have shown, the newest last.
        self._shown: list[_Shown] = []
        # Blocks that are recorded before others that were shown already.
        self._later: list[tuple[tuple[int, int], Object]] = []
        # Something comes that only the recorded event can show, and everything behind it waits for that.
        self._holds = False
        self._thinks = False
        self._broken = False

    @property
    def over(self) -> bool:
        return self.reply.over or self._broken

    @property
    def ended(self) -> bool:
        return self.over

    def encode(self, heard: Heard) -> list[bytes]:
        if self.over:
            return []
        if isinstance(heard, Recorded):
            self._recorded(heard)
        else:
            self._preview(heard)
        frames, self._frames = self._frames, []
        return frames

    # What was recorded

    def _recorded(self, recorded: Recorded[Any]) -> None:
        event, version = recorded.event, recorded.version
        if getattr(event, "run_id", None) != self.reply.run_id:
            return
        if isinstance(event, (RunQueued, RunReconfigured)):
            return
        began = self.reply.id is None
        blocks = self.reply.hear(recorded)
        if began and self.reply.id is not None:
            start = {**self.reply.message(), "content": [], "usage": self._usage_so_far()}
            self._add((version, 0), "message_start", message=start)
            self._frames.append(PING)
        if isinstance(event, ModelCalled):
            self._asked(event)
        for number, block in enumerate(blocks):
            self._block((version, 1 + 2 * number), block)
        if isinstance(event, ModelFailed) and not event.final:
            self._asked_again()
        if self.reply.over:
            self._finish(version)

    def _catch_up(self) -> None:
        self._close()
        self._shown = []
        later, self._later = self._later, []
        for place, block in later:
            self._block(place, block)

    def _usage_so_far(self) -> Object:
        """An estimate, until the provider has said it."""
        return {**self.reply.usage(), "input_tokens": self.reply.estimate}

    def _block(self, place: tuple[int, int], block: Object) -> None:
        version, number = place
        if self._shown and self._shown[0].kind != block["type"]:
            self._later.append((place, block))
            return
        seen = self._shown.pop(0) if self._shown else None
        if seen is None:
            index, self._next = self._next, self._next + 1
            self._add(place, "content_block_start", index=index, content_block=_beginning(block))
            seen = _Shown(block["type"], index)
        if seen.closed:
            return
        end = (version, number + 1)
        if end > self._after:
            self._frames += [
                _frame("content_block_delta", index=seen.index, delta=delta) for delta in self._left(seen, block)
            ]
        self._add(end, "content_block_stop", index=seen.index)

    def _left(self, seen: _Shown, block: Object) -> list[Object]:
        """The deltas of what was not shown yet."""
        match block["type"]:
            case "text":
                left = _rest(block["text"], seen.text)
                texts: list[Object] = [{"type": "text_delta", "text": left}] if left else []
                cited = block.get("citations") or ()
                return texts + [{"type": "citations_delta", "citation": citation} for citation in cited]
            case "thinking":
                thought = _rest(str(block.get("thinking") or ""), seen.text)
                signed = str(block.get("signature") or "")
                thoughts: list[Object] = [{"type": "thinking_delta", "thinking": thought}] if thought else []
                return thoughts + ([{"type": "signature_delta", "signature": signed}] if signed else [])
            case "tool_use" | "mcp_tool_use":
                written = exact_json.dumps(block["input"]).decode()
                if seen.text:
                    written = self.reply.written.get(block["id"], written)
                left = _rest(written, seen.text)
                return [{"type": "input_json_delta", "partial_json": left}] if left else []
            case _:
                return []

    def _finish(self, version: int) -> None:
        self._catch_up()
        fault = self.reply.fault
        if fault is not None:
            if (version, _END) > self._after:
                self._frames.append(error_frame(fault, self._request_id, f"{version}-{_END}"))
            return
        delta = {
            "stop_reason": self.reply.stop_reason,
            "stop_sequence": self.reply.stop_sequence,
            "stop_details": self.reply.stop_details(),
        }
        self._add((version, _END), "message_delta", delta=delta, usage=self.reply.usage())
        self._add((version, _END + 1), "message_stop")

    def _add(self, place: tuple[int, int], kind: str, **data: Any) -> None:
        if place > self._after:
            self._frames.append(frame(kind, {"type": kind, **data}, f"{place[0]}-{place[1]}"))

    # Previews

    def _asked(self, called: ModelCalled) -> None:
        self._catch_up()
        self._answering, self._holds = called.model_call_id, False
        # What others than Anthropic's models think is recorded in no form that could be shown here.
        self._thinks = called.provider == PROVIDER
        early, self._early = self._early, []
        for preview in early:
            self._preview(preview)

    def _preview(self, preview: Preview) -> None:
        if preview.run_id != self.reply.run_id:
            return
        if isinstance(preview, AnswerDropped):
            # Whether it is asked again, or the run is over, what is recorded says.
            self._early, self._answering = [], None
        elif preview.model_call_id != self._answering:
            # It came by another way than the recorded event that the model was asked, and before it.
            self._early.append(preview)
        elif not self._holds:
            self._show(preview)

    def _show(self, preview: TextPreview | ReasoningPreview | CallPreview) -> None:
        match preview:
            case TextPreview(text=text):
                if text:
                    self._grow(self._opened("text", shown(text_block(""))), {"type": "text_delta", "text": text}, text)
            case ReasoningPreview() if not self._thinks:
                return
            case ReasoningPreview(text="", signature="", begins=False):
                self._holds = True
            case ReasoningPreview():
                self._thought(preview)
            case CallPreview():
                self._called(preview)

    def _thought(self, preview: ReasoningPreview) -> None:
        empty = {"type": "thinking", "thinking": "", "signature": ""}
        seen = self._opened("thinking", empty, new=preview.begins)
        if preview.text:
            self._grow(seen, {"type": "thinking_delta", "thinking": preview.text}, preview.text)
        seen.signature += preview.signature

    def _called(self, preview: CallPreview) -> None:
        if not preview.for_client:
            self._holds = True
            return
        last = self._shown[-1] if self._shown else None
        if last is None or last.call != preview.index:
            if not preview.tool_call_id or not preview.name:
                self._holds = True
                return
            begun = {"type": "tool_use", "id": preview.tool_call_id, "name": preview.name, "input": {}}
            last = self._opened("tool_use", begun, new=True)
            last.call = preview.index
        if preview.arguments:
            delta = {"type": "input_json_delta", "partial_json": preview.arguments}
            self._grow(last, delta, preview.arguments)

    def _opened(self, kind: str, beginning: Object, *, new: bool = False) -> _Shown:
        """The block that is open, if it is of that kind, else a new one."""
        last = self._shown[-1] if self._shown else None
        if last is not None and last.kind == kind and not last.closed and not new:
            return last
        self._close()
        seen = _Shown(kind, self._next)
        self._next += 1
        self._shown.append(seen)
        self._frames.append(_frame("content_block_start", index=seen.index, content_block=beginning))
        return seen

    def _grow(self, seen: _Shown, delta: Object, text: str) -> None:
        seen.text += text
        self._frames.append(_frame("content_block_delta", index=seen.index, delta=delta))

    def _close(self) -> None:
        last = self._shown[-1] if self._shown else None
        if last is not None and not last.closed:
            last.closed = True
            if last.signature:
                self._grow(last, {"type": "signature_delta", "signature": last.signature}, "")
            self._frames.append(_frame("content_block_stop", index=last.index))

    def _asked_again(self) -> None:
        if self._shown:
            self._broken = True
            self._frames.append(error_frame(Fault(500, _BROKE_OFF), self._request_id))
        # The next attempt is the same call: what is heard of it waits until it is known to have been made.
        self._answering = None


def _frame(kind: str, **data: Any) -> bytes:
    return frame(kind, {"type": kind, **data})


def _beginning(block: Object) -> Object:
    """A block as it is before its pieces come; one that has none is whole at once."""
    match block["type"]:
        case "text":
            return {**block, "text": "", "citations": None}
        case "thinking":
            return {**block, "thinking": "", "signature": ""}
        case "tool_use" | "mcp_tool_use":
            return {**block, "input": {}}
        case _:
            return block


def _rest(whole: str, said: str) -> str:
    return whole[len(said) :] if whole.startswith(said) else ""
