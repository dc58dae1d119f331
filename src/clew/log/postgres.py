"""The log in PostgreSQL, on the eventsourcing library's recorder: as many writing processes as one likes.

Whoever appends locks the head row first and holds it to the commit, so position order is commit order and a reader
that follows never misses an event. Everything lives in a schema of its own, `clew`. One connection writes; reading
ones are kept and reused. psycopg's pipeline mode is never used: it hangs on inserts larger than the socket's buffer.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from clew.errors import Misconfigured, NewerStore
from clew.log.chain import Head, Row
from clew.log.migrations import newest_migration
from clew.log.postgres_append import insert_rows, lock_head
from clew.log.postgres_cursor import PostgresCursor
from clew.log.postgres_recorder import Datastore, PostgresRecorder
from clew.log.postgres_setup import await_server, migrate, refuse_strangers
from clew.log.postgres_trouble import first_line, translated
from clew.log.signals import Signals
from clew.log.store import POSTGRES, Cursor, End, First, Meanwhile, Tongue, nothing

_READ = "begin isolation level repeatable read read only"
# Any number that no other program is likely to take a lock under.
_PREPARING = int.from_bytes(b"Clew:set", "big")
_READERS_MAX = 16
# A log that is smaller is read as soon as planned for.
_PLANNED_FOR_MIN = 64
# A process that is paused, or cut off, in the middle of an append holds the lock that all others wait for: the server
# takes it back after a while, and the append is tried again.
_OPTIONS = (
    "-c search_path=clew -c client_min_messages=warning -c idle_in_transaction_session_timeout=10s"
    " -c lock_timeout=20s -c tcp_keepalives_idle=10 -c tcp_keepalives_interval=3 -c tcp_keepalives_count=3"
)


class PostgresStore:
    """An open store. `writing=False` opens it for reading only, and neither makes nor migrates anything."""

    tongue: Tongue = POSTGRES
    shared = True
    # Measured: half a megabyte a batch carries as many bytes a second as four, and holds the lock for a tenth of the
    # time; 128 KB carry about a third less.
    batch_bytes_max = 512_000

    def __init__(self, dsn: str, *, writing: bool = True) -> None:
        self.dsn = connection_string(dsn)
        self.name = shown(self.dsn)
        self.writing = writing
        self._held: psycopg.Connection[Any] | None = None
        # For how many events the statements are planned that the writing connection has prepared.
        self._planned_for = 0
        # What the open transaction appends when it commits.
        self._adding: Sequence[Row] = ()
        self._idle: list[psycopg.Connection[Any]] = []
        self._offset = 0
        with await_server(self.dsn, self.name) as connection:
            refuse_strangers(connection, self.name, writing=writing)
            if writing:
                with self.preparing():
                    migrate(connection, self.name)
            self._note_clock(_clock_of(connection))
        self.recorder = PostgresRecorder(Datastore(self.dsn))
        self._known_migration = newest_migration()

    def now(self) -> int:
        return time.monotonic_ns() // 1000 + self._offset

    def _note_clock(self, now: int) -> None:
        """Leases and times go by the database's clock; between two looks at it ours runs on beside it.

        Our monotonic one, since whoever sets the wall clock of this machine is not to end anybody's run.
        """
        self._offset = now - time.monotonic_ns() // 1000

    def connect(self) -> psycopg.Connection[Any]:
        return psycopg.connect(self.dsn, autocommit=True)

    @contextmanager
    def transaction(self) -> Iterator[PostgresCursor]:
        with self._writing() as connection:
            connection.execute("begin")
            yield PostgresCursor(connection.cursor())

    @contextmanager
    def appending(
        self, meanwhile: Meanwhile = nothing, foresee: Meanwhile = nothing
    ) -> Iterator[tuple[PostgresCursor, End]]:
        with self._writing(meanwhile) as connection:
            position, at, now, migration, epoch = lock_head(connection, meanwhile, foresee)
            if migration > self._known_migration:
                raise NewerStore(path=self.name, found=migration, known=self._known_migration)
            self._note_clock(now)
            self._plan_anew(connection, position)
            yield PostgresCursor(connection.cursor()), End(position, at, now, epoch)

    def _plan_anew(self, connection: psycopg.Connection[Any], events: int) -> None:
        """Whenever the log has doubled: PostgreSQL keeps the plan of a prepared statement until somebody analyses its
        tables, and the one that was good for a log that began a minute ago reads it all to find a stream's end.

        Connections that read need it not: psycopg prepares nothing across the rollback that their snapshots end with.
        """
        if events >= max(_PLANNED_FOR_MIN, 2 * self._planned_for):
            connection.execute("discard plans", prepare=False)
            self._planned_for = events

    @contextmanager
    def _writing(self, meanwhile: Meanwhile = nothing) -> Iterator[psycopg.Connection[Any]]:
        """The connection that writes; who asks for it begins a transaction, which ends with the block."""
        with translated(self.name):
            if self._held is None or self._held.closed:
                self._held = self.connect()
            connection = self._held
            try:
                self._adding = ()
                yield connection
                if self._adding:
                    insert_rows(connection, self._adding, "; commit", meanwhile)
                else:
                    connection.execute("commit")
            except BaseException:
                self._held = None
                _leave(connection, self._keep)
                raise

    def _keep(self, connection: psycopg.Connection[Any]) -> None:
        self._held = connection

    @contextmanager
    def snapshot(self) -> Iterator[PostgresCursor]:
        with translated(self.name):
            connection = self._begin_reading()
            try:
                yield PostgresCursor(connection.cursor())
            finally:
                _leave(connection, self._give_back)

    def _begin_reading(self) -> psycopg.Connection[Any]:
        """The first round trip shows whether a connection that lay idle is still one."""
        while self._idle:
            connection = self._idle.pop()
            try:
                connection.execute(_READ)
            except psycopg.OperationalError:
                connection.close()
            else:
                return connection
        connection = self.connect()
        connection.execute(_READ)
        return connection

    def _give_back(self, connection: psycopg.Connection[Any]) -> None:
        if len(self._idle) < _READERS_MAX:
            self._idle.append(connection)
        else:
            connection.close()

    def insert_events(self, cursor: Cursor, rows: Sequence[Row]) -> None:
        """They go with the commit: a round trip less, and the lock is held for less."""
        self._adding = rows

    def heads(self, cursor: Cursor, streams: Iterable[str]) -> dict[str, Head]:
        return self.recorder.heads(cursor, streams)

    def first_outcomes(self, cursor: Cursor, keys: Sequence[str]) -> dict[str, First]:
        cursor.execute(
            "select key, fingerprint, stream, first_version, last_version from idempotency where key = any(?)",
            (list(keys),),
        )
        return {row[0]: First(*row[1:]) for row in cursor.fetchall()}

    @contextmanager
    def preparing(self) -> Iterator[None]:
        with translated(self.name), self.connect() as connection:
            connection.execute("select pg_advisory_lock(%s)", (_PREPARING,))
            # The lock is the session's, and goes with it.
            yield

    def signals(self) -> Signals:
        return Signals(self.dsn)

    def examine(self, cursor: Cursor) -> tuple[bool, str]:
        cursor.execute("select head from log_head where partition = 0")
        head = cursor.fetchone()[0]
        cursor.execute("select coalesce(max(notification_id), 0) from events where partition = 0")
        newest = cursor.fetchone()[0]
        return head == newest, f"the head row stands at {head}, the newest event at {newest}"

    def close(self) -> None:
        for connection in [*self._idle, *([self._held] if self._held is not None else [])]:
            connection.close()
        self._idle.clear()
        self._held = None
        self.recorder.datastore.close()


def _leave(connection: psycopg.Connection[Any], keep: Callable[[psycopg.Connection[Any]], None]) -> None:
    """End the transaction with nothing changed, and keep the connection if it still is one."""
    try:
        connection.execute("rollback")
    except psycopg.Error:
        connection.close()
    else:
        keep(connection)


def _clock_of(connection: psycopg.Connection[Any]) -> int:
    row = connection.execute("select (extract(epoch from clock_timestamp()) * 1000000)::bigint").fetchone()
    assert row is not None
    now: int = row[0]
    return now


def connection_string(dsn: str) -> str:
    """The operator's, with what we need: our schema, and to notice within seconds that the other side is gone."""
    try:
        given = conninfo_to_dict(dsn)
    except psycopg.ProgrammingError as error:
        # What is quoted there may be the password, or all of the address.
        why, _, _ = first_line(error).partition(': "')
        raise Misconfigured(
            f"--store is no PostgreSQL address ({why});"
            " write postgresql://user:password@host:port/database, and %25 for each % in it"
        ) from None
    for port in str(given.get("port") or "").split(","):
        if port and not (port.isdecimal() and 0 < int(port) < 65_536):
            raise Misconfigured(f"--store is no PostgreSQL address (port {port!r} does not exist); write one, or none")
    options = f"{_OPTIONS} {given.pop('options', '') or ''}".strip()
    defaults = {
        "connect_timeout": "5",
        "keepalives_idle": "10",
        "keepalives_interval": "3",
        "keepalives_count": "3",
        "tcp_user_timeout": "10000",
        "application_name": "clew",
    }
    return make_conninfo("", **{**defaults, **given, "options": options, "client_encoding": "utf8"})


def shown(dsn: str) -> str:
    """What people are told of it: no password."""
    given = conninfo_to_dict(dsn)
    user = f"{given['user']}@" if given.get("user") else ""
    port = f":{given['port']}" if given.get("port") else ""
    return f"postgresql://{user}{given.get('host') or 'localhost'}{port}/{given.get('dbname') or ''}"
