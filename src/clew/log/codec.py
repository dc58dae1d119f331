"""Events to bytes and back. What is not known is refused, never guessed."""

from __future__ import annotations

import orjson

from clew import events as _every_kind  # noqa: F401  (importing it registers every kind)
from clew.errors import TooLarge, UnknownKind
from clew.events.base import Event
from clew.events.older import UPCASTERS

# A message of 256,000 characters, the most that clients of the Assistants API may send, has up to 1 MB as UTF-8.
EVENT_BYTES_MAX = 1_100_000


def encode(event: Event) -> bytes:
    """The stored bytes: JSON without what is at its default. Raises `TooLarge`."""
    state: bytes = event.__pydantic_serializer__.to_json(event, exclude_defaults=True)
    if len(state) > EVENT_BYTES_MAX:
        raise TooLarge(what=f"the event {event.kind}", size_bytes=len(state), limit_bytes=EVENT_BYTES_MAX)
    return state


def decode(kind: str, state: bytes) -> Event:
    upcast = UPCASTERS.get(kind)
    event_type = Event.kinds.get(kind)
    if event_type is None:
        raise UnknownKind(kind=kind)
    if upcast is not None:
        return event_type.model_validate(upcast(orjson.loads(state)))
    return event_type.model_validate_json(state)
