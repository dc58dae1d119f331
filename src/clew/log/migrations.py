"""The numbered SQL files that make a store, the same numbers for SQLite and PostgreSQL.

A published one is never edited: a store is brought up by those it has not had yet, in order.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from importlib.resources import files
from typing import Literal


def migration_texts(tongue: Literal["sqlite", "postgres"] = "sqlite") -> list[tuple[int, str]]:
    """Number and text of each migration, in order."""
    folder = files("clew.log").joinpath(f"sql/{tongue}")
    found = [(int(entry.name[:3]), entry.read_text()) for entry in folder.iterdir() if entry.name.endswith(".sql")]
    return sorted(found)


def newest_migration() -> int:
    return migration_texts()[-1][0]


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
