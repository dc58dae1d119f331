"""Tables of read models, with time.

A timed table keeps what was true before: `since` and `until` are the positions between which a row was so.
Now is `until is null`; a past position `p` is `since <= p and (until is null or until > p)`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Generic, TypeVar

from pydantic import BaseModel

V = TypeVar("V", bound=BaseModel)


def moment(as_of: int | None) -> tuple[str, tuple[int, ...]]:
    """The condition, and its parameters, for the rows of a timed table that are true as of a position, or now."""
    if as_of is None:
        return "until is null", ()
    return "since <= ? and (until is null or until > ?)", (as_of, as_of)


@dataclass(frozen=True, eq=False)
class Table:
    """`columns` maps names to SQL types (text, integer, blob), with `not null` where that holds.

    `hot` tables are read by their own handlers all the time: the writer keeps their newest rows in memory.
    """

    name: str
    key: tuple[str, ...]
    columns: Mapping[str, str]
    indexes: tuple[tuple[str, ...], ...] = ()
    timed: bool = True
    hot: bool = False

    @cached_property
    def names(self) -> tuple[str, ...]:
        return tuple(self.columns)

    @cached_property
    def key_places(self) -> tuple[int, ...]:
        return tuple(self.names.index(column) for column in self.key)

    def create(self, suffix: str, generation: str) -> list[str]:
        """The statements that make the table. `generation` keeps index names apart when it is made again."""
        lines = [f"{column} {sql_type}" for column, sql_type in self.columns.items()]
        key = list(self.key)
        if self.timed:
            lines += ["since integer not null", "until integer check (until is null or until > since)"]
            key.append("since")
        lines.append(f"primary key ({', '.join(key)})")
        made = [f"create table {self.name}{suffix} ({', '.join(lines)}) without rowid"]
        made += [
            f"create index {self.name}_{number}_{generation} on {self.name}{suffix} ({', '.join(columns)})"
            for number, columns in enumerate(self.indexes)
        ]
        return made

    @cached_property
    def stored(self) -> tuple[str, ...]:
        return (*self.names, "since", "until") if self.timed else self.names


@dataclass(frozen=True, eq=False)
class Documents(Table, Generic[V]):
    """A table of one frozen model a key, kept as JSON beside the columns that questions ask by.

    The columns bear the names of the model's fields they are copied from.
    """

    model: type[V] = None  # type: ignore[assignment]

    def row(self, view: V) -> list[object]:
        return [getattr(view, name) for name in self.names[:-1]] + [view.model_dump_json(exclude_defaults=True)]

    def read(self, doc: str) -> V:
        return self.model.model_validate_json(doc)


def documents(
    name: str,
    model: type[V],
    *,
    key: Sequence[str],
    columns: Mapping[str, str],
    indexes: tuple[tuple[str, ...], ...] = (),
    timed: bool = True,
) -> Documents[V]:
    """A table of documents: `columns` are copied from the model, `doc` is added."""
    return Documents(
        name=name,
        key=tuple(key),
        columns={**columns, "doc": "text not null"},
        indexes=indexes,
        timed=timed,
        hot=True,
        model=model,
    )
