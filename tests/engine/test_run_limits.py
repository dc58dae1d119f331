"""Budgets of tokens over all model calls of a run, as the Assistants API had them: what is used is taken off.

500 and 1,000 set and 200 and 300 used by the first call leave 300 and 700 for what comes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from clew.engine.tools import Toolbox, tool
from clew.events.model import ContextAssembled, ContextTruncated
from clew.events.run import Limits, RunCompleted, RunConfig, RunIncomplete, Truncation
from clew.events.usage import Usage
from tests.engine.narrating import House, config, house, words


@tool(effect="pure")
def look() -> str:
    return "42"


TOOLS = Toolbox([look])


def asked(prompt: int | None, completion: int | None, truncation: Truncation | None = None) -> RunConfig:
    limits = Limits(prompt_tokens=prompt, completion_tokens=completion)
    return config("auto", None, limits=limits).model_copy(update={"truncation": truncation or Truncation()})


def told(work: Callable[[House], Awaitable[None]]) -> None:
    async def main() -> None:
        async with house() as here:
            here.model.calls, here.model.calls_again = 1, True
            here.model.used = Usage(input=200, output=300)
            await here.begin(*(words(number) for number in range(16)))
            await work(here)
            await here.happens_again()

    asyncio.run(main())


def test_what_is_left_for_a_call_is_what_the_calls_before_it_left() -> None:
    async def work(here: House) -> None:
        run_id = await here.run(asked(500, 1_000), toolbox=TOOLS)
        contexts = here.of(run_id, ContextAssembled)
        assert [context.max_output_tokens for context in contexts] == [1_000, 700, 400]
        limits = [500, 300, 100]
        assert all(context.tokens.total <= limit for context, limit in zip(contexts, limits, strict=True))
        cuts = {cut.model_call_id: (cut.limit, cut.limit_name) for cut in here.of(run_id, ContextTruncated)}
        assert cuts[contexts[2].model_call_id] == (100, "max_prompt_tokens")
        sent = [request["max_completion_tokens"] for request in here.model.sent]
        assert sent == [1_000, 700, 400]

    told(work)


@pytest.mark.parametrize(
    ("limits", "reason", "calls"),
    [
        ((600, None), "max_prompt_tokens", 3),
        ((None, 600), "max_completion_tokens", 2),
        ((400, 600), "max_completion_tokens", 2),
        ((400, 10_000), "max_prompt_tokens", 2),
    ],
)
def test_a_run_that_has_used_one_up_and_would_ask_again_is_incomplete(
    limits: tuple[int | None, int | None], reason: str, calls: int
) -> None:
    async def work(here: House) -> None:
        run_id = await here.run(asked(*limits), toolbox=TOOLS)
        [ended] = here.of(run_id, RunIncomplete)
        assert (ended.reason, ended.usage) == (reason, Usage(input=200 * calls, output=300 * calls))
        assert len(here.of(run_id, ContextAssembled)) == calls

    told(work)


def test_a_run_that_has_used_one_up_with_its_last_answer_is_complete() -> None:
    async def work(here: House) -> None:
        here.model.calls = 0
        run_id = await here.run(asked(256, 256))
        assert here.of(run_id, RunCompleted)[0].usage.output == 300

    told(work)


def test_an_answer_that_the_limit_breaks_off_ends_the_run_incomplete() -> None:
    async def work(here: House) -> None:
        here.model.calls, here.model.finish = 0, "length"
        run_id = await here.run(asked(None, 300))
        assert here.of(run_id, RunIncomplete)[0].reason == "max_completion_tokens"

    told(work)


def test_a_newest_message_that_has_no_room_in_what_is_left_ends_the_run_incomplete() -> None:
    async def work(here: House) -> None:
        run_id = await here.ask(words(16, 40), asked(256, None))
        assert here.of(run_id, RunIncomplete)[0].reason == "max_prompt_tokens"
        assert here.model.sent == []

    told(work)


@pytest.mark.parametrize(
    "truncation", [Truncation(strategy="last_messages", n=16), Truncation(strategy="token_budget", n=5_000)]
)
def test_a_context_is_cut_to_what_is_left_whatever_else_it_may_be(truncation: Truncation) -> None:
    async def work(here: House) -> None:
        run_id: str = await here.run(asked(256, None, truncation), toolbox=TOOLS)
        cuts: list[Any] = here.of(run_id, ContextTruncated)
        assert (cuts[0].strategy, cuts[0].limit_name, cuts[0].limit) == (truncation.strategy, "max_prompt_tokens", 256)

    told(work)
