"""What an event is, and where it stands in the log.

An event is an immutable fact in the past tense. Its `kind` is a name that a person chose; it is stored as the
topic, so classes and modules may move without touching the log. A default value is part of the stored format
(it is left out of the stored bytes), so a default is never changed.
"""

from __future__ import annotations

from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict


class Value(BaseModel):
    """A part of an event. Immutable, and nothing unknown gets in."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Event(Value):
    """A fact. Subclasses set `kind`, or say `abstract=True` when they only share fields."""

    kind: ClassVar[str]
    kinds: ClassVar[dict[str, type[Event]]] = {}

    def __init_subclass__(cls, *, abstract: bool = False, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if abstract:
            return
        kind = cls.__dict__.get("kind")
        if kind is None:
            raise TypeError(f"event {cls.__name__} has no kind")
        if kind in Event.kinds:
            raise TypeError(f"two events are called {kind!r}: {Event.kinds[kind].__name__} and {cls.__name__}")
        Event.kinds[kind] = cls


E_co = TypeVar("E_co", bound=Event, covariant=True)


class Recorded(NamedTuple, Generic[E_co]):
    """An event with its place in the log. A tuple, as there is one for every event that is written or read.

    `position` counts through the whole log in commit order, `version` through the stream, both from 1.
    `at` is in microseconds since 1970 and never goes back along positions.
    """

    position: int
    stream: str
    version: int
    at: int
    actor: str | None
    event: E_co

    @property
    def at_seconds(self) -> int:
        return self.at // 1_000_000
