"""One store for all processes of a simulation, and each one's own way to it, on which faults wait.

The store is SQLite in memory, whose clock is the database's. What a process sees of it behaves as PostgreSQL's does:
others write too, a transaction may fail, a connection may go away before or after the commit, and the database's
clock is guessed from the process's own.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from random import Random
from typing import Any, Literal, TypeAlias, cast

import clew_projections
from clew.errors import StoreLost
from clew.log import Cursor, Log, SqliteStore
from clew.log.chain import Head, Row
from clew.log.postgres import PostgresStore
from clew.log.store import SQLITE, End, First, Meanwhile, Raced, nothing
from clew.projecting import Keeper, discover

# What becomes of one transaction. `lost` is the connection: before it began, before the commit, or after it.
Fate: TypeAlias = Literal["well", "failed", "away", "lost_before", "lost_after"]


@cache
def _template() -> sqlite3.Connection:
    """A store with all tables made, to copy: making them takes longer than a short history."""
    store = SqliteStore(None)
    keeper = Keeper(discover(clew_projections))
    log = Log(store, keeper.inline, keeper.forget, keeper.swapped)
    asyncio.run(keeper.prepare(log))
    copy = sqlite3.connect(":memory:", check_same_thread=False)
    _connection(store).backup(copy)
    log.close()
    return copy


def _connection(store: SqliteStore) -> sqlite3.Connection:
    with store.snapshot() as cursor:
        return cursor.sqlite_cursor.connection


def new_store(clock: Callable[[], int]) -> SqliteStore:
    store = SqliteStore(None, clock=clock)
    _template().backup(_connection(store))
    return store


@dataclass
class Odds:
    """How likely what is, for each transaction. `calm` ends it all."""

    failed: float = 0.0
    lost: float = 0.0
    calm: bool = False

    def fates(self, random: Random) -> list[Fate]:
        """Of this attempt and of those that follow at once, for as long as they are attempts at the same."""
        if self.calm:
            return []
        drawn = random.random()
        if drawn < self.failed:
            return ["failed"]
        if drawn < self.failed + self.lost:
            first: Fate = random.choice(("away", "lost_before", "lost_after", "lost_after"))
            then: Fate = random.choice(("well", "away", "lost_after"))
            return [first, then]
        return []


@dataclass
class Way:
    """A process's way to the store. `between` is called before a lost transaction is tried again: others come first."""

    store: SqliteStore
    random: Random
    odds: Odds
    between: Callable[[], None]
    cut: bool = False
    tongue = SQLITE
    shared = True
    writing = True
    batch_bytes_max = 1_000_000
    name = "the simulated database"
    _fates: list[Fate] = field(default_factory=list)
    _offset: int = 0

    def __post_init__(self) -> None:
        self._note_clock(self.store.now())

    def now(self) -> int:
        return PostgresStore.now(cast("Any", self))

    def _note_clock(self, now: int) -> None:
        PostgresStore._note_clock(cast("Any", self), now)

    @contextmanager
    def snapshot(self) -> Iterator[Cursor]:
        self._must_not_be_cut()
        with self.store.snapshot() as cursor:
            yield cursor

    @contextmanager
    def transaction(self) -> Iterator[Cursor]:
        fate = self._fate()
        with self.store.transaction() as cursor:
            yield cursor
            self._before_commit(fate)
        self._after_commit(fate)

    @contextmanager
    def appending(self, meanwhile: Meanwhile = nothing, foresee: Meanwhile = nothing) -> Iterator[tuple[Cursor, End]]:
        """Virtual time stands still while one waits here, so there is no meanwhile."""
        fate = self._fate()
        foresee()
        with self.store.appending() as (cursor, end):
            self._note_clock(end.now)
            yield cursor, end
            self._before_commit(fate)
        self._after_commit(fate)

    def begin_task(self) -> None:
        """What follows is no further attempt at what went before."""
        self._fates = self.odds.fates(self.random)
        self._tried = False

    def _fate(self) -> Fate:
        self._must_not_be_cut()
        if self._tried:
            self.between()
        self._tried = True
        fate = self._fates.pop(0) if self._fates else "well"
        if fate == "away":
            raise StoreLost(name=self.name, why="simulated")
        return fate

    def _before_commit(self, fate: Fate) -> None:
        if fate == "failed":
            raise sqlite3.OperationalError("disk I/O error (simulated)")
        if fate == "lost_before":
            raise StoreLost(name=self.name, why="simulated, before the commit")

    def _after_commit(self, fate: Fate) -> None:
        if fate == "lost_after":
            raise StoreLost(name=self.name, why="simulated, after the commit")

    def _must_not_be_cut(self) -> None:
        if self.cut:
            raise StoreLost(name=self.name, why="simulated, cut off")

    def insert_events(self, cursor: Cursor, rows: Sequence[Row]) -> None:
        try:
            self.store.insert_events(cursor, rows)
        except sqlite3.IntegrityError as error:
            raise Raced(str(error)) from error

    def heads(self, cursor: Cursor, streams: Iterable[str]) -> dict[str, Head]:
        return self.store.heads(cursor, streams)

    def first_outcomes(self, cursor: Cursor, keys: Sequence[str]) -> dict[str, First]:
        return self.store.first_outcomes(cursor, keys)

    @contextmanager
    def preparing(self) -> Iterator[None]:
        yield

    def signals(self) -> None:
        """The simulation passes word by itself."""

    def examine(self, cursor: Cursor) -> tuple[bool, str]:
        return self.store.examine(cursor)

    def close(self) -> None:
        """The store stays, for the others."""

    _tried: bool = False
