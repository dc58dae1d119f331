"""Real agent conversations through every official SDK in turn, each model call on another provider, come as recorded.

All 100 of them: `python -m tests.rigs.every_dialect` (see there).
"""

from __future__ import annotations

import asyncio
import warnings
from pathlib import Path

import pytest

from tests.rigs import valid_mistral
from tests.rigs.every_dialect import hold
from tests.rigs.processes import RECORDING, UPSTREAM, Fleet, Server
from tests.rigs.switching import PROVIDERS, environment_for, upstreams

pytestmark = pytest.mark.slow

# One that each SDK begins; short ones.
TALKS = (14, 60, 91)
needs_recordings = pytest.mark.skipif(
    not (RECORDING.exists() and UPSTREAM.exists() and valid_mistral.SCHEMA.exists()),
    reason=f"no recordings beside the repository ({RECORDING})",
)


@needs_recordings
def test_conversations_come_through_every_sdk_in_turn_and_every_provider(tmp_path: Path) -> None:
    with (
        warnings.catch_warnings(),
        upstreams(list(PROVIDERS.values()), thinks=True) as urls,
        Fleet([Server(tmp_path / "threads.db", environment=environment_for(urls))]) as fleet,
    ):
        warnings.simplefilter("ignore", DeprecationWarning)
        found = asyncio.run(hold(urls, fleet.url(0), numbers=TALKS, at_once=3, stream=True))
    assert found["conversations"] == found["read_back_in_the_past"] == 3
    assert found["invalid"] == []
    assert [found[name]["invalid"] for name in PROVIDERS] == [[], [], []]
    # The runs that end because there is no more of a recording are asked for, too, and answered by nobody.
    assert sum(found["requests_looked_at"].values()) == found["prompts_proven"]
    assert set(found["runs_begun_and_calls_answered_by"]) == {"openai", "mistral", "anthropic"}
    assert set(found["anthropic_found_threads_by"]) == {"begin", "continue", "header", "history"}
    assert min(found["steps_by_provider"].values()) > 0
    # Some runs do not change their model from step to step, so not every pair of providers meets in so few of them.
    assert found["told_as_not_sent"].keys() >= {
        "reasoning: reasoning of anthropic is not for openai",
        "reasoning: reasoning of anthropic is not for mistral",
        "reasoning: reasoning of mistral is not for openai",
    }
