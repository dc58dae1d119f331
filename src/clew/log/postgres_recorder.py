"""The eventsourcing library's PostgreSQL recorder over our own table, beneath the head row."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import psycopg
from eventsourcing.persistence import IntegrityError, Notification, StoredEvent
from eventsourcing.postgres import ConnectionPool, PostgresApplicationRecorder, PostgresDatastore
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import dict_row

from clew.log.chain import Head, Sealer, seal_stored
from clew.log.migrations import migration_texts, statements
from clew.log.postgres_append import insert_rows
from clew.log.postgres_cursor import PostgresCursor
from clew.log.store import Cursor

_HEADS = (
    "select given.stream, ended.originator_version, ended.hash from unnest(?::text[]) as given(stream),"
    " lateral (select originator_version, hash from events where partition = 0 and originator_id = given.stream"
    " order by originator_version desc limit 1) as ended"
)


class Datastore(PostgresDatastore):
    """The library's, made from a connection string. Its pool opens when somebody uses the recorder by itself."""

    def __init__(self, dsn: str) -> None:
        given = conninfo_to_dict(dsn)
        super().__init__(
            str(given.get("dbname", "")), "", "", "", "", originator_id_type="text", schema="clew", pool_size=2
        )
        self.pool = ConnectionPool(
            dsn,
            connection_class=psycopg.Connection[dict[str, Any]],
            kwargs={"row_factory": dict_row},
            min_size=1,
            max_size=16,
            open=False,
            configure=self.after_connect_func(),
        )

    def register_type_adapters(self) -> None:
        """We use none of the library's composite types."""


class PostgresRecorder(PostgresApplicationRecorder):
    def __init__(self, datastore: PostgresDatastore) -> None:
        super().__init__(datastore, events_table_name="events")

    def create_table(self) -> None:
        with self.datastore.transaction(commit=True) as cursor:
            cursor.execute("create schema if not exists clew")
            for statement in statements(migration_texts("postgres")[0][1]):
                cursor.execute(statement)

    @staticmethod
    def heads(cursor: Cursor, streams: Iterable[str]) -> dict[str, Head]:
        cursor.execute(_HEADS, (list(streams),))
        return {row[0]: Head(row[1], row[2]) for row in cursor.fetchall()}

    def insert_events(self, stored_events: Sequence[StoredEvent], **_: Any) -> Sequence[int] | None:
        """Events that nobody sealed yet are sealed here, as the library's own users would want."""
        if not stored_events:
            return []
        try:
            with self.datastore.get_connection() as connection, connection.transaction():
                return self._insert_under_lock(connection, stored_events)
        except psycopg.IntegrityError as error:
            raise IntegrityError(str(error)) from error

    def _insert_under_lock(self, connection: psycopg.Connection[Any], events: Sequence[StoredEvent]) -> list[int]:
        cursor = PostgresCursor(connection.cursor(row_factory=psycopg.rows.tuple_row))
        cursor.execute(
            "select head, at, (extract(epoch from clock_timestamp()) * 1000000)::bigint from log_head"
            " where partition = 0 for update"
        )
        sealer = Sealer()
        position, at, now = cursor.fetchone() or (0, 0, 0)
        sealer.begin(position, at, now)
        heads = self.heads(cursor, {str(event.originator_id) for event in events})
        rows = seal_stored(sealer, heads, events)
        insert_rows(connection, rows)
        return [row.position for row in rows]

    def select_notifications(
        self,
        start: int | None,
        limit: int,
        stop: int | None = None,
        topics: Sequence[str] = (),
        *,
        inclusive_of_start: bool = True,
    ) -> Sequence[Notification]:
        """The library's, with the partition as a predicate: the index by position begins with it."""
        with self.datastore.get_connection() as connection:
            rows = connection.execute(
                "select notification_id, originator_id, originator_version, topic, state from events"
                " where partition = 0 and notification_id >= %s and notification_id <= %s"
                " and (%s::text[] is null or topic = any(%s::text[])) order by notification_id limit %s",
                (
                    (start if start is not None else 0) + (0 if inclusive_of_start else 1),
                    stop if stop is not None else 2**62,
                    list(topics) or None,
                    list(topics) or None,
                    limit,
                ),
            ).fetchall()
        return [
            Notification(
                id=row["notification_id"],
                originator_id=row["originator_id"],
                originator_version=row["originator_version"],
                topic=row["topic"],
                state=row["state"],
            )
            for row in rows
        ]

    def max_notification_id(self) -> int | None:
        with self.datastore.get_connection() as connection:
            row = connection.execute("select max(notification_id) as max from events where partition = 0").fetchone()
        return row["max"] if row is not None else None
