"""Appending to PostgreSQL in three round trips: the head row's lock, and events by binary COPY with the commit.

COPY is for one event as cheap as any insert, for many by far the cheapest. The end of the head row goes in the same
message, and the commit too. psycopg's own `copy` takes a COPY by itself only, and a cursor has its result when all
waiting is over; hence the steps that these are made of, with room for what can be done meanwhile.
"""

from __future__ import annotations

import select
from collections.abc import Sequence
from struct import Struct
from typing import Any

import psycopg
from psycopg import errors, generators
from psycopg.pq import ConnStatus, ExecStatus

from clew.log.chain import Row
from clew.log.store import Meanwhile, nothing

_LOCK = (
    b"begin; select head, at, (extract(epoch from clock_timestamp()) * 1000000)::bigint, migration, epoch"
    b" from log_head where partition = 0 for update"
)
# A server that nobody else writes to has the lock for us sooner.
_LOCK_MS = 1
_COPY = (
    "copy events (notification_id, partition, originator_id, originator_version, topic, at, actor, state, salt,"
    " body_hash, hash) from stdin (format binary); update log_head set head = %d, at = %d where partition = 0"
)
# What a COPY begins and ends with: a signature, no flags, no more header; and a row of -1 columns.
_HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_TRAILER = b"\xff\xff"
# Before each value stands its length in bytes, -1 for null. A row begins with the number of its columns.
_PLACE = Struct("!hiqiii").pack
_NUMBER = Struct("!iqi").pack
_LENGTH = Struct("!i").pack
_HASHES = Struct("!i16si32si32s").pack
# psycopg says that it may hang when it is handed too much at once.
_PIECE_BYTES = 1 << 20


def lock_head(
    connection: psycopg.Connection[Any], meanwhile: Meanwhile = nothing, foresee: Meanwhile = nothing
) -> Sequence[int]:
    """Begin a transaction that nobody else can append beside: the head's position and time, the time now, the newest
    migration, and the epoch. `foresee` is called when the question is sent, `meanwhile` when others hold the lock."""
    pgconn = connection.pgconn
    pgconn.send_query(_LOCK)
    connection.wait(generators.send(pgconn))
    foresee()
    waiting = select.poll()
    waiting.register(pgconn.socket, select.POLLIN)
    if not waiting.poll(_LOCK_MS):
        meanwhile()
    results = connection.wait(generators.fetch_many(pgconn))
    _succeed(connection, results, ExecStatus.COMMAND_OK, ExecStatus.TUPLES_OK)
    return [int(results[-1].get_value(0, column) or 0) for column in range(5)]


def insert_rows(
    connection: psycopg.Connection[Any], rows: Sequence[Row], then: str = "", meanwhile: Meanwhile = nothing
) -> None:
    """In a transaction that holds the head row, which moves to the last of `rows`; `then` is SQL to end with.

    `meanwhile` is called when everything has been sent.
    """
    end = rows[-1]
    pgconn = connection.pgconn
    pgconn.send_query((_COPY % (end.position, end.at) + then).encode())
    connection.wait(generators.send(pgconn))
    # Packed while the server makes ready to take it.
    block = memoryview(block_of(rows))
    _succeed(connection, connection.wait(generators.fetch_many(pgconn)), ExecStatus.COPY_IN)
    for start in range(0, len(block), _PIECE_BYTES):
        connection.wait(generators.copy_to(pgconn, block[start : start + _PIECE_BYTES], flush=False))
    pgconn.put_copy_end()
    connection.wait(generators.send(pgconn))
    meanwhile()
    _succeed(connection, connection.wait(generators.fetch_many(pgconn)), ExecStatus.COMMAND_OK)


def block_of(rows: Sequence[Row]) -> bytes:
    """The rows as a binary COPY takes them."""
    parts = [_HEADER]
    for position, partition, stream, version, kind, at, actor, state, salt, body_hash, hash in rows:
        stream_bytes, kind_bytes = stream.encode(), kind.encode()
        actor_bytes = b"" if actor is None else actor.encode()
        parts += (
            _PLACE(11, 8, position, 4, partition, len(stream_bytes)),
            stream_bytes,
            _NUMBER(8, version, len(kind_bytes)),
            kind_bytes,
            _NUMBER(8, at, -1 if actor is None else len(actor_bytes)),
            actor_bytes,
            _LENGTH(len(state)),
            state,
            _HASHES(16, salt, 32, body_hash, 32, hash),
        )
    parts.append(_TRAILER)
    return b"".join(parts)


def _succeed(connection: psycopg.Connection[Any], results: Sequence[Any], *statuses: ExecStatus) -> None:
    for result in results:
        if result.status not in statuses:
            if connection.pgconn.status == ConnStatus.BAD:
                raise psycopg.OperationalError(result.get_error_message())
            raise errors.error_from_result(result)
