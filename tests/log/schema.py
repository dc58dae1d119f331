"""What a store is made of, as lines that can be compared: tables with their columns, indexes and constraints."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from importlib.resources import files
from pathlib import Path
from unittest.mock import patch

import psycopg

from clew.log import is_postgres
from clew.log.migrations import migration_texts, statements
from clew.log.sqlite_file import APPLICATION_ID

_RELATIONS = """
    select 'relation', relname, relkind::text, coalesce(reloptions::text, '')
    from pg_class where relnamespace = 'clew'::regnamespace
"""
_COLUMNS = """
    select 'column', relname, attnum::text, attname, format_type(atttypid, atttypmod), attnotnull::text,
        coalesce(collname, ''), coalesce(pg_get_expr(adbin, adrelid), '')
    from pg_attribute
        join pg_class on pg_class.oid = attrelid
        left join pg_collation on pg_collation.oid = attcollation
        left join pg_attrdef on adrelid = attrelid and adnum = attnum
    where relnamespace = 'clew'::regnamespace and relkind in ('r', 'p') and attnum > 0 and not attisdropped
"""
_INDEXES = "select 'index', indexdef from pg_indexes where schemaname = 'clew'"
_CONSTRAINTS = """
    select 'constraint', conrelid::regclass::text, conname, pg_get_constraintdef(oid)
    from pg_constraint where connamespace = 'clew'::regnamespace
"""


def dump(place: str) -> list[str]:
    """Sorted, so that the order in which things were made does not count; that of columns does."""
    if is_postgres(place):
        with closing(psycopg.connect(place)) as connection:
            rows = [row for sql in (_RELATIONS, _COLUMNS, _INDEXES, _CONSTRAINTS) for row in connection.execute(sql)]
            rows += connection.execute("select 'migration', migration from clew.log_head").fetchall()
    else:
        with closing(sqlite3.connect(place)) as file:
            rows = file.execute("select type, name, tbl_name, sql from sqlite_master").fetchall()
            for pragma in ("user_version", "application_id"):
                rows += [(pragma, *file.execute(f"pragma {pragma}").fetchone())]
    return sorted(" | ".join(map(str, row)) for row in rows)


def make_at(place: str, number: int) -> None:
    """A store as the Clew left it whose newest migration was `number`."""
    if is_postgres(place):
        with psycopg.connect(place) as connection:
            connection.execute("create schema clew")
            connection.execute("set search_path = clew")
            for step, text in migration_texts("postgres")[:number]:
                for statement in statements(text):
                    connection.execute(statement)
                connection.execute("update log_head set migration = %s", (step,))
    else:
        with closing(sqlite3.connect(place)) as file:
            file.execute("pragma journal_mode = wal")
            for step, text in migration_texts("sqlite")[:number]:
                file.executescript(text)
                file.execute(f"pragma user_version = {step}")
            file.execute(f"pragma application_id = {APPLICATION_ID}")
            file.commit()


@contextmanager
def newer_clew(folder: Path) -> Iterator[None]:
    """Inside, this Clew has one migration more, in both stores."""
    shutil.copytree(str(files("clew.log").joinpath("sql")), folder / "sql", dirs_exist_ok=True)
    number = migration_texts()[-1][0] + 1
    for tongue in ("sqlite", "postgres"):
        (folder / f"sql/{tongue}/{number:03}_next.sql").write_text("create table next_things (x integer not null);\n")
    with patch("clew.log.migrations.files", lambda package: folder):
        yield
