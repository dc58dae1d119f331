"""Reading chat completions: whole ones, and streams piece by piece.

Many servers speak this format, each a little differently. What can be understood is understood, the rest is
nonsense. Chunks are read as plain dictionaries: there are thousands a second.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson

from clew.events.content import JsonObject
from clew.events.price import PricingContext
from clew.events.usage import Usage
from clew.ids import new_id
from clew.providers.base import Answer, CalledTool, CallPiece, TextPiece, UsageSoFar
from clew.providers.http import nonsense

STANDARD_TIERS = ("", "auto", "default", "standard")


def usage_of(reported: JsonObject) -> Usage:
    """Chat usage in our words: its prompt tokens include the cached ones, its completion tokens reasoning."""
    prompt = _details(reported, "prompt_tokens_details")
    completion = _details(reported, "completion_tokens_details")
    return Usage(
        input=count(reported.get("prompt_tokens")),
        output=count(reported.get("completion_tokens")),
        cached=count(prompt.get("cached_tokens")),
        cache_write=count(prompt.get("cache_write_tokens")),
        reasoning=count(completion.get("reasoning_tokens")),
        input_audio=count(prompt.get("audio_tokens")),
        output_audio=count(completion.get("audio_tokens")),
    )


def _details(reported: JsonObject, name: str) -> JsonObject:
    details = reported.get(name)
    return details if isinstance(details, dict) else {}


def count(value: Any) -> int:
    return int(value) if isinstance(value, (int, float)) and value > 0 else 0


def _text(content: Any) -> str:
    """The text of a message or delta; some servers send a list of parts."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        texts = [part.get("text") for part in content if isinstance(part, dict)]
        return "".join(text for text in texts if isinstance(text, str))
    return ""


class _Call:
    __slots__ = ("announced", "arguments", "id", "name", "sent_id", "wire_index")

    def __init__(self, wire_index: Any, sent_id: str | None, id: str) -> None:
        self.wire_index = wire_index
        self.sent_id = sent_id
        self.id = id
        self.name = ""
        self.arguments: list[str] = []
        self.announced = False

    def is_complete(self) -> bool:
        try:
            orjson.loads("".join(self.arguments))
        except orjson.JSONDecodeError:
            return False
        return True


class Gathering:
    """An answer as it comes: give it chunks, it gives pieces; at the end it is the answer.

    It is never `over`: the end of these streams is a mark of its own, and no chunk.
    """

    over = False

    def __init__(self, who: str, request_id: str | None) -> None:
        self._who = who
        self._request_id = request_id
        self._response_id: str | None = None
        self._model = ""
        self._service_tier = ""
        self._texts: list[str] = []
        self._refusals: list[str] = []
        self._thoughts: list[str] = []
        self._calls: list[_Call] = []
        self._usage: JsonObject | None = None
        self.finish_reason: str | None = None

    def take(self, chunk: dict[str, Any]) -> Iterator[TextPiece | CallPiece | UsageSoFar]:
        """A chunk of a stream."""
        before = self._usage
        choice = self._head(chunk)
        if self._usage is not None and self._usage is not before and self.finish_reason is None:
            # Some servers count on in every chunk; should the stream break, that is all we shall know.
            yield UsageSoFar(self._used(self._usage), self._usage, self._model, self._pricing_context())
        if choice is not None:
            delta = choice.get("delta")
            if isinstance(delta, dict):
                yield from self._say(delta)

    def take_whole(self, completion: dict[str, Any], received: bytes) -> Answer:
        """A completion that came at once. What there is to know of it is in the object, so its bytes are not read."""
        choice = self._head(completion)
        message = choice.get("message") if choice is not None else None
        if not isinstance(message, dict):
            raise nonsense(self._who, "an answer without a message")
        calls = message.get("tool_calls")
        if isinstance(calls, list):
            # Here each entry is a call of its own, whatever ids and indexes it carries.
            for index, call in enumerate(calls):
                if isinstance(call, dict):
                    call["index"] = index
        for _ in self._say(message):
            pass
        if self.finish_reason is None:
            # Whole is whole; a few small servers leave the reason out.
            self.finish_reason = "stop"
        return self.answer()

    def _head(self, chunk: dict[str, Any]) -> dict[str, Any] | None:
        """What is beside the message; gives the first choice, if this chunk has it."""
        if self._response_id is None and isinstance(chunk.get("id"), str):
            self._response_id = chunk["id"]
        if not self._model and isinstance(chunk.get("model"), str):
            self._model = chunk["model"]
        if isinstance(chunk.get("service_tier"), str):
            self._service_tier = chunk["service_tier"]
        if isinstance(chunk.get("usage"), dict):
            self._usage = chunk["usage"]
        choices = chunk.get("choices")
        if not choices or not isinstance(choices, list):
            return None
        choice = choices[0]
        if not isinstance(choice, dict):
            raise nonsense(self._who, "a choice that is not an object")
        if choice.get("index"):
            return None
        if isinstance(choice.get("finish_reason"), str):
            self.finish_reason = choice["finish_reason"]
        return choice

    def _say(self, delta: dict[str, Any]) -> Iterator[TextPiece | CallPiece]:
        text = _text(delta.get("content"))
        if text:
            self._texts.append(text)
            yield TextPiece(text)
        if isinstance(delta.get("refusal"), str):
            self._refusals.append(delta["refusal"])
        reasoning = delta.get("reasoning_content") or delta.get("reasoning")
        if isinstance(reasoning, str):
            self._thoughts.append(reasoning)
        calls = delta.get("tool_calls")
        if isinstance(calls, list):
            for sent in calls:
                piece = self._call(sent)
                if piece is not None:
                    yield piece

    def _call(self, sent: Any) -> CallPiece | None:
        function = sent.get("function") if isinstance(sent, dict) else None
        if not isinstance(function, dict):
            raise nonsense(self._who, "a tool call without a function")
        name, arguments = function.get("name"), function.get("arguments")
        if arguments is not None and not isinstance(arguments, str):
            # Some servers send the object itself instead of its JSON.
            arguments = orjson.dumps(arguments).decode()
        id = sent.get("id")
        place, call = self._which(sent.get("index"), id if id and isinstance(id, str) else None, name)
        if isinstance(name, str) and name:
            call.name = name
        if arguments:
            call.arguments.append(arguments)
        if call.announced:
            return CallPiece(place, arguments=arguments) if arguments else None
        if not call.name:
            return None
        call.announced = True
        return CallPiece(place, call.id, call.name, "".join(call.arguments))

    def _which(self, wire_index: Any, sent_id: str | None, name: Any) -> tuple[int, _Call]:
        """The call that a chunk continues, or a new one.

        The index should tell, but there are servers that send none, or the same for every call. Then another
        id is another call; and so is a name without any id, once the arguments before it are complete.
        """
        place = len(self._calls) - 1
        if wire_index is not None:
            while place >= 0 and self._calls[place].wire_index != wire_index:
                place -= 1
        if place >= 0:
            call = self._calls[place]
            if sent_id is not None:
                same = call.sent_id == sent_id or (call.sent_id is None and not name)
            else:
                same = not (name and call.name) or (wire_index is not None and not call.is_complete())
            if same:
                return place, call
        # Results find their calls by the id, so no two may share one whatever the server says.
        taken = any(call.id == sent_id for call in self._calls)
        self._calls.append(_Call(wire_index, sent_id, new_id("call") if taken or not sent_id else sent_id))
        return len(self._calls) - 1, self._calls[-1]

    def answer(self) -> Answer:
        """The whole. Only to be asked for when there is a finish reason."""
        assert self.finish_reason is not None
        if not all(call.name for call in self._calls):
            raise nonsense(self._who, "a tool call without a name")
        calls = tuple(CalledTool(call.id, call.name, "".join(call.arguments)) for call in self._calls)
        ids = {"response": self._response_id, "request": self._request_id}
        return Answer(
            text="".join(self._texts) or None,
            refusal="".join(self._refusals) or None,
            tool_calls=calls,
            reasoning=self._reasoning(),
            # A model that was told which tool to call says "stop" when it has called it.
            finish_reason="tool_calls" if calls and self.finish_reason == "stop" else self.finish_reason,
            model=self._model,
            usage=None if self._usage is None else self._used(self._usage),
            usage_reported=self._usage,
            provider_ids={name: value for name, value in ids.items() if value},
            pricing_context=self._pricing_context(),
        )

    # What providers with a format like this one tell in another way.

    def _reasoning(self) -> tuple[str, ...]:
        said = "".join(self._thoughts)
        return (orjson.dumps({"reasoning_content": said}).decode(),) if said else ()

    def _used(self, reported: JsonObject) -> Usage:
        return usage_of(reported)

    def _pricing_context(self) -> PricingContext:
        return {} if self._service_tier in STANDARD_TIERS else {"service_tier": self._service_tier}
