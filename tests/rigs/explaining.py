"""A reader that asks SQLite how it goes about each question, for tests that must not time it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from clew.log import Reader
from clew.log.reader import EventCache


class Explaining(Reader):
    """Keeps in `plans` how each question that names `table` would be answered, a line a step."""

    def __init__(self, cursor: Any, table: str) -> None:
        super().__init__(cursor, EventCache())
        self._table = f" {table} "
        self.plans: list[str] = []

    def rows(self, sql: str, parameters: Sequence[object] = ()) -> list[Any]:
        if self._table in sql:
            explained = super().rows(f"explain query plan {sql}", parameters)
            self.plans += [str(tuple(row)[-1]) for row in explained]
        return super().rows(sql, parameters)
