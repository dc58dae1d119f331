"""Whether a request is one that Mistral's API takes: by its published schema, the official SDK's models, and its rules.

The rules are those of the message order and of the ids of calls, which neither schema nor models can say.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import yaml
from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match
from mistralai.client.models import ChatCompletionRequest, ChatCompletionStreamRequest
from pydantic import ValidationError

from tests.rigs.processes import SHARED

SCHEMA = SHARED / "data" / "openapi" / "mistral.yaml.gz"
_ID = re.compile(r"[a-zA-Z0-9]{9}")
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_AFTER = {
    None: ("system", "user", "assistant"),
    "system": ("user", "assistant", "system"),
    "user": ("assistant", "system", "user"),
    "assistant": ("assistant", "user", "tool"),
    "tool": ("assistant", "tool"),
}


def fault_of(body: dict[str, Any]) -> tuple[int, str] | None:
    """The status and the reason with which the API would refuse it, None when it would not."""
    return next(_faults(body), None)


def _faults(body: dict[str, Any]) -> Iterator[tuple[int, str]]:
    wrong = best_match(_validator().iter_errors(body))
    if wrong is not None:
        yield 422, f"the published schema refuses {'.'.join(map(str, wrong.absolute_path))}: {wrong.message}"
    if (why := sdk_fault_of(body)) is not None:
        yield 422, why
        return
    for tool in body.get("tools", ()):
        if not _NAME.fullmatch(tool["function"]["name"]):
            yield 400, f"Function name was {tool['function']['name']}"
    yield from ((400, why) for why in _faults_of_messages(body["messages"]))


def sdk_fault_of(body: dict[str, Any]) -> str | None:
    """By the official SDK alone, whose models are newer than the schema."""
    model = ChatCompletionStreamRequest if body.get("stream") else ChatCompletionRequest
    try:
        typed = model.model_validate(body)
    except ValidationError as error:
        return f"the SDK's models refuse it: {error.errors()[0]}"
    # What a model does not know it drops without a word, or keeps as a chunk of an unknown kind.
    sent = typed.model_dump(mode="json", by_alias=True, exclude_unset=True)
    missing = next(_missing(body, sent, ""), None)
    return None if missing is None else f"the SDK's models do not know {missing}"


@cache
def _validator() -> Draft202012Validator:
    document = yaml.load(gzip.decompress(SCHEMA.read_bytes()), yaml.CSafeLoader)
    schema = {"$ref": "#/components/schemas/ChatCompletionRequest", "components": document["components"]}
    return Draft202012Validator(schema)


def _missing(sent: Any, known: Any, path: str) -> Iterator[str]:
    if isinstance(sent, dict) and isinstance(known, dict):
        for key, value in sent.items():
            if key not in known:
                yield f"{path}.{key}"
            else:
                yield from _missing(value, known[key], f"{path}.{key}")
    elif isinstance(sent, list) and isinstance(known, list) and len(sent) == len(known):
        for place, (one, other) in enumerate(zip(sent, known, strict=True)):
            yield from _missing(one, other, f"{path}[{place}]")
    elif sent != known:
        yield path


def _faults_of_messages(messages: list[dict[str, Any]]) -> Iterator[str]:
    before: str | None = None
    open_calls: set[str] = set()
    answered: set[str] = set()
    for message in messages:
        role = message["role"]
        if role not in _AFTER[before]:
            yield f"Unexpected role '{role}' after role '{before}'"
        if role == "tool":
            id = message.get("tool_call_id") or ""
            if not _ID.fullmatch(id):
                yield f"Tool call id was {id} but must be a-z, A-Z, 0-9, with a length of 9."
            if id not in open_calls or id in answered:
                yield f"Unexpected tool call id {id} in tool results"
            answered.add(id)
        elif open_calls != answered:
            yield "Not the same number of function calls and responses"
        if role == "assistant":
            calls = message.get("tool_calls") or []
            if not calls and not message.get("content"):
                yield "Assistant message must have either content or tool_calls, but not none."
            open_calls, answered = {call["id"] for call in calls}, set()
            if len(open_calls) < len(calls):
                yield "Duplicate tool call id in assistant message"
            yield from (f"Tool call id was {id}" for id in open_calls if not _ID.fullmatch(id))
        before = role
    if open_calls != answered:
        yield "Not the same number of function calls and responses"
    if before not in ("user", "tool"):
        yield f"Expected last role User or Tool for serving but got {before}"
