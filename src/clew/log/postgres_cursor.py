"""The cursor of `clew.log.store` over psycopg's: one statement for many rows, as arrays."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import psycopg

from clew.log.store import POSTGRES, ColumnType

_ARRAYS = {"text": "%s::text[]", "integer": "%s::bigint[]", "blob": "%s::bytea[]"}


class PostgresCursor:
    tongue = POSTGRES
    __slots__ = ("fetchall", "fetchone", "postgres_cursor")

    def __init__(self, cursor: psycopg.Cursor[Any]) -> None:
        self.postgres_cursor = cursor
        self.fetchone = cursor.fetchone
        self.fetchall = cursor.fetchall

    def execute(self, sql: str, parameters: Sequence[Any] = (), /) -> None:
        try:
            self.postgres_cursor.execute(_marked(sql), parameters or None)
        except psycopg.DataError as error:
            if "NUL" not in str(error):
                raise
            self.postgres_cursor.execute(_marked(sql), [_without_nul(value) for value in parameters])

    def insert(
        self,
        table: str,
        columns: Mapping[str, ColumnType],
        rows: Sequence[Sequence[Any]],
        *,
        replacing: Sequence[str] = (),
    ) -> None:
        self.execute(_insert_sql(table, tuple(columns.items()), tuple(replacing)), _arrays(rows))

    def update(
        self,
        table: str,
        column: tuple[str, ColumnType],
        key: Mapping[str, ColumnType],
        rows: Sequence[Sequence[Any]],
    ) -> None:
        self.execute(_update_sql(table, column, tuple(key.items())), _arrays(rows))

    def delete(self, table: str, key: Mapping[str, ColumnType], keys: Sequence[Sequence[Any]]) -> None:
        self.execute(_delete_sql(table, tuple(key.items())), _arrays(keys))

    def now(self) -> int:
        self.execute("select (extract(epoch from clock_timestamp()) * 1000000)::bigint")
        row = self.fetchone()
        assert row is not None
        now: int = row[0]
        return now


def _arrays(rows: Sequence[Sequence[Any]]) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)]


def _without_nul(value: Any) -> Any:
    """PostgreSQL's text has no NUL. Bodies keep theirs, as they are bytes; names that we look up by need none."""
    if isinstance(value, str):
        return value.replace("\0", "\ufffd")
    return [_without_nul(one) for one in value] if isinstance(value, list) else value


@lru_cache(maxsize=2_000)
def _marked(sql: str) -> str:
    return sql.replace("?", "%s")


def _unnest(types: Iterable[ColumnType]) -> str:
    return f"unnest({', '.join(_ARRAYS[one] for one in types)})"


@lru_cache(maxsize=500)
def _insert_sql(table: str, columns: tuple[tuple[str, ColumnType], ...], replacing: tuple[str, ...]) -> str:
    names = [name for name, _ in columns]
    sql = f"insert into {table} ({', '.join(names)}) select * from {_unnest(kind for _, kind in columns)}"
    if not replacing:
        return sql
    others = ", ".join(f"{name} = excluded.{name}" for name in names if name not in replacing)
    return f"{sql} on conflict ({', '.join(replacing)}) do update set {others}"


@lru_cache(maxsize=500)
def _update_sql(table: str, column: tuple[str, ColumnType], key: tuple[tuple[str, ColumnType], ...]) -> str:
    given = ", ".join(["new_value", *(f"k_{name}" for name, _ in key)])
    source = f"{_unnest([column[1], *(kind for _, kind in key)])} as given({given})"
    return f"update {table} set {column[0]} = given.new_value from {source} where {_same(table, key)}"


@lru_cache(maxsize=500)
def _delete_sql(table: str, key: tuple[tuple[str, ColumnType], ...]) -> str:
    given = ", ".join(f"k_{name}" for name, _ in key)
    return f"delete from {table} using {_unnest(kind for _, kind in key)} as given({given}) where {_same(table, key)}"


def _same(table: str, key: tuple[tuple[str, ColumnType], ...]) -> str:
    return " and ".join(f"{table}.{name} = given.k_{name}" for name, _ in key)
