"""Position order is commit order: whoever follows the log while many processes write misses nothing.

The same is tried with the lock taken out, where the loss must be found: a test that cannot fail proves nothing.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from clew.events import Event, Recorded
from clew.log import Log, open_store
from tests.log.rushing import POSITIONS_APART
from tests.log.stores import everything, part_by_stream, words_of
from tests.log.verifying import fault, holds_together

pytestmark = pytest.mark.slow

PROCESSES = 8
EVENTS = 20_000
PAGE_EVENTS = 500
_LIMIT_SECONDS = 120.0


@dataclass(frozen=True)
class Followed:
    """What the reader came by while others wrote, and what the log holds in the end."""

    seen: list[int]
    there: list[Recorded[Event]]

    @property
    def missed(self) -> set[int]:
        return {one.position for one in self.there} - set(self.seen)

    @property
    def repeated(self) -> set[int]:
        return {position for position, times in Counter(self.seen).items() if times > 1}


def follow_while_they_write(dsn: str, *fault: str) -> Followed:
    """A reader that only ever asks for what comes after the position it is at, as fast as it can."""
    command = [sys.executable, "-m", "tests.log.rushing", dsn, str(PROCESSES), str(EVENTS), *fault]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    log = Log(open_store(dsn, writing=False))
    seen: list[int] = []
    end = time.monotonic() + _LIMIT_SECONDS
    # A session of their own, so that all of them can be ended at once.
    with subprocess.Popen(
        command,
        cwd=Path(__file__).parents[2],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as writing:
        try:
            while time.monotonic() < end:
                ended = writing.poll() is not None
                with log.reading() as reader:
                    page = reader.follow(seen[-1] if seen else 0, PAGE_EVENTS)
                seen += [one.position for one in page]
                if ended and not page:
                    break
        finally:
            if writing.poll() is None:
                os.killpg(writing.pid, signal.SIGKILL)
        assert writing.stdout is not None
        assert writing.stdout.read().split() == [str(EVENTS)], "they wrote what they were to write"
    there = everything(log)
    log.close()
    return Followed(seen, there)


@pytest.mark.parametrize("parted", [False, True], ids=["whole", "parted by stream"])
def test_a_reader_that_follows_eight_writing_processes_misses_nothing(postgres_dsn: str, parted: bool) -> None:
    if parted:
        part_by_stream(postgres_dsn)
    found = follow_while_they_write(postgres_dsn)
    assert len(found.there) == EVENTS
    assert not found.missed
    assert not found.repeated
    assert found.seen == list(range(1, EVENTS + 1)), "positions have no gaps, and came in order"
    assert len(set(words_of(found.there))) == EVENTS, "every event is there once"
    log = Log(open_store(postgres_dsn, writing=False))
    with log.reading() as reader:
        sealed = reader.sealed(0, EVENTS + 1)
    log.close()
    holds_together(sealed)
    assert fault(sealed) is None
    shared = {one.stream for one in found.there if one.stream.count("-") == 1}
    assert len(shared) > 1, "some streams were written to by many"


def test_without_the_lock_the_same_reader_misses_events(postgres_dsn: str) -> None:
    with psycopg.connect(postgres_dsn) as connection:
        connection.execute(f"create sequence clew.places increment by {POSITIONS_APART}")
    found = follow_while_they_write(postgres_dsn, "unlocked")
    assert len(set(words_of(found.there))) == EVENTS, "nothing was lost to the log itself"
    assert not found.repeated
    assert len(found.missed) > EVENTS // 100, "the planted fault was not found"
