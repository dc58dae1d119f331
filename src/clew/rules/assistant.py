"""The rule book of an assistant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias, assert_never

from clew.errors import NotFound
from clew.events import AssistantEvent
from clew.events.assistant import AssistantChanged, AssistantCreated, AssistantDeleted, AssistantSettings
from clew.rules.decider import Decider


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateAssistant:
    assistant_id: str
    tenant: str
    dialect: str
    settings: AssistantSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeAssistant:
    """`changes` are the fields to set; the others stay."""

    assistant_id: str
    changes: dict[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteAssistant:
    assistant_id: str
    by: str | None = None


AssistantCommand: TypeAlias = CreateAssistant | ChangeAssistant | DeleteAssistant


@dataclass(frozen=True, slots=True)
class Assistant:
    settings: AssistantSettings | None = None
    deleted: bool = False


def decide(command: AssistantCommand, assistant: Assistant) -> Sequence[AssistantEvent]:
    settings = assistant.settings
    match command:
        case CreateAssistant(tenant=tenant, dialect=dialect, settings=new):
            if settings is not None:
                return []
            return [AssistantCreated(tenant=tenant, dialect=dialect, settings=new)]
        case ChangeAssistant(assistant_id=assistant_id, changes=changes):
            if settings is None or assistant.deleted:
                raise NotFound(noun="assistant", id=assistant_id)
            changed = settings.model_copy(update=changes)
            return [] if changed == settings else [AssistantChanged(settings=changed)]
        case DeleteAssistant(assistant_id=assistant_id, by=by):
            if settings is None or assistant.deleted:
                raise NotFound(noun="assistant", id=assistant_id)
            return [AssistantDeleted(by=by)]
        case _:
            assert_never(command)


def evolve(assistant: Assistant, event: AssistantEvent) -> Assistant:
    match event:
        case AssistantCreated(settings=settings) | AssistantChanged(settings=settings):
            return replace(assistant, settings=settings)
        case AssistantDeleted():
            return replace(assistant, deleted=True)
        case _:
            assert_never(event)


assistant_rules: Decider[AssistantCommand, Assistant, AssistantEvent] = Decider(
    name="assistant", version=1, initial=Assistant(), decide=decide, evolve=evolve
)
