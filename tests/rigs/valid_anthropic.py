"""Whether a request is one that Anthropic's API takes: by the official SDK's own types, and by the API's own rules.

Types cannot say that a result follows its call, that a text says something, or that there are four marks for the
cache at most; the API refuses such requests all the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import Any

from anthropic.types import message_create_params as stable
from anthropic.types.beta import message_create_params as beta
from pydantic import TypeAdapter, ValidationError

_MARKS_MAX = 4
_ID = re.compile(r"[a-zA-Z0-9_-]+")
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")


def fault_of(body: dict[str, Any], betas: str = "") -> str | None:
    """Why the API would refuse it, None when it would not."""
    return next(_faults(body, betas), None)


def _faults(body: dict[str, Any], betas: str) -> Iterator[str]:
    try:
        typed = plain(_adapter(bool(betas), bool(body.get("stream"))).validate_python(body))
    except ValidationError as error:
        yield f"the SDK's types refuse it: {error.errors()[0]}"
        return
    if typed != body:
        yield f"the SDK's types do not know all of it: {difference(typed, body)}"
    if len(marks := list(_marks(body))) > _MARKS_MAX:
        yield f"{len(marks)} blocks are marked for the cache, at most {_MARKS_MAX} may be"
    for tool in body.get("tools", ()):
        if not _NAME.fullmatch(tool["name"]):
            yield f"tools.name: {tool['name']!r}"
    yield from _faults_of_messages(body["messages"])


def thinking_fault_of(body: dict[str, Any]) -> str | None:
    """Why Claude's API would refuse what the assistant thought, None when it would not. Requests of the first versions
    of the renderer were refused for it."""
    for place, message in enumerate(body["messages"]):
        blocks = message["content"] if isinstance(message["content"], list) else []
        for number, block in enumerate(blocks):
            if block["type"] == "thinking" and not block.get("signature"):
                return f"messages.{place}.content.{number}: Invalid `signature` in `thinking` block"
        if blocks and blocks[-1]["type"] in ("thinking", "redacted_thinking"):
            return f"messages.{place}: The final block in an assistant message cannot be `thinking`"
    return None


@cache
def _adapter(betas: bool, stream: bool) -> TypeAdapter[Any]:
    types: Any = beta if betas else stable
    return TypeAdapter(types.MessageCreateParamsStreaming if stream else types.MessageCreateParamsNonStreaming)


def plain(value: Any) -> Any:
    """What the types made of it, with what they validate only when it is iterated over."""
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items()}
    if isinstance(value, (str, bytes, int, float, bool)) or value is None:
        return value
    return [plain(one) for one in value]


def difference(typed: Any, sent: Any, path: str = "") -> str:
    if isinstance(typed, dict) and isinstance(sent, dict):
        for key in sent:
            if key not in typed:
                return f"{path}.{key}"
            if typed[key] != sent[key]:
                return difference(typed[key], sent[key], f"{path}.{key}")
    if isinstance(typed, list) and isinstance(sent, list):
        for place, (one, other) in enumerate(zip(typed, sent, strict=True)):
            if one != other:
                return difference(one, other, f"{path}[{place}]")
    return path


def _marks(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        if value.get("cache_control"):
            yield value
        for key, one in value.items():
            if key != "input":
                yield from _marks(one)
    elif isinstance(value, list):
        for one in value:
            yield from _marks(one)


def _faults_of_messages(messages: list[dict[str, Any]]) -> Iterator[str]:
    if not messages:
        yield "messages: at least one message is required"
        return
    if messages[0]["role"] != "user":
        yield "messages: the first message must use the user role"
    if messages[-1]["role"] == "assistant":
        yield "this model does not support assistant message prefill"
    open_calls: list[str] = []
    known: set[str] = set()
    for place, message in enumerate(messages):
        content = message["content"]
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
        if not blocks:
            yield f"messages.{place}: content must not be empty"
        yield from (f"messages.{place}.{number}: {why}" for number, why in _faults_of_blocks(message["role"], blocks))
        results = [block["tool_use_id"] for block in blocks if block["type"] == "tool_result"]
        if sorted(results) != sorted(open_calls):
            yield f"messages.{place}: results of {results}, but the message before has calls {open_calls}"
        if results and any(block["type"] != "tool_result" for block in blocks[: len(results)]):
            yield f"messages.{place}: results must come first"
        open_calls = [block["id"] for block in blocks if block["type"] == "tool_use"]
        if known.intersection(open_calls) or len(set(open_calls)) < len(open_calls):
            yield f"messages.{place}: `tool_use` ids must be unique"
        known.update(open_calls)
    if open_calls:
        yield f"calls without a result: {open_calls}"


def _faults_of_blocks(role: str, blocks: list[dict[str, Any]]) -> Iterator[tuple[int, str]]:
    for number, block in enumerate(blocks):
        match block["type"]:
            case "text":
                if not block["text"].strip():
                    yield number, "text content blocks must contain non-whitespace text"
                if role == "user" and block.get("citations"):
                    yield number, "citations are not taken from users"
            case "thinking" | "redacted_thinking":
                if role != "assistant":
                    yield number, "thinking of a user"
                if block.get("cache_control"):
                    yield number, "thinking cannot be marked for the cache"
            case "tool_use":
                if role != "assistant":
                    yield number, "a call of a user"
                if not _ID.fullmatch(block["id"]):
                    yield number, f"tool_use.id: string should match pattern, is {block['id']!r}"
            case "tool_result" | "image" | "document":
                if role != "user":
                    yield number, f"a {block['type']} of an assistant"
            case _:
                pass
