"""Rows on a table of their own: what a handler says at some position, and what is so then."""

from __future__ import annotations

import sqlite3
from typing import Any

from clew.projecting import Rows, Table, moment
from clew.projecting.rows import Memory


def table(*, timed: bool, hot: bool) -> Table:
    return Table(
        name="pets",
        key=("owner", "name"),
        columns={"owner": "text not null", "name": "text not null", "weight": "integer not null", "note": "text"},
        indexes=(("owner",),),
        timed=timed,
        hot=hot,
    )


class Ledger:
    """One table in a database in memory. `at` is where its handler stands; a batch ends with `end_batch`."""

    def __init__(self, pets: Table) -> None:
        self.connection = sqlite3.connect(":memory:")
        self.cursor = self.connection.cursor()
        for statement in pets.create("", "g1"):
            self.cursor.execute(statement)
        self.pets = pets
        self.memory = Memory()
        self.rows = Rows(self.cursor, self.memory)

    def at(self, position: int) -> Rows:
        self.rows.position = position
        return self.rows

    def end_batch(self) -> None:
        self.rows.flush()
        self.rows = Rows(self.cursor, self.memory)

    def weights(self, as_of: int | None = None) -> dict[tuple[str, str], int]:
        where, parameters = moment(as_of) if self.pets.timed else ("1", ())
        self.cursor.execute(f"select owner, name, weight from pets where {where}", parameters)
        found: list[Any] = self.cursor.fetchall()
        weights = {(owner, name): weight for owner, name, weight in found}
        assert len(weights) == len(found), "two rows of one key at one moment"
        return weights

    def stored(self) -> list[tuple[Any, ...]]:
        order = ", ".join((*self.pets.key, "since") if self.pets.timed else self.pets.key)
        self.cursor.execute(f"select * from {self.pets.name} order by {order}")
        return self.cursor.fetchall()

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()
