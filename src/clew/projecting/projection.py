"""A projection: which rows follow from which events."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, Generic, Literal, TypeAlias, TypeVar

from pydantic import BaseModel

from clew.errors import Misconfigured
from clew.events.base import Event, Recorded
from clew.projecting.rows import Rows
from clew.projecting.tables import Documents, Table

E = TypeVar("E", bound=Event)
V = TypeVar("V", bound=BaseModel)

Lifecycle: TypeAlias = Literal["inline", "follow"]
Handler: TypeAlias = Callable[[Recorded[Any], Rows], None]


@dataclass
class Projection:
    """`version` changes when rows would come out differently; the tables are then rebuilt from the log."""

    name: str
    version: int
    lifecycle: Lifecycle
    tables: tuple[Table, ...]
    handlers: dict[type[Event], Handler] = field(default_factory=dict)

    def on(
        self, event_type: type[E]
    ) -> Callable[[Callable[[Recorded[E], Rows], None]], Callable[[Recorded[E], Rows], None]]:
        """Register a handler. An event type has one handler in a projection."""

        def register(handler: Callable[[Recorded[E], Rows], None]) -> Callable[[Recorded[E], Rows], None]:
            if event_type in self.handlers:
                raise TypeError(f"projection {self.name} handles {event_type.kind} twice")
            self.handlers[event_type] = handler
            return handler

        return register

    def apply(self, recorded: Recorded[Event], rows: Rows) -> None:
        handler = self.handlers.get(type(recorded.event))
        if handler is not None:
            handler(recorded, rows.at(recorded.stream, recorded.position))


class Fold(Generic[V]):
    """A projection for small views: pure functions from a frozen model and an event to the next model.

    One document a stream; a function that returns None ends it.
    """

    def __init__(self, *, name: str, version: int, table: Documents[V], lifecycle: Lifecycle = "inline") -> None:
        assert table.key[0] in table.names
        self.table = table
        self.projection = Projection(name, version, lifecycle, (table,))

    def on(
        self, event_type: type[E]
    ) -> Callable[[Callable[[V | None, Recorded[E]], V | None]], Callable[[V | None, Recorded[E]], V | None]]:
        def register(
            step: Callable[[V | None, Recorded[E]], V | None],
        ) -> Callable[[V | None, Recorded[E]], V | None]:
            def handler(recorded: Recorded[E], rows: Rows) -> None:
                after = step(rows.load(self.table, recorded.stream), recorded)
                if after is None:
                    rows.remove(self.table, recorded.stream)
                else:
                    rows.save(self.table, after)

            self.projection.on(event_type)(handler)
            return step

        return register


def discover(package: ModuleType) -> list[Projection]:
    """The projections of every module in `package`. Dropping a file in is enough."""
    found: dict[str, Projection] = {}
    for entry in sorted(pkgutil.iter_modules(package.__path__), key=lambda entry: entry.name):
        if entry.name.startswith("_"):
            continue
        module = importlib.import_module(f"{package.__name__}.{entry.name}")
        value = getattr(module, "projection", None)
        if not isinstance(value, Projection):
            raise Misconfigured(f"{module.__file__} has no value `projection`; every read model needs one")
        if value.name in found:
            raise Misconfigured(f"two projections are called {value.name!r}; names are chosen and unique")
        found[value.name] = value
    return list(found.values())
