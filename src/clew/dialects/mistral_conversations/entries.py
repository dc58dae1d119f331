"""Entries, as clients see them: messages, calls, results, handoffs.

They are plain dicts made by hand: a response model for each request would cost more than the request.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

from clew import exact_json
from clew.dialects.mistral_conversations.identifiers import public_id
from clew.events.content import Content, Image, JsonObject, Other, Part, Refusal, Text
from clew.events.run import RunConfig
from clew.events.tool import HandingOver, ToolFailed, ToolReturned, ToolSettled

Object: TypeAlias = dict[str, Any]
Result: TypeAlias = ToolReturned | ToolFailed | ToolSettled

OWN = "mistral"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def time(at: int) -> str:
    """Microseconds since 1970 as a time."""
    return (_EPOCH + timedelta(microseconds=at)).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _entry(kind: str, id: str, created_at: int, completed_at: int | None) -> Object:
    return {
        "object": "entry",
        "type": kind,
        "created_at": time(created_at),
        "completed_at": time(completed_at) if completed_at is not None else None,
        "id": id,
    }


def message_input(id: str, role: str, content: Content, at: int) -> Object:
    # A message of the system comes in through other dialects only; there is no such role here.
    shown = "assistant" if role == "assistant" else "user"
    return {**_entry("message.input", id, at, at), "role": shown, "content": chunks(content), "prefix": False}


def message_output(id: str, content: Content, at: int, spoken_by: Object, thinking: Sequence[Object] = ()) -> Object:
    said = chunks(content)
    if thinking:
        said = [*thinking, *([{"type": "text", "text": said}] if isinstance(said, str) else said)]
    return {**_entry("message.output", id, at, at), **spoken_by, "role": "assistant", "content": said}


def spoken_by(config: RunConfig | None, assistant_id: str | None = None) -> Object:
    """Whose words they are, of what is known of it."""
    its = config.assistant_id if config is not None else assistant_id
    return {"agent_id": public_id(its) if its else None, "model": config.asked_model if config is not None else None}


def function_call(
    id: str,
    tool_call_id: str,
    name: str,
    arguments: str,
    at: int,
    made_by: Object,
    confirmation_status: str | None = None,
) -> Object:
    return {
        **_entry("function.call", id, at, at),
        **made_by,
        "tool_call_id": tool_call_id,
        "name": name,
        "arguments": arguments,
        "confirmation_status": confirmation_status,
    }


def function_result(id: str, tool_call_id: str, output: str, at: int) -> Object:
    return {**_entry("function.result", id, at, at), "tool_call_id": tool_call_id, "result": output}


def tool_execution(
    id: str, name: str, arguments: str, made_by: Object, created_at: int, completed_at: int | None, info: JsonObject
) -> Object:
    return {
        **_entry("tool.execution", id, created_at, completed_at),
        **made_by,
        "name": name,
        "arguments": arguments,
        "info": info,
    }


def execution_info(result: Result | None) -> JsonObject:
    """What came of it. A tool of the server's own gives a text, so there is nothing else to tell."""
    match result:
        case None:
            return {"status": "in_progress"}
        case ToolFailed(output=output, reason=reason):
            return {"status": "failed", "reason": reason, "output": output}
        case ToolSettled(output=output, outcome=outcome):
            return {"status": "settled", "outcome": outcome, "output": output}
        case ToolReturned(output=output):
            return {"status": "completed", "output": output}


def agent_handoff(id: str, handing_over: HandingOver, created_at: int, completed_at: int) -> Object:
    return {
        **_entry("agent.handoff", id, created_at, completed_at),
        "previous_agent_id": public_id(handing_over.from_id or ""),
        "previous_agent_name": handing_over.from_name,
        "next_agent_id": public_id(handing_over.to_id),
        "next_agent_name": handing_over.to_name,
    }


# Content


def chunks(content: Content) -> str | list[Object]:
    """A plain string where there is one text, or nothing."""
    if not content:
        return ""
    if len(content) == 1 and isinstance(content[0], Text):
        return content[0].text
    return [_chunk(part) for part in content]


def _chunk(part: Part) -> Object:
    match part:
        case Text(text=text) | Refusal(text=text):
            return _text(text)
        case Image(url=None, data=None, file_id=file_id):
            return _text(f"[image {file_id}]")
        case Image(url=url, data=data, media_type=media_type, detail=detail):
            shown = url or f"data:{media_type or 'image/png'};base64,{data}"
            return {"type": "image_url", "image_url": {"url": shown, "detail": detail} if detail else shown}
        case Other(provider=provider, block=block):
            return own_chunk(block) if provider == OWN else _text(block)
        case _ if part.data is not None:
            url = f"data:{part.media_type or 'application/octet-stream'};base64,{part.data}"
            return {"type": "document_url", "document_url": url, "document_name": part.filename}
        case _:
            # An upload that only other dialects know of; whoever reads the message shall at least hear of it.
            return _text(f"[file {part.filename or part.file_id or ''}]")


def own_chunk(block: str) -> Object:
    """A chunk of Mistral's that no class of ours models, as it came."""
    chunk: Object = exact_json.loads(block)
    return chunk


def thinking_chunks(provider: str, blocks: Sequence[str]) -> list[Object]:
    """Reasoning that was a chunk where it came from. There is no place here for what other providers have."""
    return [own_chunk(block) for block in blocks] if provider == OWN else []


def _text(text: str) -> Object:
    return {"type": "text", "text": text}
