"""Real agent conversations come through exactly as recorded, also when the provider fails and the server is killed.

All 100 of them: `python -m tests.rigs.talks` (see there for faults and kills).
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.rigs.processes import RECORDING, UPSTREAM, Server, upstream
from tests.rigs.talks import hold

needs_recordings = pytest.mark.skipif(
    not (RECORDING.exists() and UPSTREAM.exists()), reason=f"no recordings beside the repository ({RECORDING})"
)


def server_for(url: str, folder: Path) -> Server:
    return Server(folder / "threads.db", environment={"CLEW_OPENAI_BASE_URL": f"{url}/v1"})


@needs_recordings
@pytest.mark.parametrize("stream", [False, True], ids=["polled", "streamed"])
def test_conversations_come_through_as_recorded(tmp_path: Path, stream: bool) -> None:
    with upstream() as url, server_for(url, tmp_path) as server:
        found = asyncio.run(hold(url, server, stream=stream, count=8, at_once=4))
    assert found["conversations"] == 8
    assert found["upstream_calls"] == found["logged_attempts"]


@needs_recordings
def test_conversations_come_through_a_provider_that_fails_and_cuts_its_streams(tmp_path: Path) -> None:
    faults = ("--fail-every", "7", "--cut-stream-every", "11")
    with upstream(*faults) as url, server_for(url, tmp_path) as server:
        found = asyncio.run(hold(url, server, stream=True, count=6, at_once=3))
    assert found["failed"] > 0
    assert found["cut"] > 0
    assert found["upstream_calls"] == found["logged_attempts"]


@needs_recordings
def test_conversations_come_through_a_server_that_is_killed_again_and_again(tmp_path: Path) -> None:
    with upstream("--delay-ms", "30") as url, server_for(url, tmp_path) as server:
        found = asyncio.run(hold(url, server, stream=True, count=6, at_once=3, kill_every=1.5))
    assert found["kills"] > 0
