"""Real agent conversations, held through the official SDK with a provider that fails and cuts its streams: what the
provider says that it has billed is what the ledger has, and what would have been is what was."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import httpx2
import pytest

from tests.billing.terminal import invoked, shown_json
from tests.rigs.processes import RECORDING, UPSTREAM, Fleet, Server, upstream
from tests.rigs.talks import hold

pytestmark = pytest.mark.slow

COUNT = 6

needs_recordings = pytest.mark.skipif(
    not (RECORDING.exists() and UPSTREAM.exists()), reason=f"no recordings beside the repository ({RECORDING})"
)


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, int], str]:
    """A store with conversations, what the provider says it has billed for them, and on which day they began."""
    store = tmp_path_factory.mktemp("held") / "threads.db"
    day = datetime.now(UTC).date().isoformat()
    with upstream("--fail-every", "7", "--cut-stream-every", "11") as url:
        server = Fleet([Server(store, environment={"CLEW_OPENAI_BASE_URL": f"{url}/v1"})])
        with server:
            found = asyncio.run(hold(url, server, stream=True, count=COUNT, at_once=3))
        usage: dict[str, int] = httpx2.get(f"{url}/calls").json()["usage"]
    assert found["failed"] > 0
    assert found["cut"] > 0
    return str(store), usage, day


@needs_recordings
def test_the_providers_list_and_the_ledger_agree(held: tuple[str, dict[str, int], str], tmp_path: Path) -> None:
    """Should midnight have passed meanwhile, the calls behind it are found on the day before."""
    store, usage, day = held
    file = tmp_path / "completions_usage.csv"
    counts = f"{usage['prompt_tokens']},{usage['completion_tokens']},{usage['cached_tokens']}"
    file.write_text(f"start_time_iso,model,input_tokens,output_tokens,input_cached_tokens\n{day},gpt-4o,{counts}\n")
    code, told = invoked("ledger", "reconcile", "--csv", str(file), store=store)
    assert code == 0, told
    assert "everything fits" in told
    file.write_text(file.read_text().replace(counts, f"1{counts}"))
    code, told = invoked("ledger", "reconcile", "--csv", str(file), store=store)
    assert code == 1, told


@needs_recordings
def test_under_the_strategy_that_they_had_they_would_have_cost_what_they_did(
    held: tuple[str, dict[str, int], str],
) -> None:
    store, usage, _ = held
    same = shown_json("what-if", "--all", "--truncation", "auto", store=store)
    assert same["was"] == same["otherwise"]
    assert (same["was"]["input_tokens"], same["was"]["cached_tokens"], same["was"]["output_tokens"]) == (
        usage["prompt_tokens"],
        usage["cached_tokens"],
        usage["completion_tokens"],
    )
    assert same["was"]["lost_calls"] > 0
    # By hand: 2.50 for what is fresh, 1.25 for what is cached, 10 for what comes out, of a million.
    fresh = usage["prompt_tokens"] - usage["cached_tokens"]
    worked = fresh * Decimal("2.5") + usage["cached_tokens"] * Decimal("1.25") + usage["completion_tokens"] * 10
    assert Decimal(same["was"]["amount"]) == worked / 1_000_000


@needs_recordings
@pytest.mark.parametrize(
    "truncation", ["last_messages:4", "token_budget:4500", "clear_tool_results:1", "summarise:5000"]
)
def test_shorter_contexts_would_have_been_shorter(held: tuple[str, dict[str, int], str], truncation: str) -> None:
    """Instructions and tools alone are 3,205 tokens."""
    store, _, _ = held
    told = shown_json("what-if", "--all", "--truncation", truncation, store=store)
    assert told["otherwise"]["counted_tokens"] < told["was"]["counted_tokens"]
    assert told["otherwise"]["input_tokens"] < told["was"]["input_tokens"]
    made = told["otherwise"]["calls"] - told["otherwise"]["summary_calls"]
    assert made == told["was"]["calls"]
    assert told["otherwise"]["output_tokens"] >= told["was"]["output_tokens"]
    assert (told["otherwise"]["summary_calls"] > 0) == truncation.startswith("summarise")
