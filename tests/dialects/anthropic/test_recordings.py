"""Real agent conversations through Anthropic's SDK, exactly as recorded, also where things fail and die.

All 100 of them: `python -m tests.rigs.anthropic_talks` (see there for faults, thinking and kills).
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.rigs.anthropic_talks import WAYS, Rig, hold
from tests.rigs.commands import verified
from tests.rigs.processes import RECORDING, UPSTREAM
from tests.rigs.switching import PROVIDERS
from tests.rigs.valid_mistral import SCHEMA

pytestmark = pytest.mark.skipif(
    not (RECORDING.exists() and UPSTREAM.exists() and SCHEMA.exists()),
    reason=f"no recordings beside the repository ({RECORDING})",
)


def held(rig: Rig, ways: tuple[str, ...] = WAYS, **options: Any) -> dict[str, Any]:
    """What comes of some conversations, each of which goes on in another way."""
    with rig as (urls, fleet):
        found = asyncio.run(hold(urls, fleet, ways=ways, count=len(ways), at_once=2, **options))
    assert found["recognised_by"]["None"] == len(ways), "only a conversation's first request is new"
    return found


def test_conversations_come_through_as_recorded_each_request_by_another_provider(tmp_path: Path) -> None:
    rig = Rig(tmp_path, tuple(PROVIDERS), thinks=True)
    found = held(rig, stream=False)
    assert set(found["recognised_by"]) == {"None", "message", "header", "prefix"}
    assert found["prompts_proven"] == found["upstream_calls"] == found["logged_attempts"] == found["requests"]
    assert verified(tmp_path / "talks.db")["different"] == []


def test_conversations_come_through_a_provider_that_fails_and_cuts_its_streams(tmp_path: Path) -> None:
    faults = ("--fail-every", "7", "--cut-stream-every", "5")
    found = held(Rig(tmp_path, faults=faults, thinks=True), ("continue", "resent"), stream=True)
    assert found["failed"] > 0
    assert found["cut"] > 0


def test_conversations_come_through_a_server_that_is_killed_between_and_in_their_turns(tmp_path: Path) -> None:
    found = held(Rig(tmp_path, faults=("--delay-ms", "30")), ("continue", "resent"), stream=True, kill_every=1)
    assert found["kills"]
