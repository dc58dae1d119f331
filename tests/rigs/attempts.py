"""What a provider was asked, against the attempts that the log says were made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import httpx2


async def compare_calls(url: str | Sequence[str], server: str, threads: list[str]) -> dict[str, Any]:
    """What the provider was asked against what the log says was sent: no body more often than the log's attempts.

    `url` is the provider's, or those of several.
    """
    urls = [url] if isinstance(url, str) else url
    sent: Counter[str] = Counter()
    asked: Counter[str] = Counter()
    totals: Counter[str] = Counter()
    lost = 0
    async with httpx2.AsyncClient(timeout=30) as client:
        for thread_id in threads:
            after, more, digests = 0, True, {}
            while more:
                path = f"{server}/clew/v1/threads/{thread_id}/events"
                page = (await client.get(path, params={"after": after, "limit": 1000})).json()
                for event in page["events"]:
                    data = event["data"]
                    if event["kind"] == "context.assembled":
                        digests[data["model_call_id"]] = data["digest"]
                    elif event["kind"] == "model.called":
                        sent[digests[data["model_call_id"]]] += 1
                    elif event["kind"] == "model.failed":
                        lost += data["code"] == "lost"
                more, after = page["has_more"], page["events"][-1]["version"]
        for one in urls:
            calls = (await client.get(f"{one}/calls")).json()
            asked.update(calls["bodies"])
            totals.update({name: calls[name] for name in ("calls", "failed", "cut")})
    unexplained = asked - sent
    assert not unexplained, f"asked more often than the log says: {unexplained}"
    return {
        "upstream_calls": totals["calls"],
        "failed": totals["failed"],
        "cut": totals["cut"],
        "logged_attempts": sum(sent.values()),
        "lost_in_crashes": lost,
    }
