"""Working out what a run will be like: once, when it begins, from an assistant or from what is said in its place."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from clew.engine.models import resolve
from clew.events.content import JsonObject
from clew.events.run import Completion, Handoff, Limits, RunConfig, Tool
from clew.events.tool import Executor
from clew.ids import new_id
from clew.log import Reader
from clew_projections import assistant_catalog
from clew_projections.assistant_catalog import AssistantView

# Names of tools may have 64 characters; what is left is for a number where two agents bear one name.
_NAME_CHARS_MAX = 40
_NO_PARAMETERS: JsonObject = {"type": "object", "properties": {}}


def config_of_model(
    model: str,
    *,
    providers: Mapping[str, Any],
    default_provider: str,
    limits: Limits,
    instructions: str | None = None,
    tools: tuple[Tool, ...] = (),
    completion: Completion | None = None,
    stream: bool = False,
) -> RunConfig:
    """A run of a model, without an assistant. A model without a provider before its name is `default_provider`'s."""
    provider, name = resolve(model, providers, default_provider)
    how = completion or Completion()
    return RunConfig(
        provider=provider,
        model=name,
        asked_model=model,
        instructions=instructions or "",
        tools=tools,
        tool_choice=how.tool_choice,
        response_format=how.response_format,
        sampling=how.sampling,
        max_output_tokens=how.max_output_tokens,
        limits=limits,
        stream=stream,
        default_provider=default_provider,
    )


def config_of_assistant(
    reader: Reader,
    assistant: AssistantView,
    *,
    providers: Mapping[str, Any],
    default_provider: str,
    limits: Limits,
    completion: Completion | None = None,
    handoffs_by: Executor = "server",
    stream: bool = False,
) -> RunConfig:
    """A run of an assistant as it is in `assistant`. What `completion` says comes before what the assistant says.

    `default_provider` is for models of assistants that say nothing of it themselves.
    """
    its = assistant.settings
    how = Completion(
        sampling=its.sampling,
        max_output_tokens=its.max_output_tokens,
        tool_choice=its.tool_choice,
        response_format=its.response_format,
    )
    handoffs, tools = _handoffs(reader, assistant)
    plain = config_of_model(
        its.model,
        providers=providers,
        default_provider=its.default_provider or default_provider,
        limits=limits,
        instructions=its.instructions,
        tools=(*its.tools, *tools),
        completion=how if completion is None else completion.over(how),
        stream=stream,
    )
    return plain.model_copy(
        update={
            "assistant_id": assistant.assistant_id,
            "assistant_version": assistant.version,
            "assistant_name": its.name,
            "tool_resources": its.tool_resources,
            "handoffs": handoffs,
            "handoffs_by": handoffs_by,
            "default_provider": default_provider,
        }
    )


def _handoffs(reader: Reader, assistant: AssistantView) -> tuple[tuple[Handoff, ...], tuple[Tool, ...]]:
    """The agents that this one may hand over to, and the tools by which it does. Who is gone is not offered."""
    handoffs, tools = [], []
    taken = {tool.name for tool in assistant.settings.tools}
    for assistant_id in assistant.settings.handoffs:
        other = assistant_catalog.assistant(reader, assistant_id)
        if other is None or other.tenant != assistant.tenant:
            continue
        name = _tool_name(other.settings.name or "agent", taken)
        taken.add(name)
        handoffs.append(Handoff(tool_name=name, assistant_id=assistant_id, name=other.settings.name or ""))
        told = f"Hand the conversation over to {other.settings.name or 'another agent'}."
        if other.settings.description:
            told += f" {other.settings.description}"
        tools.append(Tool(type="function", name=name, description=told, parameters=_NO_PARAMETERS))
    return tuple(handoffs), tuple(tools)


def _tool_name(agent: str, taken: set[str]) -> str:
    word = re.sub(r"[^a-z0-9]+", "_", agent.lower()).strip("_")[:_NAME_CHARS_MAX]
    name = wanted = f"hand_over_to_{word or 'agent'}"
    number = 1
    while name in taken:
        number += 1
        name = f"{wanted}_{number}"
    return name


def successor(
    reader: Reader, providers: Mapping[str, Any], config: RunConfig, assistant_id: str, limits: Limits
) -> tuple[str, RunConfig] | None:
    """The run that goes on when a run of `config` hands over to that assistant, and its id. None when that is gone."""
    assistant = assistant_catalog.assistant(reader, assistant_id)
    if assistant is None:
        return None
    following = config_of_assistant(
        reader,
        assistant,
        providers=providers,
        default_provider=config.default_provider or config.provider,
        limits=limits,
        handoffs_by=config.handoffs_by,
        stream=config.stream,
    )
    return new_id("run"), following
