"""Real agent conversations through Anthropic's SDK, exactly as recorded, also where things fail and die.

All 100 of them: `python -m tests.rigs.anthropic_talks` (see there for faults, thinking and kills).
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.rigs.anthropic_talks import WAYS, Player, Rig, a_client, hold, threads_of
from tests.rigs.commands import verified
from tests.rigs.processes import RECORDING, UPSTREAM
from tests.rigs.prompts import compare_prompts, events_of
from tests.rigs.switching import PROVIDERS, made_by_call
from tests.rigs.talks import Talk, load
from tests.rigs.valid_mistral import SCHEMA

pytestmark = [
    pytest.mark.skipif(
        not (RECORDING.exists() and UPSTREAM.exists() and SCHEMA.exists()),
        reason=f"no recordings beside the repository ({RECORDING})",
    ),
    pytest.mark.slow,
]

_DAY_MICROSECONDS = 86_400_000_000


def held(rig: Rig, *ways: str, **options: Any) -> dict[str, Any]:
    """What comes of some conversations, each of which goes on in another way."""
    with rig as (urls, fleet):
        found = asyncio.run(hold(urls, fleet, ways=ways, count=len(ways), at_once=2, **options))
    assert found["recognised_by"]["None"] == len(ways), "only a conversation's first request is new"
    return found


def test_conversations_come_through_as_recorded_each_request_by_another_provider(tmp_path: Path) -> None:
    rig = Rig(tmp_path, tuple(PROVIDERS), thinks=True)
    found = held(rig, "continue", "header", "resent", stream=False)
    assert set(found["recognised_by"]) == {"None", "message", "header", "prefix"}
    assert found["prompts_proven"] == found["upstream_calls"] == found["logged_attempts"] == found["requests"]
    assert verified(tmp_path / "talks.db")["different"] == []


def test_conversations_come_through_a_provider_that_fails_and_cuts_its_streams(tmp_path: Path) -> None:
    faults = ("--fail-every", "7", "--cut-stream-every", "5")
    found = held(Rig(tmp_path, faults=faults, thinks=True), "continue", "resent", stream=True)
    assert found["failed"] > 0
    assert found["cut"] > 0


def test_conversations_come_through_a_server_that_is_killed_between_and_in_their_turns(tmp_path: Path) -> None:
    rig = Rig(tmp_path, faults=("--delay-ms", "100"))
    found = held(rig, "continue", "resent", stream=True, kill_every=1.2)
    assert found["kills"]


def test_conversations_go_on_after_months_in_whichever_way(tmp_path: Path) -> None:
    """Half of each was held 200 days ago, by a server that was killed while models were answering."""
    recording, provider = load(), PROVIDERS["anthropic"]
    # The half ends where a call waits for its result.
    talks = [Talk(talk.key, talk.messages[:8]) for talk in recording.talks if talk.messages[5].get("tool_calls")]
    with Rig(tmp_path, faults=("--delay-ms", "200"), thinks=True, days=-200) as (urls, fleet):
        [server] = fleet.servers

        async def hold_on() -> None:
            async with a_client(server) as client:
                players = [
                    Player(client, recording, made_by_call(talk, [provider]), [provider], way, stream=False)
                    for talk, way in zip(talks, WAYS, strict=False)
                ]
                await asyncio.gather(*(player.play(upto=6) for player in players))
                rest = asyncio.gather(*(player.play() for player in players))
                await asyncio.sleep(0.1)
                server.kill()
                server.days = 0
                await asyncio.to_thread(server.start)
                await rest
                for player in players:
                    await player.check()
                threads = [player.thread_id for player in players]
                assert await threads_of(client) == set(threads)
                assert (await compare_prompts(list(urls.values()), server.url, threads))["prompts_proven"] >= 14
                for thread_id in threads:
                    assert await days_of(server.url, thread_id) > 199

        asyncio.run(hold_on())


async def days_of(server: str, thread_id: str) -> float:
    """How many days there are between the first event of a thread and its last."""
    async with httpx2.AsyncClient(timeout=60) as http:
        first, *_, last = await events_of(http, server, thread_id)
    days: float = (last["at"] - first["at"]) / _DAY_MICROSECONDS
    return days
