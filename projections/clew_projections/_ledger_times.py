"""Hours, days and months of the billing ledger, all in UTC. Times are in microseconds since 1970."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Literal, TypeAlias

Unit: TypeAlias = Literal["hour", "day", "month"]

MICROSECONDS = {"hour": 3_600_000_000, "day": 86_400_000_000}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def floor(at: int, unit: Unit) -> int:
    """Where the hour, day or month (UTC) begins that `at` is in."""
    if unit != "month":
        return at - at % MICROSECONDS[unit]
    day = _moment(at)
    return _microseconds(day.replace(day=1, hour=0, minute=0, second=0, microsecond=0))


def following(at: int, unit: Unit) -> int:
    """Where the next one begins."""
    if unit != "month":
        return floor(at, unit) + MICROSECONDS[unit]
    return floor(floor(at, unit) + 31 * MICROSECONDS["day"], "month")


def _moment(at: int) -> datetime:
    return _EPOCH + timedelta(microseconds=at)


def _microseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1)


def time_key(at: int, unit: Unit) -> str:
    forms = {"hour": "%Y-%m-%dT%H:00:00Z", "day": "%Y-%m-%d", "month": "%Y-%m"}
    return _moment(at).strftime(forms[unit])
