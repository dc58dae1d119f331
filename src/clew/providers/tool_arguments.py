"""The arguments of a tool call, put together from the pieces in which they come."""

from __future__ import annotations

import re

from clew import exact_json
from clew.providers.text import TextPieces

# What some servers send before the true arguments.
_EMPTY = ("{}", "null")
_EMPTY_CHARS_MAX = 10

# What opens and closes in a JSON text. A backslash may be the last character of a piece.
_MARK = re.compile(r'\\(?:.|\Z)|["{}\[\]]', re.DOTALL)


class _Brackets:
    """Counts the brackets of a JSON text as it comes, so that its end is found without reading it again."""

    __slots__ = ("_after_backslash", "_depth", "_in_string", "_over", "closed")

    def __init__(self) -> None:
        self._depth = 0
        self._in_string = False
        self._after_backslash = False
        # Whether the first bracket has been closed, and nothing but space came after it; if something did, never again.
        self.closed = False
        self._over = False

    def add(self, piece: str) -> None:
        if self.closed and piece.strip():
            self.closed, self._over = False, True
        if self._over:
            return
        at = 1 if self._after_backslash and piece else 0
        self._after_backslash = self._after_backslash and not piece
        end = None
        for found in _MARK.finditer(piece, at):
            mark = found[0]
            if mark == '"':
                self._in_string = not self._in_string
            elif mark[0] == "\\":
                self._after_backslash = len(mark) == 1
            elif not self._in_string:
                self._depth += 1 if mark in "{[" else -1
                end = found.end() if self._depth == 0 else None
        if end is not None and self._depth == 0 and not piece[end:].strip():
            self.closed = True


class ToolArguments:
    """The arguments of a call as far as they have come. The same arguments again add nothing.

    Some servers begin with an empty object or null, and then send what is in it. In others each piece has all that came
    before it, too: then each begins with the one before, from the first one on. Two such pieces may also be an object
    in an object of the same keys, so that the second is held until it is clear what it is.
    """

    __slots__ = (
        "_brackets",
        "_chars",
        "_complete",
        "_first",
        "_grow",
        "_held",
        "_repeats",
        "_text",
        "_unread",
        "_unshown",
        "_whole",
        "pieces",
    )

    def __init__(self) -> None:
        self._begin()
        # How many have said something new.
        self.pieces = 0
        # Those that were whole when others began.
        self._whole: str | None = None
        self._repeats = False

    def _begin(self) -> None:
        self._text = TextPieces()
        self._chars = 0
        self._brackets = _Brackets()
        # Pieces in which brackets have not been counted: few calls need that.
        self._unread: list[str] = []
        self._complete: bool | None = None
        # The only piece so far; the second one, as long as it may have the first in it; whether all have.
        self._first: str | None = None
        self._held: str | None = None
        self._grow = False
        # An empty object is shown when it is clear that it is one.
        self._unshown = ""

    def __str__(self) -> str:
        text = str(self._text) if self._held is None else self._likely(self._held)
        if self._whole is None or not self._repeats:
            return text
        # Where they are sent once more, and otherwise, the newest hold.
        return text if exact_json.is_json(text) and not same_json(text, self._whole) else self._whole

    def __bool__(self) -> bool:
        return self._chars > 0 or self._whole is not None

    @property
    def shown(self) -> str:
        """What has been shown of them, where all of it was."""
        if self._whole is not None and self._repeats:
            return self._whole
        shown = self._text.shown
        return shown[: len(shown) - len(self._unshown)]

    @property
    def are_complete(self) -> bool:
        """Whether they are null, or a whole JSON object or array."""
        if self._held is not None:
            return exact_json.is_json(self._likely(self._held))
        for piece in self._unread:
            self._brackets.add(piece)
        self._unread.clear()
        if not self._brackets.closed:
            return self.are_empty
        if self._complete is None:
            self._complete = exact_json.is_json(str(self._text))
        return self._complete

    @property
    def are_empty(self) -> bool:
        """Whether they are an empty object or null, after which the true ones may come."""
        return self._chars < _EMPTY_CHARS_MAX and str(self).strip() in _EMPTY

    @property
    def may_be_empty(self) -> bool:
        """Whether they are such an object as far as they have come."""
        return bool(self._unshown)

    def add(self, piece: str) -> str:
        """Adds a piece; returns what of it can be shown."""
        if not piece or (self.are_empty and piece.strip() == str(self).strip()):
            return ""
        if self._held is not None:
            return self._decide(self._held, piece)
        if self and piece.lstrip()[:1] in ("{", "[") and (self.are_empty or self.are_complete):
            self._repeats = not self.are_empty
            self._whole = str(self)
            self._begin()
        elif self._grow and piece.startswith(before := str(self._text)):
            return self._append(piece[len(before) :])
        elif self._first is not None and len(piece) > len(self._first) and piece.startswith(self._first):
            self._held = piece
            return ""
        self._first = piece if not self._chars else None
        return self._append(piece)

    def release(self) -> str:
        """Returns what was kept back in case that other arguments come."""
        released, self._unshown = self._unshown, ""
        return released

    def end(self) -> str:
        """Returns what is left to be shown when nothing more comes."""
        rest = ""
        if self._held is not None and self._first is not None:
            whole, self._held = self._likely(self._held), None
            rest = self._append(whole[len(self._first) :])
        rest += self.release() + self._text.end()
        return "" if self._repeats else rest

    def _likely(self, held: str) -> str:
        """The text, if nothing comes after the piece that is held."""
        joined = (self._first or "") + held
        return held if exact_json.is_json(held) and not exact_json.is_json(joined) else joined

    def _decide(self, held: str, piece: str) -> str:
        """Adds the piece that was held and the one after it, which tells what both are."""
        first = self._first or ""
        self._first = self._held = None
        self._grow = piece.startswith(held)
        if self._grow:
            return self._append(piece[len(first) :])
        return self._append(held + piece)

    def _append(self, piece: str) -> str:
        self._chars += len(piece)
        self._unread.append(piece)
        if piece.strip():
            self._complete = None
        self.pieces += not self._repeats and bool(piece)
        shown = self._text.add(piece)
        if self._repeats:
            return ""
        shown, self._unshown = self._unshown + shown, ""
        if self._chars < _EMPTY_CHARS_MAX and any(empty.startswith(str(self).strip()) for empty in _EMPTY):
            shown, self._unshown = "", shown
        return shown


def same_json(one: str, other: str) -> bool:
    """Whether two texts are the same, or the same as JSON."""
    if one == other:
        return True
    try:
        return bool(exact_json.parse(one) == exact_json.parse(other))
    except ValueError:
        return False
