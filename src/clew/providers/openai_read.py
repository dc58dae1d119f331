"""Reading chat completions: whole ones, and streams piece by piece.

Many servers speak this format, each a little differently. What can be understood is understood, the rest is
nonsense. Chunks are read as plain dictionaries: there are thousands a second.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from clew import exact_json
from clew.events.content import JsonObject
from clew.events.price import PricingContext
from clew.events.usage import Usage
from clew.providers import usage as usages
from clew.providers.answer_so_far import AnswerSoFar
from clew.providers.base import Answer, CalledTool, CallPiece, Piece, TextPiece, UsageSoFar
from clew.providers.http import nonsense
from clew.providers.message_state import MessageState
from clew.providers.text import TextPieces, whole_json, whole_text
from clew.providers.tool_call_deltas import ToolCallDeltas

STANDARD_TIERS = ("", "auto", "default", "standard")


def _text(content: Any) -> str:
    """The text of a message or delta; some servers send a list of parts."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else [content]
    texts = [part.get("text") if isinstance(part, dict) else part for part in parts]
    return "".join(text for text in texts if isinstance(text, str))


def offered_in(body: bytes) -> Callable[[], Sequence[str]]:
    """A function that gives the names of the tools that a request offers. The request is read when they are asked for,
    which few answers need."""
    names: list[str] | None = None

    def offered() -> Sequence[str]:
        nonlocal names
        if names is None:
            tools = exact_json.loads(body).get("tools") or ()
            names = [tool["function"]["name"] for tool in tools]
        return names

    return offered


class Gathering(AnswerSoFar):
    """An answer as it comes: give it chunks, it gives pieces; at the end it is the answer.

    The end of these streams is a mark of its own, and no chunk. See `transport.Gathering`.
    """

    def __init__(self, who: str, request_id: str | None, offered: Callable[[], Sequence[str]] = tuple) -> None:
        super().__init__(who, request_id)
        self._service_tier = ""
        self._text = TextPieces()
        self._refusal = TextPieces()
        self._state = MessageState()
        self._calls = ToolCallDeltas(offered)
        self._had_calls = False
        self._usage: JsonObject | None = None
        self._index: Any = None
        self._is_stream = True

    def take(self, chunk: dict[str, Any]) -> Iterator[Piece]:
        """A chunk of a stream."""
        before = self._usage
        self.note_usage(chunk)
        self._calls.next_chunk()
        pieces: list[Piece] = []
        for choice in self._head(chunk):
            if not self._is_ours(choice):
                continue
            delta, message = choice.get("delta"), choice.get("message")
            if isinstance(delta, dict):
                pieces += self._say(delta)
            if isinstance(message, dict) and (delta is None or _reason_of(choice)):
                pieces += self._say(self._unsaid(message))
            self._note_end(choice)
        if self._usage is not before and not self.ended and (so_far := self.used()) is not None:
            # Some servers count on in every chunk; should the stream break, that is all we shall know.
            yield so_far
        yield from pieces

    def take_whole(self, completion: dict[str, Any], received: bytes) -> Answer:
        """A completion that came at once. What there is to know of it is in the object, so its bytes are not read."""
        self._is_stream = False
        self.note_usage(completion)
        choices = self._head(completion)
        if not choices or not isinstance(choices[0].get("message"), dict):
            raise nonsense(self._who, "an answer without a message")
        # One is asked for. Copilot sends what Claude says and what it calls as two.
        for choice in choices:
            message = choice.get("message")
            if isinstance(message, dict):
                self._take_message(self._unsaid(message))
            self._note_end(choice)
        return self.answer()

    def _take_message(self, message: dict[str, Any]) -> None:
        for entry in _entries(message):
            self._had_calls = True
            self._calls.add_whole(entry)
        for _ in self._say({**message, "tool_calls": None, "function_call": None}):
            pass

    def _unsaid(self, message: dict[str, Any]) -> dict[str, Any]:
        """What of a whole message has not been said yet. Some servers have such a message in the last chunk of a
        stream, or in the only one."""
        if not self.said_anything:
            return message
        unsaid = () if self._text or self._refusal else ("content", "refusal")
        calls = () if self._calls.calls else ("tool_calls", "function_call")
        return {name: message.get(name) for name in (*unsaid, *calls)}

    def note_usage(self, chunk: dict[str, Any]) -> None:
        for reported in usages.reported_in(chunk):
            self._usage = usages.merged(self._usage, whole_json(reported))

    def used(self) -> UsageSoFar | None:
        """What the provider has said so far of what it counts; None if that is nothing."""
        used = None if self._usage is None else self._used(self._usage)
        if used is None or self._usage is None:
            return None
        return UsageSoFar(used, self._usage, whole_text(self._model), self._pricing_context())

    def _head(self, chunk: dict[str, Any]) -> list[dict[str, Any]]:
        """Takes what is beside the message; returns the choices."""
        self._note_head(chunk)
        if isinstance(chunk.get("service_tier"), str):
            self._service_tier = chunk["service_tier"]
        choices = chunk.get("choices")
        if not choices or not isinstance(choices, list):
            return []
        for choice in choices:
            if not isinstance(choice, dict):
                raise nonsense(self._who, "a choice that is not an object")
        return choices

    def _is_ours(self, choice: dict[str, Any]) -> bool:
        """Whether it has the index of the first choice of the stream, which need not be zero."""
        index = choice.get("index") or 0
        if self._index is None:
            self._index = index
        return index == self._index or str(index) == str(self._index)

    def _note_end(self, choice: dict[str, Any]) -> None:
        reason = _reason_of(choice)
        if reason is not None:
            self._note_reason(reason)

    def _say(self, delta: dict[str, Any]) -> Iterator[TextPiece | CallPiece]:
        text = _text(delta.get("content"))
        if text:
            self._goes_on()
            shown = self._text.add(text)
            if shown:
                yield TextPiece(shown)
        refusal = delta.get("refusal")
        if refusal and isinstance(refusal, str):
            self._goes_on()
            self._refusal.add(refusal)
        if self._state.add(delta, whole=not self._is_stream):
            self._goes_on()
        for entry in _entries(delta):
            self._had_calls = True
            known = self._calls.changes
            pieces = self._calls.add(entry)
            if self._calls.changes != known:
                self._goes_on()
            yield from pieces

    def end(self) -> Iterator[Piece]:
        """What is left to be shown when nothing more comes."""
        rest = self._text.end()
        if rest:
            yield TextPiece(rest)
        yield from self._calls.end()

    def answer(self) -> Answer:
        """The whole. Only to be asked for when the answer is whole. Raises `ProviderFailed`."""
        calls = self._calls.calls
        meaning = self._finish_reason()
        if not all(call.name for call in calls):
            raise nonsense(self._who, "a tool call without a name")
        if self._had_calls and not calls and not self._text and not self._refusal:
            raise nonsense(self._who, "an answer with a tool call that is none, and without anything else")
        cut = any(call.arguments and not call.arguments.are_complete for call in calls)
        if self._is_stream and self._reason is None and cut:
            raise self._ended_in_a_call()
        return Answer(
            text=str(self._text) or None,
            refusal=str(self._refusal) or None,
            tool_calls=tuple(
                CalledTool(call.id, call.name, str(call.arguments), None if call.place == position else call.place)
                for position, call in enumerate(calls)
            ),
            reasoning=self._reasoning(),
            # A model that was told which tool to call says "stop" when it has called it.
            finish_reason="tool_calls" if calls and meaning == "stop" else meaning,
            model=whole_text(self._model),
            usage=None if self._usage is None else self._used(self._usage),
            usage_reported=self._usage or None,
            provider_ids=self._provider_ids(),
            pricing_context=self._pricing_context(),
        )

    # What providers with a format like this one tell in another way.

    def _reasoning(self) -> tuple[str, ...]:
        return self._state.blocks(self._calls.calls)

    def _used(self, reported: JsonObject) -> Usage | None:
        return usages.of_chat(reported)

    def _pricing_context(self) -> PricingContext:
        return {} if self._service_tier in STANDARD_TIERS else {"service_tier": whole_text(self._service_tier)}


def _reason_of(choice: dict[str, Any]) -> Any:
    # Gemini's endpoint has written it in its own way.
    return choice.get("finish_reason") or choice.get("finishReason")


def _entries(said: dict[str, Any]) -> Sequence[Any]:
    """The tool calls in a message or delta. The member that was there before them holds one call without an id."""
    calls = said.get("tool_calls")
    if isinstance(calls, dict):
        return [calls]
    if isinstance(calls, list) and calls:
        return calls
    old = said.get("function_call")
    return [{"function": old}] if isinstance(old, dict) else ()
