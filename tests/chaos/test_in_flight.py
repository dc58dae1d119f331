"""An append that is on its way while the store goes away: it is kept once, or its author is told that nobody knows."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from psycopg.conninfo import make_conninfo

from clew.errors import StoreLost
from clew.log import Log, committer, open_store
from clew.log.postgres import PostgresStore
from clew.log.store import Meanwhile
from tests.log.stores import everything, said, words_of
from tests.rigs.postgres import Postgres
from tests.rigs.proxy import Proxy

pytestmark = pytest.mark.slow


def lose_answers(store: PostgresStore, times: int) -> None:
    """The next transactions are committed, and the connection is gone before anybody hears of it."""
    appending = store.appending
    left = [times]

    @contextmanager
    def deaf(*meanwhile: Meanwhile) -> Iterator[Any]:
        with appending(*meanwhile) as begun:
            yield begun
        if left[0]:
            left[0] -= 1
            raise StoreLost(name=store.name, why="cut by the test")

    store.appending = deaf  # type: ignore[assignment, method-assign]


@pytest.mark.parametrize("times", [1, 2, 5])
def test_an_append_whose_answer_is_lost_again_and_again_is_kept_once(postgres_dsn: str, times: int) -> None:
    store = PostgresStore(postgres_dsn)
    log = Log(store)

    async def main() -> None:
        await log.append("thread-1", [said("before")], after=0)
        lose_answers(store, times)
        together = [log.append(f"thread-{n}", [said(f"{n}"), said(f"{n}")], after=int(n == 1)) for n in range(1, 4)]
        done = await asyncio.gather(*together)
        assert [one.events[0].version for one in done] == [2, 1, 1]
        await log.append("thread-1", [said("after")], after=3)

    asyncio.run(main())
    assert words_of(everything(log)) == ["before", "1", "1", "2", "2", "3", "3", "after"]
    log.close()


def test_who_waits_for_a_store_that_stays_away_is_told_so_and_may_ask_again(
    monkeypatch: pytest.MonkeyPatch, own_postgres: Postgres
) -> None:
    monkeypatch.setattr(committer, "_AWAY_SECONDS_MAX", 0.3)
    log = Log(open_store(own_postgres.create_database("away")))

    async def append() -> list[int]:
        done = await log.append("thread-1", [said("once")], after=0, key="key", fingerprint=b"same")
        return [one.position for one in done.events]

    own_postgres.crash()
    try:
        with pytest.raises(StoreLost, match="ask again with the same idempotency key"):
            asyncio.run(append())
    finally:
        own_postgres.start()
    assert asyncio.run(append()) == [1]
    assert asyncio.run(append()) == [1]
    assert words_of(everything(log)) == ["once"]
    log.close()


def test_whoever_falls_silent_in_the_middle_of_an_append_does_not_hold_up_the_others(postgres_dsn: str) -> None:
    """As a process that is stopped, or whose cable is pulled. Ten seconds are the rule, less in this test."""
    impatient = make_conninfo(postgres_dsn, options="-c idle_in_transaction_session_timeout=300ms")
    silent, log = PostgresStore(impatient), Log(open_store(postgres_dsn))
    holds, told = threading.Event(), []

    def fall_silent() -> None:
        try:
            with silent.appending():
                holds.set()
                time.sleep(1)
        except StoreLost as error:
            told.append(error)

    thread = threading.Thread(target=fall_silent)
    thread.start()
    assert holds.wait(10)
    began = time.monotonic()
    asyncio.run(log.append("thread-1", [said("through")], after=0))
    took = time.monotonic() - began
    thread.join()
    assert took < 0.9
    # It may have been anything to whoever was thrown out, but no refusal: it is tried again.
    assert told
    log.close()
    silent.close()


def test_what_is_on_disk_is_told_while_the_next_batch_waits_for_another_process(postgres_dsn: str) -> None:
    """More than one batch: those of the first are told when the second is on its way, and no later than this."""
    log, other = Log(open_store(postgres_dsn)), PostgresStore(postgres_dsn)
    appending, batches = log.store.appending, []
    with ExitStack() as held:

        @contextmanager
        def behind_another(*meanwhile: Meanwhile) -> Iterator[Any]:
            batches.append(1)
            if len(batches) == 2:
                held.enter_context(other.appending())
            with appending(*meanwhile) as begun:
                yield begun

        log.store.appending = behind_another  # type: ignore[assignment]

        async def main() -> None:
            appends = [asyncio.create_task(log.append(f"thread-{n}", [said("a")], after=0)) for n in range(300)]
            done, waiting = await asyncio.wait(appends, timeout=10, return_when=asyncio.FIRST_COMPLETED)
            assert 0 < len(done) < 300
            assert len(batches) == 2
            held.close()
            await asyncio.wait_for(asyncio.gather(*waiting), 10)

        asyncio.run(main())
    assert [one.position for one in everything(log)] == list(range(1, 301))
    log.close()
    other.close()


def test_a_connection_that_is_cut_again_and_again_neither_loses_nor_doubles(own_postgres: Postgres) -> None:
    """No idempotency keys here: that each append is kept once is the log's own doing."""
    with Proxy(own_postgres.port) as proxy:
        own_postgres.create_database("cut")
        log = Log(open_store(own_postgres.tcp_dsn("cut", proxy.port)))
        until = time.monotonic() + 3

        def cut_again_and_again() -> None:
            while time.monotonic() < until:
                time.sleep(random.uniform(0.01, 0.15))
                proxy.cut()

        async def append_for_ever(number: int) -> int:
            version = 0
            while time.monotonic() < until:
                events = [said(f"{number}.{version + n}") for n in range(1, 3)]
                version = (await log.append(f"thread-{number}", events, after=version)).events[-1].version
            return version

        async def main() -> list[int]:
            return await asyncio.gather(*(append_for_ever(number) for number in range(6)))

        cutter = threading.Thread(target=cut_again_and_again)
        cutter.start()
        try:
            versions = asyncio.run(main())
        finally:
            cutter.join()
        found = everything(log)
        log.close()
    assert [one.position for one in found] == list(range(1, sum(versions) + 1))
    for number, version in enumerate(versions):
        mine = words_of([one for one in found if one.stream == f"thread-{number}"])
        assert mine == [f"{number}.{n}" for n in range(1, version + 1)]
