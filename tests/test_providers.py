"""Real agent conversations come through exactly, whichever providers the models are of, and whenever they change.

Each provider is played by a rig that refuses what the real one would. All 100 conversations:
`python -m tests.rigs.switching` (see there for faults and thinking).
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.rigs.commands import verified
from tests.rigs.processes import RECORDING, UPSTREAM, Fleet, Server
from tests.rigs.switching import PROVIDERS, environment_for, hold, upstreams
from tests.rigs.valid_mistral import SCHEMA

pytestmark = [
    pytest.mark.skipif(
        not (RECORDING.exists() and UPSTREAM.exists() and SCHEMA.exists()),
        reason=f"no recordings beside the repository ({RECORDING})",
    ),
    pytest.mark.slow,
]
FAULTS = ("--fail-every", "7", "--cut-stream-every", "11")


def held(
    folder: Path, *names: str, options: tuple[str, ...] = (), each: str = "turn", stream: bool = False, count: int = 2
) -> dict[str, Any]:
    """What comes of conversations with these providers, all of whom think where they can."""
    providers = [PROVIDERS[name] for name in names]
    with (
        upstreams(providers, *options, thinks=True) as urls,
        Fleet([Server(folder / "threads.db", environment=environment_for(urls))]) as fleet,
    ):
        found = asyncio.run(hold(urls, fleet, each=each, stream=stream, count=count, at_once=2))
        return {**found, **verified(fleet.servers[0].store)}


def all_well(found: dict[str, Any], *names: str) -> None:
    """Every request was valid, every prompt is proven, and the engine would do it all again."""
    assert found["conversations"] > 1
    assert found["prompts_proven"] == sum(found[name]["calls"] for name in names)
    assert [found[name]["invalid"] for name in names] == [[] for _ in names]
    assert all(found[name]["calls"] for name in names)
    assert found["different"] == []


@pytest.mark.parametrize(("name", "stream"), [("mistral", False), ("mistral", True), ("anthropic", True)])
def test_conversations_come_through_as_recorded(tmp_path: Path, name: str, stream: bool) -> None:
    all_well(held(tmp_path, name, stream=stream), name)


@pytest.mark.parametrize("name", ["anthropic", "mistral"])
def test_conversations_come_through_a_provider_that_fails_and_cuts_its_streams(tmp_path: Path, name: str) -> None:
    found = held(tmp_path, name, options=FAULTS, stream=True)
    all_well(found, name)
    assert found[name]["failed"] > 0
    assert found[name]["cut"] > 0


@pytest.mark.parametrize(("stream", "options"), [(False, ()), (True, FAULTS)], ids=["polled", "streamed with faults"])
def test_a_thread_goes_from_provider_to_provider_at_each_turn(
    tmp_path: Path, stream: bool, options: tuple[str, ...]
) -> None:
    found = held(tmp_path, *PROVIDERS, stream=stream, options=options)
    all_well(found, *PROVIDERS)


def test_a_thread_goes_from_provider_to_provider_at_each_model_call(tmp_path: Path) -> None:
    found = held(tmp_path, *PROVIDERS, each="step")
    all_well(found, *PROVIDERS)
    assert found["threads"] > found["conversations"]


def test_the_cache_of_prompts_is_found_again_as_a_thread_grows(tmp_path: Path) -> None:
    """All that an earlier request of the thread held is read from the cache, and only the rest is written to it."""
    found = held(tmp_path, "anthropic")
    all_well(found, "anthropic")
    usages = found["anthropic"]["usages"]
    again = [usage for usage in usages if usage["cache_read_input_tokens"]]
    # The system's words are the same in both but for the last line; each conversation begins once.
    assert len(usages) - len(again) <= 2
    assert all(usage["input_tokens"] == 0 for usage in usages)
    read = sum(usage["cache_read_input_tokens"] for usage in again)
    written = sum(usage["cache_creation_input_tokens"] for usage in again)
    assert read > 10 * written
