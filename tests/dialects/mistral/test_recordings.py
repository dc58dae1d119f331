"""Real agent conversations through Mistral's SDK, exactly as recorded, also where things fail and die.

All 100 of them: `python -m tests.rigs.mistral_talks` (see there for faults and kills).
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.rigs.commands import verified
from tests.rigs.mistral_talks import Rig, hold
from tests.rigs.processes import RECORDING, UPSTREAM
from tests.rigs.switching import PROVIDERS

pytestmark = [
    pytest.mark.skipif(
        not (RECORDING.exists() and UPSTREAM.exists()), reason=f"no recordings beside the repository ({RECORDING})"
    ),
    pytest.mark.slow,
]


@pytest.mark.parametrize(("provider", "stream"), [("openai", False), ("mistral", True)])
def test_conversations_come_through_as_recorded(provider: str, stream: bool, tmp_path: Path) -> None:
    its = PROVIDERS[provider]
    with Rig(its, tmp_path) as (url, fleet):
        found = asyncio.run(hold(url, fleet, provider=its, stream=stream, count=4, at_once=2))
        assert verified(fleet.servers[0].store)["different"] == []
    assert found["conversations"] == 4
    assert found["prompts_proven"] == found["upstream_calls"] == found["logged_attempts"]


def test_conversations_come_through_a_provider_that_fails_and_cuts_its_streams(tmp_path: Path) -> None:
    faults = ("--fail-every", "7", "--cut-stream-every", "11")
    its = PROVIDERS["mistral"]
    with Rig(its, tmp_path, faults) as (url, fleet):
        found = asyncio.run(hold(url, fleet, provider=its, stream=True, count=4, at_once=2))
    assert found["failed"] > 0
    assert found["cut"] > 0


@pytest.mark.parametrize("stream", [False, True], ids=["waited for", "streamed"])
def test_conversations_come_through_a_server_that_is_killed_between_and_in_their_turns(
    stream: bool, tmp_path: Path
) -> None:
    its = PROVIDERS["openai"]
    with Rig(its, tmp_path, ("--delay-ms", "30")) as (url, fleet):
        found: dict[str, Any] = asyncio.run(
            hold(url, fleet, provider=its, stream=stream, count=4, at_once=2, kill_every=0.8)
        )
    assert found["kills"]


def test_conversations_come_through_a_fleet_of_which_one_is_killed_again_and_again(
    postgres_dsn: str, tmp_path: Path
) -> None:
    its = PROVIDERS["openai"]
    with Rig(its, tmp_path, ("--delay-ms", "30"), postgres_dsn) as (url, fleet):
        found = asyncio.run(hold(url, fleet, provider=its, stream=True, count=4, at_once=2, kill_every=1.0))
    assert found["kills"]
