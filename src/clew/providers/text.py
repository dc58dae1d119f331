"""Text that came in pieces, some of which end between the two halves of a character.

JSON writes a character beyond U+FFFF as two surrogates, and a server that cuts its text anywhere may send one half in
one chunk and the other half in the next, or never. Half a pair can be neither stored nor sent.
"""

from __future__ import annotations

from typing import Any

from clew import exact_json

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


def whole_text(text: str) -> str:
    """Returns `text` with the halves of each pair joined, and U+FFFD in the place of a half without the other."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def whole_json(value: Any) -> Any:
    """Returns a JSON value with every text in it made whole, names of members too."""
    if isinstance(value, str):
        return whole_text(value)
    if isinstance(value, dict):
        return {whole_text(name): whole_json(inner) for name, inner in value.items()}
    return [whole_json(inner) for inner in value] if isinstance(value, list) else value


def written(value: Any) -> str:
    """Returns `value` as JSON text, with numbers as they were written and texts made whole."""
    try:
        return exact_json.dumps(value).decode()
    except TypeError:
        return exact_json.dumps(whole_json(value)).decode()


class TextPieces:
    """Joins the pieces of one text. A half character at the end of a piece is kept back until the next one."""

    __slots__ = ("_half", "_pieces")

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._half = ""

    def add(self, piece: str) -> str:
        """Returns what of the text can be shown now."""
        text = self._half + piece
        self._half = ""
        if text and "\ud800" <= text[-1] <= "\udbff":
            text, self._half = text[:-1], text[-1]
        text = whole_text(text)
        self._pieces.append(text)
        return text

    def end(self) -> str:
        """Returns what is left to be shown: U+FFFD if the text ends with half a character."""
        rest = _REPLACEMENT if self._half else ""
        self._half = ""
        self._pieces.append(rest)
        return rest

    @property
    def shown(self) -> str:
        return "".join(self._pieces)

    def __str__(self) -> str:
        """All of the text, as if it ended here."""
        return self.shown + (_REPLACEMENT if self._half else "")

    def __bool__(self) -> bool:
        return bool(self._half) or any(self._pieces)
