"""Times as people write them when they ask what something has cost.

2026-11-25T12:00:00+02:00   a time, as in RFC 3339
2026-11-25 · 2026-11        the beginning of a day or of a month, UTC
7d · 12h · 30m              so long before now
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

from clew.errors import BadQuestion
from clew.past import microseconds, read_time

_AGO = re.compile(r"(\d{1,6})([dhm])", re.ASCII)
_SECONDS = {"d": 86_400, "h": 3_600, "m": 60}
_DAY = re.compile(r"(\d{4})-(\d\d)(?:-(\d\d))?", re.ASCII)
_HELP = "write a time (2026-11-25T12:00:00Z), a day (2026-11-25), a month (2026-11), or how long ago (7d, 12h, 30m)"


def moment(written: str | None, name: str, now: int) -> int | None:
    """In microseconds since 1970; None when nothing was written. `name` is what the writer knows it by."""
    said = (written or "").strip()
    if not said:
        return None
    if ago := _AGO.fullmatch(said):
        return max(0, now - int(ago[1]) * _SECONDS[ago[2]] * 1_000_000)
    try:
        if day := _DAY.fullmatch(said):
            return microseconds(datetime(int(day[1]), int(day[2]), int(day[3] or 1), tzinfo=UTC))
        found = read_time(said)
    except ValueError as error:
        raise BadQuestion(name=name, given=said, why=f"there is no such time ({error})") from None
    if found is None:
        raise BadQuestion(name=name, given=said, why=_HELP)
    return found
