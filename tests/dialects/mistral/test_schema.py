"""Whatever Mistral's own document allows, and much that it does not, is answered: never with a fault of ours, and
what succeeds, and what is refused as invalid, has the documented shape."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import jsonschema
import pytest
import schemathesis
import yaml
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import response_schema_conformance

from tests.dialects.conftest import Server
from tests.dialects.mistral.conftest import TOOL, result
from tests.dialects.sse import stream

pytestmark = pytest.mark.slow

DOCUMENT = Path(__file__).resolve().parents[3].parent / "shared" / "data" / "openapi" / "mistral.yaml.gz"
SERVED = re.compile(r"/v1/(?:conversations|agents)(?:/(?!completions)[^#]*)?")

# The one written in C is ten times as fast.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

if not DOCUMENT.exists():
    pytest.skip(f"no OpenAPI document at {DOCUMENT}", allow_module_level=True)


def served() -> dict[str, Any]:
    """The document, cut to what is served, where its schemas can be met by what the official SDK reads."""
    document: dict[str, Any] = yaml.load(gzip.decompress(DOCUMENT.read_bytes()), _LOADER)
    document["paths"] = {path: its for path, its in document["paths"].items() if SERVED.fullmatch(path)}
    schemas = document["components"]["schemas"]
    # The document knows two efforts, the SDK seven.
    effort = schemas["CompletionArgs"]["properties"]["reasoning_effort"]["anyOf"][0]
    effort["enum"] = ["none", "minimal", "low", "medium", "high", "xhigh", "max"]
    document["servers"] = []
    return document


schema = schemathesis.openapi.from_dict(served())


@pytest.fixture(scope="module")
def setter(server: Server) -> Iterator[httpx2.Client]:
    """Sets the scene for each request."""
    with httpx2.Client(base_url=f"{server.mistral_url}/v1", timeout=20) as client:
        yield client


@schema.parametrize()
@settings(
    max_examples=25,
    deadline=None,
    phases=[Phase.generate],  # The documented examples, in all their combinations, are a thousand requests.
    suppress_health_check=list(HealthCheck),
    derandomize=True,
    database=None,
)
def test_conforms(case: schemathesis.Case[Any], server: Server, setter: httpx2.Client) -> None:
    aim(case, setter)
    case.call_and_validate(
        base_url=server.mistral_url, checks=[not_a_server_error, response_schema_conformance], timeout=20
    )


def aim(case: schemathesis.Case[Any], http: httpx2.Client) -> None:
    """Point a made-up request at things that are there, or it would never get beyond `not found`."""
    known: dict[str, str] = {}
    if "agent_id" in case.path_parameters:
        agent = http.post("/agents", json={"model": "echo", "name": "Ada", "tools": [TOOL]}).json()
        http.put(f"/agents/{agent['id']}/aliases?alias=prod&version=0")
        known = {"agent_id": agent["id"], "version": "0"}
    talk: dict[str, Any] = {}
    if "conversation_id" in case.path_parameters:
        talk = http.post("/conversations", json={"model": "weather", "inputs": "Hello", "tools": [TOOL]}).json()
        known["conversation_id"] = talk["conversation_id"]
    case.path_parameters = {name: known[name] for name in case.path_parameters}
    if "version" in case.query:
        case.query["version"] = 0
    if isinstance(case.body, dict):
        aim_body(case.path, case.body, talk)


def aim_body(path: str, body: dict[str, Any], talk: dict[str, Any]) -> None:
    if body.get("stream") is True:
        body["stream"] = False
    body.pop("handoffs", None)
    if path == "/v1/conversations":
        body["model"] = "echo"
        for name in ("agent_id", "agent_version"):
            body.pop(name, None)
    elif path.endswith("/restart"):
        body["from_entry_id"] = talk["outputs"][0]["id"]
        body.pop("agent_version", None)
    elif talk and isinstance(body.get("inputs"), list):
        body["inputs"] = [result(one, "x") for one in talk["outputs"]]
        body.pop("tool_confirmations", None)


def test_every_entry_of_every_kind_conforms(setter: httpx2.Client) -> None:
    """Histories as the document has them, also of what only the server or a handoff makes."""
    document = served()
    known: set[str] = set()
    bea = setter.post("/agents", json={"model": "repeats", "name": "Bea"}).json()
    ada = setter.post("/agents", json={"model": "hands-over", "name": "Ada", "handoffs": [bea["id"]]}).json()
    look_up = {"type": "function", "function": {"name": "look_up", "parameters": {}}}
    pay = {"type": "function", "function": {"name": "pay", "parameters": {}}}
    talks: list[dict[str, Any]] = [
        {"agent_id": ada["id"]},
        {"model": "looks-up", "tools": [look_up]},
        {"model": "pays", "tools": [pay]},
        {"model": "two-tools", "tools": [TOOL]},
        {"model": "refuses"},
        {"model": "long"},
    ]
    for about in talks:
        begun = setter.post("/conversations", json={"inputs": "Hello", **about}).json()
        path = f"/conversations/{begun['conversation_id']}"
        if about.get("model") == "two-tools":
            setter.post(path, json={"inputs": [result(one, "x") for one in begun["outputs"]]})
        for name, shown in (
            ("ConversationResponse", begun),
            ("ConversationHistory", setter.get(f"{path}/history").json()),
            ("ConversationMessages", setter.get(f"{path}/messages").json()),
        ):
            of = {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
            jsonschema.validate(shown, of)
            known |= {entry["type"] for entry in shown.get("entries", ())}
    assert known == {
        *("message.input", "message.output", "function.call", "function.result", "tool.execution", "agent.handoff"),
    }


def test_every_frame_of_every_stream_conforms(setter: httpx2.Client) -> None:
    document = served()
    of = {"$ref": "#/components/schemas/ConversationEvents", "components": document["components"]}
    known: set[str] = set()
    bea = setter.post("/agents", json={"model": "repeats", "name": "Bea"}).json()
    ada = setter.post("/agents", json={"model": "hands-over", "name": "Ada", "handoffs": [bea["id"]]}).json()
    look_up = {"type": "function", "function": {"name": "look_up", "parameters": {}}}
    talks: tuple[dict[str, Any], ...] = (
        {"agent_id": ada["id"]},
        {"model": "looks-up", "tools": [look_up]},
        {"model": "talks-and-calls", "tools": [TOOL]},
        {"model": "fails"},
    )
    for about in talks:
        body = {"inputs": "Hello", "stream": True, **about}
        for frame in stream(setter, "POST", "/conversations", json=body):
            jsonschema.validate({"event": frame.event, "data": frame.data}, of)
            known.add(frame.event)
    assert known == set(document["components"]["schemas"]["SSETypes"]["enum"]) - {"tool.execution.delta"}
