"""The desk: a request that comes twice is answered twice and done once, whatever it did the first time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

import clew_projections
from clew.desk import SNAPSHOT_EVERY_EVENTS, Desk, Key
from clew.errors import NotFound
from clew.events.assistant import AssistantSettings
from clew.log import Log, SqliteStore
from clew.projecting import Keeper, discover
from clew.rules.assistant import CreateAssistant, DeleteAssistant
from clew.rules.commands import AppendMessages, CreateThread, QueueRun
from tests.rules.example import T, new_message, queue_run

_CREATE = CreateThread(
    thread_id=T, tenant="t", dialect="openai", metadata={}, tool_resources={}, messages=(new_message(),)
)


def on_a_desk(work: Callable[[Desk, Desk], Any]) -> Any:
    """`work` with two desks on one log, of which the first hears what the other appends, as of another process."""

    async def main() -> Any:
        keeper = Keeper(discover(clew_projections))
        log = Log(SqliteStore(None), keeper.inline, keeper.forget, keeper.swapped)
        await keeper.prepare(log)
        desk = Desk(log)
        log.listen(desk.committed)
        await desk.on_thread(T, lambda: _CREATE, new=True)
        try:
            return await work(desk, Desk(log))
        finally:
            log.close()

    return asyncio.run(main())


def queue(desk: Desk, run_id: str) -> Any:
    """A request makes the id of its run anew whenever it comes."""

    def make() -> QueueRun:
        return queue_run(run_id)

    return desk.on_thread(T, make, key=Key("k", b"the same request"))


def test_two_copies_of_a_request_at_once_do_not_stand_in_each_others_way() -> None:
    async def work(desk: Desk, other: Desk) -> Any:
        return await asyncio.gather(queue(desk, "run_1"), queue(desk, "run_2"))

    first, second = on_a_desk(work)
    assert [event.event.run_id for event in second.events] == ["run_1"]
    assert (first.repeated, second.repeated) == (False, True)


def test_a_copy_that_another_process_took_while_this_one_waited_is_not_refused() -> None:
    async def work(desk: Desk, other: Desk) -> Any:
        # Whoever holds the thread's lock keeps the copy between its look for the key and its decision.
        async with desk._threads._known(T, new=False).lock:
            copy = asyncio.ensure_future(queue(desk, "run_2"))
            await asyncio.sleep(0)
            await queue(other, "run_1")
        return await copy

    done = on_a_desk(work)
    assert [event.event.run_id for event in done.events] == ["run_1"]
    assert done.repeated


def test_what_is_no_thread_is_not_taken_for_one() -> None:
    settings = AssistantSettings(model="m")
    create = CreateAssistant(assistant_id="asst_1", tenant="t", dialect="openai", settings=settings)

    async def work(desk: Desk, other: Desk) -> None:
        await desk.on_assistant("asst_1", lambda: create, new=True)
        for each in (desk, other):
            with pytest.raises(NotFound, match="no thread has the id 'asst_1'"):
                each.thread("asst_1")
        say = AppendMessages(thread_id="asst_1", messages=(new_message(),))
        with pytest.raises(NotFound, match="no thread has the id 'asst_1'"):
            await desk.on_thread("asst_1", lambda: say)
        with pytest.raises(NotFound, match=f"no assistant has the id '{T}'"):
            await desk.on_assistant(T, lambda: DeleteAssistant(assistant_id=T))

    on_a_desk(work)


def test_a_state_in_the_midst_of_many_events_that_came_at_once_is_read_from_a_snapshot_near_it() -> None:
    async def work(desk: Desk, other: Desk) -> Any:
        messages = tuple(new_message(f"msg_{number}") for number in range(SNAPSHOT_EVERY_EVENTS * 5))
        many = AppendMessages(thread_id=T, messages=messages)
        done = await desk.on_thread(T, lambda: many)
        await desk._threads.settled()
        with desk._threads._log.reading() as reader:
            versions = [row[0] for row in reader.rows("select version from snapshots order by version")]
            states = [desk.thread_at(reader, T, version) for version in (done.events[0].version, 250, versions[-1])]
        return done.events[0].version, versions, [state.items for state in states]

    first, versions, items = on_a_desk(work)
    assert max(later - earlier for earlier, later in pairwise((first, *versions))) <= SNAPSHOT_EVERY_EVENTS
    # Version 1 is the thread itself, and each later one is an item.
    assert items == [first - 1, 249, versions[-1] - 1]
