"""Identifiers as this API has them: its own prefixes over identities that all dialects share.

An entry of a message bears the message's id. Of a tool call it bears the step that the call belongs to and the place
that it has there, which is known before it is recorded; of what a client brought along, the place in the log.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from clew.errors import NotFound
from clew.events.items import Place
from clew.ids import has_prefix, reprefixed

_PUBLIC = {"thread": "conv", "asst": "ag"}
_IDENTITY_CHARS = 24
_CALL_ENTRY = re.compile(r"(fc|exec|fr|handoff)_([0-9A-Za-z]{24})(v?)([0-9]{1,18})")


def conversation_id(thread_id: str) -> str:
    return reprefixed(thread_id, "conv")


def agent_id(assistant_id: str) -> str:
    return reprefixed(assistant_id, "ag")


def public_id(value: str) -> str:
    """Whatever the engine calls it, as this API does."""
    prefix = value.partition("_")[0]
    return reprefixed(value, _PUBLIC[prefix]) if prefix in _PUBLIC else value


def thread_id(value: str) -> str:
    """Raises `NotFound`: what does not look like one stands for nothing."""
    if not has_prefix(value, "conv"):
        raise NotFound(noun="thread", id=value)
    return reprefixed(value, "thread")


def assistant_id(value: str) -> str:
    """Raises `NotFound`."""
    if not has_prefix(value, "ag"):
        raise NotFound(noun="assistant", id=value)
    return reprefixed(value, "asst")


def call_entry(kind: str, step_id: str, index: int) -> str:
    """`kind` is fc, exec, fr or handoff."""
    return f"{reprefixed(step_id, kind)}{index}"


def placed_entry(kind: str, stream: str, number: int) -> str:
    return f"{reprefixed(stream, kind)}v{number}"


@dataclass(frozen=True, slots=True)
class CallEntry:
    """`place` is set for what a client brought along, else `step_id` and `index`."""

    kind: str
    step_id: str = ""
    index: int = 0
    place: Place | None = None


def parsed_entry(value: str) -> CallEntry | None:
    """What an id of an entry that is no message says; None for what looks otherwise."""
    found = _CALL_ENTRY.fullmatch(value)
    if found is None:
        return None
    kind, identity, placed, number = found.groups()
    if placed:
        return CallEntry(kind, place=Place(f"thread_{identity}", int(number)))
    return CallEntry(kind, step_id=f"step_{identity}", index=int(number))
