"""What a store is: what the log, the read models and the committer ask of SQLite and of PostgreSQL alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

from clew.log.chain import Head, Row

if TYPE_CHECKING:
    from clew.log.signals import Signals

ColumnType = Literal["text", "integer", "blob"]

# The columns of `idempotency`, whose rows the committer writes for a whole batch at once.
IDEMPOTENCY: Mapping[str, ColumnType] = {
    "key": "text",
    "fingerprint": "blob",
    "stream": "text",
    "first_version": "integer",
    "last_version": "integer",
    "at": "integer",
}


@dataclass(frozen=True)
class Tongue:
    """What the two databases say differently. `position` is the column of `events` that holds it."""

    name: Literal["sqlite", "postgres"]
    position: str
    types: Mapping[str, str]
    table_suffix: str
    for_update: str
    skip_locked: str


SQLITE = Tongue(
    name="sqlite",
    position="rowid",
    types={"text": "text", "integer": "integer", "blob": "blob"},
    table_suffix=" without rowid",
    # One writer at a time holds the whole file, so there is nothing else to lock.
    for_update="",
    skip_locked="",
)
POSTGRES = Tongue(
    name="postgres",
    position="notification_id",
    # Whatever order the database sorts names in, ours is that of bytes, as SQLite's.
    types={"text": 'text collate "C"', "integer": "bigint", "blob": "bytea"},
    table_suffix="",
    for_update=" for update",
    skip_locked=" for update of b skip locked",
)


class Cursor(Protocol):
    """A cursor of either database. `?` stands for a parameter; rows come as sequences.

    The writers of many rows take the columns with their types, and go over the wire once.
    """

    @property
    def tongue(self) -> Tongue: ...

    def execute(self, sql: str, parameters: Sequence[Any] = (), /) -> Any: ...

    def fetchone(self) -> Any: ...

    def fetchall(self) -> Any: ...

    def insert(
        self,
        table: str,
        columns: Mapping[str, ColumnType],
        rows: Sequence[Sequence[Any]],
        *,
        replacing: Sequence[str] = (),
    ) -> None:
        """Rows in the order of `columns`. Where the columns `replacing` are equal, the new row takes the place."""

    def update(
        self,
        table: str,
        column: tuple[str, ColumnType],
        key: Mapping[str, ColumnType],
        rows: Sequence[Sequence[Any]],
    ) -> None:
        """Each row is the new value of `column`, then the key of the row that gets it."""

    def delete(self, table: str, key: Mapping[str, ColumnType], keys: Sequence[Sequence[Any]]) -> None: ...

    def now(self) -> int:
        """The database's clock, in microseconds since 1970."""


class Raced(Exception):
    """Another process was there first, and what we remembered of the log was behind. Inside the log only."""


@dataclass(frozen=True, slots=True)
class End:
    """The end of the log, while nobody else can append. `now` is the database's clock.

    `epoch` changes when somebody swapped a read model or migrated the store: what was remembered of it is void.
    """

    position: int
    at: int
    now: int
    epoch: int


@dataclass(frozen=True, slots=True)
class First:
    """What an idempotency key stands for."""

    fingerprint: bytes
    stream: str
    first_version: int
    last_version: int


Meanwhile: TypeAlias = Callable[[], None]


def nothing() -> None:
    """What there is to do while one waits, where nobody says otherwise."""


class Store(Protocol):
    """An open store. `shared`: other processes may write to it too, so what is remembered may be behind.

    `name` may be shown to anybody: it has no password.
    """

    name: str
    shared: bool
    writing: bool
    batch_bytes_max: int

    @property
    def tongue(self) -> Tongue: ...

    def now(self) -> int:
        """The store's clock without asking it: microseconds since 1970."""

    def snapshot(self) -> AbstractContextManager[Cursor]:
        """A reading transaction: everything in it is read as of one moment."""

    def transaction(self) -> AbstractContextManager[Cursor]:
        """A writing transaction, for what is not an event. Only the one thread that writes may ask for it."""

    def appending(
        self, meanwhile: Meanwhile = nothing, foresee: Meanwhile = nothing
    ) -> AbstractContextManager[tuple[Cursor, End]]:
        """A writing transaction in which nobody else can append. Only the one thread that writes may ask for it.

        `meanwhile` is called, maybe more than once, where the caller would only wait for the database; `foresee` at
        most once, while the question where the log ends is on its way.
        """

    def insert_events(self, cursor: Cursor, rows: Sequence[Row]) -> None:
        """Once a transaction, and maybe only as it ends: nothing in it may look for them."""

    def heads(self, cursor: Cursor, streams: Iterable[str]) -> dict[str, Head]:
        """The ends of streams, those without events left out."""

    def first_outcomes(self, cursor: Cursor, keys: Sequence[str]) -> dict[str, First]:
        """What those of `keys` that were seen before stand for."""

    def preparing(self) -> AbstractContextManager[None]:
        """Only one process at a time makes or remakes tables."""

    def signals(self) -> Signals | None:
        """Word from and to other processes, where there may be any."""

    def examine(self, cursor: Cursor) -> tuple[bool, str]:
        """Whether the database itself finds nothing wrong, and what it says."""

    def close(self) -> None: ...


def wall_clock() -> int:
    return time.time_ns() // 1000
