"""The read models: made again from the log they must have the same rows, on either database."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any

import clew_projections
from clew.events.base import Event, Recorded
from clew.log import Log, Store
from clew.log.chain import Row, Sealed
from clew.log.committer import Committer
from clew.log.tasks import Append, Done, Task
from clew.projecting import Keeper, discover
from tests.simulation.storage import new_store

Tables = dict[str, list[tuple[Any, ...]]]


class AtOnce:
    """A writer without a thread: whatever it is given is done when `submit` returns."""

    def __init__(self, store: Store, committer: Committer, done: Done) -> None:
        self._committer = committer
        self._done = done

    def submit(self, task: Task) -> None:
        if isinstance(task, Append):
            self._committer.commit([task])
        else:
            self._committer.run(task)
        self._done([task])

    def settled(self, tasks: int) -> None:
        """It counts nothing."""

    def close(self) -> None:
        """Nothing is on its way."""


def faults_of_tables(log: Log, sealed: Sequence[Sealed], recorded: Sequence[Recorded[Event]]) -> Iterator[str]:
    """The same events in one go, in a store that never saw anything go wrong, lead to the same rows."""
    keeper = Keeper(discover(clew_projections))
    catch_up(keeper, log)
    fresh = new_store(lambda: 0)
    yield from _differences(rows_of(log, keeper), replay(sealed, recorded, fresh))
    fresh.close()


def faults_of_rebuilding(log: Log) -> Iterator[str]:
    """Made again as `clew projections rebuild` does it. Takes twice as long as making a history."""
    keeper = Keeper(discover(clew_projections))
    catch_up(keeper, log)
    kept = rows_of(log, keeper)
    asyncio.run(_rebuild(keeper, log))
    yield from _differences(kept, rows_of(log, keeper))


def _differences(kept: Tables, made: Tables) -> Iterator[str]:
    for table, rows in made.items():
        if rows != kept[table]:
            only_kept = [row for row in kept[table] if row not in rows]
            only_made = [row for row in rows if row not in kept[table]]
            yield f"{table} has {only_kept}, and made again {only_made}"


def catch_up(keeper: Keeper, log: Log) -> None:
    """Bring what comes behind the log to its end."""
    asyncio.run(_catch_up(keeper, log))


async def _catch_up(keeper: Keeper, log: Log) -> None:
    for projection in keeper.projections.values():
        if projection.lifecycle == "follow":
            await keeper.follow(log, projection.name)


async def _rebuild(keeper: Keeper, log: Log) -> None:
    for name in keeper.projections:
        await keeper.rebuild(log, name)


def rows_of(log: Log, keeper: Keeper) -> Tables:
    """All rows of all read models, in an order that does not depend on the database."""
    with log.reading() as reader:
        return {
            table.name: sorted((tuple(row) for row in reader.rows(f"select * from {table.name}")), key=repr)
            for projection in keeper.projections.values()
            for table in projection.tables
        }


def replay(sealed: Sequence[Sealed], recorded: Sequence[Recorded[Event]], store: Store) -> Tables:
    """Put the events of one log into another store, as they are, and give the rows of its read models."""
    keeper = Keeper(discover(clew_projections))
    log = Log(store, keeper.inline, keeper.forget, keeper.swapped, AtOnce)
    if store.shared:
        asyncio.run(keeper.prepare(log))
    if not recorded:
        return rows_of(log, keeper)
    with store.appending() as (cursor, _):
        store.insert_events(cursor, [_row(one) for one in sealed])
        keeper.inline(cursor, recorded)
    catch_up(keeper, log)
    return rows_of(log, keeper)


def _row(sealed: Sealed) -> Row:
    assert sealed.salt is not None, "nothing is erased in a simulation"
    return Row(
        sealed.position,
        sealed.partition,
        str(sealed.originator_id),
        sealed.originator_version,
        sealed.topic,
        sealed.at,
        sealed.actor,
        sealed.state,
        sealed.salt,
        sealed.body_hash,
        sealed.hash,
    )
