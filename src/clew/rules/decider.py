"""A rule book: where a stream starts, what a command makes happen, what an event makes of the state."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from clew.events.base import Event

State = TypeVar("State")
Command = TypeVar("Command")
E = TypeVar("E", bound=Event)


@dataclass(frozen=True)
class Decider(Generic[Command, State, E]):
    """`version` changes when the state's shape does; snapshots of another version are not read.

    `decide` gives the events that follow, an empty list when nothing needs to happen, or raises `Refused`.
    """

    name: str
    version: int
    initial: State
    decide: Callable[[Command, State], Sequence[E]]
    evolve: Callable[[State, E], State]

    def fold(self, events: Iterable[E], state: State | None = None) -> State:
        at = self.initial if state is None else state
        for event in events:
            at = self.evolve(at, event)
        return at
