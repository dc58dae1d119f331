"""Threads are counted: now and as of any event, whether or not the read model has come so far."""

from __future__ import annotations

import asyncio

import pytest

from clew.events.message import MessageRemoved
from clew.events.thread import ThreadCreated, ThreadDeleted, ThreadForked
from clew.log import Reader
from clew_projections import thread_stats
from clew_projections.thread_stats import MARK_EVERY_EVENTS, ThreadStats
from tests.projections.living import House
from tests.rules.example import message

CREATED = ThreadCreated(tenant="acme", dialect="openai")


def one(reader: Reader, thread_id: str, as_of: int | None = None) -> ThreadStats:
    return thread_stats.stats(reader, [thread_id], as_of)[thread_id]


@pytest.mark.parametrize("followed", [0, 100, 1_000], ids=["never", "halfway", "to the end"])
def test_a_thread_is_counted_as_of_each_of_its_events(store: str, followed: int) -> None:
    async def main() -> None:
        house = await House(store).open()
        events = [CREATED, *(message("word", id=f"msg_{number}") for number in range(3 * MARK_EVERY_EVENTS))]
        await house.log.append("t", events[:followed], after=0)
        if followed:
            await house.keeper.follow(house.log, "thread_stats")
        rest = events[followed:]
        if rest:
            await house.log.append("t", rest, after=followed)
        with house.log.reading() as reader:
            for version in range(1, len(events) + 1):
                assert one(reader, "t", version).messages == version - 1
            assert one(reader, "t").messages == len(events) - 1
            assert thread_stats.stats(reader, ["t", "other"], 0) == {}
        await house.close()

    asyncio.run(main())


def test_a_question_reads_few_events_however_long_the_thread_is() -> None:
    async def main() -> None:
        house = await House().open()
        events = [CREATED, *(message("word", id=f"msg_{number}") for number in range(1_000))]
        await house.log.append("t", events, after=0)
        await house.keeper.follow(house.log, "thread_stats")
        read = 0
        with house.log.reading() as reader:
            stream = reader.stream

            def counting(*arguments: object, **more: object) -> object:
                nonlocal read
                found = stream(*arguments, **more)  # type: ignore[arg-type]
                read = max(read, len(found))
                return found

            reader.stream = counting  # type: ignore[assignment, method-assign]
            for version in (1, 63, 500, 999):
                assert one(reader, "t", version).messages == version - 1
        assert read <= MARK_EVERY_EVENTS
        await house.close()

    asyncio.run(main())


def test_a_fork_has_the_messages_that_it_inherited_and_no_runs_of_its_parent(store: str) -> None:
    async def main() -> None:
        house = await House(store).open()
        await house.log.append("t", [CREATED, *(message("a", id=f"msg_{n}") for n in range(3))], after=0)
        fork = ThreadForked(
            parent="t",
            parent_version=3,
            parent_position=3,
            tenant="acme",
            user_messages=2,
            items=2,
            tokens=2,
            dialect="x",
        )
        gone = MessageRemoved(message_id="msg_0", role="user")
        await house.log.append("f", [fork, gone, message("b", id="msg_b")], after=0)
        await house.keeper.follow(house.log, "thread_stats")
        with house.log.reading() as reader:
            assert [one(reader, "f", position).messages for position in (5, 6, 7)] == [2, 1, 2]
            assert one(reader, "t").messages == 3
        await house.close()

    asyncio.run(main())


def test_what_was_deleted_is_counted_as_of_before() -> None:
    async def main() -> None:
        house = await House().open()
        await house.log.append("t", [CREATED, message("a", id="msg_a"), ThreadDeleted()], after=0)
        await house.keeper.follow(house.log, "thread_stats")
        with house.log.reading() as reader:
            assert one(reader, "t", 2).messages == 1
        await house.close()

    asyncio.run(main())
