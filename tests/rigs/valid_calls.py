"""Whether the calls in a request are in a form that every provider takes: names, arguments, and ids.

A call that is not makes the provider refuse the request, and each later one of the same thread.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_ID_CHARS_MAX = 40


def calls_fault_of(body: dict[str, Any]) -> str | None:
    """Why a provider would refuse the calls in it, None when it would not. Of all three formats."""
    return next(_faults(body), None)


def _faults(body: dict[str, Any]) -> Iterator[str]:
    for place, message in enumerate(body["messages"]):
        for call in message.get("tool_calls") or ():
            if not call["id"] or len(call["id"]) > _ID_CHARS_MAX:
                yield f"messages.{place}: Invalid 'id': a string of {len(call['id'])} characters"
            yield from _faults_of_name(f"messages.{place}", call["function"]["name"])
            yield from _faults_of_arguments(f"messages.{place}", call["function"]["arguments"])
        content = message.get("content")
        for block in content if isinstance(content, list) else ():
            if block.get("type") == "tool_use":
                yield from _faults_of_name(f"messages.{place}", block["name"])
                if not isinstance(block["input"], dict):
                    yield f"messages.{place}: an input that is no object"


def _faults_of_name(place: str, name: str) -> Iterator[str]:
    if not _NAME.fullmatch(name):
        yield f"{place}: Invalid 'function.name': {name!r} does not match the pattern"


def _faults_of_arguments(place: str, arguments: Any) -> Iterator[str]:
    """By a strict reader: no NaN, and no half of a surrogate pair."""
    try:
        parsed = json.loads(arguments, parse_constant=_refused, parse_int=str)
        json.dumps(parsed, ensure_ascii=False).encode()
    except ValueError as error:
        yield f"{place}: arguments that are no JSON: {error}"
        return
    if not isinstance(parsed, dict):
        yield f"{place}: arguments that are no object"


def _refused(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")
