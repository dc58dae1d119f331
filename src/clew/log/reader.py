"""Reading: the log, and the tables of read models, all as of one moment."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Any

from eventsourcing.sqlite import SQLiteCursor

from clew.events.base import Event, Recorded
from clew.log import codec
from clew.log.chain import Sealed

_COLUMNS = "rowid, originator_id, originator_version, topic, at, actor, state"
_CACHED_EVENTS_MAX = 20_000
CACHED_BYTES_MAX = 8_000
_LOOKED_UP_AT_ONCE = 500


class EventCache:
    """Decoded events by position, newest use last. An event never changes, so nothing here goes stale."""

    def __init__(self) -> None:
        self._events: OrderedDict[int, Recorded[Event]] = OrderedDict()

    def get(self, position: int) -> Recorded[Event] | None:
        return self._events.get(position)

    def add(self, recorded: Recorded[Event]) -> None:
        self._events[recorded.position] = recorded
        if len(self._events) > _CACHED_EVENTS_MAX:
            self._events.popitem(last=False)

    def clear(self) -> None:
        self._events.clear()


class Reader:
    """Good for the length of one snapshot. Rows come as tuples; `?` stands for a parameter."""

    def __init__(self, cursor: SQLiteCursor, cache: EventCache) -> None:
        self._cursor = cursor
        self._cache = cache

    def rows(self, sql: str, parameters: Sequence[object] = ()) -> list[Any]:
        self._cursor.execute(sql, tuple(parameters))
        found: list[Any] = self._cursor.fetchall()
        return found

    def events(self, positions: Iterable[int]) -> dict[int, Recorded[Event]]:
        """The events at `positions`, by position."""
        found: dict[int, Recorded[Event]] = {}
        missing = []
        for position in positions:
            cached = self._cache.get(position)
            if cached is not None:
                found[position] = cached
            else:
                missing.append(position)
        for start in range(0, len(missing), _LOOKED_UP_AT_ONCE):
            some = missing[start : start + _LOOKED_UP_AT_ONCE]
            marks = ",".join("?" * len(some))
            for row in self.rows(f"select {_COLUMNS} from events where rowid in ({marks})", some):
                found[row[0]] = self._decode(row)
        return found

    def event(self, position: int) -> Recorded[Event]:
        return self.events([position])[position]

    def stream(
        self,
        stream: str,
        *,
        after: int = 0,
        upto: int | None = None,
        limit: int | None = None,
        newest_first: bool = False,
    ) -> list[Recorded[Event]]:
        """Events of one stream with `after < version <= upto`, in order of version."""
        sql = f"select {_COLUMNS} from events where partition = 0 and originator_id = ? and originator_version > ?"
        parameters: list[object] = [stream, after]
        if upto is not None:
            sql += " and originator_version <= ?"
            parameters.append(upto)
        sql += " order by originator_version" + (" desc" if newest_first else "")
        if limit is not None:
            sql += " limit ?"
            parameters.append(limit)
        return [self._decode(row) for row in self.rows(sql, parameters)]

    def follow(self, after: int, limit: int) -> list[Recorded[Event]]:
        """Events of the whole log with a position above `after`, in order of position."""
        sql = f"select {_COLUMNS} from events where rowid > ? order by rowid limit ?"
        return [self._decode(row) for row in self.rows(sql, (after, limit))]

    def sealed(self, after: int, limit: int) -> list[Sealed]:
        """The same, undecoded and with the hashes, for verification."""
        sql = (
            "select originator_id, originator_version, topic, state, rowid, partition, at, actor, salt, body_hash,"
            " hash from events where rowid > ? order by rowid limit ?"
        )
        return [Sealed(*row) for row in self.rows(sql, (after, limit))]

    def head(self) -> int:
        """The position of the newest event; 0 in an empty log."""
        found = self.rows("select max(rowid) from events")[0][0]
        return found or 0

    def version(self, stream: str) -> int:
        """The version of the newest event of `stream`; 0 when there is none."""
        sql = "select max(originator_version) from events where partition = 0 and originator_id = ?"
        return self.rows(sql, (stream,))[0][0] or 0

    def position_at(self, at: int) -> int:
        """The newest position that is not later than `at` (microseconds): times grow with positions."""
        low, high = 0, self.head()
        while low < high:
            middle = (low + high + 1) // 2
            row = self.rows("select at from events where rowid <= ? order by rowid desc limit 1", (middle,))
            if row and row[0][0] <= at:
                low = middle
            else:
                high = middle - 1
        return low

    def _decode(self, row: Any) -> Recorded[Event]:
        position, stream, version, kind, at, actor, state = row
        cached = self._cache.get(position)
        if cached is not None:
            return cached
        recorded = Recorded(position, stream, version, at, actor, codec.decode(kind, state))
        if len(state) <= CACHED_BYTES_MAX:
            self._cache.add(recorded)
        return recorded
