"""The answer to one request: what events say of it, as one message.

It begins when the model is called and ends when the run does, or waits for its client. Where the server executes
tools of its own, there are several model calls in it, and what they came to, one after the other. It is folded from
events, by whoever waits for it, whoever streams it, and whoever reads it again later.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from clew.dialects.anthropic_messages.errors import Fault, of_failed_run
from clew.dialects.anthropic_messages.history import SERVER_NAME
from clew.events.base import Recorded
from clew.events.content import Refusal
from clew.events.message import MessageAppended
from clew.events.model import ContextAssembled, ModelAnswered, ModelCalled, ReasoningRecorded
from clew.events.run import (
    RunActionRequired,
    RunCancelled,
    RunCompleted,
    RunExpired,
    RunFailed,
    RunIncomplete,
    RunOver,
)
from clew.events.tool import ToolCalled, ToolFailed, ToolInDoubt, ToolReturned, ToolSettled
from clew.events.usage import NO_USAGE, Usage
from clew.ids import reprefixed
from clew_projections import recognition

Object: TypeAlias = dict[str, Any]
Outcome: TypeAlias = Literal["under_way", "answered", "failed"]

_STOPS = {"stop": "end_turn", "tool_calls": "tool_use", "length": "max_tokens", "content_filter": "refusal"}
# Words of the API's own that a provider may pass on.
_KNOWN_STOPS = frozenset(
    ("end_turn", "max_tokens", "stop_sequence", "tool_use", "refusal", "model_context_window_exceeded")
)
_INCOMPLETE = {
    "max_completion_tokens": "max_tokens",
    "max_prompt_tokens": "model_context_window_exceeded",
    # The server's own tools were called as often as they may be at once: the client may have it go on.
    "steps": "pause_turn",
}


def message_id(model_call_id: str) -> str:
    """What one model call says is one message, whatever it consists of."""
    return reprefixed(model_call_id, "msg")


@dataclass(slots=True)
class Reply:
    """`model` is the one that was asked for. `shows_served`: the client knows of calls that a server makes itself.

    It must hear of its run from the model call on, or from what led to that. `blocks` are what was said so far.
    """

    run_id: str
    model: str
    shows_served: bool
    id: str | None = None
    blocks: list[Object] = field(default_factory=list)
    outcome: Outcome = "under_way"
    stop_reason: str | None = None
    fault: Fault | None = None
    explanation: str | None = None
    calls: list[Usage] = field(default_factory=list)
    # What the model wrote as the arguments of each call.
    written: dict[str, str] = field(default_factory=dict)
    estimate: int = 0
    _answered: bool = False
    _finish_reason: str = ""
    _stop_sequence: str | None = None
    _refused: bool = False
    _served: set[str] = field(default_factory=set)
    # Of the newest answer: blocks that wait for the event of a call that stands before them.
    _held: list[Object] = field(default_factory=list)
    _whole: str | None = None

    @property
    def over(self) -> bool:
        return self.outcome != "under_way"

    def hear(self, recorded: Recorded[Any]) -> list[Object]:
        """The blocks that an event adds."""
        event = recorded.event
        if getattr(event, "run_id", None) != self.run_id or self.over:
            return []
        before = len(self.blocks)
        match event:
            case ContextAssembled():
                self.estimate = event.tokens.total
            case ModelCalled():
                self.id = self.id or message_id(event.model_call_id)
            case ModelAnswered():
                self._answer(event)
            case ReasoningRecorded():
                self._reasoning(event)
            case MessageAppended():
                self._message(event)
            case ToolCalled():
                self._call(event)
            case ToolReturned() | ToolFailed() | ToolSettled():
                self._result(event)
            case RunActionRequired() | ToolInDoubt() | RunOver():
                self._end(event)
            case _:
                pass
        return self.blocks[before:]

    def _answer(self, event: ModelAnswered) -> None:
        self._release()
        self._answered, self._finish_reason = True, event.finish_reason
        self._stop_sequence = event.stop_sequence
        self.calls.append(event.usage if event.usage is not None else Usage(input=self.estimate))

    def _reasoning(self, event: ReasoningRecorded) -> None:
        blocks = recognition.blocks_of_reasoning(event)
        if recognition.holds_answer(blocks):
            self._whole = event.model_call_id
            self._held = blocks
            self._release(upto_call=True)
        else:
            self.blocks += blocks

    def _message(self, event: MessageAppended) -> None:
        self._refused = self._refused or any(isinstance(part, Refusal) for part in event.content)
        refusals = [part.text for part in event.content if isinstance(part, Refusal)]
        self.explanation = refusals[0] if refusals else self.explanation
        if event.model_call_id != self._whole:
            said = [block for block in recognition.blocks_of(event.content) if block.get("text") != ""]
            self.blocks += map(shown, said)

    def _call(self, event: ToolCalled) -> None:
        served = event.executor == "server" and not event.confirm
        if served:
            self._served.add(event.tool_call_id)
        self.written[event.tool_call_id] = event.arguments
        arguments = recognition.arguments_of(event.arguments)
        if event.model_call_id == self._whole:
            # It is among the blocks that wait for it.
            self._held = self._held[1:]
        if not served:
            self.blocks.append(tool_use(event.tool_call_id, event.name, arguments))
        elif self.shows_served:
            self.blocks.append(served_use(event.tool_call_id, event.name, arguments))
        if event.model_call_id == self._whole:
            self._release(upto_call=True)

    def _release(self, *, upto_call: bool = False) -> None:
        while self._held and not (upto_call and self._held[0].get("type") == "tool_use"):
            block = self._held.pop(0)
            if block.get("type") != "tool_use":
                self.blocks.append(shown(block))

    def _result(self, event: ToolReturned | ToolFailed | ToolSettled) -> None:
        self._release()
        if event.tool_call_id in self._served and self.shows_served and not _did_not_happen(event):
            blocks, is_error = recognition.result_of(event)
            self.blocks.append(served_result(event.tool_call_id, blocks, is_error))

    def _end(self, event: Any) -> None:
        self._release()
        match event:
            case RunActionRequired():
                self._stop("tool_use")
            case RunCompleted() if self._finish_reason == "stop" and self._stop_sequence is not None:
                self._stop("stop_sequence")
            case RunCompleted():
                own = self._finish_reason if self._finish_reason in _KNOWN_STOPS else "end_turn"
                self._stop("refusal" if self._refused else _STOPS.get(self._finish_reason, own))
            case RunIncomplete(reason=reason):
                self._stop(_INCOMPLETE.get(reason, "end_turn"))
            case RunFailed() if self._answered and self._finish_reason == "content_filter":
                self._stop("refusal")
            case RunFailed(code=code, message=message):
                self._fail(of_failed_run(code, message))
            case RunCancelled() | RunExpired():
                how = event.kind.removeprefix("run.")
                self._fail(Fault(400, f"The run that was to answer this was {how} by somebody else.", retry=False))
            case ToolInDoubt(tool_call_id=tool_call_id):
                message = (
                    f"Nobody knows whether the call {tool_call_id} happened: the server died while it was made."
                    " Somebody has to settle it (`clew settle`); the answer comes then, to whoever attaches to it."
                )
                self._fail(Fault(500, message, retry=False))
            case _:
                pass

    def _stop(self, reason: str) -> None:
        self.outcome, self.stop_reason = "answered", reason

    def _fail(self, fault: Fault) -> None:
        self.outcome, self.fault = "failed", fault

    # What is shown

    @property
    def stop_sequence(self) -> str | None:
        return self._stop_sequence if self.stop_reason == "stop_sequence" else None

    def message(self) -> Object:
        return {
            "id": self.id,
            "type": "message",
            "role": "assistant",
            "model": self.model,
            "content": self.blocks,
            "stop_reason": self.stop_reason,
            "stop_sequence": self.stop_sequence,
            "stop_details": self.stop_details(),
            "usage": self.usage(),
        }

    def stop_details(self) -> Object | None:
        if self.stop_reason != "refusal":
            return None
        return {"type": "refusal", "category": None, "explanation": self.explanation}

    def usage(self) -> Object:
        total = NO_USAGE
        for one in self.calls:
            total = total.plus(one)
        shown = usage_object(total) | {"service_tier": "standard"}
        if self.shows_served and len(self.calls) > 1:
            shown["iterations"] = [{"type": "message", **usage_object(one)} for one in self.calls]
        return shown


def usage_object(usage: Usage) -> Object:
    """Here what was read from the cache or written to it is counted apart from the rest."""
    return {
        "input_tokens": max(0, usage.input - usage.cached - usage.cache_write),
        "cache_creation_input_tokens": usage.cache_write,
        "cache_read_input_tokens": usage.cached,
        "cache_creation": {
            "ephemeral_5m_input_tokens": usage.cache_write - usage.cache_write_1h,
            "ephemeral_1h_input_tokens": usage.cache_write_1h,
        },
        "output_tokens": usage.output,
        "output_tokens_details": {"thinking_tokens": usage.reasoning},
    }


def shown(block: Object) -> Object:
    """A text says of its citations also that there are none."""
    return {"citations": None, **block} if block.get("type") == "text" else block


def tool_use(tool_call_id: str, name: str, arguments: Object) -> Object:
    return {"type": "tool_use", "id": tool_call_id, "name": name, "input": arguments}


def served_use(tool_call_id: str, name: str, arguments: Object) -> Object:
    """What the server calls by itself is to a client what the tool of an MCP server is."""
    return {**tool_use(tool_call_id, name, arguments), "type": "mcp_tool_use", "server_name": SERVER_NAME}


def served_result(tool_call_id: str, blocks: list[Object], is_error: bool) -> Object:
    texts = [block for block in blocks if block.get("type") == "text"]
    return {"type": "mcp_tool_result", "tool_use_id": tool_call_id, "is_error": is_error, "content": texts}


def _did_not_happen(event: ToolReturned | ToolFailed | ToolSettled) -> bool:
    return isinstance(event, ToolSettled) and event.outcome == "did_not_happen"
