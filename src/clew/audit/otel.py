"""An audit as a trace in OpenTelemetry's conventions for generative AI, written as OTLP JSON.

One trace a run: `invoke_agent`, beneath it one `chat` span for each time a request was sent, and one `execute_tool`
span for each tool call. Names are those of open-telemetry/semantic-conventions-genai, which are all still "in
development". What was said (messages, arguments, results) is there only if asked for, as the conventions demand.
Ids are made from those of the log, so that the same run exported again is the same trace. Clew's own attributes
begin with `clew.`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from clew import exact_json
from clew.audit.records import Attempt, Audit, ItemRecord, StepRecord, ToolRecord

_INTERNAL, _CLIENT = 1, 3
_ERROR = 2
_SCHEMA_URL = "https://opentelemetry.io/schemas/1.41.0"


def otlp(audit: Audit, *, content: bool = False) -> bytes:
    """An ExportTraceServiceRequest, as a collector's OTLP/HTTP endpoint and file receiver take it."""
    spans = _Spans(audit, content).all()
    scope = {"scope": {"name": "clew", "version": version("clew")}, "spans": spans, "schemaUrl": _SCHEMA_URL}
    resource = {"attributes": _attributes({"service.name": "clew", "service.version": version("clew")})}
    return exact_json.dumps(
        {"resourceSpans": [{"resource": resource, "scopeSpans": [scope], "schemaUrl": _SCHEMA_URL}]}
    )


class _Spans:
    def __init__(self, audit: Audit, content: bool) -> None:
        self._audit = audit
        self._content = content
        self._trace_id = hashlib.sha256(audit.run_id.encode()).hexdigest()[:32]
        self._root = self._span_id("run")

    def all(self) -> list[dict[str, Any]]:
        inner = []
        for step in self._audit.steps:
            inner += [self._chat(step, attempt) for attempt in step.attempts]
            inner += [self._execute_tool(step, tool) for tool in step.tools]
        return [self._invoke_agent(inner), *inner]

    def _span_id(self, *names: object) -> str:
        return hashlib.sha256(" ".join(map(str, (self._audit.run_id, *names))).encode()).hexdigest()[:16]

    def _span(
        self, name: str, kind: int, begin: int, end: int, attributes: Mapping[str, Any], *ids: object
    ) -> dict[str, Any]:
        """Times are in microseconds."""
        return {
            "traceId": self._trace_id,
            "spanId": self._span_id(*ids),
            "parentSpanId": self._root,
            "name": name,
            "kind": kind,
            "startTimeUnixNano": str(begin * 1_000),
            "endTimeUnixNano": str(max(begin, end) * 1_000),
            "attributes": _attributes(attributes),
        }

    def _invoke_agent(self, inner: list[dict[str, Any]]) -> dict[str, Any]:
        audit, config = self._audit, self._audit.config
        last = max((int(span["endTimeUnixNano"]) // 1_000 for span in inner), default=audit.queued_at)
        attributes = {
            "gen_ai.operation.name": "invoke_agent",
            "gen_ai.provider.name": config.provider,
            "gen_ai.conversation.id": audit.thread_id,
            "gen_ai.agent.id": config.assistant_id,
            "gen_ai.agent.version": config.assistant_version and str(config.assistant_version),
            "gen_ai.request.model": config.model,
            **_usage(audit.usage.input, audit.usage.output, audit.usage.cached),
            "error.type": None if audit.status in ("completed", "incomplete") or not audit.error else audit.status,
            "clew.run.id": audit.run_id,
            "clew.run.status": audit.status,
            "clew.run.cancelled_by": audit.cancelled_by,
            "clew.crashes_survived": audit.totals.crashes_survived,
            **_cost(audit.totals.costs.amounts),
            "clew.cost.unpriced": audit.totals.costs.unpriced or None,
            "clew.cost.unknown": audit.totals.costs.unknown or None,
        }
        if self._content:
            attributes |= {
                "gen_ai.system_instructions": _json([{"type": "text", "content": config.instructions}]),
                "gen_ai.tool.definitions": _json([tool.model_dump(exclude_none=True) for tool in config.tools]),
            }
        end = max(last, audit.ended_at or 0)
        span = self._span("invoke_agent", _INTERNAL, audit.queued_at, end, attributes, "run")
        del span["parentSpanId"]
        span["events"] = [_event(note.at, f"clew.{note.kind}", {"clew.note": note.what}) for note in audit.notes]
        if audit.error:
            span["status"] = {"code": _ERROR, "message": audit.error}
        return span

    def _chat(self, step: StepRecord, attempt: Attempt) -> dict[str, Any]:
        config = self._audit.config
        model = step.asked_model or config.model
        attributes: dict[str, Any] = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": step.asked_provider or config.provider,
            "gen_ai.conversation.id": self._audit.thread_id,
            "gen_ai.request.model": model,
            "gen_ai.request.temperature": config.sampling.temperature,
            "gen_ai.request.top_p": config.sampling.top_p,
            "gen_ai.request.stream": config.stream,
            "clew.model_call.id": step.model_call_id,
            "clew.model_call.purpose": step.purpose,
            "clew.attempt": attempt.attempt,
            "clew.worker": step.worker,
            "clew.prompt.sha256": step.digest,
            "clew.prompt.proven": step.proven,
        }
        if attempt.price is not None:
            attributes |= _cost({attempt.price.currency: attempt.price.amount})
        if attempt.usage is not None:
            used = attempt.usage
            attributes |= _usage(used.input, used.output, used.cached)
            attributes["gen_ai.usage.cache_creation.input_tokens"] = used.cache_write or None
            attributes["gen_ai.usage.reasoning.output_tokens"] = used.reasoning or None
        if self._content:
            attributes["gen_ai.input.messages"] = _json([_said(self._audit.items[place]) for place in step.shown])
        if attempt.outcome == "answered":
            first = step.first_token_ms
            attributes |= {
                "gen_ai.response.model": step.model,
                "gen_ai.response.id": step.provider_ids.get("response"),
                "gen_ai.response.finish_reasons": [step.finish_reason],
                "gen_ai.response.time_to_first_chunk": first / 1_000 if first is not None else None,
            }
            if self._content:
                attributes["gen_ai.output.messages"] = _json([_answer(step)])
        else:
            attributes["error.type"] = attempt.code
        end = attempt.at + round((attempt.duration_ms or 0) * 1_000)
        span = self._span(f"chat {model}", _CLIENT, attempt.at, end, attributes, "chat", attempt.attempt)
        if attempt.outcome == "failed":
            span["status"] = {"code": _ERROR, "message": attempt.message or ""}
        return span

    def _execute_tool(self, step: StepRecord, tool: ToolRecord) -> dict[str, Any]:
        attributes: dict[str, Any] = {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.provider.name": self._audit.config.provider,
            "gen_ai.conversation.id": self._audit.thread_id,
            "gen_ai.tool.name": tool.name,
            "gen_ai.tool.call.id": tool.tool_call_id,
            "gen_ai.tool.type": "function",
            "clew.tool.executor": tool.executor,
            "clew.tool.effect": tool.effect,
            "clew.tool.outcome": tool.outcome,
            "clew.tool.settled_by": tool.settled_by,
            "error.type": tool.reason if tool.outcome == "failed" else None,
        }
        if self._content:
            attributes |= {"gen_ai.tool.call.arguments": tool.arguments, "gen_ai.tool.call.result": tool.output}
        begin = tool.starts[0].at if tool.starts else tool.called_at
        name = f"execute_tool {tool.name}"
        span = self._span(
            name, _INTERNAL, begin, tool.answered_at or begin, attributes, "tool", step.number, tool.tool_call_id
        )
        span["events"] = [
            *(_event(one.at, "clew.tool.started", {"clew.worker": one.worker}) for one in tool.starts),
            *(_event(one.at, "clew.tool.in_doubt", {"clew.reason": one.reason}) for one in tool.doubts),
        ]
        if tool.outcome == "failed":
            span["status"] = {"code": _ERROR, "message": (tool.output or "") if self._content else tool.reason or ""}
        return span


def _usage(given: int, answered: int, cached: int) -> dict[str, Any]:
    return {
        "gen_ai.usage.input_tokens": given,
        "gen_ai.usage.output_tokens": answered,
        "gen_ai.usage.cache_read.input_tokens": cached or None,
    }


def _cost(amounts: Mapping[str, str]) -> dict[str, Any]:
    """The conventions have no word for it. Numbers to add up, and the exact decimals by currency."""
    attributes: dict[str, Any] = {f"clew.cost.{currency.lower()}": amount for currency, amount in amounts.items()}
    if len(amounts) == 1:
        [(currency, amount)] = amounts.items()
        attributes |= {"clew.cost.amount": float(amount), "clew.cost.currency": currency}
    return attributes


def _said(item: ItemRecord) -> dict[str, Any]:
    match item.kind:
        case "call":
            call = {"type": "tool_call", "id": item.id, "name": item.name, "arguments": _parsed(item.text)}
            return {"role": "assistant", "parts": [call]}
        case "result":
            response = {"type": "tool_call_response", "id": item.id, "response": item.text}
            return {"role": "tool", "parts": [response]}
        case "reasoning":
            return {"role": "assistant", "parts": [{"type": "reasoning", "content": item.text}]}
        case _:
            return {"role": item.role or "system", "parts": [{"type": "text", "content": item.text}]}


def _answer(step: StepRecord) -> dict[str, Any]:
    said_by_it = [step.compacted.text] if step.compacted is not None else step.says
    parts: list[dict[str, Any]] = [{"type": "text", "content": said} for said in said_by_it]
    parts += [
        {"type": "tool_call", "id": tool.tool_call_id, "name": tool.name, "arguments": _parsed(tool.arguments)}
        for tool in step.tools
    ]
    finish = {"tool_calls": "tool_call"}.get(step.finish_reason or "", step.finish_reason)
    return {"role": "assistant", "parts": parts, "finish_reason": finish}


def _parsed(arguments: str) -> Any:
    """A model may write what is no JSON: then it is the text."""
    try:
        return exact_json.loads(arguments)
    except ValueError:
        return arguments


def _json(value: Any) -> str:
    return exact_json.dumps(value).decode()


def _event(at: int, name: str, attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {"timeUnixNano": str(at * 1_000), "name": name, "attributes": _attributes(attributes)}


def _attributes(values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Without those that are None."""
    return [{"key": key, "value": _value(value)} for key, value in values.items() if value is not None]


def _value(value: Any) -> dict[str, Any]:
    match value:
        case bool():
            return {"boolValue": value}
        case int():
            return {"intValue": str(value)}
        case float():
            return {"doubleValue": value}
        case list():
            return {"arrayValue": {"values": [_value(one) for one in value]}}
        case _:
            return {"stringValue": str(value)}
