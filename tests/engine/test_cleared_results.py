"""Cleared tool results: the newest are shown whole, of the others a note, and the log says which."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from clew.audit.page import page
from clew.audit.prompts import exact_prompts
from clew.audit.telling import audit
from clew.engine.clearing import NOTE
from clew.engine.tools import Toolbox, tool
from clew.events.model import ContextAssembled, ContextTruncated
from clew.events.run import RunConfig, Tool
from clew.events.tool import ToolReturned
from tests.engine.narrating import House, config, house

LONG = "a long result, much longer than what is shown in its place, " * 3


@tool(effect="pure")
def look() -> str:
    return LONG


def asked(n: int) -> RunConfig:
    tools = (Tool(type="function", name="look"),)
    return config("clear_tool_results", n).model_copy(update={"tools": tools})


def told(work: Callable[[House], Awaitable[None]], store: str = ":memory:") -> None:
    async def main() -> None:
        async with house(store) as here:
            here.model.calls = 2
            await here.begin("Look twice.")
            await work(here)
            await here.happens_again()

    asyncio.run(main())


def results(request: dict[str, Any]) -> list[str]:
    return [message["content"] for message in request["messages"] if message["role"] == "tool"]


def calls(request: dict[str, Any]) -> list[str]:
    return [call["id"] for message in request["messages"] for call in message.get("tool_calls", ())]


@pytest.mark.parametrize("keep", [0, 1, 3])
def test_older_results_are_shown_as_a_note_and_their_calls_whole(store: str, keep: int) -> None:
    async def work(here: House) -> None:
        for _ in range(3):
            run_id = await here.ask("Again.", asked(keep), toolbox=Toolbox([look]))
        newest = here.model.sent[-1]
        assert results(newest) == [NOTE] * (6 - keep) + [LONG] * keep
        assert len(set(calls(newest))) == 6
        kept = [event.output for event in here.events() if isinstance(event, ToolReturned)]
        assert kept == [LONG] * 6, "the thread has them all"
        *_, assembled = here.of(run_id, ContextAssembled)
        *_, cut = here.of(run_id, ContextTruncated)
        assert assembled.manifest.cleared.note == NOTE
        assert (cut.strategy, cut.limit_name, cut.limit) == ("clear_tool_results", "clear_tool_results", keep)
        assert (cut.items_left_out, cut.items_cleared) == (0, 6 - keep)
        assert cut.tokens_after < cut.tokens_before
        assert cut.cleared == assembled.manifest.cleared.items
        with here.reading() as reader:
            assert [prompt.why_not for prompt in exact_prompts(reader, run_id)] == [None, None]
            found = audit(reader, run_id)
        last = found.steps[-1]
        assert [found.items[p].cleared for p in last.shown if found.items[p].kind == "result"] == [
            number < 6 - keep for number in range(6)
        ]
        assert "results shown cleared" in page(found)

    told(work, store)


def test_a_result_that_is_shorter_than_the_note_is_shown_itself() -> None:
    @tool(effect="pure")
    def look() -> str:
        return "42"

    async def work(here: House) -> None:
        run_id = await here.ask("Again.", asked(0), toolbox=Toolbox([look]))
        assert results(here.model.sent[-1]) == ["42", "42"]
        assert here.of(run_id, ContextTruncated) == []

    told(work)


def test_what_still_has_no_room_is_left_out_as_by_auto() -> None:
    async def work(here: House) -> None:
        for _ in range(4):
            run_id = await here.ask("Again.", asked(1), toolbox=Toolbox([look]), context_tokens=180)
        *_, cut = here.of(run_id, ContextTruncated)
        assert (cut.limit_name, cut.limit) == ("context_tokens", 180)
        assert cut.items_left_out > 0
        assert cut.items_cleared > 0

    told(work)


def test_a_result_that_was_shown_whole_and_then_cleared_is_two_records_of_an_audit() -> None:
    async def work(here: House) -> None:
        here.model.calls = 1
        await here.ask("Again.", asked(1), toolbox=Toolbox([look]))
        run_id = await here.ask("Again.", asked(1), toolbox=Toolbox([look]))
        with here.reading() as reader:
            found = audit(reader, run_id)
        texts = [item.text for item in found.items if item.kind == "result"]
        assert texts == [LONG, NOTE, LONG]
        assert [found.totals.items_cleared, found.totals.prompts_proven] == [1, 2]

    told(work)
