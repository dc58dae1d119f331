"""JSON as it is written: what is in a JSON text, each part as it stands there."""

from __future__ import annotations

import json
import re

_SPACE = re.compile(r"[ \t\n\r]*")
# It only tells where each value ends, so that no number is too long for it.
_DECODER = json.JSONDecoder(parse_int=str, parse_float=str)


def members_of(text: str) -> dict[str, str]:
    """The members of an object, which `text` is known to be, each as it is written."""
    found: dict[str, str] = {}
    at = _skip(text, text.index("{") + 1)
    while text[at] != "}":
        name, at = _DECODER.raw_decode(text, at)
        begin = _skip(text, text.index(":", at) + 1)
        _, at = _DECODER.raw_decode(text, begin)
        found[name] = text[begin:at]
        at = _next(text, at)
    return found


def raw_blocks(text: str) -> list[str]:
    """The elements of `content` of the message that `text` is, each as it is written."""
    content = members_of(text)["content"]
    found = []
    at = _skip(content, 1)
    while content[at] != "]":
        begin = at
        _, at = _DECODER.raw_decode(content, begin)
        found.append(content[begin:at])
        at = _next(content, at)
    return found


def _skip(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    assert found is not None, "nothing is space, too"
    return found.end()


def _next(text: str, at: int) -> int:
    """Behind a comma, if one follows."""
    at = _skip(text, at)
    return _skip(text, at + 1) if text[at] == "," else at
