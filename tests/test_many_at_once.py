"""Many clients at once: on one thread nobody's words are lost and nobody's run is blind; on many, all get through."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from openai import AsyncOpenAI

from tests.rigs.processes import Server

pytestmark = pytest.mark.slow

_TURNS = 10


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with Server(tmp_path / "threads.db", ("--default-provider", "scripted")) as server:
        yield server


async def insist(refusals: list[str], ask: Any) -> Any:
    """Ask again for as long as the thread is busy, noting each refusal."""
    while True:
        try:
            return await ask()
        except openai.BadRequestError as error:
            refusals.append(str(error.body["message"]))  # type: ignore[index]
            await asyncio.sleep(0.01)


async def ten_turns_at_once(server: Server) -> tuple[str, list[str], list[Any]]:
    refusals: list[str] = []
    async with AsyncOpenAI(base_url=f"{server.url}/v1", api_key="x", max_retries=0) as client:
        assistant = await client.beta.assistants.create(model="echo", instructions="Listen.")
        thread = await client.beta.threads.create()
        runs = client.beta.threads.runs

        async def turn(number: int) -> Any:
            said = {"role": "user", "content": f"this is turn {number}"}
            run = await insist(
                refusals,
                lambda: runs.create(thread.id, assistant_id=assistant.id, additional_messages=[said]),  # type: ignore[list-item]
            )
            return await runs.poll(run.id, thread_id=thread.id)

        ended = await asyncio.gather(*map(turn, range(_TURNS)))
        page = client.beta.threads.messages.list(thread.id, order="asc", limit=100)
        said = [message.content[0].text.value async for message in page]  # type: ignore[union-attr]
    return thread.id, refusals, [ended, said]


def test_ten_turns_at_once_on_one_thread_lose_nothing_and_each_run_sees_all_before_it(server: Server) -> None:
    thread_id, refusals, (ended, said) = asyncio.run(ten_turns_at_once(server))
    assert [run.status for run in ended] == ["completed"] * _TURNS
    assert {refusal.split(" run_")[0] for refusal in refusals} == {f"Thread {thread_id} already has an active run"}
    questions, answers = said[0::2], said[1::2]
    assert sorted(questions) == sorted(f"this is turn {number}" for number in range(_TURNS))
    assert all(question in answer for question, answer in zip(questions, answers, strict=True))
    assert shown_to_each_call(server, thread_id) == [1 + 2 * number for number in range(_TURNS)]


def shown_to_each_call(server: Server, thread_id: str) -> list[int]:
    page = httpx2.get(f"{server.url}/clew/v1/threads/{thread_id}/events", params={"limit": 1000}).json()
    return [e["data"]["manifest"]["items"] for e in page["events"] if e["kind"] == "context.assembled"]


def test_messages_while_a_run_is_active_are_refused_with_the_words_that_programs_look_for(server: Server) -> None:
    tools = [
        {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {}}}}
    ]

    async def main() -> None:
        async with AsyncOpenAI(base_url=f"{server.url}/v1", api_key="x", max_retries=0) as client:
            assistant = await client.beta.assistants.create(model="echo", tools=tools)  # type: ignore[arg-type]
            run = await client.beta.threads.create_and_run_poll(
                assistant_id=assistant.id, thread={"messages": [{"role": "user", "content": "the weather?"}]}
            )
            assert run.status == "requires_action"
            with pytest.raises(openai.BadRequestError) as refused:
                await client.beta.threads.messages.create(run.thread_id, role="user", content="hello?")
            assert refused.value.body["message"] == (  # type: ignore[index]
                f"Can't add messages to {run.thread_id} while a run {run.id} is active."
            )
            cancelling = await client.beta.threads.runs.cancel(run.id, thread_id=run.thread_id)
            assert cancelling.status == "cancelling"
            await client.beta.threads.runs.poll(run.id, thread_id=run.thread_id)
            await client.beta.threads.messages.create(run.thread_id, role="user", content="hello?")

    asyncio.run(main())


def test_a_hundred_streamed_runs_at_once_all_come_to_their_end(server: Server) -> None:
    async def main() -> list[list[str]]:
        async with AsyncOpenAI(base_url=f"{server.url}/v1", api_key="x", max_retries=0, timeout=60) as client:
            assistant = await client.beta.assistants.create(model="echo")

            async def one(number: int) -> list[str]:
                events = await client.beta.threads.create_and_run(
                    assistant_id=assistant.id,
                    thread={"messages": [{"role": "user", "content": f"number {number}"}]},
                    stream=True,
                )
                return [event.event async for event in events]

            return await asyncio.gather(*map(one, range(100)))

    ends = [events[-1] for events in asyncio.run(main())]
    assert ends == ["thread.run.completed"] * 100
