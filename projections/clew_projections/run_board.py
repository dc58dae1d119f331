"""Which runs are under way, and what they wait for. What workers claim from, and what ends runs that expire.

It knows only now: a run that has ended is not on it. Leases are not here; they are no part of any history.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from clew.events.base import Recorded
from clew.events.run import (
    RunActionRequired,
    RunCancelled,
    RunCancelRequested,
    RunCompleted,
    RunExpired,
    RunFailed,
    RunIncomplete,
    RunQueued,
    RunStarted,
)
from clew.events.tool import ToolConfirmed, ToolFailed, ToolInDoubt, ToolReturned, ToolSettled
from clew.log import ColumnType, Cursor, Reader
from clew.projecting import Projection, Rows, Table

Standing: TypeAlias = Literal["ready", "working", "waiting", "in_doubt", "cancelling"]

BOARD = Table(
    name="run_board",
    key=("run_id",),
    columns={
        "run_id": "text not null",
        "thread_id": "text not null",
        "standing": "text not null",
        "since_position": "integer not null",
        "fence": "integer not null",
        "leased_until": "integer not null",
        "open_calls": "integer not null",
        "in_doubt": "integer not null",
        "expires_at": "integer",
    },
    indexes=(("standing", "since_position"), ("expires_at",)),
    timed=False,
    hot=True,
)

# Operational, and no part of any history: made by the log's migrations, not from its events.
LEASES: Mapping[str, ColumnType] = {
    "run_id": "text",
    "worker": "text",
    "fence": "integer",
    "claimed": "integer",
    "until": "integer",
}

projection = Projection(name="run_board", version=1, lifecycle="inline", tables=(BOARD,))


@projection.on(RunQueued)
def _(recorded: Recorded[RunQueued], rows: Rows) -> None:
    rows.add(
        BOARD,
        run_id=recorded.event.run_id,
        thread_id=recorded.stream,
        standing="ready",
        since_position=recorded.position,
        fence=0,
        leased_until=0,
        open_calls=0,
        in_doubt=0,
        expires_at=recorded.event.expires_at,
    )


@projection.on(RunStarted)
def _(recorded: Recorded[RunStarted], rows: Rows) -> None:
    row = _row(recorded, rows)
    # Whoever takes it, it waits for a person as long as a call is in doubt: nobody else is to claim it meanwhile.
    working = "in_doubt" if row["in_doubt"] else "working"
    standing = row["standing"] if row["standing"] == "cancelling" else working
    leased_until = recorded.at + round(recorded.event.lease_seconds * 1_000_000)
    _move(recorded, rows, standing, fence=recorded.event.fence, leased_until=leased_until)


@projection.on(RunActionRequired)
def _(recorded: Recorded[RunActionRequired], rows: Rows) -> None:
    _move(recorded, rows, "waiting", open_calls=len(recorded.event.tool_call_ids))


@projection.on(RunCancelRequested)
def _(recorded: Recorded[RunCancelRequested], rows: Rows) -> None:
    _move(recorded, rows, "cancelling")


@projection.on(ToolReturned)
def _(recorded: Recorded[ToolReturned], rows: Rows) -> None:
    _answered(recorded, rows)


@projection.on(ToolConfirmed)
def _(recorded: Recorded[ToolConfirmed], rows: Rows) -> None:
    # A call that was denied fails in the same append.
    if recorded.event.allowed:
        _answered(recorded, rows)


@projection.on(ToolFailed)
def _(recorded: Recorded[ToolFailed], rows: Rows) -> None:
    _answered(recorded, rows)


@projection.on(ToolInDoubt)
def _(recorded: Recorded[ToolInDoubt], rows: Rows) -> None:
    row = _row(recorded, rows)
    standing = row["standing"] if row["standing"] == "cancelling" else "in_doubt"
    _move(recorded, rows, standing, in_doubt=row["in_doubt"] + 1)


@projection.on(ToolSettled)
def _(recorded: Recorded[ToolSettled], rows: Rows) -> None:
    row = _row(recorded, rows)
    left = row["in_doubt"] - 1
    standing = "ready" if row["standing"] == "in_doubt" and left == 0 else row["standing"]
    _move(recorded, rows, standing, in_doubt=left)


@projection.on(RunCompleted)
def _(recorded: Recorded[RunCompleted], rows: Rows) -> None:
    rows.remove(BOARD, recorded.event.run_id)


@projection.on(RunFailed)
def _(recorded: Recorded[RunFailed], rows: Rows) -> None:
    rows.remove(BOARD, recorded.event.run_id)


@projection.on(RunCancelled)
def _(recorded: Recorded[RunCancelled], rows: Rows) -> None:
    rows.remove(BOARD, recorded.event.run_id)


@projection.on(RunExpired)
def _(recorded: Recorded[RunExpired], rows: Rows) -> None:
    rows.remove(BOARD, recorded.event.run_id)


@projection.on(RunIncomplete)
def _(recorded: Recorded[RunIncomplete], rows: Rows) -> None:
    rows.remove(BOARD, recorded.event.run_id)


def _row(recorded: Recorded[Any], rows: Rows) -> dict[str, Any]:
    row = rows.get(BOARD, recorded.event.run_id)
    assert row is not None, "a run is on the board from its queueing to its end"
    return row


def _move(recorded: Recorded[Any], rows: Rows, standing: str, **changes: Any) -> None:
    row = _row(recorded, rows)
    rows.put(BOARD, **{**row, "standing": standing, "since_position": recorded.position, **changes})


def _answered(recorded: Recorded[Any], rows: Rows) -> None:
    """The last answer of a client makes a waiting run ready again."""
    row = _row(recorded, rows)
    if row["standing"] == "waiting":
        left = row["open_calls"] - 1
        _move(recorded, rows, "waiting" if left else "ready", open_calls=left)


# Questions


@dataclass(frozen=True, slots=True)
class BoardRow:
    run_id: str
    thread_id: str
    standing: Standing
    fence: int


def abandoned(reader: Reader, *, limit: int) -> list[BoardRow]:
    """Runs that want a worker where nobody else can be holding one, longest waiting first."""
    rows = reader.rows(
        "select run_id, thread_id, standing, fence from run_board where standing <> 'waiting'"
        " order by since_position limit ?",
        (limit,),
    )
    return [BoardRow(*row) for row in rows]


def claim(cursor: Cursor, *, worker: str, lease_microseconds: int, limit: int) -> list[BoardRow]:
    """Take leases on runs that want a worker, longest waiting first. No two workers are ever given the same one.

    A run is free when nobody has claimed it as it stands now, or when the lease on it ran out by the database's
    clock. The lease on a run that is being worked on begins with the event that took it, which may come a while
    after it was claimed, and goes on in the table of leases, where it is renewed, or given back (`until` is 0 then).
    """
    now = cursor.now()
    cursor.execute(
        "select b.run_id, b.thread_id, b.standing, b.fence, b.since_position from run_board b"
        " left join leases l on l.run_id = b.run_id"
        " where (b.standing in ('ready', 'cancelling')"
        " and (l.run_id is null or l.until <= ? or l.claimed < b.since_position))"
        " or (b.standing in ('working', 'in_doubt') and case"
        " when l.claimed >= b.since_position or (l.fence = b.fence and (l.until = 0 or l.until > b.leased_until))"
        " then l.until else b.leased_until end <= ?)"
        f" order by b.since_position limit ?{cursor.tongue.skip_locked}",
        (now, now, limit),
    )
    found = [(BoardRow(*row[:4]), row[4]) for row in cursor.fetchall()]
    until = now + lease_microseconds
    leases = [(row.run_id, worker, _next_fence(row), since, until) for row, since in found]
    if leases:
        cursor.insert("leases", LEASES, leases, replacing=("run_id",))
    return [row for row, _ in found]


def _next_fence(row: BoardRow) -> int:
    """The fence that the claimed run will be worked on under: what is only looked at is not taken anew."""
    return row.fence if row.standing == "in_doubt" else row.fence + 1


def expired(reader: Reader, *, now: int, limit: int) -> list[BoardRow]:
    """Runs whose time is over (`now` in microseconds)."""
    rows = reader.rows(
        "select run_id, thread_id, standing, fence from run_board where expires_at <= ? and standing <> 'in_doubt'"
        " order by expires_at limit ?",
        (now, limit),
    )
    return [BoardRow(*row) for row in rows]


def under_way(reader: Reader) -> Sequence[BoardRow]:
    rows = reader.rows("select run_id, thread_id, standing, fence from run_board order by since_position")
    return [BoardRow(*row) for row in rows]
