"""What a provider says of how it served a call is in the event, and decides its price: also when it failed."""

from __future__ import annotations

import asyncio
from typing import Any

import clew
from clew.events.base import Event
from clew.events.model import ModelAnswered, ModelFailed
from clew.events.run import RunConfig
from clew.events.usage import Usage
from clew.providers.openai import OpenAI
from tests.engine.running import ask
from tests.providers.calls import KEY, completion
from tests.rigs.raw_server import Reply, cut_stream, json_reply, serving, stream

USED = {"prompt_tokens": 1_000, "completion_tokens": 100, "prompt_tokens_details": {"cached_tokens": 400}}


def chunk(finish: str | None = None, usage: dict[str, Any] | None = None, **said: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": said, "finish_reason": finish}
    return {"id": "c", "model": "gpt-6-sol-2026-09-01", "service_tier": "flex", "choices": [choice], "usage": usage}


async def calls(store: str, *replies: Reply, streams: bool = True) -> list[Event]:
    """The outcomes of the model calls of one run."""
    async with serving(*replies) as server:
        provider = OpenAI(base_url=server.base_url, api_key=KEY)
        async with clew.open(store, providers={"openai": provider}, default_provider="openai") as engine:
            config = RunConfig(provider="openai", model="gpt-6-sol", asked_model="gpt-6-sol", stream=streams)
            thread_id = await ask(engine, config)
            with engine.log.reading() as reader:
                every = [recorded.event for recorded in reader.stream(thread_id)]
    return [event for event in every if isinstance(event, ModelAnswered | ModelFailed)]


def test_a_call_that_was_served_in_flex_costs_what_flex_costs(store: str) -> None:
    """600 at 1, 400 at 0.10, 100 at 5 for a million, since 2026-10-12; the store's clock says that it is later."""
    served = stream(chunk(content="Hello"), chunk("stop"), chunk(usage=USED) | {"choices": []})
    [answered] = asyncio.run(calls(store, served))
    assert isinstance(answered, ModelAnswered)
    assert answered.pricing_context == {"service_tier": "flex"}
    assert answered.price is not None
    assert (answered.price.amount, answered.price.model) == ("0.00114", "gpt-6-sol")


def test_a_call_that_came_at_once_is_no_different() -> None:
    said = completion(usage=USED, content="Hello") | {"service_tier": "priority", "model": "gpt-6-sol"}
    [answered] = asyncio.run(calls(":memory:", json_reply(said), streams=False))
    assert isinstance(answered, ModelAnswered)
    # 600 at 4, 400 at 0.40, 100 at 20
    assert answered.price is not None
    assert (answered.pricing_context, answered.price.amount) == ({"service_tier": "priority"}, "0.00456")


def test_what_a_broken_stream_had_used_is_priced_as_it_was_served(store: str) -> None:
    """Some servers count in every chunk. The last count before the stream broke is what is known; nothing is lost."""
    first, later = {"prompt_tokens": 1_000, "completion_tokens": 1}, {"prompt_tokens": 1_000, "completion_tokens": 40}
    broken = cut_stream(chunk(usage=first, content="Hel"), chunk(usage=later, content="lo"))
    served = stream(chunk(content="Hello"), chunk("stop", usage=USED))
    failed, answered = asyncio.run(calls(store, broken, served))
    assert isinstance(failed, ModelFailed)
    assert (failed.usage, failed.usage_reported) == (Usage(input=1_000, output=40), later)
    assert failed.pricing_context == {"service_tier": "flex"}
    # 1,000 at 1 and 40 at 5
    assert failed.price is not None
    assert failed.price.amount == "0.0012"
    assert isinstance(answered, ModelAnswered)
    assert answered.price is not None
    assert answered.price.amount == "0.00114"
