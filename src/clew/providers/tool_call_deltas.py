"""Putting together the tool calls of a chat completion.

In OpenAI's stream the first piece of a call has its id and name, each piece has the call's index, and the pieces of the
arguments follow each other. Other servers send the same index for every call, none at all, or one that grows with each
piece; a new id with each piece; the name with each piece, in pieces, or once more at the end; and the whole call again
when it is complete. Whatever they send, a call is made once, with its arguments once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from clew import exact_json
from clew.ids import new_id
from clew.providers.base import CallPiece
from clew.providers.text import TextPieces, whole_text, written

# Some servers write that there is no id as a word.
_NO_IDS = frozenset(("", "null", "None"))
# Arguments of fewer characters than this may begin as a later piece does by accident.
_SAME_CHARS_MIN = 3
_EMPTY_CHARS_MAX = 10


class ToolArguments:
    """The arguments of a call as far as they have come. The same arguments again add nothing.

    Some servers begin with an empty object, and then send what is in it.
    """

    __slots__ = ("_chars", "_last", "_repeats", "_text", "_whole", "pieces")

    def __init__(self) -> None:
        self._text = TextPieces()
        self._chars = 0
        self._last = ""
        # How many have said something new.
        self.pieces = 0
        # Those that were whole when others began.
        self._whole: str | None = None
        self._repeats = False

    def __str__(self) -> str:
        text = str(self._text)
        if self._whole is None or not self._repeats:
            return text
        # Where they are sent once more, and otherwise, the newest hold.
        return text if exact_json.is_json(text) and not same_json(text, self._whole) else self._whole

    def __bool__(self) -> bool:
        return self._chars > 0 or self._whole is not None

    @property
    def shown(self) -> str:
        return self._whole if self._whole is not None and self._repeats else self._text.shown

    @property
    def are_complete(self) -> bool:
        """Whether they are a whole JSON object or array."""
        return self._last.rstrip()[-1:] in ("}", "]") and exact_json.is_json(str(self))

    @property
    def are_empty(self) -> bool:
        """Whether they are an empty object, after which the true ones may come."""
        return self._chars < _EMPTY_CHARS_MAX and str(self).strip() == "{}"

    def add(self, piece: str) -> str:
        """Adds a piece; returns what of it can be shown."""
        if self and piece.lstrip()[:1] in ("{", "[") and self.are_complete:
            self._repeats = not self.are_empty
            self._whole = str(self)
            self._text, self._chars = TextPieces(), 0
        elif len(piece) > self._chars >= _SAME_CHARS_MIN and piece.startswith(str(self._text)):
            # Each piece has all that came before it, too.
            piece = piece[self._chars :]
        self._chars += len(piece)
        self._last = piece
        self.pieces += not self._repeats and bool(piece)
        shown = self._text.add(piece)
        return "" if self._repeats else shown

    def end(self) -> str:
        """Returns what is left to be shown when nothing more comes."""
        rest = self._text.end()
        return "" if self._repeats else rest


class ToolCall:
    """A call as far as it has come. `extra` is what its provider wants to have back with it.

    `doubtful`: it may be nothing but the name of the call before it once more, unless arguments come.
    """

    __slots__ = ("announced", "arguments", "doubtful", "extra", "id", "index", "name", "pieces", "sent_id")

    def __init__(self, index: Any, sent_id: str | None, id: str) -> None:
        self.index = index
        self.sent_id = sent_id
        self.id = id
        self.name = ""
        self.arguments = ToolArguments()
        self.pieces = 0
        self.announced = False
        self.doubtful = False
        self.extra: dict[str, Any] | None = None


def same_json(one: str, other: str) -> bool:
    """Whether two texts are the same, or the same as JSON."""
    if one == other:
        return True
    try:
        return bool(exact_json.parse(one) == exact_json.parse(other))
    except ValueError:
        return False


def merged(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Returns the members of both objects, those of objects in them too; of two others of one name the second."""
    result = dict(one)
    for name, value in other.items():
        before = result.get(name)
        result[name] = merged(before, value) if isinstance(before, dict) and isinstance(value, dict) else value
    return result


class _Delta:
    """One entry of `tool_calls`."""

    __slots__ = ("arguments", "extra", "id", "index", "name")

    def __init__(self, sent: dict[str, Any]) -> None:
        function = sent.get("function")
        said = function if isinstance(function, dict) else sent
        name, arguments, id = said.get("name"), said.get("arguments"), sent.get("id")
        index, extra = sent.get("index"), sent.get("extra_content")
        self.index = int(index) if isinstance(index, str) and index.isdecimal() else index
        self.id = whole_text(id) if isinstance(id, str) and id not in _NO_IDS else None
        self.name = whole_text(name) if isinstance(name, str) else ""
        if arguments is not None and not isinstance(arguments, str):
            # Some servers send the object itself instead of its JSON.
            arguments = written(arguments)
        self.arguments: str = arguments or ""
        self.extra = extra if isinstance(extra, dict) else None

    @property
    def is_empty(self) -> bool:
        return not (self.id or self.name or self.arguments or self.extra)


class ToolCallDeltas:
    """Takes the entries of `tool_calls` as they come. `offered` gives the names of the tools that the request offers.

    An entry that is no object is none, and one that never gets a name or arguments is no call. `changes` grows with
    each that says something new.
    """

    def __init__(self, offered: Callable[[], Sequence[str]] = tuple) -> None:
        self._offered = offered
        self._calls: list[ToolCall] = []
        self.changes = 0

    @property
    def calls(self) -> list[ToolCall]:
        """The calls so far. One that has arguments may still be without a name."""
        return [call for call in self._calls if (call.name or call.arguments) and not call.doubtful]

    def add(self, sent: Any) -> CallPiece | None:
        """Takes an entry of a stream; returns what of it is new."""
        if not isinstance(sent, dict):
            return None
        delta = _Delta(sent)
        if delta.is_empty:
            return None
        place = self._place_of(delta)
        call = self._calls[place]
        shown = self._grow(call, delta)
        if call.announced:
            return CallPiece(place, arguments=shown) if shown else None
        return self._announcement(place) if not self._may_grow(call) else None

    def add_whole(self, sent: Any) -> None:
        """Takes an entry of an answer that came at once: each is a call of its own, whatever ids and indexes it has."""
        if isinstance(sent, dict):
            delta = _Delta(sent)
            self._grow(self._new(delta), delta)

    def end(self) -> list[CallPiece]:
        """Returns what is left to be shown when nothing more comes."""
        left: list[CallPiece | None] = []
        for place, call in enumerate(self._calls):
            rest = call.arguments.end()
            if call.announced:
                left.append(CallPiece(place, arguments=rest) if rest else None)
            else:
                left.append(self._announcement(place))
        return [piece for piece in left if piece is not None]

    # Which call a piece belongs to

    def _place_of(self, delta: _Delta) -> int:
        place = self._candidate(delta)
        if place is not None and not self._begins_another(self._calls[place], delta):
            return place
        self._new(delta)
        return len(self._calls) - 1

    def _candidate(self, delta: _Delta) -> int | None:
        """Returns the place of the newest call with its index, else with its id, else of the newest that it may go on
        with; None if it begins a call."""
        newest_first = range(len(self._calls) - 1, -1, -1)
        if not self._calls:
            return None
        if delta.index is not None:
            of_index = next((place for place in newest_first if self._calls[place].index == delta.index), None)
            if of_index is not None:
                return of_index
        newest = self._calls[-1]
        if delta.id is not None:
            of_id = next((place for place in newest_first if self._calls[place].sent_id == delta.id), None)
            if of_id is not None:
                # LocalAI sends one call at several indexes; others give all calls one id.
                begins = delta.index is not None and delta.name and self._calls[of_id].arguments.are_complete
                return None if begins else of_id
            if delta.index is not None or newest.arguments.are_complete:
                return None
        goes_on = not delta.name or delta.index is None
        return newest_first[0] if goes_on else None

    def _begins_another(self, call: ToolCall, delta: _Delta) -> bool:
        """Whether a piece with the index of `call`, or without any, is the first of another call."""
        if not delta.name or not call.name:
            return False
        other_id = delta.id is not None and call.sent_id is not None and delta.id != call.sent_id
        if call.arguments.are_complete:
            return self._follows_complete(call, delta, other_id)
        if delta.name == call.name:
            # The name comes with each piece. Where there are no indexes, another id is another call.
            return other_id and delta.index is None and not call.arguments
        return other_id or (not call.arguments and self._is_another_name(call, delta))

    def _follows_complete(self, call: ToolCall, delta: _Delta, other_id: bool) -> bool:
        if not delta.arguments.strip():
            # Once more the name, or a call whose arguments are still to come.
            return other_id or delta.name != call.name
        if delta.name != call.name or other_id:
            return True
        if not same_json(delta.arguments, str(call.arguments)):
            # The same call from its beginning, or what its empty object stood for.
            is_same = delta.id is not None and delta.id == call.sent_id
            return not (is_same and (call.arguments.are_empty or str(call.arguments).startswith(delta.arguments)))
        # The whole call again. A server that sends no ids has no other way to send two equal calls.
        return call.sent_id is None and delta.id is None and call.pieces == 1

    def _is_another_name(self, call: ToolCall, delta: _Delta) -> bool:
        """Whether a second name, before any arguments, is that of another call and not more of the first."""
        joined, offered = call.name + delta.name, self._offered()
        if delta.name.startswith(call.name) or any(name.startswith(joined) for name in offered):
            return False
        return delta.index is None or delta.name in offered

    def _new(self, delta: _Delta) -> ToolCall:
        # Results find their calls by the id, so no two may share one whatever the server says.
        taken = any(call.id == delta.id for call in self._calls)
        call = ToolCall(delta.index, delta.id, new_id("call") if delta.id is None or taken else delta.id)
        before = self._calls[-1] if self._calls else None
        if before is not None and before.arguments.are_complete and not delta.arguments:
            call.doubtful = (before.name, before.index) == (delta.name, delta.index)
        self._calls.append(call)
        return call

    # What a piece adds

    def _grow(self, call: ToolCall, delta: _Delta) -> str:
        """Adds the piece to its call; returns what of the arguments is new."""
        call.pieces += 1
        name, pieces = _grown_name(call, delta.name), call.arguments.pieces
        if name != call.name:
            call.name = name
            self.changes += 1
        if call.sent_id is None and delta.id is not None:
            call.sent_id = delta.id
            if not call.announced and all(other.id != delta.id for other in self._calls):
                call.id = delta.id
        if delta.extra is not None:
            call.extra = merged(call.extra or {}, delta.extra)
        if not delta.arguments:
            return ""
        call.doubtful = False
        shown = call.arguments.add(delta.arguments)
        self.changes += call.arguments.pieces - pieces
        return shown

    def _announcement(self, place: int) -> CallPiece | None:
        """Returns the first piece of a call, which has its id and name."""
        call = self._calls[place]
        if not call.name or call.doubtful:
            return None
        call.announced = True
        return CallPiece(place, call.id, call.name, call.arguments.shown)

    def _may_grow(self, call: ToolCall) -> bool:
        """Whether the name may be the beginning of a longer one, or the true arguments may be still to come."""
        if call.arguments:
            return call.arguments.are_empty
        offered = self._offered()
        return call.name not in offered and any(name.startswith(call.name) for name in offered)


def _grown_name(call: ToolCall, more: str) -> str:
    if not more or more == call.name or (call.arguments and call.name):
        return call.name
    return more if more.startswith(call.name) else call.name + more
