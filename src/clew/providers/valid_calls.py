"""Tool calls of the past in a form that every provider takes.

A model may write arguments that are no JSON, or call a function by a name that no function can have; the log keeps
both as they were written. A provider that finds them in a request refuses it, and all later requests of that thread.
What this file makes is a part of the renderers that use it, so it is never changed.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace

import orjson

from clew import exact_json
from clew.events.items import Item, ToolCallItem
from clew.providers.base import Prompt

# OpenAI's limits, which are the strictest of all. Some servers make ids that are longer.
NAME_CHARS_MAX = 64
ID_CHARS_MAX = 40
_NAMELESS = "unnamed"
NO_OBJECT = "INVALID_JSON"
_REFUSED = re.compile(r"[^a-zA-Z0-9_-]+")
_HIGH, _LOW = r"\\u[dD][89abAB][0-9a-fA-F]{2}", r"\\u[dD][c-fC-F][0-9a-fA-F]{2}"
# A pair of surrogates, half of one, or any other escape.
_ESCAPE = re.compile(rf"{_HIGH}{_LOW}|{_HIGH}|{_LOW}|\\.")


def valid_name(name: str) -> str:
    """Returns `name` if it may be the name of a function, else what is left of it."""
    if 0 < len(name) <= NAME_CHARS_MAX and _REFUSED.search(name) is None:
        return name
    return _REFUSED.sub("_", name)[:NAME_CHARS_MAX].strip("_") or _NAMELESS


def valid_id(id: str) -> str:
    """Returns `id` if it may be the id of a call, else one that is made of it."""
    return id if len(id) <= ID_CHARS_MAX else "call_" + hashlib.sha256(id.encode()).hexdigest()[:32]


def valid_arguments(arguments: str) -> str:
    """Returns `arguments` as they were written if they are a JSON object, else an object that says what was written.

    Nothing, and null, are no arguments. Half a surrogate pair in a text is U+FFFD.
    """
    if arguments.strip() in ("", "null"):
        return "{}"
    for candidate in (arguments, _ESCAPE.sub(_without_half, arguments)):
        if isinstance(_parsed(candidate), dict):
            return candidate
    return orjson.dumps({NO_OBJECT: arguments}).decode()


def _parsed(text: str) -> object:
    """Returns the value of a JSON text as strict readers have it, None if they have none."""
    try:
        return exact_json.loads(text)
    except ValueError:
        return None


def _without_half(escape: re.Match[str]) -> str:
    """Returns an escape as it is, if it is no half of a pair."""
    return "\\ufffd" if len(escape[0]) == len("\\ud83d") else escape[0]


def with_valid_calls(prompt: Prompt) -> Prompt:
    """Returns the prompt with its calls in this form. A name that the request itself offers stays as it is."""
    offered = {tool.name for tool in prompt.config.tools}
    return replace(prompt, items=[_valid(item, offered) for item in prompt.items])


def _valid(item: Item, offered: set[str]) -> Item:
    if not isinstance(item, ToolCallItem):
        return item
    name = item.name if item.name in offered else valid_name(item.name)
    arguments = valid_arguments(item.arguments)
    if (name, arguments) == (item.name, item.arguments):
        return item
    return replace(item, name=name, arguments=arguments)


def changed_calls(prompt: Prompt) -> Iterable[tuple[ToolCallItem, ToolCallItem]]:
    """The calls that are not sent as they were written, each with what is sent of it."""
    sent: Sequence[Item] = with_valid_calls(prompt).items
    for item, other in zip(prompt.items, sent, strict=True):
        if isinstance(item, ToolCallItem) and isinstance(other, ToolCallItem) and item is not other:
            yield item, other
