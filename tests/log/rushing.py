"""A program: processes that write to one PostgreSQL log as fast as they can, each many small appends at once.

    python -m tests.log.rushing DSN PROCESSES EVENTS [unlocked]

Half of what a process writes goes to streams that all processes share, so that they also conflict. It prints how
many events were acknowledged. `unlocked` plants the fault that a log is known to die of, positions from a sequence;
each writes to its own streams then, since without the lock they would hardly come through on others'.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import random
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from clew.errors import Conflict
from clew.log import Log
from clew.log.postgres import PostgresStore
from clew.log.store import End, Meanwhile, nothing
from tests.log.stores import said

_APPENDERS = 10
_SHARED_STREAMS = 20
_EVENTS_AN_APPEND_MAX = 3
# More than a batch has events, so that no two batches share a position.
POSITIONS_APART = 1_000
_PAUSE_SECONDS_MAX = 0.05


class Unlocked(PostgresStore):
    """Positions are from a sequence and the head row is not locked: who takes a place first may commit last."""

    @contextmanager
    def appending(self, meanwhile: Meanwhile = nothing, foresee: Meanwhile = nothing) -> Iterator[tuple[Any, End]]:
        with self.transaction() as cursor:
            cursor.execute("select nextval('places')")
            (position,) = cursor.fetchone() or (0,)
            yield cursor, End(position, 0, cursor.now(), 1)
            time.sleep(random.random() * _PAUSE_SECONDS_MAX)


async def _append(log: Log, stream: str, name: str, events: int) -> None:
    """`events` of them, each with words of its own, a few at a time."""
    with log.reading() as reader:
        version = reader.version(stream)
    written = 0
    while written < events:
        some = range(written, min(events, written + random.randint(1, _EVENTS_AN_APPEND_MAX)))
        try:
            done = await log.append(stream, [said(f"{name} {number}") for number in some], after=version)
        except Conflict as conflict:
            version = conflict.found or 0
        else:
            written, version = some.stop, done.events[-1].version


async def _append_together(log: Log, process: int, events: int) -> None:
    """As many appends at once as a busy server has, half of them to streams that others write to as well."""
    appends = []
    for number in range(_APPENDERS):
        alone = number % 2 or isinstance(log.store, Unlocked)
        stream = f"thread-{process}-{number}" if alone else f"thread-{random.randrange(_SHARED_STREAMS)}"
        appends.append(_append(log, stream, f"{process}.{number}", len(range(number, events, _APPENDERS))))
    await asyncio.gather(*appends)


def _write(make_store: type[PostgresStore], dsn: str, process: int, events: int) -> None:
    log = Log(make_store(dsn))
    asyncio.run(_append_together(log, process, events))
    log.close()


def main() -> None:
    dsn, processes, events, *fault = sys.argv[1:]
    each = int(events) // int(processes)
    # Forked, so that what they are made of is loaded once; nothing is open yet.
    forking = multiprocessing.get_context("fork")
    writers = [
        forking.Process(target=_write, args=(Unlocked if fault else PostgresStore, dsn, number, each))
        for number in range(int(processes))
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    failed = [writer.exitcode for writer in writers if writer.exitcode]
    if failed:
        sys.exit(f"writers ended with {failed}")
    print(each * len(writers))


if __name__ == "__main__":
    main()
