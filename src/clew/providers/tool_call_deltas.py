"""Putting together the tool calls of a chat completion.

In OpenAI's stream the first piece of a call has its id and name, each piece has the call's index, and the pieces of the
arguments follow each other. Other servers send the same index for every call, none at all, or one that grows with each
piece; a new id with each piece; the name with each piece, in pieces, or once more at the end; and the whole call again
when it is complete. Whatever they send, a call is made once, with its arguments once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from clew.ids import new_id
from clew.providers.base import CallPiece
from clew.providers.text import whole_text, written
from clew.providers.tool_arguments import ToolArguments, same_json

# Some servers write that there is no id as a word.
_NO_IDS = frozenset(("", "null", "None"))


class ToolCall:
    """A call as far as it has come. `extra` is what its provider wants to have back with it.

    `again`: the call that this one may be nothing but once more, as long as it has no arguments, or no others.
    `has_own_id`: then it is another call as soon as it has any.
    `ids_change`: each of its pieces has another id. `chunk` is the number of the chunk in which it began, `place` its
    own.
    """

    __slots__ = (
        "again",
        "announced",
        "arguments",
        "chunk",
        "extra",
        "has_own_id",
        "id",
        "ids_change",
        "index",
        "name",
        "pieces",
        "place",
        "sent_id",
    )

    def __init__(self, place: int, index: Any, sent_id: str | None, id: str, chunk: int) -> None:
        self.place = place
        self.index = index
        self.sent_id = sent_id
        self.id = id
        self.name = ""
        self.arguments = ToolArguments()
        self.pieces = 0
        self.announced = False
        self.chunk = chunk
        self.ids_change = False
        self.again: ToolCall | None = None
        self.has_own_id = False
        self.extra: dict[str, Any] | None = None

    @property
    def is_once_more(self) -> bool:
        """Whether it is the call before it once more, as far as it has come."""
        if self.again is None:
            return False
        arguments = str(self.arguments)
        if not arguments.strip():
            return True
        return not self.has_own_id and same_json(arguments, str(self.again.arguments))


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
        if arguments is None:
            # As models of the Llama family have it, and servers that pass on what they wrote.
            arguments = said.get("parameters")
        if isinstance(index, str) and index.isascii() and index.isdecimal():
            index = int(index[:9])
        self.index = index if isinstance(index, (int, str)) else None
        self.id = whole_text(id) if isinstance(id, str) and id not in _NO_IDS else None
        self.name = whole_text(name) if isinstance(name, str) else ""
        if arguments is not None and not isinstance(arguments, str):
            # Some servers send the object itself instead of its JSON.
            arguments = written(arguments)
        self.arguments: str = arguments or ""
        self.extra = extra if isinstance(extra, dict) else None

    @property
    def says_arguments(self) -> bool:
        return bool(self.arguments.strip())

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
        # Those of which something may have been kept back.
        self._unsettled: list[ToolCall] = []
        self._chunk = 0
        self._ids: set[str] = set()
        # The newest call by its index and its id.
        self._newest: dict[tuple[int | str | None, str | None], ToolCall] = {}
        self.changes = 0

    @property
    def calls(self) -> list[ToolCall]:
        """The calls so far. One that has arguments may still be without a name."""
        return [call for call in self._calls if (call.name or call.arguments) and not call.is_once_more]

    def next_chunk(self) -> None:
        """The entries that come now are in another chunk."""
        self._chunk += 1

    def add(self, sent: Any) -> list[CallPiece]:
        """Takes an entry of a stream; returns what of it is new, and what was kept back of the calls before it."""
        delta = _Delta(sent) if isinstance(sent, dict) else None
        if delta is None or delta.is_empty:
            return []
        known = len(self._calls)
        call = self._call_of(delta)
        pieces = self._released() if len(self._calls) > known else []
        shown = self._grow(call, delta)
        if call.announced:
            return [*pieces, CallPiece(call.place, arguments=shown)] if shown else pieces
        return pieces if self._may_grow(call) else [*pieces, *self._announced(call)]

    def add_whole(self, sent: Any) -> None:
        """Takes an entry of an answer that came at once: each is a call of its own, whatever ids and indexes it has."""
        if isinstance(sent, dict):
            delta = _Delta(sent)
            self._grow(self._new(delta), delta)

    def end(self) -> list[CallPiece]:
        """Returns what is left to be shown when nothing more comes."""
        left: list[CallPiece] = []
        for call in self._calls:
            rest = call.arguments.end()
            if not call.announced:
                left += self._announced(call)
            elif rest:
                left.append(CallPiece(call.place, arguments=rest))
        return left

    # Which call a piece belongs to

    def _call_of(self, delta: _Delta) -> ToolCall:
        before = self._candidate(delta)
        if before is not None and not self._begins_another(before, delta):
            return before
        new = self._new(delta)
        if before is not None and before.arguments.are_complete:
            if not delta.name:
                new.name, new.again = before.name, before
            elif delta.name == before.name and (before.ids_change or not delta.says_arguments):
                new.again = before
                new.has_own_id = delta.id is not None and not before.ids_change
        return new

    def _candidate(self, delta: _Delta) -> ToolCall | None:
        """Returns the newest call with its index, else with its id, else the newest that it may go on with; None if it
        begins a call."""
        if not self._calls:
            return None
        if delta.index is not None:
            of_both = self._newest.get((delta.index, delta.id)) if delta.id is not None else None
            of_index = of_both or self._newest.get((delta.index, None))
            if of_index is not None:
                return of_index
        newest = self._calls[-1]
        if delta.id is not None:
            of_id = self._newest.get((None, delta.id))
            if of_id is not None:
                # LocalAI sends one call at several indexes; others give all calls one id.
                begins = delta.index is not None and delta.name and of_id.arguments.are_complete
                return None if begins else of_id
            if delta.index is not None or newest.arguments.are_complete:
                return None
        return newest if not delta.name or delta.index is None else None

    def _begins_another(self, call: ToolCall, delta: _Delta) -> bool:
        """Whether a piece with the index of `call`, or without any, is the first of another call."""
        other_id = delta.id is not None and call.sent_id is not None and delta.id != call.sent_id
        if not delta.name:
            # Arguments that begin after others that are whole: of another call, or once more.
            begins = delta.arguments.lstrip()[:1] == "{" and not call.arguments.are_empty
            return other_id and begins and call.arguments.are_complete
        if not call.name:
            return False
        if other_id and call.chunk == self._chunk:
            # One chunk has no two pieces of one call.
            return True
        if call.arguments.are_complete:
            return self._follows_complete(call, delta, other_id and not call.ids_change)
        if delta.name == call.name:
            # The name comes with each piece. Where there are no indexes, another id is another call.
            return other_id and delta.index is None and not call.arguments
        if call.arguments:
            return other_id
        return not self._is_more_of_name(call, delta) and (other_id or self._is_another_name(call, delta))

    def _follows_complete(self, call: ToolCall, delta: _Delta, other_id: bool) -> bool:
        if not delta.says_arguments:
            # A call whose arguments are still to come, or once more the name of this one. Where no id tells, what
            # comes after it does.
            return other_id or delta.name != call.name or delta.id is None or call.ids_change
        if delta.name != call.name or other_id:
            return True
        if not same_json(delta.arguments, str(call.arguments)):
            # The same call from its beginning, or what its empty object stood for.
            is_same = delta.id is not None and delta.id == call.sent_id
            if call.arguments.are_empty:
                return not (is_same or call.ids_change)
            return not (is_same and str(call.arguments).startswith(delta.arguments))
        # The whole call again. A server that sends no ids has no other way to send two equal calls.
        return call.sent_id is None and delta.id is None and call.pieces == 1

    def _is_more_of_name(self, call: ToolCall, delta: _Delta) -> bool:
        """Whether a second name, before any arguments, is sure to be more of the first."""
        offered = self._offered()
        joined = call.name + delta.name
        return call.name not in offered and any(name.startswith(joined) for name in offered)

    def _is_another_name(self, call: ToolCall, delta: _Delta) -> bool:
        """Whether a second name, before any arguments, is that of another call and not more of the first."""
        joined, offered = call.name + delta.name, self._offered()
        if delta.name.startswith(call.name) or any(name.startswith(joined) for name in offered):
            return False
        return delta.index is None or delta.name in offered

    def _new(self, delta: _Delta) -> ToolCall:
        # Results find their calls by the id, so no two may share one whatever the server says.
        id = new_id("call") if delta.id is None or delta.id in self._ids else delta.id
        call = ToolCall(len(self._calls), delta.index, delta.id, id, self._chunk)
        self._calls.append(call)
        self._unsettled.append(call)
        self._ids.add(id)
        self._note(call)
        return call

    def _note(self, call: ToolCall) -> None:
        """From now on it is the newest with its index, with its id, and with both."""
        for key in ((call.index, None), (None, call.sent_id), (call.index, call.sent_id)):
            if call.place >= self._newest.setdefault(key, call).place:
                self._newest[key] = call

    # What a piece adds

    def _grow(self, call: ToolCall, delta: _Delta) -> str:
        """Adds the piece to its call; returns what of the arguments is new."""
        call.pieces += 1
        name, pieces = _grown_name(call, delta.name), call.arguments.pieces
        if name != call.name:
            call.name = name
            self.changes += 1
        call.ids_change |= None not in (call.sent_id, delta.id) and call.sent_id != delta.id
        if call.sent_id is None and delta.id is not None:
            call.sent_id = delta.id
            self._note(call)
            if not call.announced and delta.id not in self._ids:
                call.id = delta.id
                self._ids.add(call.id)
        if delta.extra is not None:
            call.extra = merged(call.extra or {}, delta.extra)
        if not delta.arguments:
            return ""
        shown = call.arguments.add(delta.arguments)
        self.changes += call.arguments.pieces - pieces
        return shown

    def _announced(self, call: ToolCall) -> list[CallPiece]:
        """Returns the first piece of a call, which has its id and name, if it is one."""
        if not call.name or call.is_once_more:
            return []
        call.announced = True
        return [CallPiece(call.place, call.id, call.name, call.arguments.shown)]

    def _released(self) -> list[CallPiece]:
        """Returns what was kept back of the calls before the newest, which has just begun."""
        pieces: list[CallPiece] = []
        *before, newest = self._unsettled
        for call in before:
            rest = call.arguments.release()
            if not call.announced and not self._name_may_grow(call):
                pieces += self._announced(call)
            elif call.announced and rest:
                pieces.append(CallPiece(call.place, arguments=rest))
        self._unsettled = [*(call for call in before if not call.announced), newest]
        return pieces

    def _may_grow(self, call: ToolCall) -> bool:
        """Whether the name may be the beginning of a longer one, the true arguments may be still to come, or the call
        may be another one once more."""
        if call.again is not None and (not call.has_own_id or call.is_once_more):
            return True
        return call.arguments.may_be_empty or self._name_may_grow(call)

    def _name_may_grow(self, call: ToolCall) -> bool:
        if call.arguments:
            return False
        offered = self._offered()
        return call.name not in offered and any(name.startswith(call.name) for name in offered)


def _grown_name(call: ToolCall, more: str) -> str:
    if not more or more == call.name or (call.arguments and call.name):
        return call.name
    return more if more.startswith(call.name) else call.name + more
