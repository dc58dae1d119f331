"""Reading: the log, and the tables of read models, all as of one moment."""

from __future__ import annotations

import sqlite3
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Any

from clew.errors import Erased
from clew.events.base import Event, Recorded
from clew.log import codec
from clew.log.chain import Sealed
from clew.log.sqlite import SqliteCursor
from clew.log.store import Cursor

_COLUMNS = "originator_id, originator_version, topic, at, actor, state"
_EVIDENCE = (
    "partition",
    "originator_id",
    "originator_version",
    "topic",
    "at",
    "actor",
    "state",
    "salt",
    "body_hash",
    "hash",
)
_CACHED_EVENTS_MAX = 20_000
CACHED_BYTES_MAX = 8_000
_CACHED_VERSIONS_MAX = 10_000
_LOOKED_UP_AT_ONCE = 500


class EventCache:
    """Decoded events by position, newest use last. An event never changes, so nothing here goes stale.

    `versions` has those of streams at positions that they have gone beyond, which do not change either.
    """

    def __init__(self) -> None:
        self._events: OrderedDict[int, Recorded[Event]] = OrderedDict()
        self.versions: dict[tuple[str, int], int] = {}

    def get(self, position: int) -> Recorded[Event] | None:
        return self._events.get(position)

    def add(self, recorded: Sequence[Recorded[Event]]) -> None:
        for one in recorded:
            self._events[one.position] = one
        while len(self._events) > _CACHED_EVENTS_MAX:
            self._events.popitem(last=False)

    def note_version(self, stream: str, position: int, version: int) -> None:
        if len(self.versions) >= _CACHED_VERSIONS_MAX:
            self.versions.clear()
        self.versions[stream, position] = version

    def clear(self) -> None:
        self._events.clear()
        self.versions.clear()


class Reader:
    """Good for the length of one snapshot. Rows come as tuples; `?` stands for a parameter."""

    def __init__(self, cursor: Cursor, cache: EventCache) -> None:
        self.cursor = cursor
        self._cache = cache
        self.tongue = cursor.tongue
        self._position = position = cursor.tongue.position
        self._columns = f"{position}, {_COLUMNS}"
        # For what is found by position. In SQLite a plain condition would lure its planner to the index that begins
        # with the partition, which it then reads from end to end: rows there lie in order of position by themselves.
        self._here = "+partition = 0" if cursor.tongue.name == "sqlite" else "partition = 0"

    def rows(self, sql: str, parameters: Sequence[object] = ()) -> list[Any]:
        self.cursor.execute(sql, tuple(parameters))
        found: list[Any] = self.cursor.fetchall()
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
            for row in self._among(missing[start : start + _LOOKED_UP_AT_ONCE]):
                found[row[0]] = self._decode(row)
        return found

    def _among(self, positions: Sequence[int]) -> list[Any]:
        sql = f"select {self._columns} from events where {self._here} and {self._position}"
        if self.tongue.name == "postgres":
            # One text for any number of positions, so that the statement stays prepared.
            return self.rows(f"{sql} = any(?)", (list(positions),))
        return self.rows(f"{sql} in ({','.join('?' * len(positions))})", positions)

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
        kinds: Sequence[str] = (),
    ) -> list[Recorded[Event]]:
        """Events of one stream with `after < version <= upto`, in order of version; of some `kinds`, or of all."""
        sql = f"select {self._columns} from events where partition = 0 and originator_id = ? and originator_version > ?"
        parameters: list[object] = [stream, after]
        if upto is not None:
            sql += " and originator_version <= ?"
            parameters.append(upto)
        if kinds:
            sql += f" and topic in ({','.join('?' * len(kinds))})"
            parameters += kinds
        sql += " order by originator_version" + (" desc" if newest_first else "")
        if limit is not None:
            sql += " limit ?"
            parameters.append(limit)
        return [self._decode(row) for row in self.rows(sql, parameters)]

    def follow(self, after: int, limit: int) -> list[Recorded[Event]]:
        """Events of the whole log with a position above `after`, in order of position."""
        sql = (
            f"select {self._columns} from events where {self._here} and {self._position} > ?"
            f" order by {self._position} limit ?"
        )
        return [self._decode(row) for row in self.rows(sql, (after, limit))]

    def sealed(self, after: int, limit: int) -> list[Sealed]:
        """The same, undecoded and with the hashes, for verification."""
        # SQLite's positions are one row of numbers, so an event that was moved to another partition is seen too.
        here = "" if self.tongue.name == "sqlite" else "partition = 0 and "
        sql = (
            f"select originator_id, originator_version, topic, state, {self._position}, partition, at, actor, salt,"
            f" body_hash, hash from events where {here}{self._position} > ? order by {self._position} limit ?"
        )
        return [Sealed(*row) for row in self.rows(sql, (after, limit))]

    def evidence(self, after: int, limit: int, stream: str | None = None) -> list[Any]:
        """Rows to verify, with every column that hashes are made of: of the whole log by position, or of a stream.

        Each is position, then what `clew.log.chain.misfit` takes after the hash before.
        """
        columns = ", ".join((self._position, *_EVIDENCE))
        if stream is not None:
            sql = (
                f"select {columns} from events where partition = 0 and originator_id = ?"
                " and originator_version > ? order by originator_version limit ?"
            )
            return self.raw_rows(sql, (stream, after, limit))
        # SQLite's positions are one row of numbers, so an event that was moved to another partition is seen too.
        here = "" if self.tongue.name == "sqlite" else "partition = 0 and "
        sql = f"select {columns} from events where {here}{self._position} > ? order by {self._position} limit ?"
        return self.raw_rows(sql, (after, limit))

    def raw_rows(self, sql: str, parameters: Sequence[object] = ()) -> list[Any]:
        """Rows, also when what SQLite holds as text in one of them is none."""
        try:
            return self.rows(sql, parameters)
        except sqlite3.OperationalError as error:
            if "decode" not in str(error) or not isinstance(self.cursor, SqliteCursor):
                raise
        connection = self.cursor.sqlite_cursor.connection
        factory = connection.text_factory
        connection.text_factory = lambda text: text.decode(errors="replace")
        try:
            return self.rows(sql, parameters)
        finally:
            connection.text_factory = factory

    def hashes(self, after: int, limit: int) -> list[tuple[int, bytes]]:
        """Positions and chain hashes of events above `after`: what the Merkle tree is made of."""
        sql = (
            f"select {self._position}, hash from events where {self._here} and {self._position} > ?"
            f" order by {self._position} limit ?"
        )
        return [(row[0], row[1]) for row in self.rows(sql, (after, limit))]

    def newest_ever(self) -> int:
        """The newest position that was ever given out, as the store itself keeps count of it."""
        if self.tongue.name == "postgres":
            rows = self.rows("select head from log_head where partition = 0")
        else:
            rows = self.raw_rows("select seq from sqlite_sequence where name = 'events'")
        return rows[0][0] if rows and isinstance(rows[0][0], int) else 0

    def head(self) -> int:
        """The position of the newest event; 0 in an empty log."""
        place = self._position
        found = self.rows(f"select {place} from events where {self._here} order by {place} desc limit 1")
        return found[0][0] if found else 0

    def version(self, stream: str, as_of: int | None = None) -> int:
        """The version of the newest event of `stream`, now or as of a position; 0 when there is none."""
        newest = "select max(originator_version) from events where partition = 0 and originator_id = ?"
        if as_of is None:
            return self.rows(newest, (stream,))[0][0] or 0
        known = self._cache.versions.get((stream, as_of))
        if known is not None:
            return known
        # Versions and positions of a stream grow together, so halving finds it by the index that streams are read by.
        # Not with a join: where PostgreSQL has no statistics yet, it would read the whole table for each half.
        reached = (
            f"(select {self._position} from events where partition = 0 and originator_id = ?"
            " and originator_version = (low + high + 1) / 2) <= ?"
        )
        found = self.rows(
            "with recursive halving (low, high, newest) as ("
            f"select cast(0 as bigint), newest, newest from (select coalesce(({newest}), 0) as newest) as a union all"
            f" select case when {reached} then (low + high + 1) / 2 else low end,"
            f" case when {reached} then high else (low + high + 1) / 2 - 1 end, newest from halving where low < high)"
            " select low, newest from halving where low = high",
            (stream, stream, as_of, stream, as_of),
        )
        version: int = found[0][0]
        if version < found[0][1]:
            self._cache.note_version(stream, as_of, version)
        return version

    def position_at(self, at: int) -> int:
        """The newest position that is not later than `at` (microseconds): times grow with positions."""
        return self.positions_at([at])[0]

    def positions_at(self, times: Sequence[int]) -> list[int]:
        """The same for many times at once: each goes up by steps that are half as long every time."""
        head = self.head()
        newest = (
            f"(select at from events where {self._here} and {self._position} <= low + step"
            f" order by {self._position} desc limit 1)"
        )
        found: list[int] = []
        for start in range(0, len(times), _LOOKED_UP_AT_ONCE):
            asked = times[start : start + _LOOKED_UP_AT_ONCE]
            listed = ", ".join(f"({place}, cast(? as bigint))" for place in range(len(asked)))
            rows = self.rows(
                "with recursive climbing (place, wanted, low, step) as ("
                "select column1, column2, cast(0 as bigint), cast(? as bigint)"
                f" from (values {listed}) as asked union all select place, wanted, low +"
                f" case when low + step <= cast(? as bigint) and {newest} <= wanted then step else 0 end, step / 2"
                " from climbing where step > 0) select place, low from climbing where step = 0",
                (1 << max(0, head.bit_length() - 1), *asked, head),
            )
            places = dict(map(tuple, rows))
            found += [places[place] for place in range(len(asked))]
        return found

    def times_of(self, positions: Sequence[int]) -> list[int]:
        """When the events at `positions` were, or the ones before those, where there are none."""
        sql = (
            f"select at from events where {self._here} and {self._position} <= ? order by {self._position} desc limit 1"
        )
        return [self.rows(sql, (position,))[0][0] for position in positions]

    def _decode(self, row: Any) -> Recorded[Event]:
        position, stream, version, kind, at, actor, state = row
        cached = self._cache.get(position)
        if cached is not None:
            return cached
        if state is None:
            raise Erased(thread_id=stream, version=version)
        recorded = Recorded(position, stream, version, at, actor, codec.decode(kind, state))
        if len(state) <= CACHED_BYTES_MAX:
            self._cache.add((recorded,))
        return recorded
