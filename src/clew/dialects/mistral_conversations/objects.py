"""Conversations and agents, as clients see them."""

from __future__ import annotations

from collections.abc import Sequence

from clew.dialects.mistral_conversations.entries import Object, time
from clew.dialects.mistral_conversations.identifiers import agent_id, conversation_id
from clew.dialects.mistral_conversations.translate import shown_metadata
from clew.events.run import Completion, Tool
from clew.events.thread import ThreadSettings
from clew.events.usage import Usage
from clew_projections.assistant_catalog import Alias, AssistantView
from clew_projections.thread_view import ThreadRow


def conversation_object(row: ThreadRow, settings: ThreadSettings | None, updated_at: int) -> Object:
    """`settings` None: nothing has ever been said of what answers in it."""
    its = settings or ThreadSettings()
    shown: Object = {
        "object": "conversation",
        "id": conversation_id(row.thread_id),
        "created_at": time(row.created_at),
        "updated_at": time(updated_at),
        "name": its.name,
        "description": its.description,
        "metadata": shown_metadata(row.metadata, its.json_metadata) or None,
    }
    if its.assistant_id is not None:
        return {**shown, "agent_id": agent_id(its.assistant_id), "agent_version": shown_version(its.assistant_version)}
    return {
        **shown,
        "model": its.model or "",
        "instructions": its.instructions,
        "tools": tool_objects(its.tools),
        "completion_args": completion_object(its.completion),
    }


def shown_version(version: int | str | None) -> int | str | None:
    """Versions count from 0 here."""
    return version - 1 if isinstance(version, int) else version


def agent_object(view: AssistantView) -> Object:
    its = view.settings
    how = Completion(
        sampling=its.sampling,
        max_output_tokens=its.max_output_tokens,
        tool_choice=its.tool_choice,
        response_format=its.response_format,
    )
    return {
        "object": "agent",
        "id": agent_id(view.assistant_id),
        "model": its.model,
        "name": its.name or "",
        "description": its.description,
        "instructions": its.instructions,
        "tools": tool_objects(its.tools),
        "completion_args": completion_object(how),
        "handoffs": [agent_id(one) for one in its.handoffs] or None,
        "metadata": shown_metadata(its.metadata, its.json_metadata) or None,
        "version": view.version - 1,
        "versions": list(range(view.versions)),
        "created_at": time(view.created_at),
        "updated_at": time(view.updated_at),
        "deployment_chat": False,
        "source": "api",
        "version_message": view.message,
    }


def alias_object(alias: Alias) -> Object:
    return {
        "alias": alias.alias,
        "version": alias.version - 1,
        "created_at": time(alias.created_at),
        "updated_at": time(alias.updated_at),
    }


def tool_objects(tools: Sequence[Tool]) -> list[Object]:
    return [
        {
            "type": "function",
            "function": {
                "name": tool.name,
                "description": tool.description or "",
                "strict": bool(tool.strict),
                "parameters": tool.parameters or {},
            },
        }
        for tool in tools
    ]


def completion_object(how: Completion) -> Object:
    """What was said, and nothing else."""
    sampling = how.sampling
    choice = how.tool_choice
    said = {
        "stop": list(sampling.stop) or None,
        "presence_penalty": sampling.presence_penalty,
        "frequency_penalty": sampling.frequency_penalty,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "max_tokens": how.max_output_tokens,
        "random_seed": sampling.seed,
        "response_format": how.response_format,
        # One function that must be called is a wish of other dialects.
        "tool_choice": "required" if choice is not None and choice.mode == "function" else choice and choice.mode,
        "reasoning_effort": sampling.reasoning_effort,
    }
    return {name: value for name, value in said.items() if value is not None}


def usage_object(usage: Usage) -> Object:
    return {
        "prompt_tokens": usage.input,
        "completion_tokens": usage.output,
        "total_tokens": usage.total,
        "connector_tokens": None,
        "connectors": None,
    }


def response_object(thread_id: str, outputs: Sequence[Object], usage: Usage) -> Object:
    return {
        "object": "conversation.response",
        "conversation_id": conversation_id(thread_id),
        "outputs": list(outputs),
        "usage": usage_object(usage),
        "guardrails": None,
    }
