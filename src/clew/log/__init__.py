"""What did happen: the append-only log. The only place that imports eventsourcing and database drivers."""

from __future__ import annotations

from clew.log.log import Appended, Log
from clew.log.reader import Reader
from clew.log.stores import SqliteStore, open_store

__all__ = ["Appended", "Log", "Reader", "SqliteStore", "open_store"]
