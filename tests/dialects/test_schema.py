"""Whatever OpenAI's own document allows, and much that it does not, is answered: never with a fault of ours, and
what succeeds has the documented shape."""

from __future__ import annotations

import gzip
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import response_schema_conformance

from tests.dialects.conftest import Server

pytestmark = pytest.mark.slow

DOCUMENT = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "openapi" / "openai-threads.json.gz"
SERVED = re.compile(r"/(?:assistants|threads)(?:/.*)?")

if not DOCUMENT.exists():
    pytest.skip(f"no OpenAPI document at {DOCUMENT}", allow_module_level=True)


def served() -> dict[str, Any]:
    """The document, cut to what is served, with our extensions of what a list of nothing says."""
    document: dict[str, Any] = json.loads(gzip.decompress(DOCUMENT.read_bytes()))
    document["paths"] = {path: its for path, its in document["paths"].items() if SERVED.fullmatch(path)}
    for name, schema in document["components"]["schemas"].items():
        if name.startswith("List") and name.endswith("Response"):
            for edge in ("first_id", "last_id"):
                # OpenAI's document says string; its traffic has null in an empty list.
                if edge in schema.get("properties", {}):
                    schema["properties"][edge] = {"type": ["string", "null"]}
    document["servers"] = []
    return document


schema = schemathesis.openapi.from_dict(served())


@pytest.fixture(scope="module")
def setter(server: Server) -> Iterator[httpx2.Client]:
    """Sets the scene for each request."""
    with httpx2.Client(base_url=server.base_url, timeout=10) as client:
        yield client


@schema.parametrize()
@settings(
    max_examples=12,
    deadline=None,
    phases=[Phase.generate],  # The documented examples, in all their combinations, are a thousand requests.
    suppress_health_check=list(HealthCheck),
    derandomize=True,
    database=None,
)
def test_conforms(case: schemathesis.Case[Any], server: Server, setter: httpx2.Client) -> None:
    aim(case, setter)
    case.call_and_validate(
        base_url=server.base_url, checks=[not_a_server_error, response_schema_conformance], timeout=10
    )


def aim(case: schemathesis.Case[Any], http: httpx2.Client) -> None:
    """Point a made-up request at things that are there, or it would never get beyond `not found`."""
    assistant = http.post("/assistants", json={"model": "weather"}).json()
    known = {"assistant_id": assistant["id"]}
    wanted = case.path_parameters.keys() - known.keys()
    calls: list[dict[str, Any]] = []
    if wanted:
        thread = http.post("/threads", json={"messages": [{"role": "user", "content": "Hi"}]}).json()
        path = f"/threads/{thread['id']}"
        known["thread_id"] = thread["id"]
        known["message_id"] = http.get(f"{path}/messages").json()["data"][0]["id"]
    if wanted & {"run_id", "step_id"}:
        run = http.post(f"{path}/runs", json={"assistant_id": assistant["id"]}).json()
        calls = waited_for(http, f"{path}/runs/{run['id']}")
        known["run_id"] = run["id"]
        known["step_id"] = http.get(f"{path}/runs/{run['id']}/steps").json()["data"][0]["id"]
    case.path_parameters = {name: known[name] for name in case.path_parameters}
    for cursor in ("after", "before"):
        case.query.pop(cursor, None)
    if isinstance(case.body, dict):
        if "assistant_id" in case.body:
            case.body["assistant_id"] = assistant["id"]
        if case.body.get("stream") is True:
            case.body["stream"] = False
        if case.path.endswith("/submit_tool_outputs") and case.body.get("tool_outputs"):
            case.body["tool_outputs"] = [{"tool_call_id": call["id"], "output": "x"} for call in calls]


def waited_for(http: httpx2.Client, run: str) -> list[dict[str, Any]]:
    """The calls that a run waits for, once it does. A request that polls is held back for a while, not for ever."""
    end = time.monotonic() + 30
    while True:
        seen = http.get(run, headers={"X-Stainless-Poll-Helper": "true"}).json()
        if seen["status"] == "requires_action":
            calls: list[dict[str, Any]] = seen["required_action"]["submit_tool_outputs"]["tool_calls"]
            return calls
        assert seen["status"] in ("queued", "in_progress"), seen
        assert time.monotonic() < end, seen
