"""What did happen: the append-only log. The only place that imports eventsourcing and database drivers."""

from __future__ import annotations

from clew.log.log import Appended, Log
from clew.log.reader import Reader
from clew.log.sqlite import SqliteStore
from clew.log.store import ColumnType, Cursor, Store, Tongue
from clew.log.stores import is_postgres, open_store, shown

__all__ = [
    "Appended",
    "ColumnType",
    "Cursor",
    "Log",
    "Reader",
    "SqliteStore",
    "Store",
    "Tongue",
    "is_postgres",
    "open_store",
    "shown",
]
