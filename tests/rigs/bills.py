"""The ledger against what the provider says it has billed: to the last digit, but for calls of which nobody knows.

Of a call that was lost, the provider may have sent and billed the whole answer, or not. What it would have billed is
known all the same: the same request was sent again, and it counts the same each time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

import httpx2

Usage = tuple[int, int, int]

# Of gpt-4o, in dollars for a million tokens: what was not cached, what was, and what came back.
_FRESH, _CACHED, _OUTPUT = Decimal("2.5"), Decimal("1.25"), Decimal(10)


async def compare_bills(url: str, server: str, threads: list[str]) -> dict[str, Any]:
    async with httpx2.AsyncClient(timeout=60) as client:
        said = (await client.get(f"{url}/calls")).json()["usage"]
        by_thread = (await client.get(f"{server}/clew/v1/ledger", params={"group_by": "thread"})).json()
        entries = await _entries(client, server)
        digests = {call: digest for thread in threads for call, digest in await _digests(client, server, thread)}
    billed = (said["prompt_tokens"], said["cached_tokens"], said["completion_tokens"])
    answered = [one for one in entries if one["cost"] == "priced"]
    lost = [one for one in entries if one["cost"] == "lost"]
    known = {digests[one["model_call_id"]]: _usage(one) for one in answered}
    given, cached, said_back = _summed(map(_usage, answered))
    missing = (billed[0] - given, billed[1] - cached, billed[2] - said_back)
    # Whoever was cut off was not billed by this provider, nor those whose request was never answered later, because the
    # recording ends there.
    died = [digests[one["model_call_id"]] for one in lost if one["outcome"] == "lost"]
    maybe = [known[digest] for digest in died if digest in known]
    why = f"the provider has billed {missing} more than the ledger, and {maybe} are lost"
    assert missing in _sums(maybe, missing), why
    assert all(one["amount"] == _price(_usage(one)) for one in answered)
    total = by_thread["total"]
    assert (total["input_tokens"], total["cached_tokens"], total["output_tokens"]) == _summed(map(_usage, entries))
    assert total["amount"] == _price(_summed(map(_usage, answered)))
    assert {group["key"] for group in by_thread["groups"]} == set(threads)
    assert sum(Decimal(group["amount"]) for group in by_thread["groups"]) == Decimal(total["amount"])
    assert (total["calls"], total["lost_calls"], total["unpriced_calls"]) == (len(entries), len(lost), 0)
    return {"billed": billed, "not_in_the_ledger": missing, "amount": total["amount"], "ledger_calls": len(entries)}


async def _entries(client: httpx2.AsyncClient, server: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    after: int | None = 0
    while after is not None:
        page = (await client.get(f"{server}/clew/v1/ledger/entries", params={"after": after, "limit": 250})).json()
        found += page["entries"]
        after = page["next"]
    return found


async def _digests(client: httpx2.AsyncClient, server: str, thread_id: str) -> list[tuple[str, str]]:
    found = []
    after, more = 0, True
    while more:
        path = f"{server}/clew/v1/threads/{thread_id}/events"
        page = (await client.get(path, params={"after": after, "limit": 1000})).json()
        for event in page["events"]:
            if event["kind"] == "context.assembled":
                found.append((event["data"]["model_call_id"], event["data"]["digest"]))
        more, after = page["has_more"], page["events"][-1]["version"]
    return found


def _usage(entry: dict[str, Any]) -> Usage:
    return entry["input_tokens"], entry["cached_tokens"], entry["output_tokens"]


def _summed(usages: Iterable[Usage]) -> Usage:
    given = cached = said = 0
    for usage in usages:
        given, cached, said = given + usage[0], cached + usage[1], said + usage[2]
    return given, cached, said


def _sums(maybe: list[Usage], most: Usage) -> set[Usage]:
    """All that some of them may come to together, up to what is asked for."""
    found = {(0, 0, 0)}
    for usage, times in Counter(maybe).items():
        several = [(usage[0] * n, usage[1] * n, usage[2] * n) for n in range(times + 1)]
        sums = ((a + x, b + y, c + z) for a, b, c in found for x, y, z in several)
        found = {one for one in sums if all(map(int.__le__, one, most))}
    return found


def _price(usage: Usage) -> str:
    given, cached, said = usage
    amount = ((given - cached) * _FRESH + cached * _CACHED + said * _OUTPUT) / 1_000_000
    return f"{amount.normalize():f}"
