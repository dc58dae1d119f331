"""Rows on a table of their own: what a handler says at some position, and what is so then."""

from __future__ import annotations

import sqlite3
from typing import Any

import psycopg

from clew.log.postgres_cursor import PostgresCursor
from clew.log.sqlite import SqliteCursor
from clew.log.store import Cursor, wall_clock
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
    """One table in a database in memory, or of a PostgreSQL connection, which is left as it was.

    `at` is where its handler stands; a batch ends with `end_batch`.
    """

    def __init__(self, pets: Table, postgres: psycopg.Connection[Any] | None = None) -> None:
        self.connection: sqlite3.Connection | psycopg.Connection[Any] = postgres or sqlite3.connect(":memory:")
        self.cursor: Cursor = (
            PostgresCursor(self.connection.cursor())
            if isinstance(self.connection, psycopg.Connection)
            else SqliteCursor(self.connection.cursor(), wall_clock)
        )
        for statement in pets.create("", "g1", self.cursor.tongue):
            self.cursor.execute(statement)
        self.made = postgres is None
        self.pets = pets
        self.memory = Memory()
        self.rows = Rows(self.cursor, self.memory)

    def at(self, position: int) -> Rows:
        return self.rows.at("ann's", position)

    def end_batch(self) -> None:
        self.rows.flush()
        self.rows = Rows(self.cursor, self.memory)

    def weights(self, as_of: int | None = None) -> dict[tuple[str, str], int]:
        where, parameters = moment(as_of) if self.pets.timed else ("1 = 1", ())
        self.cursor.execute(f"select owner, name, weight from {self.pets.name} where {where}", parameters)
        found: list[Any] = self.cursor.fetchall()
        weights = {(owner, name): weight for owner, name, weight in found}
        assert len(weights) == len(found), "two rows of one key at one moment"
        return weights

    def stored(self) -> list[tuple[Any, ...]]:
        order = ", ".join((*self.pets.key, "since") if self.pets.timed else self.pets.key)
        self.cursor.execute(f"select * from {self.pets.name} order by {order}")
        stored: list[tuple[Any, ...]] = self.cursor.fetchall()
        return stored

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.rollback()
        if self.made:
            self.connection.close()
