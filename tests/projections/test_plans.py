"""How SQLite goes about questions that must not cost what a thread has: it is asked, not timed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from clew.log import Reader
from clew_projections import thread_view
from tests.projections.living import House
from tests.rigs.explaining import Explaining

QUESTIONS: dict[str, Callable[[Reader], object]] = {
    "item": lambda reader: thread_view.item(reader, thread_view.segments(reader, "thread_1"), "message", "msg_1"),
    "item as of": lambda reader: thread_view.item(
        reader, thread_view.segments(reader, "thread_1", 7), "result", "call_1", 7
    ),
    "place": lambda reader: thread_view.place(reader, thread_view.segments(reader, "thread_1"), "message", "msg_1"),
    "walk": lambda reader: list(thread_view.walk(reader, thread_view.segments(reader, "thread_1"))),
}


@pytest.mark.parametrize("name", QUESTIONS)
def test_a_question_about_items_reads_what_it_asks_for(name: str) -> None:
    async def main() -> list[str]:
        house = await House().open()
        with house.log.store.snapshot() as cursor:
            reader = Explaining(cursor, "items")
            QUESTIONS[name](reader)
        await house.close()
        return reader.plans

    [plan] = asyncio.run(main())
    by = "number>?" if name == "walk" else "item_id=?"
    assert plan.startswith("SEARCH items"), plan
    assert by in plan
