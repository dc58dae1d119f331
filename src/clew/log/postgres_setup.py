"""Reaching the database, telling whether it is ours, and bringing its schema up."""

from __future__ import annotations

import logging
from typing import Any

import psycopg
from psycopg import errors
from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_delay, wait_random_exponential

from clew.errors import NewerStore, NoStore, NotOurs
from clew.log.migrations import migration_texts, newest_migration, statements
from clew.log.postgres_trouble import first_line, is_hopeless

# How long a start waits for a server that is being started beside us.
_START_SECONDS_MAX = 15.0
_THEIRS = "its schema clew holds tables that Clew did not make"

logger = logging.getLogger(__name__)


def await_server(dsn: str, name: str) -> psycopg.Connection[Any]:
    """A connection. Raises `NoStore` when the server does not want us, or does not come up in time."""

    def told(state: RetryCallState) -> None:
        if state.attempt_number == 1:
            logger.warning("%s does not answer yet; trying for %.0f s", name, _START_SECONDS_MAX)

    retrying = Retrying(
        retry=retry_if_exception(lambda e: isinstance(e, psycopg.OperationalError) and not is_hopeless(e)),
        wait=wait_random_exponential(multiplier=0.1, max=2.0),
        stop=stop_after_delay(_START_SECONDS_MAX),
        before_sleep=told,
        reraise=True,
    )
    try:
        return retrying(psycopg.connect, dsn, autocommit=True)
    except psycopg.Error as error:
        raise NoStore(name=name, why=first_line(error)) from error


def refuse_strangers(connection: psycopg.Connection[Any], name: str, *, writing: bool) -> None:
    """A schema called `clew` that we did not make is left alone; so is one that a newer Clew made."""
    try:
        _refuse_strangers(connection, name, writing=writing)
    except errors.InsufficientPrivilege as error:
        raise NoStore(name=name, why=first_line(error)) from error
    except errors.UndefinedColumn as error:
        raise NotOurs(path=name, why=_THEIRS) from error


def _refuse_strangers(connection: psycopg.Connection[Any], name: str, *, writing: bool) -> None:
    row = connection.execute(
        "select to_regnamespace('clew') is not null, to_regclass('clew.log_head') is not null"
    ).fetchone()
    assert row is not None
    has_schema, has_head = row
    if has_schema and not has_head and _has_tables(connection):
        raise NotOurs(path=name, why=_THEIRS)
    if not has_head:
        if not writing:
            raise NotOurs(path=name, why="there is no log in it yet; start `clew serve` with it first")
        return
    found = _migration(connection, name)
    if found > newest_migration():
        raise NewerStore(path=name, found=found, known=newest_migration())
    if writing and not _may_append(connection):
        raise NoStore(name=name, why="permission denied: this user may read its log, but not append to it")


def _may_append(connection: psycopg.Connection[Any]) -> bool:
    row = connection.execute(
        "select has_table_privilege('clew.events', 'insert') and has_table_privilege('clew.log_head', 'update')"
    ).fetchone()
    return bool(row and row[0])


def _has_tables(connection: psycopg.Connection[Any]) -> bool:
    row = connection.execute("select exists (select from pg_tables where schemaname = 'clew')").fetchone()
    return bool(row and row[0])


def _migration(connection: psycopg.Connection[Any], name: str) -> int:
    row = connection.execute("select migration from clew.log_head where partition = 0").fetchone()
    if row is None:
        raise NotOurs(path=name, why=_THEIRS)
    found: int = row[0]
    return found


def migrate(connection: psycopg.Connection[Any], name: str) -> list[int]:
    """Bring the schema up, in one transaction; gives the numbers that were applied. Under the preparing lock."""
    row = connection.execute("select to_regclass('clew.log_head') is not null").fetchone()
    version = _migration(connection, name) if row is not None and row[0] else 0
    wanted = [(number, text) for number, text in migration_texts("postgres") if number > version]
    if not wanted:
        # Whoever may not make tables can still serve.
        return []
    try:
        with connection.transaction():
            connection.execute("create schema if not exists clew")
            for number, text in wanted:
                for statement in statements(text):
                    connection.execute(statement)
                connection.execute("update log_head set migration = %s", (number,))
    except errors.InsufficientPrivilege as error:
        raise NoStore(name=name, why=f"{first_line(error)}: this user may not make tables here") from error
    return [number for number, _ in wanted]
