"""Given what happened, when somebody asks for something, then this happens: rules, said as sentences.

Every event that is handed in or comes out goes through the codec, so that no green test can contain an event
that the log cannot hold.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import pytest

from clew.errors import Refused
from clew.events.base import Event
from clew.log import codec
from clew.rules.decider import Decider

C = TypeVar("C")
S = TypeVar("S")
E = TypeVar("E", bound=Event)
AnyEvent = TypeVar("AnyEvent", bound=Event)


def through_codec(event: AnyEvent) -> AnyEvent:
    """The event as the log would give it back."""
    read = codec.decode(event.kind, codec.encode(event))
    assert type(read) is type(event)
    assert read == event, "what is read is not what was written"
    return read


def given(rules: Decider[C, S, E], *events: E) -> Given[C, S, E]:
    return Given(rules, rules.fold(through_codec(event) for event in events))


@dataclass(frozen=True)
class Given(Generic[C, S, E]):
    rules: Decider[C, S, E]
    state: S

    def when(self, command: C) -> When[E]:
        def decide() -> list[E]:
            events = [through_codec(event) for event in self.rules.decide(command, self.state)]
            self.rules.fold(events, self.state)
            return events

        return When(decide)


@dataclass(frozen=True)
class When(Generic[E]):
    decide: Callable[[], list[E]]

    def then(self, *events: E) -> None:
        assert self.decide() == [through_codec(event) for event in events]

    def then_kinds(self, *kinds: type[E]) -> list[E]:
        """The same, when only what kind of thing happens matters; gives the events for a closer look."""
        events = self.decide()
        assert [type(event) for event in events] == list(kinds)
        return events

    def then_nothing(self) -> None:
        assert self.decide() == []

    def then_refused(self, error: type[Refused], **facts: Any) -> None:
        with pytest.raises(error) as raised:
            self.decide()
        assert type(raised.value) is error
        assert {name: getattr(raised.value, name) for name in facts} == facts
        assert str(raised.value), "a refusal says why"
