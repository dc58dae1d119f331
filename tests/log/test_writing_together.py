"""Many appenders at once: commits are shared, failures are not, and nobody who follows misses anything."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from clew.errors import Conflict, StoreFailed, StoreLost
from clew.events import Event, Recorded
from clew.log import Log, chain
from clew.log.store import Meanwhile, Raced
from clew.log.writer import BATCH_EVENTS_MAX
from tests.log.stores import Opening, everything, said, words_of
from tests.log.together import LIMIT_SECONDS, held_back, submitted


def count_transactions(log: Log, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    counted = [0]
    name = "_writing" if log.store.shared else "transaction"
    real = getattr(log.store, name)

    @contextmanager
    def counting(*begin: str) -> Iterator[Any]:
        with real(*begin) as cursor:
            counted[0] += 1
            yield cursor

    monkeypatch.setattr(log.store, name, counting)
    return counted


def test_appends_that_wait_are_committed_together(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    counted = count_transactions(log, monkeypatch)

    async def main() -> None:
        with held_back(log):
            tasks = [asyncio.create_task(log.append(f"thread-{n}", [said("a")], after=0)) for n in range(100)]
            await submitted(*tasks)
        await asyncio.gather(*tasks)

    asyncio.run(main())
    assert counted == [2], "one for what held the writer back, one for all appends"
    assert len(everything(log)) == 100


def test_a_batch_has_a_limit(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    inserted: list[int] = []
    real = log.store.insert_events

    def insert_events(cursor: Any, rows: Sequence[Any]) -> None:
        inserted.append(len(rows))
        real(cursor, rows)

    monkeypatch.setattr(log.store, "insert_events", insert_events)

    async def main() -> None:
        with held_back(log):
            appends = range(BATCH_EVENTS_MAX + 1)
            tasks = [asyncio.create_task(log.append(f"thread-{n}", [said("a")], after=0)) for n in appends]
            await submitted(*tasks)
        await asyncio.gather(*tasks)

    asyncio.run(main())
    if log.store.shared:
        # There is always one batch to send when another is done.
        assert sum(inserted) == BATCH_EVENTS_MAX + 1
        assert max(inserted) <= BATCH_EVENTS_MAX // 2 + 1
        assert len(inserted) <= 4
    else:
        assert inserted == [BATCH_EVENTS_MAX, 1]


def test_in_one_batch_the_second_of_two_that_expect_the_same_version_conflicts(log: Log) -> None:
    async def main() -> None:
        with held_back(log):
            one, other, next_one = (
                asyncio.create_task(log.append("thread-1", [said(words)], after=after))
                for words, after in (("one", 0), ("other", 0), ("next", 1))
            )
            await submitted(one, other, next_one)
        await one
        with pytest.raises(Conflict):
            await other
        await next_one
        assert words_of(everything(log)) == ["one", "next"]

    asyncio.run(main())


@pytest.mark.parametrize("fault", [ValueError, KeyError, OverflowError, AttributeError])
def test_one_bad_append_does_not_fail_its_neighbours(opening: Opening, fault: type[Exception]) -> None:
    def inline(cursor: Any, recorded: Sequence[Recorded[Event]]) -> None:
        if any(one.actor == "bad" for one in recorded):
            raise fault("this one")

    log = opening(inline)

    async def main() -> None:
        with held_back(log):
            tasks = [
                asyncio.create_task(
                    log.append(f"thread-{n}", [said(str(n))], after=0, actor="bad" if n == 5 else None, key=f"k{n}")
                )
                for n in range(10)
            ]
            await submitted(*tasks)
        outcomes = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), LIMIT_SECONDS)
        assert [n for n, outcome in enumerate(outcomes) if isinstance(outcome, BaseException)] == [5]
        assert isinstance(outcomes[5], fault)
        found = everything(log)
        assert words_of(found) == [str(n) for n in range(10) if n != 5]
        assert [one.position for one in found] == list(range(1, 10)), "a failure leaves no gap"
        assert log.first_outcome("k5") is None
        await log.append("thread-5", [said("5")], after=0, key="k5")

    asyncio.run(main())


def test_a_stream_that_is_about_to_be_forgotten_is_not_while_its_batch_is_made(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of more streams than are remembered: the oldest of them is written to along with new ones."""
    monkeypatch.setattr(chain, "_HEADS_MAX", 3)

    async def main() -> None:
        for number in range(3):
            await log.append(f"thread-{number}", [said("a")], after=0)
        for version in (1, 2):
            counted = count_transactions(log, monkeypatch)
            with held_back(log):
                old = [asyncio.create_task(log.append("thread-0", [said("b")], after=version))]
                new = [asyncio.create_task(log.append(f"thread-{version}-{n}", [said("c")], after=0)) for n in range(6)]
                await submitted(*old, *new)
            done = await asyncio.wait_for(asyncio.gather(*new, *old), LIMIT_SECONDS)
            assert [one.events[0].version for one in done] == [1] * 6 + [version + 1]
            assert counted[0] == 2, "whoever holds the others back, and one for all of them"
            monkeypatch.undo()
            monkeypatch.setattr(chain, "_HEADS_MAX", 3)

    asyncio.run(main())


def troubled(log: Log, monkeypatch: pytest.MonkeyPatch, *troubles: Exception | None) -> None:
    """The next appending transactions meet these, one each; None is a good one."""
    coming = iter(troubles)
    real = log.store.appending

    @contextmanager
    def appending(*meanwhile: Meanwhile) -> Iterator[Any]:
        trouble = next(coming, None)
        if trouble is not None:
            raise trouble
        with real(*meanwhile) as begun:
            yield begun

    monkeypatch.setattr(log.store, "appending", appending)


def test_an_append_that_others_overtake_again_and_again_is_told_and_the_writer_lives_on(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    troubled(log, monkeypatch, Raced("once"), Raced("twice"))

    async def main() -> None:
        with pytest.raises(StoreFailed, match="twice"):
            await asyncio.wait_for(log.append("thread-1", [said("a")], after=0), LIMIT_SECONDS)
        await asyncio.wait_for(log.append("thread-1", [said("a")], after=0), LIMIT_SECONDS)
        assert words_of(everything(log)) == ["a"]

    asyncio.run(main())


def test_a_store_that_goes_away_while_appends_are_tried_alone_has_each_of_them_once(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        with held_back(log):
            tasks = [asyncio.create_task(log.append(f"thread-{n}", [said(str(n))], after=0)) for n in range(4)]
            await submitted(*tasks)
            # All together, the first two alone, the third alone, and whatever is left.
            troubled(log, monkeypatch, ValueError("all"), None, None, StoreLost(name="it", why="a cable"))
        await asyncio.wait_for(asyncio.gather(*tasks), LIMIT_SECONDS)
        assert words_of(everything(log)) == ["0", "1", "2", "3"]

    asyncio.run(main())


def test_a_job_that_fails_leaves_nothing_and_is_told(log: Log) -> None:
    def work(cursor: Any) -> None:
        cursor.execute("insert into leases (run_id, worker, fence, claimed, until) values ('r', 'w', 1, 1, 1)")
        raise LookupError("not today")

    async def main() -> None:
        with pytest.raises(LookupError, match="not today"):
            await log.write(work)
        with pytest.raises(StoreFailed, match="nowhere"):
            await log.write(lambda cursor: cursor.execute("insert into nowhere values (1)"))
        with log.reading() as reader:
            assert reader.rows("select count(*) from leases")[0][0] == 0
        assert await log.write(lambda cursor: 42) == 42

    asyncio.run(main())


def test_listeners_hear_in_order_and_before_the_appender_goes_on(log: Log) -> None:
    heard: list[Recorded[Event]] = []
    log.listen(heard.extend)

    async def append(number: int) -> None:
        for version in range(5):
            done = await log.append(f"thread-{number}", [said("a"), said("b")], after=version * 2)
            assert done.events[-1] in heard

    async def main() -> None:
        await asyncio.gather(*(append(number) for number in range(10)))

    asyncio.run(main())
    assert [one.position for one in heard] == list(range(1, 101))
    assert heard == everything(log)


def test_an_appender_that_goes_away_still_has_its_events_settled(log: Log) -> None:
    heard: list[Recorded[Event]] = []
    log.listen(heard.extend)

    async def main() -> None:
        settled = asyncio.Event()
        with held_back(log):
            task = asyncio.create_task(log.append("thread-1", [said("a")], after=0, settled=settled.set))
            await submitted(task)
            task.cancel()
        await asyncio.wait_for(settled.wait(), LIMIT_SECONDS)
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert words_of(everything(log)) == ["a"]
    assert heard == everything(log)


def test_what_failed_is_not_settled(log: Log) -> None:
    settled: list[str] = []

    async def main() -> None:
        await log.append("thread-1", [said("a")], after=0, settled=lambda: settled.append("first"))
        with pytest.raises(Conflict):
            await log.append("thread-1", [said("b")], after=0, settled=lambda: settled.append("second"))

    asyncio.run(main())
    assert settled == ["first"]


def test_whoever_follows_neither_misses_nor_repeats(log: Log) -> None:
    appenders, each = 40, 15
    followed: list[Recorded[Event]] = []

    async def append(number: int) -> None:
        written, version = 0, 0
        while written < each:
            try:
                await log.append(f"thread-{number % 7}", [said(f"{number}.{written}")], after=version)
                written += 1
                version += 1
            except Conflict as conflict:
                version = conflict.found if conflict.found is not None else version

    async def follow(page: int) -> list[Recorded[Event]]:
        seen: list[Recorded[Event]] = []
        while len(seen) < appenders * each:
            with log.reading() as reader:
                batch = reader.follow(seen[-1].position if seen else 0, page)
            seen += batch
            await asyncio.sleep(0)
        return seen

    async def main() -> None:
        following = [asyncio.create_task(follow(page)) for page in (1, 7, 500)]
        await asyncio.gather(*(append(number) for number in range(appenders)))
        for one in await asyncio.wait_for(asyncio.gather(*following), LIMIT_SECONDS):
            followed[:] = one
            assert [recorded.position for recorded in one] == list(range(1, appenders * each + 1))

    asyncio.run(main())
    assert followed == everything(log)
    for stream in {recorded.stream for recorded in followed}:
        versions = [recorded.version for recorded in followed if recorded.stream == stream]
        assert versions == list(range(1, len(versions) + 1))
    assert len(set(words_of(followed))) == appenders * each


def test_closing_waits_for_what_was_submitted(opening: Opening) -> None:
    if not opening.kind.lasting:
        pytest.skip(f"{opening.kind.name} is gone when it is closed")
    log = opening()

    async def main() -> None:
        tasks = [asyncio.create_task(log.append(f"thread-{n}", [said("a")], after=0)) for n in range(50)]
        await submitted(*tasks)
        opening.close(log)
        await asyncio.gather(*tasks)

    asyncio.run(main())
    assert len(everything(opening())) == 50
