"""What is exported is what others read: OpenTelemetry's conventions for generative AI, and trajectories."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from clew.audit.atif import atif
from clew.audit.otel import otlp
from tests.audit.histories import audit_of, cancelled, everything, hostile

_HISTORIES = {
    "plain": everything(),
    "hostile": everything(hostile),
    "cancelled": cancelled(),
    "under way": everything()[:14],
    "just queued": everything()[:3],
}


def spans_of(written: bytes) -> list[dict[str, Any]]:
    [resource] = json.loads(written)["resourceSpans"]
    [scope] = resource["scopeSpans"]
    spans: list[dict[str, Any]] = scope["spans"]
    return spans


def values(span: dict[str, Any]) -> dict[str, Any]:
    """Attributes without their types."""
    return {one["key"]: next(iter(one["value"].values())) for one in span["attributes"]}


def test_a_run_is_a_trace_of_an_agent_that_chats_and_executes_tools() -> None:
    root, *inner = spans_of(otlp(audit_of(everything())))
    assert (root["name"], root["kind"], "parentSpanId" in root) == ("invoke_agent", 1, False)
    assert [span["name"] for span in inner] == [
        "chat gpt-4o",
        "chat gpt-4o",
        "chat gpt-4o",
        "execute_tool do_a",
        "execute_tool do_b",
        "chat gpt-4o",
        "execute_tool do_c",
        "execute_tool do_d",
        "chat gpt-4o",
    ]
    assert {span["parentSpanId"] for span in inner} == {root["spanId"]}
    assert {span["traceId"] for span in inner} == {root["traceId"]}
    assert len({span["spanId"] for span in [root, *inner]}) == 10
    for span in inner:
        assert int(root["startTimeUnixNano"]) <= int(span["startTimeUnixNano"])
        assert int(span["startTimeUnixNano"]) <= int(span["endTimeUnixNano"]) <= int(root["endTimeUnixNano"])


def test_spans_bear_the_names_of_the_conventions() -> None:
    root, failed, lost, chat, tool, *_ = spans_of(otlp(audit_of(everything())))
    assert values(root)["gen_ai.conversation.id"] == "thread_1"
    assert values(failed)["error.type"] == "rate_limit"
    assert (values(lost)["error.type"], lost["status"]["code"]) == ("lost", 2)
    told = values(chat)
    assert (told["gen_ai.operation.name"], told["gen_ai.provider.name"], chat["kind"]) == ("chat", "openai", 3)
    assert (told["gen_ai.usage.input_tokens"], told["gen_ai.usage.cache_read.input_tokens"]) == ("100", "40")
    assert (told["gen_ai.response.model"], told["gen_ai.response.id"]) == ("gpt-4o-2024", "chatcmpl-mc_2")
    assert told["gen_ai.response.finish_reasons"] == {"values": [{"stringValue": "tool_calls"}]}
    assert values(tool)["gen_ai.tool.call.id"] == "a"
    assert [event["name"] for event in tool["events"]] == ["clew.tool.started", "clew.tool.started"]


def test_what_was_said_is_told_only_when_asked_for() -> None:
    audit = audit_of(everything(lambda number: f"secret {number}"))
    # Errors of the provider, and reasons and names of those who settle, are not what was said.

    for span in spans_of(otlp(audit)):
        assert not any(key.endswith((".messages", ".arguments", ".result", "instructions")) for key in values(span))
        assert "secret 4" not in json.dumps(span)
        assert "secret 8" not in json.dumps(span)

    root, *_, last = spans_of(otlp(audit, content=True))
    assert json.loads(values(root)["gen_ai.system_instructions"]) == [{"type": "text", "content": "secret 1"}]
    messages = json.loads(values(last)["gen_ai.input.messages"])
    assert messages[0] == {"role": "user", "parts": [{"type": "text", "content": "secret 2"}]}
    assert {"type": "tool_call_response", "id": "a", "response": "secret 6"} in [m["parts"][0] for m in messages]
    [answer] = json.loads(values(last)["gen_ai.output.messages"])
    assert answer == {
        "role": "assistant",
        "parts": [{"type": "text", "content": "secret 12"}],
        "finish_reason": "stop",
    }


def test_a_trace_tells_what_each_attempt_cost_and_what_is_not_known() -> None:
    run, *inner = (values(span) for span in spans_of(otlp(audit_of(everything()))))
    assert (run["clew.cost.usd"], run["clew.cost.unpriced"], run["clew.cost.unknown"]) == ("0.0009", "1", "1")
    priced = [one["clew.cost.amount"] for one in inner if "clew.cost.amount" in one]
    assert priced == [0.00045, 0.00045]


def test_the_same_run_is_the_same_trace() -> None:
    def ids(written: bytes) -> list[tuple[str, str]]:
        return [(span["traceId"], span["spanId"]) for span in spans_of(written)]

    assert ids(otlp(audit_of(everything()))) == ids(otlp(audit_of(everything(hostile))))


@pytest.mark.parametrize("name", list(_HISTORIES))
@pytest.mark.parametrize("content", [False, True])
def test_a_trace_is_what_the_protocol_says(name: str, content: bool) -> None:
    json_format = pytest.importorskip("google.protobuf.json_format")
    service = pytest.importorskip("opentelemetry.proto.collector.trace.v1.trace_service_pb2")
    written = json.loads(otlp(audit_of(_HISTORIES[name]), content=content))
    for span in written["resourceSpans"][0]["scopeSpans"][0]["spans"]:
        # In OTLP ids are hexadecimal, in protobuf's own JSON they are not.
        for key in {"traceId", "spanId", "parentSpanId"} & span.keys():
            span[key] = base64.b64encode(bytes.fromhex(span[key])).decode()
    read = json_format.ParseDict(written, service.ExportTraceServiceRequest())
    spans = read.resource_spans[0].scope_spans[0].spans
    assert {len(span.trace_id) for span in spans} == {16}
    assert {len(span.span_id) for span in spans} == {8}


def test_a_trajectory_tells_the_conversation_and_the_run() -> None:
    told = json.loads(atif(audit_of(everything())))
    assert told["schema_version"] == "ATIF-v1.7"
    assert [step["step_id"] for step in told["steps"]] == list(range(1, 7))
    assert [step["source"] for step in told["steps"]] == ["system", "user", "system", "agent", "agent", "agent"]
    lost, agent, doubted, last = told["steps"][2:]
    assert lost["message"] == "A model call was not answered (lost: the process ended)."
    assert agent["message"] == "words 4"
    assert [call["function_name"] for call in agent["tool_calls"]] == ["do_a", "do_b"]
    assert agent["tool_calls"][0]["arguments"] == {"_unparsed": "words 5"}
    assert agent["tool_calls"][1]["arguments"] == {"x": 1}
    assert agent["observation"]["results"] == [
        {"source_call_id": "a", "content": "words 6"},
        {"source_call_id": "b", "content": "words 7"},
    ]
    assert agent["metrics"]["cached_tokens"] == 40
    assert doubted["observation"]["results"][1] == {"source_call_id": "d", "content": "words 10"}
    assert (last["message"], "tool_calls" in last) == ("words 12", False)
    assert told["final_metrics"]["total_prompt_tokens"] == 300
    assert [step["metrics"].get("cost_usd") for step in (agent, doubted, last)] == [None, 0.00045, 0.00045]
    # One attempt has no price and one was lost, so there is no total that would be true.
    assert "total_cost_usd" not in told["final_metrics"]
    assert told["final_metrics"]["extra"]["costs"] == {"amounts": {"USD": "0.0009"}, "unpriced": 1, "unknown": 1}


@pytest.mark.parametrize("name", list(_HISTORIES))
def test_a_trajectory_is_what_the_format_says(name: str) -> None:
    models = pytest.importorskip("atif")
    written = atif(audit_of(_HISTORIES[name]))
    read = models.Trajectory.model_validate_json(written)
    assert without_none(read.to_json_dict()) == without_none(json.loads(written))


def without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_none(one) for key, one in value.items() if one is not None}
    return [without_none(one) for one in value] if isinstance(value, list) else value
