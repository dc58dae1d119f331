"""Read models are kept along with appends, follow behind them, and are made again from the log."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from clew.events import Recorded
from clew.log import Log
from clew.projecting import Keeper
from tests.log.stores import said
from tests.projecting.counting import counted, counting, open_log, standing

LIMIT_SECONDS = 30.0


async def append(log: Log, number: int, stream: str = "thread-1") -> None:
    with log.reading() as reader:
        version = reader.version(stream)
    for turn in range(number):
        await log.append(stream, [said(str(turn))], after=version + turn)


def small_batches(monkeypatch: pytest.MonkeyPatch, events: int) -> None:
    monkeypatch.setattr("clew.projecting.keeping.BATCH_EVENTS", events)


def once(at: int, error: Exception) -> Callable[[Recorded[Any]], None]:
    """Fails at a position, the first time."""
    failed: list[int] = []

    def before(recorded: Recorded[Any]) -> None:
        if recorded.position == at and not failed:
            failed.append(at)
            raise error

    return before


def test_inline_rows_are_there_when_the_append_is_acknowledged(store: str) -> None:
    keeper = Keeper([counting("inline")])
    log = open_log(keeper, store)

    async def main() -> None:
        await keeper.prepare(log)
        for number in range(1, 4):
            await append(log, 1)
            assert counted(log) == {"thread-1": number}
        assert standing(keeper, log) == (1, 3, 0)

    asyncio.run(main())
    log.close()


def test_an_append_whose_rows_fail_is_not_in_the_log_and_was_not_counted(store: str) -> None:
    keeper = Keeper([counting("inline", before=once(2, ValueError("not this one")))])
    log = open_log(keeper, store)

    async def main() -> None:
        await keeper.prepare(log)
        await append(log, 1)
        with pytest.raises(ValueError, match="not this one"):
            await append(log, 1)
        assert counted(log) == {"thread-1": 1}
        await append(log, 2)
        assert counted(log) == {"thread-1": 3}

    asyncio.run(main())
    log.close()


def test_a_follower_comes_behind_and_catches_up(store: str) -> None:
    keeper = Keeper([counting("follow")])
    log = open_log(keeper, store)

    async def main() -> None:
        await keeper.prepare(log)
        await append(log, 5)
        assert counted(log) == {}
        assert standing(keeper, log) == (1, 0, 5)
        assert await keeper.follow(log, "counter") == 5
        assert counted(log) == {"thread-1": 5}
        assert await keeper.follow(log, "counter") == 5
        assert counted(log) == {"thread-1": 5}
        assert standing(keeper, log) == (1, 5, 0)

    asyncio.run(main())
    log.close()


def test_each_event_counts_once_though_a_follower_fails_in_the_middle_of_a_batch(
    store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_batches(monkeypatch, 10)
    keeper = Keeper([counting("follow", before=once(25, RuntimeError("crash")), timed=False)])
    log = open_log(keeper, store)

    async def main() -> None:
        await keeper.prepare(log)
        await append(log, 37)
        with pytest.raises(RuntimeError, match="crash"):
            await keeper.follow(log, "counter")
        assert standing(keeper, log) == (1, 20, 17)
        assert counted(log) == {"thread-1": 20}
        assert await keeper.follow(log, "counter") == 37
        assert counted(log) == {"thread-1": 37}

    asyncio.run(main())
    log.close()


def test_each_event_counts_once_though_the_process_dies_before_the_commit(
    store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_batches(monkeypatch, 10)
    keeper = Keeper([counting("follow", timed=False)])
    log = open_log(keeper, store)
    real, jobs = log.write, [0]

    async def dying(work: Callable[[Any], Any]) -> Any:
        def half(cursor: Any) -> None:
            work(cursor)
            raise RuntimeError("crash")

        jobs[0] += 1
        return await real(half if jobs[0] == 2 else work)

    async def main() -> None:
        await keeper.prepare(log)
        await append(log, 25)
        monkeypatch.setattr(log, "write", dying)
        with pytest.raises(RuntimeError, match="crash"):
            await keeper.follow(log, "counter")
        assert (standing(keeper, log), counted(log)) == ((1, 10, 15), {"thread-1": 10})
        await keeper.follow(log, "counter")
        assert (standing(keeper, log), counted(log)) == ((1, 25, 0), {"thread-1": 25})

    asyncio.run(main())
    log.close()


def test_two_followers_of_one_projection_count_each_event_once(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    small_batches(monkeypatch, 7)
    keeper = Keeper([counting("follow", timed=False)])
    log = open_log(keeper, store)

    async def main() -> None:
        await keeper.prepare(log)
        await append(log, 50)
        await asyncio.gather(*(keeper.follow(log, "counter") for _ in range(4)))
        assert counted(log) == {"thread-1": 50}

    asyncio.run(main())
    log.close()


def test_a_follower_goes_on_where_it_stood_after_reopening(lasting_store: str) -> None:
    for turn in (1, 2):
        keeper = Keeper([counting("follow", timed=False)])
        log = open_log(keeper, lasting_store)

        async def main(keeper: Keeper = keeper, log: Log = log, turn: int = turn) -> None:
            await keeper.prepare(log)
            await append(log, 5)
            await keeper.follow(log, "counter")
            assert counted(log) == {"thread-1": turn * 5}

        asyncio.run(main())
        log.close()


def test_a_follower_is_kept_up_when_it_is_woken(store: str) -> None:
    keeper = Keeper([counting("follow")])
    log = open_log(keeper, store)

    async def main() -> None:
        await keeper.prepare(log)
        woken, caught_up = asyncio.Event(), asyncio.Event()
        log.listen(lambda recorded: woken.set())
        real = keeper.follow

        async def follow(log: Log, name: str) -> int:
            position = await real(log, name)
            if position == 3:
                caught_up.set()
            return position

        keeper.follow = follow  # type: ignore[method-assign]
        following = asyncio.create_task(keeper.keep_following(log, woken))
        await append(log, 3)
        await asyncio.wait_for(caught_up.wait(), LIMIT_SECONDS)
        assert counted(log) == {"thread-1": 3}
        following.cancel()
        with pytest.raises(asyncio.CancelledError):
            await following

    asyncio.run(main())
    log.close()


@pytest.mark.parametrize("lifecycle", ["inline", "follow"])
def test_a_new_version_is_made_from_the_whole_log(lasting_store: str, lifecycle: Any) -> None:
    for version, expected in ((1, 3), (2, 60), (2, 90)):
        keeper = Keeper([counting(lifecycle, version=version, each=10 if version == 2 else 1)])
        log = open_log(keeper, lasting_store)

        async def main(keeper: Keeper = keeper, log: Log = log) -> None:
            await keeper.prepare(log)
            await append(log, 3)
            if lifecycle == "follow":
                await keeper.follow(log, "counter")

        asyncio.run(main())
        assert counted(log) == {"thread-1": expected}
        assert standing(keeper, log)[0] == version
        log.close()


def test_readers_see_the_old_rows_until_the_new_ones_are_whole(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    small_batches(monkeypatch, 5)
    keeper = Keeper([counting("inline")])
    log = open_log(keeper, store)
    seen: list[tuple[int, int, dict[str, int]]] = []

    async def main() -> None:
        await keeper.prepare(log)
        await append(log, 12)
        await keeper.rebuild(log, "counter", progress=lambda done, of: seen.append((done, of, counted(log))))
        assert counted(log) == {"thread-1": 12}

    asyncio.run(main())
    log.close()
    assert seen == [(done, 12, {"thread-1": 12}) for done in (5, 10, 12)]


def test_what_is_appended_while_rows_are_made_again_is_in_them(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    small_batches(monkeypatch, 5)
    keeper = Keeper([counting("inline")])
    log = open_log(keeper, store)

    async def main() -> None:
        await keeper.prepare(log)
        await append(log, 40)
        over = asyncio.Event()

        async def keep_appending(stream: str) -> int:
            appended = 0
            while not over.is_set() or appended < 20:
                await append(log, 1, stream)
                appended += 1
            return appended

        appending = [asyncio.create_task(keep_appending(f"thread-{n}")) for n in range(2, 6)]
        for _ in range(3):
            await keeper.rebuild(log, "counter")
        over.set()
        appended = await asyncio.wait_for(asyncio.gather(*appending), LIMIT_SECONDS)
        expected = {"thread-1": 40} | {f"thread-{n}": number for n, number in enumerate(appended, start=2)}
        assert counted(log) == expected
        with log.reading() as reader:
            kept = list(map(tuple, reader.rows("select * from counts order by stream, since")))
        await keeper.rebuild(log, "counter")
        with log.reading() as reader:
            assert list(map(tuple, reader.rows("select * from counts order by stream, since"))) == kept

    asyncio.run(main())
    log.close()


def test_a_rebuild_that_was_interrupted_is_begun_again(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    small_batches(monkeypatch, 5)
    keeper = Keeper([counting("inline")])
    log = open_log(keeper, store)

    def give_up(done: int, of: int) -> None:
        raise RuntimeError("enough")

    async def main() -> None:
        await keeper.prepare(log)
        await append(log, 12)
        with pytest.raises(RuntimeError, match="enough"):
            await keeper.rebuild(log, "counter", progress=give_up)
        await append(log, 1)
        assert counted(log) == {"thread-1": 13}
        await keeper.rebuild(log, "counter")
        await append(log, 1)
        assert counted(log) == {"thread-1": 14}

    asyncio.run(main())
    log.close()
