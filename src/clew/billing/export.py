"""The ledger as CSV, for spreadsheets: what the JSON says, in columns."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

from clew.billing.records import CarriedItem, CarriedRecord, EntryRecord, Ledger, Spent

_ENTRY_COLUMNS = tuple(EntryRecord.model_fields)
_GROUP_COLUMNS = ("key", *Spent.model_fields)


def groups_csv(ledger: Ledger) -> Iterator[str]:
    """A line for each group, in its order, and one for the others; the total is their sum and has none. Without
    groups it is the total that is told.
    """
    rows: list[dict[str, Any]] = [group.model_dump() for group in ledger.groups]
    if ledger.others is not None:
        rows.append({"key": "(others)", **ledger.others.model_dump()})
    if not ledger.group_by:
        rows = [{"key": "(total)", **ledger.total.model_dump()}]
    return _csv(_GROUP_COLUMNS, rows)


def entries_csv(entries: Iterable[EntryRecord], *, header: bool = True) -> Iterator[str]:
    return _csv(_ENTRY_COLUMNS, map(_entry_row, entries), header=header)


def _entry_row(entry: EntryRecord) -> dict[str, Any]:
    lines = [f"{line.kind} {line.tokens} at {line.price} for {line.per}" for line in entry.lines]
    return {
        **entry.model_dump(),
        "at": as_written(entry.at),
        "tier": _pairs(entry.tier),
        "tags": _pairs(entry.tags),
        "lines": "; ".join(lines),
    }


def carried_csv(found: CarriedRecord) -> Iterator[str]:
    """A line for the instructions, one for the tools, and one for each item: together they are what was paid."""
    rows: list[dict[str, Any]] = [
        {"kind": "instructions", "amount": found.instructions_amount},
        {"kind": "tools", "amount": found.tools_amount},
        *(item.model_dump() for item in found.items),
    ]
    return _csv(tuple(CarriedItem.model_fields), rows)


def as_written(at: int) -> str:
    """A time as in RFC 3339, to the microsecond."""
    whole = datetime.fromtimestamp(at // 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{whole}.{at % 1_000_000:06}Z"


def _pairs(named: dict[str, str]) -> str:
    return "; ".join(f"{name}={value}" for name, value in named.items())


def _csv(columns: Iterable[str], rows: Iterable[dict[str, Any]], *, header: bool = True) -> Iterator[str]:
    """Line by line, so that an export may be as long as it likes."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, tuple(columns), lineterminator="\r\n")
    if header:
        writer.writeheader()
    for row in rows:
        yield _taken(buffer)
        writer.writerow(row)
    yield _taken(buffer)


def _taken(buffer: io.StringIO) -> str:
    said = buffer.getvalue()
    buffer.seek(0)
    buffer.truncate()
    return said
