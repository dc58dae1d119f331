"""Threads by label and by age, and items as they are after edits and removals."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from clew.events import Event
from clew.events.content import text
from clew.events.items import Item, MessageItem, ReasoningItem, SummaryItem, ToolCallItem, ToolResultItem
from clew.events.message import MessageChanged, MessageEdited, MessageRemoved
from clew.events.model import ReasoningRecorded
from clew.events.thread import ThreadChanged, ThreadCompacted, ThreadCreated, ThreadDeleted
from clew.log import Reader
from clew_projections import thread_view
from clew_projections.thread_view import ItemRow
from tests.projections.living import House
from tests.rules.example import ASKED, called, message, returned, tokens, tool_failed


def created(**metadata: str) -> ThreadCreated:
    return ThreadCreated(tenant="acme", dialect="openai", metadata=metadata)


async def house_of(*histories: tuple[str, Sequence[Event]]) -> House:
    house = await House().open()
    for stream, events in histories:
        await house.log.append(stream, events, after=0)
    return house


def rows_of(reader: Reader, thread_id: str, as_of: int | None = None) -> list[ItemRow]:
    history = thread_view.segments(reader, thread_id)
    return list(thread_view.walk(reader, history, newest_first=False, as_of=as_of))


def test_threads_are_found_by_all_of_their_labels() -> None:
    async def main() -> None:
        house = await house_of(
            ("t1", [created(a="x", b="y")]),
            ("t2", [created(a="x")]),
            ("t3", [created(a="z"), ThreadChanged(metadata={"a": "x", "b": "y"})]),
            ("t4", [created(a="x", b="y"), ThreadChanged(metadata={"b": "y"})]),
            ("t5", [created(a="x", b="y"), ThreadDeleted()]),
        )
        with house.log.reading() as reader:

            def found(as_of: int | None = None, **labels: str) -> list[str]:
                rows = thread_view.threads(
                    reader, tenant="acme", labels=labels, limit=10, newest_first=False, as_of=as_of
                )
                return [row.thread_id for row in rows]

            assert found() == ["t1", "t2", "t3", "t4"]
            assert found(a="x") == ["t1", "t2", "t3"]
            assert found(a="x", b="y") == ["t1", "t3"]
            assert found(a="none") == []
            assert found(3, a="z") == ["t3"]
            assert found(7, a="x", b="y") == ["t1", "t3", "t5"]
        await house.close()

    asyncio.run(main())


def test_threads_come_in_pages_by_creation() -> None:
    async def main() -> None:
        house = await house_of(*((f"t{n}", [created()]) for n in range(1, 6)))
        with house.log.reading() as reader:

            def ids(**page: int | bool) -> str:
                rows = thread_view.threads(reader, tenant="acme", **{"limit": 10, **page})  # type: ignore[arg-type]
                return "".join(row.thread_id[1:] for row in rows)

            assert (ids(), ids(newest_first=False), ids(limit=2)) == ("54321", "12345", "54")
            assert (ids(before=3), ids(after=3), ids(after=1, before=5, newest_first=False)) == ("21", "54", "234")
        await house.close()

    asyncio.run(main())


def test_a_thread_of_another_tenant_is_not_listed() -> None:
    async def main() -> None:
        house = await house_of(("t1", [created()]), ("t2", [ThreadCreated(tenant="evil", dialect="openai")]))
        with house.log.reading() as reader:
            assert [row.thread_id for row in thread_view.threads(reader, tenant="acme", limit=9)] == ["t1"]
        await house.close()

    asyncio.run(main())


def test_an_edited_message_stays_in_its_place_and_was_once_otherwise() -> None:
    edited = MessageEdited(message_id="msg_a", content=text("A!"), tokens=tokens(9), tokens_before=3)
    changed = MessageChanged(message_id="msg_a", metadata={"seen": "yes"})
    history = [created(), message("A", id="msg_a"), message("B", id="msg_b"), edited, changed]

    async def main() -> None:
        house = await house_of(("t1", history))
        with house.log.reading() as reader:
            now = rows_of(reader, "t1")
            assert [(row.item_id, row.number, row.tokens, row.position, row.created) for row in now] == [
                ("msg_a", 2, 9, 4, 2),
                ("msg_b", 3, 3, 3, 3),
            ]
            assert [row.metadata_position for row in now] == [5, None]
            assert [row.metadata_position for row in rows_of(reader, "t1", 4)] == [None, None]
            before = thread_view.items(reader, rows_of(reader, "t1", 3))
            assert [item.content for item in before if isinstance(item, MessageItem)] == [text("A"), text("B")]
            after = thread_view.items(reader, now)
            assert [item.content for item in after if isinstance(item, MessageItem)] == [text("A!"), text("B")]
        await house.close()

    asyncio.run(main())


def test_a_removed_message_is_gone_and_was_there() -> None:
    history = [created(), message(id="msg_a"), message(id="msg_b"), MessageRemoved(message_id="msg_a", role="user")]

    async def main() -> None:
        house = await house_of(("t1", history))
        with house.log.reading() as reader:
            assert [row.item_id for row in rows_of(reader, "t1")] == ["msg_b"]
            assert [row.item_id for row in rows_of(reader, "t1", 3)] == ["msg_a", "msg_b"]
            own = thread_view.segments(reader, "t1")
            assert thread_view.message(reader, own, "msg_a") is None
            assert thread_view.message(reader, own, "msg_a", 3) is not None
        await house.close()

    asyncio.run(main())


def test_each_kind_of_item_carries_what_its_event_said() -> None:
    reasoning = ReasoningRecorded(
        run_id="run_1", fence=1, model_call_id="mc_1", item_id="rs_1", provider="p", blocks=('{"a":1}',)
    )
    summary = ThreadCompacted(item_id="sum_1", summary=text("In short"), first_item=2, last_item=3, tokens=tokens(2))
    history = [
        *ASKED,
        reasoning,
        called("call_a"),
        called("call_b"),
        returned("call_a", "42"),
        tool_failed("call_b", "error", "broken"),
        summary,
    ]

    async def main() -> list[Item]:
        house = await house_of(("t1", history))
        with house.log.reading() as reader:
            items = thread_view.items(reader, rows_of(reader, "t1"))
        await house.close()
        return items

    items = asyncio.run(main())
    kinds = [MessageItem, ReasoningItem, ToolCallItem, ToolCallItem, ToolResultItem, ToolResultItem, SummaryItem]
    assert [type(item) for item in items] == kinds
    results = [(i.tool_call_id, i.output, i.is_error) for i in items if isinstance(i, ToolResultItem)]
    assert results == [("call_a", "42", False), ("call_b", "broken", True)]
    assert [item.place.number for item in items] == [2, 7, 8, 9, 10, 11, 12]
