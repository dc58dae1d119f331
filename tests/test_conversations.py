"""Real agent conversations come through exactly as recorded, also when the provider fails and the server is killed.

All 100 of them: `python -m tests.rigs.talks` (see there for faults and kills). A thread of 100,000 messages:
`python -m tests.rigs.long`.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.rigs.commands import verified
from tests.rigs.long import hold as hold_long
from tests.rigs.processes import RECORDING, UPSTREAM, Fleet, Server, a_fleet, upstream
from tests.rigs.talks import hold
from tests.rigs.witness import Witness, look_back

pytestmark = pytest.mark.slow

needs_recordings = pytest.mark.skipif(
    not (RECORDING.exists() and UPSTREAM.exists()), reason=f"no recordings beside the repository ({RECORDING})"
)


def server_for(url: str, folder: Path) -> Fleet:
    return Fleet([Server(folder / "threads.db", environment={"CLEW_OPENAI_BASE_URL": f"{url}/v1"})])


@needs_recordings
@pytest.mark.parametrize("stream", [False, True], ids=["polled", "streamed"])
def test_conversations_come_through_as_recorded(tmp_path: Path, stream: bool) -> None:
    with upstream() as url, server_for(url, tmp_path) as server:
        found = asyncio.run(hold(url, server, stream=stream, count=5, at_once=3, prompts=True))
        assert verified(server.servers[0].store)["different"] == []
    assert found["conversations"] == 5
    assert found["prompts_proven"] == found["upstream_calls"]
    assert found["upstream_calls"] == found["logged_attempts"]


@needs_recordings
def test_conversations_come_through_a_provider_that_fails_and_cuts_its_streams(tmp_path: Path) -> None:
    faults = ("--fail-every", "7", "--cut-stream-every", "11")
    with upstream(*faults) as url, server_for(url, tmp_path) as server:
        found = asyncio.run(hold(url, server, stream=True, count=4, at_once=2))
    assert found["failed"] > 0
    assert found["cut"] > 0
    assert found["upstream_calls"] == found["logged_attempts"]


@needs_recordings
def test_conversations_come_through_a_server_that_is_killed_again_and_again(tmp_path: Path) -> None:
    with upstream("--delay-ms", "30") as url, server_for(url, tmp_path) as server:
        found = asyncio.run(hold(url, server, stream=True, count=4, at_once=2, kill_every=0.8, prompts=True))
    assert found["kills"]


@needs_recordings
def test_conversations_come_through_a_fleet_of_which_one_is_killed_again_and_again(postgres_dsn: str) -> None:
    with upstream("--delay-ms", "30") as url:
        fleet = a_fleet(postgres_dsn, 2, 3, 2.0, {"CLEW_OPENAI_BASE_URL": f"{url}/v1"})
        with fleet:
            found = asyncio.run(hold(url, fleet, stream=True, count=4, at_once=2, kill_every=1.0))
    assert found["kills"]


@needs_recordings
def test_every_message_ever_shown_is_found_again_as_of_when_it_was_shown(tmp_path: Path) -> None:
    witness = Witness()
    with upstream() as url, server_for(url, tmp_path) as server:
        asyncio.run(hold(url, server, stream=False, count=4, at_once=2, witness=witness))
        found = look_back(witness, server.url(0))
    assert found["messages_shown"] > 50
    assert found["found_again"] > 200


def test_so_is_every_message_of_a_long_thread(lasting_store: str) -> None:
    found = hold_long(lasting_store, messages=1_200, deeds=30)
    assert found["messages_shown"] > 1_200
    assert found["found_again"] > 60
