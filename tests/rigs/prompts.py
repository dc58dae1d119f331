"""Every prompt of conversations that were held, rendered again, against what the provider received."""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import httpx2


async def compare_prompts(
    url: str | Sequence[str], server: str, threads: list[str], look: Callable[[dict[str, Any]], None] | None = None
) -> dict[str, Any]:
    """Every attempt's body, rendered again by the server's API, is one that the provider received, and no other.

    `url` is the provider's, or those of several, `server` that of Clew. An attempt that a crash cut off may not have
    arrived. `look` is shown each prompt as the API tells it.
    """
    urls = [url] if isinstance(url, str) else url
    began = time.monotonic()
    rendered: Counter[str] = Counter()
    maybe: Counter[str] = Counter()
    size = 0
    async with httpx2.AsyncClient(timeout=60) as client:
        for thread_id in threads:
            digests: dict[str, str] = {}
            for event in await events_of(client, server, thread_id):
                data = event["data"]
                match event["kind"]:
                    case "context.assembled":
                        path = f"/clew/v1/runs/{data['run_id']}/steps/{data['model_call_id']}/prompt"
                        prompt = (await client.get(server + path)).json()
                        assert prompt["proven"], prompt
                        if look is not None:
                            look(prompt)
                        body = prompt["body"].encode()
                        digest = hashlib.sha256(body).hexdigest()
                        assert digest == prompt["digest"] == data["digest"], prompt
                        digests[data["model_call_id"]] = digest
                        size += len(body)
                    case "model.called":
                        rendered[digests[data["model_call_id"]]] += 1
                    case "model.failed" if data["code"] == "lost":
                        maybe[digests[data["model_call_id"]]] += 1
        received: Counter[str] = Counter()
        for one in urls:
            received.update((await client.get(f"{one}/calls")).json()["bodies"])
    assert not received - rendered, f"received and never rendered: {received - rendered}"
    assert not rendered - received - maybe, f"rendered and never received: {rendered - received - maybe}"
    return {
        "prompts_proven": sum(rendered.values()),
        "prompt_bytes": size,
        "prompt_seconds": round(time.monotonic() - began, 2),
    }


async def events_of(client: httpx2.AsyncClient, server: str, thread_id: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    more = True
    while more:
        after = found[-1]["version"] if found else 0
        path = f"{server}/clew/v1/threads/{thread_id}/events"
        page = (await client.get(path, params={"after": after, "limit": 1000})).json()
        found += page["events"]
        more = page["has_more"]
    return found
