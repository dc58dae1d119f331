"""Whatever OpenAI's own document allows, and much that it does not, is answered: never with a fault of ours, and
what succeeds has the documented shape."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path
from typing import Any

import httpx2
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import response_schema_conformance

from tests.dialects.conftest import Server

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


@schema.parametrize()
@settings(
    max_examples=25,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
    derandomize=True,
    database=None,
)
def test_conforms(case: schemathesis.Case, server: Server) -> None:
    aim(case, server)
    case.call_and_validate(
        base_url=server.base_url, checks=[not_a_server_error, response_schema_conformance], timeout=10
    )


def aim(case: schemathesis.Case, server: Server) -> None:
    """Point a made-up request at things that are there, or it would never get beyond `not found`."""
    with httpx2.Client(base_url=server.base_url, timeout=10) as http:
        assistant = http.post("/assistants", json={"model": "weather"}).json()
        messages = [{"role": "user", "content": "Hi"}]
        run = http.post(
            "/threads/runs", json={"assistant_id": assistant["id"], "thread": {"messages": messages}}
        ).json()
        path = f"/threads/{run['thread_id']}"
        polling = {"X-Stainless-Poll-Helper": "true"}
        waiting = http.get(f"{path}/runs/{run['id']}", headers=polling).json()
        known = {
            "assistant_id": assistant["id"],
            "thread_id": run["thread_id"],
            "run_id": run["id"],
            "message_id": http.get(f"{path}/messages").json()["data"][0]["id"],
            "step_id": http.get(f"{path}/runs/{run['id']}/steps").json()["data"][0]["id"],
        }
        if case.method == "POST" and not case.path.endswith("/submit_tool_outputs"):
            http.post(f"{path}/runs/{run['id']}/cancel")
            http.get(f"{path}/runs/{run['id']}", headers=polling)
    case.path_parameters = {name: known[name] for name in case.path_parameters}
    for cursor in ("after", "before"):
        case.query.pop(cursor, None)
    if isinstance(case.body, dict):
        if "assistant_id" in case.body:
            case.body["assistant_id"] = assistant["id"]
        if case.body.get("stream") is True:
            case.body["stream"] = False
        if case.path.endswith("/submit_tool_outputs") and case.body.get("tool_outputs"):
            calls = waiting["required_action"]["submit_tool_outputs"]["tool_calls"]
            case.body["tool_outputs"] = [{"tool_call_id": call["id"], "output": "x"} for call in calls]
