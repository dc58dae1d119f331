"""A batch is sealed while the database is asked where the log ends, and again when the answer is another one."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest

from clew.errors import Conflict
from clew.log import Log, committer
from clew.log.committer import Committer
from clew.log.postgres import PostgresStore
from clew.log.stores import open_store
from tests.log.stores import STORES, Opening, everything, said, words_of
from tests.log.together import held_back, submitted
from tests.log.verifying import holds_together

SECOND = 1_000_000
# The other stores know where their log ends.
pytestmark = pytest.mark.parametrize(
    "opening", [kind for kind in STORES if kind.shared], ids=lambda kind: kind.name, indirect=True
)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that is busy with other tests may take longer to answer than a time may be old."""
    monkeypatch.setattr(committer, "_CLOCKS_APART_MICROSECONDS_MAX", 60 * SECOND)


@pytest.fixture
def sealed_late(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many events each batch had that was sealed when the answer was there."""
    sizes: list[int] = []
    real = Committer._draft

    def draft(self: Committer, *given: Any) -> Any:
        drafted = real(self, *given)
        sizes.append(len(drafted.rows))
        return drafted

    monkeypatch.setattr(Committer, "_draft", draft)
    return sizes


@pytest.fixture
def other(opening: Opening) -> Log:
    """Another process, as far as the log can tell."""
    return opening()


async def append(log: Log, stream: str, after: int, words: str = "a") -> int:
    """The position that it got."""
    done = await log.append(stream, [said(words)], after=after)
    return done.events[-1].position


def holds(log: Log, events: int) -> None:
    with log.reading() as reader:
        sealed = reader.sealed(0, 1_000_000)
    assert len(sealed) == events
    holds_together(sealed)
    assert sorted(one.at for one in sealed) == [one.at for one in sealed]


@pytest.mark.usefixtures("patient")
def test_a_process_that_appends_alone_seals_while_it_asks(log: Log, sealed_late: list[int]) -> None:
    async def main() -> None:
        for version in range(10):
            await append(log, "thread-1", version)

    asyncio.run(main())
    assert len(sealed_late) == 2, "the first, and the one that showed that nobody else was there"
    holds(log, 10)


@pytest.mark.usefixtures("patient")
def test_what_another_appends_in_between_is_found_in_time(log: Log, other: Log, sealed_late: list[int]) -> None:
    async def main() -> None:
        for version in range(3):
            await append(log, "thread-1", version)
        sealed_late.clear()
        assert await append(other, "thread-2", 0) == 4
        sealed_late.clear()
        assert await append(log, "thread-1", 3) == 5
        assert sealed_late == [1], "it was foreseen at position 4"
        assert await append(log, "thread-1", 4) == 6
        assert sealed_late == [1, 1], "where others append, nothing is foreseen"
        assert await append(log, "thread-1", 5) == 7
        assert sealed_late == [1, 1]

    asyncio.run(main())
    holds(log, 7)


def test_what_was_foreseen_in_vain_leaves_nothing_to_look_up(
    log: Log, other: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_up: list[str] = []
    real = log.store.heads

    def heads(cursor: Any, streams: Iterable[str]) -> Any:
        looked_up.extend(streams := list(streams))
        return real(cursor, streams)

    async def main() -> None:
        for version in range(3):
            await append(log, "thread-1", version)
        await append(other, "thread-2", 0)
        monkeypatch.setattr(log.store, "heads", heads)
        await append(log, "thread-1", 3)

    asyncio.run(main())
    assert not looked_up, "the end of the stream is remembered as it was"
    holds(log, 5)


def test_a_key_that_was_seen_is_looked_for_before_anything_is_sent(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    def insert_events(cursor: Any, rows: Any) -> None:
        raise AssertionError("the outcome was there already")

    async def main() -> None:
        for version in range(3):
            await log.append("thread-1", [said("a")], after=version, key=f"key-{version}", fingerprint=b"same")
        await append(log, "thread-1", 3)
        monkeypatch.setattr(log.store, "insert_events", insert_events)
        done = await log.append("thread-1", [said("a")], after=4, key="key-1", fingerprint=b"same")
        assert done.repeated
        assert [one.version for one in done.events] == [2]

    asyncio.run(main())
    holds(log, 4)


def test_two_that_take_turns_at_one_stream_lose_and_double_nothing(log: Log, other: Log) -> None:
    async def main() -> None:
        for version in range(60):
            # Each for three in a row, so that what is foreseen comes true for some and not for others.
            mine, its = (log, other) if (version // 3) % 2 else (other, log)
            await append(mine, "thread-1", version, f"{version}")
            if version % 5 == 0:
                with pytest.raises(Conflict) as refused:
                    await append(its, "thread-1", version, "refused")
                assert refused.value.found == version + 1

    asyncio.run(main())
    assert words_of(everything(log)) == [str(number) for number in range(60)]
    holds(log, 60)


@pytest.mark.usefixtures("patient")
def test_a_batch_with_conflicts_and_several_appends_of_a_stream_comes_out_the_same(
    log: Log, sealed_late: list[int]
) -> None:
    async def at_once() -> list[Any]:
        """In one batch: of each stream the second follows on the first, the third on nothing."""
        with held_back(log):
            appends = [
                asyncio.create_task(append(log, stream, after))
                for stream in ("thread-1", "thread-2")
                for after in (4, 5, 5)
            ]
            await submitted(*appends)
        return await asyncio.gather(*appends, return_exceptions=True)

    async def main() -> None:
        for version in range(4):
            await append(log, "thread-1", version)
            await append(log, "thread-2", version)
        sealed_late.clear()
        outcomes = await at_once()
        assert [one if isinstance(one, int) else type(one) for one in outcomes] == [9, 10, Conflict, 11, 12, Conflict]
        assert [one.found for one in outcomes if isinstance(one, Conflict)] == [6, 6]
        assert sealed_late == [], "it was foreseen"

    asyncio.run(main())
    holds(log, 12)


def test_a_read_model_that_another_swaps_is_noticed_though_nobody_appended(opening: Opening) -> None:
    swaps: list[int] = []
    log = Log(open_store(opening.place), swapped=lambda cursor: swaps.append(1))

    async def main() -> None:
        for version in range(3):
            await append(log, "thread-1", version)
        assert len(swaps) == 1, "the first time it looks for itself"
        await log.write(lambda cursor: cursor.execute("update log_head set epoch = epoch + 1"))
        await append(log, "thread-1", 3)
        assert len(swaps) == 2
        await append(log, "thread-1", 4)
        assert len(swaps) == 2

    asyncio.run(main())
    holds(log, 5)
    log.close()


@pytest.mark.parametrize("seconds", [-30, 30])
def test_times_are_the_databases_though_our_clock_runs_wrong_between_two_appends(
    log: Log, sealed_late: list[int], seconds: int
) -> None:
    store = log.store
    assert isinstance(store, PostgresStore)

    async def main() -> None:
        for version in range(3):
            await append(log, "thread-1", version)
        sealed_late.clear()
        before = store.now()
        store._offset += seconds * SECOND
        # As far apart as it would have to be behind; nearer, the time of the event before would do.
        await asyncio.sleep(0.02)
        await append(log, "thread-1", 3)
        assert sealed_late == [1]
        (last,) = everything(log)[-1:]
        assert 0 <= last.at - before + SECOND < 10 * SECOND
        assert abs(store.now() - last.at) < 10 * SECOND, "the database's clock has been noted again"

    asyncio.run(main())
    holds(log, 4)


def test_an_event_that_cannot_be_sealed_fails_its_appender_and_nobody_else(log: Log) -> None:
    async def main() -> None:
        for version in range(3):
            await append(log, "thread-1", version)
        # Half a character, which no JSON may hold.
        bad = log.append("thread-1", [said("bad")], after=3, actor="\ud83d")
        outcomes = await asyncio.gather(bad, append(log, "thread-2", 0), return_exceptions=True)
        assert isinstance(outcomes[0], Exception)
        assert outcomes[1] == 4
        assert await append(log, "thread-1", 3) == 5

    asyncio.run(main())
    holds(log, 5)
