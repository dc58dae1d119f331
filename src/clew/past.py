"""Points in the past: what they are called, where a request names one, and which position each one is.

1234                        a position: the log after its event of that number; 0 is before all
v12                         a version of the thread that is asked for: right after its event of that number.
                            A fork counts from its own first event; what it inherited is as it was at that moment.
2026-08-01T12:00:00+02:00   a time, as in RFC 3339: after everything that was not later
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import unquote

from clew.errors import NoSuchPoint, NotFound
from clew.log import Reader

# Where a request names a point: a header, or a part of its path, before what it would ask of the present.
HEADER = "Clew-As-Of"
PATH = "/at/{point}"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# A space before the offset was a plus sign, before somebody decoded it once too often.
_TIME = re.compile(r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(\.\d{1,18})?(?:([Zz])|([-+ ])(\d\d:\d\d))", re.ASCII)
_NUMBER = re.compile(r"([Vv]?)([0-9]{1,30})")
_HELP = "write a position (1234), a version of the thread (v12) or a time (2026-08-01T12:00:00Z)"


@dataclass(frozen=True, slots=True)
class Point:
    """As somebody wrote it. `where` is what named it, in words that the writer knows."""

    written: str
    where: str

    def position(self, reader: Reader, thread_id: str | None = None) -> int:
        """Which position it is. `thread_id` is the thread that was asked for, if it was a thread.

        Raises `NoSuchPoint`; `NotFound` for a version of a thread that never was.
        """
        written = unquote(self.written).strip()
        if number := _NUMBER.fullmatch(written):
            of_thread, value = number[1], int(number[2])
            return self._version(reader, thread_id, value) if of_thread else self._number(reader, value)
        try:
            at = read_time(written)
        except ValueError as error:
            raise self._none(f"there is no such time ({error})") from None
        if at is not None:
            return self._time(reader, at)
        raise self._none(_HELP)

    def _number(self, reader: Reader, position: int) -> int:
        head = reader.head()
        if position > head:
            raise self._none(f"it is still to come; the newest position is {head}")
        return position

    def _version(self, reader: Reader, thread_id: str | None, version: int) -> int:
        if thread_id is None:
            raise self._none("a version is one of a thread, and no thread is asked for; write a position or a time")
        newest = reader.version(thread_id)
        if not newest:
            raise NotFound(noun="thread", id=thread_id)
        if version < 1:
            raise self._none("versions count from v1")
        if version > newest:
            raise self._none(f"it is still to come; {thread_id} is at v{newest}")
        return reader.stream(thread_id, after=version - 1, upto=version)[0].position

    def _time(self, reader: Reader, at: int) -> int:
        if at > reader.cursor.now() and at > _newest_time(reader):
            raise self._none("it is still to come")
        return reader.position_at(at)

    def _none(self, why: str) -> NoSuchPoint:
        shown = self.written if len(self.written) <= 60 else f"{self.written[:59]}…"
        return NoSuchPoint(point=shown, where=self.where, why=why)


def read_time(written: str) -> int | None:
    """Microseconds since 1970 of an RFC 3339 time; None for what is none. Raises `ValueError` for one that never is."""
    found = _TIME.fullmatch(written)
    if found is None:
        return None
    day, clock, fraction, zulu, sign, offset = found.groups()
    zone = "+00:00" if zulu else f"{'+' if sign == ' ' else sign}{offset}"
    moment = datetime.fromisoformat(f"{day}T{clock}{zone}")
    return microseconds(moment) + int((fraction or ".0")[1:7].ljust(6, "0"))


def microseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1)


def _newest_time(reader: Reader) -> int:
    """Times of the log never go back, also where a clock did."""
    head = reader.head()
    return reader.event(head).at if head else 0


def point_of(scope: Any, header: bytes | str | None) -> Point | None:
    """The point that a request (an ASGI scope, and its header) asks about, None for now. Raises `NoSuchPoint`."""
    in_path = scope["path_params"].get("point")
    if header is None:
        return Point(in_path, "/at/") if in_path is not None else None
    written = header.decode("latin-1") if isinstance(header, bytes) else header
    if in_path is not None and in_path != written:
        raise NoSuchPoint(point=written, where=HEADER, why=f"the path names another one, {in_path!r}; name one point")
    return Point(written, HEADER)
