"""Writing HTML so that nothing gets in unescaped: whatever is not made by `tag` is text."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable

_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
# Marks that turn the direction of what follows, so that a name may read as another.
_TURNS = re.compile(r"[\u202a-\u202e\u2066-\u2069]")
_SURROGATES = re.compile(r"[\ud800-\udfff]")
_EMPTY_TAGS = frozenset(("meta", "hr", "br"))


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


def escaped(text: str) -> Html:
    """Control characters, which HTML has no place for, are shown as their pictures, marks of direction by name."""
    text = _TURNS.sub(lambda found: f"[U+{ord(found[0]):04X}]", text)
    shown = _CONTROLS.sub(lambda found: chr(0x2400 + ord(found[0])) if found[0] != "\x7f" else "\u2421", text)
    return Html(html.escape(_SURROGATES.sub("\ufffd", shown), quote=True))


def joined(parts: Iterable[object]) -> Html:
    return Html("".join(part if isinstance(part, Html) else escaped(str(part)) for part in parts if part is not None))


def tag(name: str, /, *children: object, **attributes: str | bool) -> Html:
    """`class_` is class. An attribute that is True has no value; one that is False or empty is left out."""
    written = "".join(
        f" {key.rstrip('_').replace('_', '-')}" + ("" if value is True else f'="{escaped(str(value))}"')
        for key, value in attributes.items()
        if value not in (False, "")
    )
    if name in _EMPTY_TAGS:
        return Html(f"<{name}{written}>")
    return Html(f"<{name}{written}>{joined(children)}</{name}>")
