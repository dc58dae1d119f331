"""Whether a request is one that OpenAI's chat completions take: by the official SDK's own types, and by the rules.

Types cannot say that a result follows its call and that every call has one; the API refuses such requests all the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

from openai.types.chat import completion_create_params as params
from pydantic import TypeAdapter, ValidationError

from tests.rigs.valid_anthropic import difference, plain


def fault_of(body: dict[str, Any]) -> str | None:
    """Why the API would refuse it, None when it would not."""
    return next(_faults(body), None)


def _faults(body: dict[str, Any]) -> Iterator[str]:
    try:
        typed = plain(_adapter(bool(body.get("stream"))).validate_python(body))
    except ValidationError as error:
        yield f"the SDK's types refuse it: {error.errors()[0]}"
        return
    if typed != body:
        yield f"the SDK's types do not know all of it: {difference(typed, body)}"
    if not body["messages"]:
        yield "messages: there is none"
    open_calls: list[str] = []
    for place, message in enumerate(body["messages"]):
        if message["role"] == "tool":
            if message["tool_call_id"] not in open_calls:
                yield f"messages.{place}: a result of {message['tool_call_id']}, which is not open"
                return
            open_calls.remove(message["tool_call_id"])
            continue
        if open_calls:
            yield f"messages.{place}: calls without a result: {open_calls}"
        open_calls = [call["id"] for call in message.get("tool_calls") or ()]
        if message["role"] == "assistant" and not (message.get("content") or open_calls or message.get("refusal")):
            yield f"messages.{place}: an assistant who says nothing"
    if open_calls:
        yield f"calls without a result: {open_calls}"


@cache
def _adapter(stream: bool) -> TypeAdapter[Any]:
    made: Any = params.CompletionCreateParamsStreaming if stream else params.CompletionCreateParamsNonStreaming
    return TypeAdapter(made)
