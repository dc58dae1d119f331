"""Events to bytes and back. What is not known is refused, never guessed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import Any, get_args

from pydantic import BaseModel

from clew import events as _every_kind  # noqa: F401  (importing it registers every kind)
from clew import exact_json
from clew.errors import TooLarge, UnknownKind
from clew.events.base import Event
from clew.events.older import UPCASTERS
from clew.exact_json import ExactObject

# A message of 256,000 characters, the most that clients of the Assistants API may send, has up to 1 MB as UTF-8.
EVENT_BYTES_MAX = 1_100_000


def encode(event: Event) -> bytes:
    """The stored bytes: JSON without what is at its default. Raises `TooLarge`."""
    if exact_json.holds_numbers(event):
        state = exact_json.dumps(event.model_dump(exclude_defaults=True))
    else:
        state = event.__pydantic_serializer__.to_json(event, exclude_defaults=True)
    if len(state) > EVENT_BYTES_MAX:
        raise TooLarge(what=f"the event {event.kind}", size_bytes=len(state), limit_bytes=EVENT_BYTES_MAX)
    return state


def decode(kind: str, state: bytes | str) -> Event:
    """The event of stored bytes; of text, where somebody has changed them by hand. Raises `UnknownKind`."""
    upcast = UPCASTERS.get(kind)
    event_type = Event.kinds.get(kind)
    if event_type is None:
        raise UnknownKind(kind=kind)
    if upcast is not None:
        return event_type.model_validate(upcast(exact_json.loads(state)))
    if isinstance(state, str):
        state = state.encode()
    held = _json_in(event_type)
    if held is not None and held.search(state) is not None and exact_json.holds_odd_numbers(state):
        return event_type.model_validate(exact_json.loads(state))
    return event_type.model_validate_json(state)


@cache
def _json_in(event_type: type[Event]) -> re.Pattern[bytes] | None:
    """What finds the fields that hold JSON of others, in which pydantic alone would not keep numbers as they are."""
    names = "|".join(sorted(_names_of_json(event_type)))
    return re.compile(f'"(?:{names})":'.encode()) if names else None


def _names_of_json(model: type[BaseModel]) -> set[str]:
    names = set()
    for name, field in model.model_fields.items():
        if any(isinstance(mark, ExactObject) for mark in field.metadata):
            names.add(name)
        for part in _parts_of(field.annotation):
            if isinstance(part, ExactObject):
                names.add(name)
            elif isinstance(part, type) and issubclass(part, BaseModel):
                names |= _names_of_json(part)
    return names


def _parts_of(annotation: Any) -> Iterator[Any]:
    """What a type is made of: of `tuple[Tool, ...] | None` these are `Tool` and some that are no models."""
    yield annotation
    for part in get_args(annotation):
        yield from _parts_of(part)
