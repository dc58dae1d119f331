"""The log in SQLite: in a file, or in memory, on the eventsourcing library's recorder.

A file has exactly one writing process, which holds a lock file beside it, and in that process one connection
that writes and checkpoints; every other connection only reads. `synchronous=FULL`: what is acknowledged is on disk.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

from eventsourcing.persistence import StoredEvent
from eventsourcing.sqlite import (
    SQLiteApplicationRecorder,
    SQLiteConnection,
    SQLiteConnectionPool,
    SQLiteDatastore,
)

from clew.errors import NotOurs, StoreLocked
from clew.log.chain import Head, Row, Sealer, seal_stored
from clew.log.migrations import migration_texts, statements
from clew.log.sqlite_file import refuse_newer, refuse_strangers, sign, take_lock
from clew.log.store import SQLITE, ColumnType, Cursor, End, First, Meanwhile, Tongue, nothing, wall_clock


class _Pool(SQLiteConnectionPool):
    """Connections that write, or connections that cannot."""

    def __init__(self, *, reads_only: bool, **options: Any) -> None:
        super().__init__(**options)
        self._reads_only = reads_only

    def _create_connection(self) -> SQLiteConnection:
        connection = super()._create_connection()
        raw = connection._sqlite_conn
        raw.row_factory = sqlite3.Row
        raw.execute("pragma cache_size = -65536")
        raw.execute("pragma temp_store = memory")
        if self._reads_only:
            # A reader that checkpoints would be a second writer of the database file.
            raw.execute("pragma wal_autocheckpoint = 0")
            raw.execute("pragma query_only = 1")
        else:
            raw.execute("pragma synchronous = full")
            raw.execute("pragma secure_delete = fast")
        return connection


class _Datastore(SQLiteDatastore):
    def __init__(self, name: str, *, reads_only: bool, pool_size: int) -> None:
        super().__init__(name, originator_id_type="text", pool_size=pool_size)
        self.pool.close()
        self.pool = _Pool(db_name=name, reads_only=reads_only, pool_size=pool_size, max_overflow=0, pool_timeout=30)


class SqliteCursor:
    """The cursor of `clew.log.store` over sqlite3's."""

    tongue = SQLITE
    __slots__ = ("_clock", "execute", "executemany", "fetchall", "fetchone", "sqlite_cursor")

    def __init__(self, cursor: sqlite3.Cursor, clock: Callable[[], int]) -> None:
        self.sqlite_cursor = cursor
        self.execute = cursor.execute
        self.executemany = cursor.executemany
        self.fetchone = cursor.fetchone
        self.fetchall = cursor.fetchall
        self._clock = clock

    def insert(
        self,
        table: str,
        columns: Mapping[str, ColumnType],
        rows: Sequence[Sequence[Any]],
        *,
        replacing: Sequence[str] = (),
    ) -> None:
        self.executemany(_insert_sql(table, tuple(columns), tuple(replacing)), rows)

    def update(
        self,
        table: str,
        column: tuple[str, ColumnType],
        key: Mapping[str, ColumnType],
        rows: Sequence[Sequence[Any]],
    ) -> None:
        self.executemany(f"update {table} set {column[0]} = ? where {_equal(key)}", rows)

    def delete(self, table: str, key: Mapping[str, ColumnType], keys: Sequence[Sequence[Any]]) -> None:
        self.executemany(f"delete from {table} where {_equal(key)}", keys)

    def now(self) -> int:
        return self._clock()


@lru_cache(maxsize=500)
def _insert_sql(table: str, columns: tuple[str, ...], replacing: tuple[str, ...]) -> str:
    sql = f"insert into {table} ({', '.join(columns)}) values ({','.join('?' * len(columns))})"
    if not replacing:
        return sql
    others = ", ".join(f"{column} = excluded.{column}" for column in columns if column not in replacing)
    return f"{sql} on conflict ({', '.join(replacing)}) do update set {others}"


def _equal(key: Iterable[str]) -> str:
    return " and ".join(f"{column} = ?" for column in key)


class SqliteRecorder(SQLiteApplicationRecorder):
    """The library's recorder over our own table, with positions, times and hashes."""

    _INSERT: ClassVar[str] = (
        "insert into events (rowid, partition, originator_id, originator_version, topic, at, actor, state, salt,"
        " body_hash, hash) values (?,?,?,?,?,?,?,?,?,?,?)"
    )

    def __init__(self, datastore: SQLiteDatastore) -> None:
        super().__init__(datastore, events_table_name="events")

    def construct_create_table_statements(self) -> list[str]:
        return list(statements(migration_texts()[0][1]))

    def _insert_events(self, c: Any, stored_events: Sequence[StoredEvent], **_: Any) -> Sequence[int] | None:
        """Sealed here, as the library's own users would want."""
        sealer = Sealer()
        sealer.begin(*self.end_of_log(c), wall_clock())
        streams = {str(event.originator_id) for event in stored_events}
        heads = {stream: head for stream in streams if (head := self.head(c, stream)) is not None}
        rows = seal_stored(sealer, heads, stored_events)
        self.insert_rows(c, rows)
        return [row.position for row in rows]

    def insert_rows(self, c: Any, rows: Sequence[Row]) -> None:
        c.executemany(self._INSERT, rows)

    @staticmethod
    def head(c: Any, stream: str) -> Head | None:
        c.execute(
            "select originator_version, hash from events where partition = 0 and originator_id = ?"
            " order by originator_version desc limit 1",
            (stream,),
        )
        row = c.fetchone()
        return Head(row[0], row[1]) if row is not None else None

    @staticmethod
    def end_of_log(c: Any) -> tuple[int, int]:
        """Position and time of the newest event."""
        c.execute("select rowid, at from events order by rowid desc limit 1")
        row = c.fetchone()
        return (row[0], row[1]) if row is not None else (0, 0)


class SqliteStore:
    """An open store. `writing=False` opens it beside a server that writes, for reading only.

    `clock` gives microseconds since 1970; a simulation has its own.
    """

    tongue: Tongue = SQLITE
    shared = False
    batch_bytes_max = 4_000_000

    def __init__(self, path: Path | None, *, writing: bool = True, clock: Callable[[], int] = wall_clock) -> None:
        self.path = path
        self.writing = writing
        self.name = str(path) if path is not None else ":memory:"
        self.now = clock
        self._lock: int | None = None
        self._held: SQLiteConnection | None = None
        self._idle: list[SQLiteConnection] = []
        self._reading = threading.local()
        # Position and time of the newest event, as far as remembered, and of what the open transaction adds.
        self._end: tuple[int, int] | None = None
        self._adding: tuple[int, int] | None = None
        if path is not None:
            refuse_strangers(path, writing=writing)
            if writing:
                self._lock = take_lock(path)
        try:
            self._open()
        except sqlite3.DatabaseError as error:
            self._release()
            raise (
                StoreLocked(path=self.name, holder="it is locked")
                if "locked" in str(error)
                else NotOurs(path=self.name, why=str(error))
            ) from error
        except BaseException:
            self._release()
            raise

    def _open(self) -> None:
        if self.path is not None and self.writing:
            sign(self.path)
        if self.path is None:
            # One connection for all: the library interlocks its readers and its writer.
            self._writer = self._readers = _Datastore(":memory:", reads_only=False, pool_size=1)
        else:
            self._readers = _Datastore(self.name, reads_only=True, pool_size=8)
            self._writer = _Datastore(self.name, reads_only=False, pool_size=1) if self.writing else self._readers
        self.recorder = SqliteRecorder(self._writer)
        self.reading_recorder = SqliteRecorder(self._readers)
        if self.writing:
            self._migrate()

    @contextmanager
    def transaction(self) -> Iterator[SqliteCursor]:
        if self.path is None:
            with self._writer.transaction(commit=True) as cursor:
                yield SqliteCursor(cursor.sqlite_cursor, self.now)
            return
        if self._held is None:
            # Taking a connection from the pool and giving it back costs as much as an insert.
            self._held = self._writer.pool.get_connection(is_writer=True)
        with self._held.transaction(commit=True) as cursor:
            yield SqliteCursor(cursor.sqlite_cursor, self.now)

    @contextmanager
    def appending(
        self, meanwhile: Meanwhile = nothing, foresee: Meanwhile = nothing
    ) -> Iterator[tuple[SqliteCursor, End]]:
        """The file has one writer, so the end of the log is what that one remembers, and nobody is waited for."""
        try:
            with self.transaction() as cursor:
                position, at = self._end or self.recorder.end_of_log(cursor)
                self._adding = (position, at)
                yield cursor, End(position, at, self.now(), 0)
        except BaseException:
            self._end = None
            raise
        self._end = self._adding

    def insert_events(self, cursor: Cursor, rows: Sequence[Row]) -> None:
        self.recorder.insert_rows(cursor, rows)
        self._adding = (rows[-1].position, rows[-1].at)

    def heads(self, cursor: Cursor, streams: Iterable[str]) -> dict[str, Head]:
        found = {stream: self.recorder.head(cursor, stream) for stream in streams}
        return {stream: head for stream, head in found.items() if head is not None}

    def first_outcomes(self, cursor: Cursor, keys: Sequence[str]) -> dict[str, First]:
        found = {}
        for key in keys:
            cursor.execute(
                "select fingerprint, stream, first_version, last_version from idempotency where key = ?", (key,)
            )
            row = cursor.fetchone()
            if row is not None:
                found[key] = First(*row)
        return found

    @contextmanager
    def preparing(self) -> Iterator[None]:
        """Whoever writes to the file is alone."""
        yield

    def signals(self) -> None:
        """There is nobody to talk to."""

    def examine(self, cursor: Cursor) -> tuple[bool, str]:
        try:
            cursor.execute("pragma quick_check(1)")
            told = cursor.fetchone()[0]
        except sqlite3.DatabaseError as error:
            return False, str(error)
        return told == "ok", f"sqlite says {told}"

    @contextmanager
    def snapshot(self) -> Iterator[SqliteCursor]:
        if self.path is None:
            # All share one connection: whoever reads within a reading must be given the same one, or waits for itself.
            outer: SqliteCursor | None = getattr(self._reading, "cursor", None)
            if outer is not None:
                yield SqliteCursor(outer.sqlite_cursor.connection.cursor(), self.now)
                return
            with self._readers.transaction(commit=False) as cursor:
                self._reading.cursor = SqliteCursor(cursor.sqlite_cursor, self.now)
                try:
                    yield self._reading.cursor
                finally:
                    self._reading.cursor = None
            return
        idle = self._idle
        try:
            connection = idle.pop()
        except IndexError:
            connection = self._readers.pool.get_connection(is_writer=False)
        try:
            with connection.transaction(commit=False) as cursor:
                yield SqliteCursor(cursor.sqlite_cursor, self.now)
        finally:
            idle.append(connection)

    def close(self) -> None:
        if self._held is not None:
            self._writer.pool.put_connection(self._held)
            self._held = None
        while self._idle:
            self._readers.pool.put_connection(self._idle.pop())
        self._writer.close()
        self._readers.close()
        self._release()

    def _release(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _migrate(self) -> None:
        with self._writer.transaction(commit=True) as cursor:
            cursor.execute("pragma user_version")
            version = int(cursor.fetchone()[0])
            refuse_newer(self.name, version)
            for number, text in migration_texts():
                if number > version:
                    for statement in statements(text):
                        cursor.execute(statement)
                    cursor.execute(f"pragma user_version = {number}")
            # This process holds the file alone, so whoever held a lease is gone.
            cursor.execute("delete from leases")
        if self.path is not None and version == 0:
            with self._writer.get_connection(commit=True) as connection:
                # The first page, which says whose file it is, leaves the WAL at once.
                connection.cursor().execute("pragma wal_checkpoint(truncate)")
