"""Tables of read models, with time.

A timed table keeps what was true before: `since` and `until` are the positions between which a row was so.
Now is `until is null`; a past position `p` is `since <= p and (until is null or until > p)`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Generic, TypeVar, cast

from pydantic import BaseModel

from clew.log import ColumnType, Tongue

V = TypeVar("V", bound=BaseModel)
# No position is above this one.
_NEWEST = 2**62


def moment(as_of: int | None) -> tuple[str, tuple[int, ...]]:
    """The condition, and its parameters, for the rows of a timed table that are true as of a position, or now."""
    if as_of is None:
        return "until is null", ()
    return "since <= ? and (until is null or until > ?)", (as_of, as_of)


def upper_bound(before: int | None, as_of: int | None) -> int:
    """The position that whatever is listed by creation was made before: what came after the point is not looked at."""
    bounds = [bound for bound in (before, as_of + 1 if as_of is not None else None) if bound is not None]
    return min(bounds, default=_NEWEST)


@dataclass(frozen=True, eq=False)
class Table:
    """`columns` maps names to SQL types (text, integer, blob), with `not null` where that holds.

    `hot` tables are read by their own handlers all the time: the writer keeps their newest rows in memory. A row of
    a hot table is moved by the events of one stream; if those of many streams move it, the table is `common` too.

    A timed table that is `running` keeps totals, which are its columns behind the key. One follows the other and none
    ever ends: a row holds until the next of its key, so there is no `until`, and what is added is all that is written.
    """

    name: str
    key: tuple[str, ...]
    columns: Mapping[str, str]
    indexes: tuple[tuple[str, ...], ...] = ()
    timed: bool = True
    hot: bool = False
    common: bool = False
    running: bool = False

    @cached_property
    def names(self) -> tuple[str, ...]:
        return tuple(self.columns)

    @cached_property
    def key_places(self) -> tuple[int, ...]:
        return tuple(self.names.index(column) for column in self.key)

    @cached_property
    def types(self) -> Mapping[str, ColumnType]:
        """The stored columns with their bare types."""
        bare = {name: cast("ColumnType", sql_type.split()[0]) for name, sql_type in self.columns.items()}
        if not self.timed:
            return bare
        return {**bare, "since": "integer"} if self.running else {**bare, "since": "integer", "until": "integer"}

    @cached_property
    def key_types(self) -> Mapping[str, ColumnType]:
        """The columns that tell a stored row from all others."""
        return {name: self.types[name] for name in ((*self.key, "since") if self.timed else self.key)}

    def create(self, suffix: str, generation: str, tongue: Tongue) -> list[str]:
        """The statements that make the table. `generation` keeps index names apart when it is made again."""
        number = tongue.types["integer"]
        lines = [
            f"{column} {tongue.types[self.types[column]]}{' not null' if 'not null' in sql_type else ''}"
            for column, sql_type in self.columns.items()
        ]
        if self.running:
            # Beside its key: SQLite's check of a file (3.40) sees NULLs where a part of the key stands behind the rest.
            assert self.names[: len(self.key)] == self.key, "a running table has its key first"
            lines.insert(len(self.key), f"since {number} not null")
        elif self.timed:
            lines += [f"since {number} not null", f"until {number} check (until is null or until > since)"]
        lines.append(f"primary key ({', '.join(self.key_types)})")
        made = [f"create table {self.name}{suffix} ({', '.join(lines)}){tongue.table_suffix}"]
        made += [
            f"create index {self.name}_{number}_{generation} on {self.name}{suffix} ({', '.join(columns)})"
            for number, columns in enumerate(self.indexes)
        ]
        return made


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
