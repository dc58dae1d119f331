"""One hard budget, many runs at once, in two processes that do not know of each other: it holds all the same."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterator

import httpx2
import pytest
from openai import AsyncOpenAI

from benchmarks.http import upstream
from tests.rigs.commands import shown
from tests.rigs.processes import Fleet, a_fleet

pytestmark = pytest.mark.slow

_RUNS = 20
# What the upstream says of every call, and what is expected of one before it is made: more of the prompt than it takes.
_PROMPT, _ANSWER, _EXPECTED = 80, 130, 104
_ANSWER_MAX = 256  # The least that this API takes.
_COSTS = _PROMPT + _ANSWER
_SAID = "word " * 70
_LIMIT = 2_000
_ROUNDS_MAX = 5


@pytest.fixture
def database(postgres_dsn: str) -> str:
    budget = ("--scope", "tenant", "--subject", "default", "--period", "total", "--unit", "tokens")
    shown("budgets", "set", "all", str(_LIMIT), *budget, store=postgres_dsn)
    return postgres_dsn


@pytest.fixture
def fleet(database: str) -> Iterator[Fleet]:
    with upstream(0.3, chunks=5) as port:
        environment = {"CLEW_OPENAI_BASE_URL": f"http://127.0.0.1:{port}/v1"}
        with a_fleet(database, 1, 2, 2.0, environment) as fleet:
            yield fleet


async def many_runs(url: str) -> Counter[str]:
    async with AsyncOpenAI(base_url=f"{url}/v1", api_key="x", max_retries=0, timeout=120) as client:
        assistant = await client.beta.assistants.create(model="steady")

        async def one() -> str:
            events = await client.beta.threads.create_and_run(
                assistant_id=assistant.id,
                thread={"messages": [{"role": "user", "content": _SAID}]},
                max_completion_tokens=_ANSWER_MAX,
                stream=True,
            )
            names = [event.event async for event in events]
            return names[-1].removeprefix("thread.run.")

        return Counter(await asyncio.gather(*(one() for _ in range(_RUNS))))


def workers(database: str) -> set[str]:
    """Who asked a model."""
    events = [json.loads(line) for line in shown("events", "--json", store=database).splitlines()]
    return {event["actor"] for event in events if event["kind"] == "model.called"}


def test_a_hard_budget_is_exceeded_by_one_answer_at_most_whichever_process_makes_the_calls(
    fleet: Fleet, database: str
) -> None:
    url = fleet.url(0)
    limit = _LIMIT
    for round in range(_ROUNDS_MAX):
        ended = asyncio.run(many_runs(url))
        standing = httpx2.get(f"{url}/clew/v1/budgets/all").json()["standing"]
        spent = int(standing["spent"])
        assert spent <= limit + _ANSWER
        assert standing["reserved"] == "0"
        if not round:
            fits = 1 + (_LIMIT - _EXPECTED) // _COSTS
            assert ended == {"completed": fits, "failed": _RUNS - fits}
            assert spent == fits * _COSTS
        if len(workers(database)) == 2:
            return
        limit = spent + _LIMIT
        wanted = {"scope": "tenant", "subject": "default", "period": "total", "unit": "tokens", "limit": limit}
        httpx2.put(f"{url}/clew/v1/budgets/all", json=wanted).raise_for_status()
    pytest.fail(f"in {_ROUNDS_MAX} rounds, one process made all the calls")
