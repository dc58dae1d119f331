"""What can happen to an assistant. Its versions count from 1: one when it is created, one each time it changes."""

from __future__ import annotations

from typing import ClassVar, TypeAlias

from clew.events.base import Event, Value
from clew.events.content import JsonObject, Metadata
from clew.events.run import Sampling, Tool, ToolChoice, Truncation


class AssistantSettings(Value):
    """All that an assistant is. `model` is as the client named it: bare, or `provider/model`.

    It may hand a thread over to the assistants whose ids are in `handoffs`. The values of `json_metadata` in its
    metadata are JSON, and were no texts where they came from. A bare model goes to `default_provider`, None being
    the server's own.
    """

    model: str
    name: str | None = None
    description: str | None = None
    instructions: str | None = None
    tools: tuple[Tool, ...] = ()
    tool_resources: JsonObject = {}
    sampling: Sampling = Sampling()
    response_format: JsonObject | None = None
    metadata: Metadata = {}
    truncation: Truncation | None = None
    tool_choice: ToolChoice | None = None
    max_output_tokens: int | None = None
    handoffs: tuple[str, ...] = ()
    json_metadata: tuple[str, ...] = ()
    default_provider: str | None = None


class AssistantCreated(Event):
    """`message` is what its author says of this version."""

    kind: ClassVar[str] = "assistant.created"

    tenant: str
    dialect: str
    settings: AssistantSettings
    message: str | None = None


class AssistantChanged(Event):
    """`settings` is the whole assistant as it is from here on."""

    kind: ClassVar[str] = "assistant.changed"

    settings: AssistantSettings
    message: str | None = None


class AssistantVersionSelected(Event):
    """It is as it was in that version, from here on. The versions stay as they are."""

    kind: ClassVar[str] = "assistant.version_selected"

    version: int
    settings: AssistantSettings


class AssistantAliasSet(Event):
    """The version goes by that name, too. A name that stood for another version stands for this one now."""

    kind: ClassVar[str] = "assistant.alias_set"

    alias: str
    version: int


class AssistantAliasRemoved(Event):
    kind: ClassVar[str] = "assistant.alias_removed"

    alias: str


class AssistantDeleted(Event):
    kind: ClassVar[str] = "assistant.deleted"

    by: str | None = None


AssistantEvent: TypeAlias = (
    AssistantCreated
    | AssistantChanged
    | AssistantVersionSelected
    | AssistantAliasSet
    | AssistantAliasRemoved
    | AssistantDeleted
)
