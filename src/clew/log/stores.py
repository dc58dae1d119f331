"""Where the log is kept: SQLite in a file, or in memory, on the eventsourcing library's recorders.

A file has exactly one writing process, which holds a lock file beside it, and in that process one connection
that writes and checkpoints; every other connection only reads. `synchronous=FULL`: what is acknowledged is on disk.
PostgreSQL is to join as another class with the same methods; `open_store` is where the name decides.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import struct
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any, ClassVar

from eventsourcing.persistence import StoredEvent
from eventsourcing.sqlite import (
    SQLiteApplicationRecorder,
    SQLiteConnection,
    SQLiteConnectionPool,
    SQLiteCursor,
    SQLiteDatastore,
)

from clew.errors import Misconfigured, NewerStore, NotOurs, StoreLocked
from clew.log.chain import FIRST, Head, Sealed, Sealer, Unsealed

APPLICATION_ID = int.from_bytes(b"Clew", "big")
_MAGIC = b"SQLite format 3\x00"


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


class LogRecorder(SQLiteApplicationRecorder):
    """The library's recorder over our own table, with positions, times and hashes."""

    _INSERT: ClassVar[str] = (
        "insert into events (rowid, partition, originator_id, originator_version, topic, at, actor, state, salt,"
        " body_hash, hash) values (?,?,?,?,?,?,?,?,?,?,?)"
    )

    def __init__(self, datastore: SQLiteDatastore) -> None:
        super().__init__(datastore, events_table_name="events")

    def construct_create_table_statements(self) -> list[str]:
        return list(statements(migration_texts()[0][1]))

    def _insert_events(self, c: SQLiteCursor, stored_events: Sequence[StoredEvent], **_: Any) -> Sequence[int] | None:
        """Events that nobody sealed yet are sealed here, as the library's own users would want."""
        sealed = [event for event in stored_events if isinstance(event, Sealed)]
        if len(sealed) < len(stored_events):
            sealed = self.sealer(c).seal(
                [Unsealed(str(e.originator_id), e.originator_version, e.topic, e.state, None) for e in stored_events]
            )
        c.executemany(
            self._INSERT,
            [
                (
                    e.position,
                    e.partition,
                    e.originator_id,
                    e.originator_version,
                    e.topic,
                    e.at,
                    e.actor,
                    e.state,
                    e.salt,
                    e.body_hash,
                    e.hash,
                )
                for e in sealed
            ],
        )
        return [event.position for event in sealed]

    @staticmethod
    def sealer(c: SQLiteCursor) -> Sealer:
        """A sealer that looks the ends of streams up with `c`."""

        def head(stream: str) -> Head:
            c.execute(
                "select originator_version, hash from events where partition = 0 and originator_id = ?"
                " order by originator_version desc limit 1",
                (stream,),
            )
            row = c.fetchone()
            return Head(row[0], row[1]) if row is not None else Head(0, FIRST)

        return Sealer(head, lambda: LogRecorder.end_of_log(c))

    @staticmethod
    def end_of_log(c: SQLiteCursor) -> tuple[int, int]:
        """Position and time of the newest event."""
        c.execute("select rowid, at from events order by rowid desc limit 1")
        row = c.fetchone()
        return (row[0], row[1]) if row is not None else (0, 0)


class SqliteStore:
    """An open store. `writing=False` opens it beside a server that writes, for reading only."""

    def __init__(self, path: Path | None, *, writing: bool = True) -> None:
        self.path = path
        self.writing = writing
        self.name = str(path) if path is not None else ":memory:"
        self._lock: int | None = None
        self._held: SQLiteConnection | None = None
        self._idle: list[SQLiteConnection] = []
        self._reading = threading.local()
        if path is not None:
            self._check(path)
            if writing:
                self._lock = _take_lock(path)
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
        if self.path is None:
            # One connection for all: the library interlocks its readers and its writer.
            self._writer = self._readers = _Datastore(":memory:", reads_only=False, pool_size=1)
        else:
            self._readers = _Datastore(self.name, reads_only=True, pool_size=8)
            self._writer = _Datastore(self.name, reads_only=False, pool_size=1) if self.writing else self._readers
        self.recorder = LogRecorder(self._writer)
        self.reading_recorder = LogRecorder(self._readers)
        if self.writing:
            self._migrate()

    @contextmanager
    def transaction(self) -> Iterator[SQLiteCursor]:
        """The one writing transaction. Only one thread at a time may ask for it."""
        if self.path is None:
            with self._writer.transaction(commit=True) as cursor:
                yield cursor
            return
        if self._held is None:
            # Taking a connection from the pool and giving it back costs as much as an insert.
            self._held = self._writer.pool.get_connection(is_writer=True)
        with self._held.transaction(commit=True) as cursor:
            yield cursor

    @contextmanager
    def snapshot(self) -> Iterator[SQLiteCursor]:
        """A reading transaction: everything in it is read as of one moment."""
        if self.path is None:
            # All share one connection: whoever reads within a reading must be given the same one, or waits for itself.
            outer: SQLiteCursor | None = getattr(self._reading, "cursor", None)
            if outer is not None:
                yield SQLiteCursor(outer.sqlite_cursor.connection.cursor())
                return
            with self._readers.transaction(commit=False) as cursor:
                self._reading.cursor = cursor
                try:
                    yield cursor
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
                yield cursor
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

    def _check(self, path: Path) -> None:
        """Whether the file is one of ours, judged from its first bytes, so that a stranger's is not touched."""
        try:
            with path.open("rb") as file:
                head = file.read(100)
        except FileNotFoundError:
            if not self.writing:
                raise NotOurs(path=str(path), why="there is no such file") from None
            return
        except IsADirectoryError:
            raise NotOurs(path=str(path), why="it is a folder") from None
        except PermissionError:
            raise NotOurs(path=str(path), why="it may not be read by this user") from None
        if not head:
            return
        if len(head) < 100 or head[:16] != _MAGIC:
            raise NotOurs(path=str(path), why="it is not an SQLite database")
        (version,) = struct.unpack(">I", head[60:64])
        (application,) = struct.unpack(">I", head[68:72])
        if application != APPLICATION_ID:
            raise NotOurs(path=str(path), why="it is another program's SQLite database")
        self._refuse_newer(version)

    def _refuse_newer(self, version: int) -> None:
        known = migration_texts()[-1][0]
        if version > known:
            raise NewerStore(path=self.name, found=version, known=known)

    def _migrate(self) -> None:
        with self._writer.transaction(commit=True) as cursor:
            cursor.execute("pragma user_version")
            version = int(cursor.fetchone()[0])
            self._refuse_newer(version)
            for number, text in migration_texts():
                if number > version:
                    for statement in statements(text):
                        cursor.execute(statement)
                    cursor.execute(f"pragma user_version = {number}")
            cursor.execute(f"pragma application_id = {APPLICATION_ID}")
            # This process holds the file alone, so whoever held a lease is gone.
            cursor.execute("delete from leases")
        if self.path is not None and version == 0:
            with self._writer.get_connection(commit=True) as connection:
                # The first page, which says whose file it is, leaves the WAL at once.
                connection.cursor().execute("pragma wal_checkpoint(truncate)")


def _take_lock(path: Path) -> int:
    lock_path = path.with_name(path.name + ".lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise NotOurs(path=str(path), why=f"it cannot be written: {error.strerror}") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        holder = os.read(lock, 200).decode("utf-8", "replace").strip() or "unknown"
        os.close(lock)
        raise StoreLocked(path=str(path), holder=holder) from None
    os.ftruncate(lock, 0)
    os.write(lock, f"process {os.getpid()}".encode())
    return lock


def migration_texts() -> list[tuple[int, str]]:
    """Number and text of each migration, in order. A published one is never edited."""
    folder = files("clew.log").joinpath("sql/sqlite")
    found = [(int(entry.name[:3]), entry.read_text()) for entry in folder.iterdir() if entry.name.endswith(".sql")]
    return sorted(found)


def statements(text: str) -> Iterator[str]:
    """The statements of an SQL file, without its comments."""
    pending = ""
    for line in text.splitlines():
        if line.lstrip().startswith("--"):
            continue
        pending += line + "\n"
        if sqlite3.complete_statement(pending):
            if pending.strip():
                yield pending.strip()
            pending = ""


def open_store(name: str, *, writing: bool = True) -> SqliteStore:
    """`name` is a path, `sqlite:///path`, or `:memory:`."""
    if name.startswith(("postgresql://", "postgres://")):
        raise Misconfigured("this version keeps its log in SQLite only; give --store a path or sqlite:///path")
    if name == ":memory:":
        return SqliteStore(None)
    return SqliteStore(Path(name.removeprefix("sqlite:///")).expanduser(), writing=writing)
