"""What is counted when something is appended, and how far a context's count may be trusted."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from clew.engine.counting import content_tokens, reasoning_tokens
from clew.events.content import Image, Text, Tokens
from clew.events.model import ContextAssembled, ReasoningRecorded
from clew.events.usage import Usage
from tests.engine.narrating import House, Narrator, answer, config, house

BLOCKS = ('{"type":"thinking","thinking":"The fox is quick."}',)


@pytest.mark.parametrize(("reported", "count"), [(0, 13), (70, 70)])
def test_reasoning_is_counted_as_reported_or_else_as_text(reported: int, count: int) -> None:
    assert reasoning_tokens(BLOCKS, reported, "gpt-4o") == Tokens(encoding="o200k_base", count=count, exact=False)


@pytest.mark.parametrize(("renderer", "count"), [("openai-chat/1", None), ("thoughtful/1", 70)])
def test_reasoning_takes_room_where_it_goes_back_to_its_provider(renderer: str, count: int | None) -> None:
    class Thinker(Narrator):
        async def call(self, body: bytes):  # type: ignore[no-untyped-def]
            thought = replace(answer("Well."), reasoning=BLOCKS, usage=Usage(input=5, output=80, reasoning=70))
            yield thought

    async def main() -> None:
        async with house() as here:
            here.models["stub"] = Thinker(renderer=renderer)
            await here.begin("Think.")
            await here.run(config("auto", None))
            again = await here.ask("Go on.", config("auto", None))
            [recorded, _] = [e for e in here.events() if isinstance(e, ReasoningRecorded)]
            assert (recorded.tokens.count if recorded.tokens else None) == count
            [assembled] = here.of(again, ContextAssembled)
            assert (assembled.tokens.items > 70) == (count is not None)

    asyncio.run(main())


def context_of(here: House, run_id: str) -> ContextAssembled:
    [assembled] = here.of(run_id, ContextAssembled)
    found: ContextAssembled = assembled
    return found


@pytest.mark.parametrize(
    ("model", "exact"), [("gpt-4o", True), ("openai/gpt-oss-20b", True), ("gpt-4", False), ("m", False)]
)
def test_a_context_is_exact_only_when_its_items_were_counted_in_the_models_own_encoding(
    model: str, exact: bool
) -> None:
    async def main() -> None:
        async with house() as here:
            await here.begin("Hello")
            run_id = await here.run(config("auto", None).model_copy(update={"model": model}))
            assert context_of(here, run_id).tokens.exact == exact

    asyncio.run(main())


def test_a_picture_makes_a_count_an_estimate() -> None:
    picture = Image(type="image", url="https://example.org/cat.png")
    assert content_tokens((Text(type="text", text="Look:"), picture)).exact is False
