"""What can happen to an assistant. Each event makes a version of it."""

from __future__ import annotations

from typing import ClassVar, TypeAlias

from clew.events.base import Event, Value
from clew.events.content import JsonObject, Metadata
from clew.events.run import Sampling, Tool


class AssistantSettings(Value):
    """All that an assistant is. `model` is as the client named it: bare, or `provider/model`."""

    model: str
    name: str | None = None
    description: str | None = None
    instructions: str | None = None
    tools: tuple[Tool, ...] = ()
    tool_resources: JsonObject = {}
    sampling: Sampling = Sampling()
    response_format: JsonObject | None = None
    metadata: Metadata = {}


class AssistantCreated(Event):
    kind: ClassVar[str] = "assistant.created"

    tenant: str
    dialect: str
    settings: AssistantSettings


class AssistantChanged(Event):
    """`settings` is the whole assistant as it is from here on."""

    kind: ClassVar[str] = "assistant.changed"

    settings: AssistantSettings


class AssistantDeleted(Event):
    kind: ClassVar[str] = "assistant.deleted"

    by: str | None = None


AssistantEvent: TypeAlias = AssistantCreated | AssistantChanged | AssistantDeleted
