"""A database for the length of a question, in memory, gone when it is answered."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager

from clew.log.sqlite import SqliteCursor
from clew.log.store import wall_clock


@contextmanager
def scratch() -> Iterator[SqliteCursor]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        yield SqliteCursor(connection.cursor(), wall_clock)
