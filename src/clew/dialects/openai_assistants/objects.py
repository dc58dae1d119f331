"""The objects that clients are shown, with every field that OpenAI's document or OpenAI's traffic has.

They are plain dicts made by hand: a response model for each request would cost more than the request.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from clew.engine.strategies import as_written
from clew.events.assistant import AssistantSettings
from clew.events.base import Event, Recorded
from clew.events.content import Content, Image, JsonObject, Metadata, Other, Part, Refusal, Text
from clew.events.message import MessageAppended
from clew.events.run import RunConfig, Tool, ToolChoice
from clew.events.tool import ToolCalled, ToolFailed, ToolReturned, ToolSettled
from clew.events.usage import Usage
from clew_projections.run_view import RunView, StepView

Object: TypeAlias = dict[str, Any]
Bodies: TypeAlias = Mapping[int, Recorded[Event]]

ENDED = frozenset(("completed", "failed", "cancelled", "expired", "incomplete"))
_RUN_ERRORS = frozenset(("server_error", "rate_limit_exceeded", "invalid_prompt"))
# What OpenAI says when an organisation has used up its quota.
_IN_ITS_WORDS = {"budget_exceeded": "rate_limit_exceeded"}
_STEP_ERRORS = frozenset(("server_error", "rate_limit_exceeded"))
# What other APIs cite in other ways has no place here, and clients check.
_ANNOTATIONS = frozenset(("file_citation", "file_path"))
_TOKEN_LIMITS = frozenset(("max_completion_tokens", "max_prompt_tokens"))


def seconds(at: int | None) -> int | None:
    return None if at is None else at // 1_000_000


def deleted(kind: str, id: str) -> Object:
    return {"id": id, "object": f"{kind}.deleted", "deleted": True}


def model_object(id: str, created: int, owned_by: str) -> Object:
    return {"id": id, "object": "model", "created": created, "owned_by": owned_by}


def assistant_object(assistant_id: str, created_at: int, settings: AssistantSettings) -> Object:
    sampling = settings.sampling
    return {
        "id": assistant_id,
        "object": "assistant",
        "created_at": seconds(created_at),
        "name": settings.name,
        "description": settings.description,
        "model": settings.model,
        "instructions": settings.instructions,
        "tools": list(map(_tool, settings.tools)),
        "top_p": 1.0 if sampling.top_p is None else sampling.top_p,
        "temperature": 1.0 if sampling.temperature is None else sampling.temperature,
        "reasoning_effort": sampling.reasoning_effort,
        "tool_resources": settings.tool_resources,
        "metadata": settings.metadata,
        "response_format": settings.response_format or "auto",
    }


def _tool(tool: Tool) -> Object:
    function: Object = {"name": tool.name}
    if tool.description is not None:
        function["description"] = tool.description
    if tool.parameters is not None:
        function["parameters"] = tool.parameters
    function["strict"] = bool(tool.strict)
    return {"type": "function", "function": function}


def thread_object(thread_id: str, created_at: int, metadata: Metadata, tool_resources: JsonObject) -> Object:
    return {
        "id": thread_id,
        "object": "thread",
        "created_at": seconds(created_at),
        "metadata": metadata,
        "tool_resources": tool_resources,
    }


def message_object(
    thread_id: str,
    message: MessageAppended,
    at: int,
    *,
    content: Content | None = None,
    metadata: Metadata | None = None,
) -> Object:
    """`content` and `metadata` are what the message says now, where that is not what it said at first."""
    when = at // 1_000_000
    reason = message.incomplete
    return {
        "id": message.message_id,
        "object": "thread.message",
        "created_at": when,
        "assistant_id": message.assistant_id,
        "thread_id": thread_id,
        "run_id": message.run_id,
        "status": "completed" if reason is None else "incomplete",
        "incomplete_details": None if reason is None else {"reason": reason},
        "incomplete_at": None if reason is None else when,
        "completed_at": when if reason is None else None,
        # A message of the system comes in through other dialects only; there is no such role here.
        "role": "assistant" if message.role == "assistant" else "user",
        "content": content_parts(message.content if content is None else content),
        "attachments": [],
        "metadata": message.metadata if metadata is None else metadata,
    }


def content_parts(content: Content) -> list[Object]:
    return [_part(part) for part in content]


def _part(part: Part) -> Object:
    match part:
        case Text(text=text, annotations=annotations):
            return _text(text, [one for one in annotations if one.get("type") in _ANNOTATIONS])
        case Refusal(text=text):
            return {"type": "refusal", "refusal": text}
        case Image(file_id=str(file_id), detail=detail):
            return {"type": "image_file", "image_file": {"file_id": file_id, "detail": detail or "auto"}}
        case Image(url=url, data=data, media_type=media_type, detail=detail):
            shown = url or f"data:{media_type};base64,{data}"
            return {"type": "image_url", "image_url": {"url": shown, "detail": detail or "auto"}}
        case Other(block=block):
            return _text(block, [])
        case _:
            # This API has no files in messages; whoever reads the message shall at least know of it.
            return _text(f"[file {part.filename or part.file_id or ''}]", [])


def _text(value: str, annotations: list[JsonObject]) -> Object:
    return {"type": "text", "text": {"value": value, "annotations": annotations}}


def usage_object(usage: Usage | None) -> Object | None:
    if usage is None:
        return None
    return {
        "prompt_tokens": usage.input,
        "completion_tokens": usage.output,
        "total_tokens": usage.total,
        "prompt_token_details": {"cached_tokens": usage.cached},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
    }


def run_object(run: RunView, config: RunConfig, waiting: Sequence[ToolCalled] = ()) -> Object:
    """`waiting` are the calls that the client must answer."""
    ended = run.status in ENDED
    ended_at = seconds(run.ended_at)
    return {
        "id": run.run_id,
        "object": "thread.run",
        "created_at": seconds(run.created_at),
        "assistant_id": config.assistant_id or "",
        "thread_id": run.thread_id,
        "status": run.status,
        "started_at": seconds(run.started_at),
        "expires_at": None if ended else seconds(run.expires_at),
        "cancelled_at": ended_at if run.status == "cancelled" else None,
        "failed_at": ended_at if run.status == "failed" else None,
        "completed_at": ended_at if run.status == "completed" else None,
        "required_action": _required_action(waiting) if run.status == "requires_action" else None,
        "last_error": _last_error(run) if run.status == "failed" else None,
        "model": config.asked_model,
        "instructions": config.instructions,
        "tools": list(map(_tool, config.tools)),
        "tool_resources": config.tool_resources,
        "metadata": run.metadata,
        "temperature": 1.0 if config.sampling.temperature is None else config.sampling.temperature,
        "top_p": 1.0 if config.sampling.top_p is None else config.sampling.top_p,
        "reasoning_effort": config.sampling.reasoning_effort,
        "max_completion_tokens": config.limits.completion_tokens,
        "max_prompt_tokens": config.limits.prompt_tokens,
        "truncation_strategy": _truncation(config),
        "incomplete_details": _incomplete(run) if run.status == "incomplete" else None,
        "usage": usage_object(run.usage) if ended else None,
        "response_format": config.response_format or "auto",
        "tool_choice": _tool_choice(config.tool_choice),
        "parallel_tool_calls": config.parallel_tool_calls,
    }


def _truncation(config: RunConfig) -> Object:
    if config.truncation.strategy == "last_messages":
        return {"type": "last_messages", "last_messages": config.truncation.n}
    said: Object = {"type": "auto", "last_messages": None}
    # A strategy that this API has no word for stands beside its `type`, whose values clients check.
    return said if config.truncation.strategy == "auto" else {**said, "clew_truncation": as_written(config.truncation)}


def _tool_choice(choice: ToolChoice | None) -> str | Object:
    if choice is None:
        return "auto"
    return {"type": "function", "function": {"name": choice.name}} if choice.mode == "function" else choice.mode


def _required_action(waiting: Sequence[ToolCalled]) -> Object:
    calls = [
        {
            "id": call.tool_call_id,
            "type": "function",
            "function": {"name": call.name, "arguments": call.arguments},
        }
        for call in waiting
    ]
    return {"type": "submit_tool_outputs", "submit_tool_outputs": {"tool_calls": calls}}


def _last_error(run: RunView) -> Object:
    return {"code": _error_code(run, _RUN_ERRORS), "message": run.error_message or ""}


def _error_code(run: RunView, known: frozenset[str]) -> str:
    code = _IN_ITS_WORDS.get(run.error_code or "", run.error_code)
    return code if code is not None and code in known else "server_error"


def _incomplete(run: RunView) -> Object:
    """Limits that this API has no word for stand beside its `reason`, whose values clients check."""
    if run.incomplete_reason in _TOKEN_LIMITS:
        return {"reason": run.incomplete_reason}
    return {"clew_reason": run.incomplete_reason}


def step_object(step: StepView, run: RunView, config: RunConfig, bodies: Bodies) -> Object:
    """`bodies` has the events at the positions of the step's calls and answers."""
    if step.message_id is not None:
        details: Object = {
            "type": "message_creation",
            "message_creation": {"message_id": step.message_id},
        }
    else:
        calls = [
            _answered_call(bodies[call.called].event, bodies[call.answered].event if call.answered else None)
            for call in step.calls
        ]
        details = {"type": "tool_calls", "tool_calls": calls}
    error = _step_error(step, run, bodies) if step.status == "failed" else None
    return bare_step(step, run, config, details, error)


def bare_step(step: StepView, run: RunView, config: RunConfig, details: Object, error: Object | None) -> Object:
    """A step whose details are known already."""
    ended_at = seconds(step.ended_at)
    return {
        "id": step.step_id,
        "object": "thread.run.step",
        "created_at": seconds(step.created_at),
        "run_id": step.run_id,
        "assistant_id": config.assistant_id or "",
        "thread_id": step.thread_id,
        "type": details["type"],
        "status": step.status,
        "cancelled_at": ended_at if step.status == "cancelled" else None,
        "completed_at": ended_at if step.status == "completed" else None,
        "expires_at": None if run.status in ENDED else seconds(run.expires_at),
        "expired_at": ended_at if step.status == "expired" else None,
        "failed_at": ended_at if step.status == "failed" else None,
        "last_error": error,
        "step_details": details,
        "usage": usage_object(step.usage) if step.status != "in_progress" else None,
        "metadata": {},
    }


def _step_error(step: StepView, run: RunView, bodies: Bodies) -> Object:
    told = next((event.output for event in _answers(step, bodies) if isinstance(event, ToolFailed)), "")
    code = _error_code(run, _STEP_ERRORS)
    return {"code": code, "message": run.error_message or told}


def _answers(step: StepView, bodies: Bodies) -> list[Event]:
    return [bodies[call.answered].event for call in step.calls if call.answered is not None]


def _answered_call(called: Event, answer: Event | None) -> Object:
    assert isinstance(called, ToolCalled)
    return call_object(called.tool_call_id, called.name, called.arguments, _output(answer))


def _output(answer: Event | None) -> str | None:
    """A call that was closed because its run ended was never answered."""
    match answer:
        case ToolReturned() | ToolSettled():
            return answer.output
        case ToolFailed(reason="error" | "timeout" | "arguments" | "denied"):
            return answer.output
        case _:
            return None


def call_object(tool_call_id: str, name: str, arguments: str, output: str | None) -> Object:
    function = {"name": name, "arguments": arguments, "output": output}
    return {"id": tool_call_id, "type": "function", "function": function}
