"""Passing word between the processes on one log: new events, and answers on their way.

Previews are numbered per model call. Where one is missing, the rest of that answer is not shown: the recorded one
shows it whole, and nobody reads a text with a hole in it.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import astuple, replace
from typing import Any

import orjson

from clew.bus import AnswerDropped, Bus, CallPreview, Preview, ReasoningPreview, TextPreview
from clew.events.base import Event, Recorded
from clew.log.signals import WORD_BYTES_MAX, Signals

_KINDS: dict[str, type[TextPreview | ReasoningPreview | CallPreview | AnswerDropped]] = {
    "text": TextPreview,
    "reasoning": ReasoningPreview,
    "call": CallPreview,
    "dropped": AnswerDropped,
}
_TAGS = {kind: tag for tag, kind in _KINDS.items()}
_FOLLOWED_CALLS_MAX = 10_000
# Of a piece of text: as JSON it may take six bytes a character.
_PIECE_CHARACTERS_MAX = 1_000


class Relay:
    """`woken` is set when another process has appended something."""

    def __init__(self, bus: Bus, signals: Signals, woken: asyncio.Event) -> None:
        self._bus = bus
        self._signals = signals
        self._woken = woken
        self._name = secrets.token_hex(4)
        self._said: OrderedDict[str, int] = OrderedDict()
        self._heard: OrderedDict[str, int] = OrderedDict()
        self._outbox: list[bytes] = []
        self._flushing = False

    async def run(self) -> None:
        self._bus.relayed = self.preview
        await self._signals.run(self._hear)

    def committed(self, recorded: Sequence[Recorded[Event]]) -> None:
        """Hears what this process appends."""
        self._flush_soon()

    def preview(self, stream: str, preview: Preview) -> None:
        for piece in _pieces(preview):
            number = _count(self._said, piece.model_call_id)
            self._outbox.append(orjson.dumps([stream, number, _TAGS[type(piece)], *astuple(piece)]))
        if isinstance(preview, AnswerDropped):
            # Another attempt of the same call begins to count anew.
            self._said.pop(preview.model_call_id, None)
        self._flush_soon()

    def _flush_soon(self) -> None:
        if not self._flushing:
            self._flushing = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        """Whatever was said in this turn of the loop goes out in as few words as hold it."""
        self._flushing = False
        head = f'["{self._name}"'.encode()
        word = head
        for one in self._outbox:
            if len(word) + len(one) + 2 > WORD_BYTES_MAX:
                self._signals.send(f"{word.decode()}]")
                word = head
            word += b"," + one
        self._outbox.clear()
        self._signals.send(f"{word.decode()}]")

    def _hear(self, word: str) -> None:
        name, *previews = orjson.loads(word)
        if name == self._name:
            return
        self._woken.set()
        for stream, number, tag, *fields in previews:
            self._show(stream, number, _KINDS[tag](*fields))

    def _show(self, stream: str, number: int, preview: Preview) -> None:
        call = preview.model_call_id
        if isinstance(preview, AnswerDropped):
            self._heard.pop(call, None)
        elif number != self._heard.get(call, 0):
            return
        else:
            _count(self._heard, call)
        self._bus.show(stream, preview)


def _count(counts: OrderedDict[str, int], call: str) -> int:
    """How many there have been of this call, before this one."""
    number = counts.get(call, 0)
    counts[call] = number + 1
    if len(counts) > _FOLLOWED_CALLS_MAX:
        counts.popitem(last=False)
    return number


def _pieces(preview: Preview) -> list[Any]:
    """A long piece as several, each of which fits into a word."""
    match preview:
        case TextPreview(text=text) if len(text) > _PIECE_CHARACTERS_MAX:
            return [replace(preview, text=part) for part in _parts(text)]
        case ReasoningPreview(text=text, signature=signature) if len(text) + len(signature) > _PIECE_CHARACTERS_MAX:
            first = replace(preview, text="", signature="")
            rest = replace(first, begins=False)
            texts = [replace(rest, text=part) for part in _parts(text)]
            signatures = [replace(rest, signature=part) for part in _parts(signature)]
            return [*([first] if preview.begins else []), *texts, *signatures]
        case CallPreview(arguments=arguments) if len(arguments) > _PIECE_CHARACTERS_MAX:
            return [replace(preview, arguments=part) for part in _parts(arguments)]
        case _:
            return [preview]


def _parts(text: str) -> list[str]:
    return [text[start : start + _PIECE_CHARACTERS_MAX] for start in range(0, len(text), _PIECE_CHARACTERS_MAX)]
