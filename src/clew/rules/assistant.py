"""The rule book of an assistant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias, assert_never

from clew.errors import NoSuchVersion, NotFound
from clew.events import AssistantEvent
from clew.events.assistant import (
    AssistantAliasRemoved,
    AssistantAliasSet,
    AssistantChanged,
    AssistantCreated,
    AssistantDeleted,
    AssistantSettings,
    AssistantVersionSelected,
)
from clew.rules.decider import Decider


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateAssistant:
    assistant_id: str
    tenant: str
    dialect: str
    settings: AssistantSettings
    message: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeAssistant:
    """`changes` are the fields to set; the others stay."""

    assistant_id: str
    changes: dict[str, object]
    message: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SelectVersion:
    """`settings` is a fact: what that version says."""

    assistant_id: str
    version: int
    settings: AssistantSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class SetAlias:
    assistant_id: str
    alias: str
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveAlias:
    assistant_id: str
    alias: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteAssistant:
    assistant_id: str
    by: str | None = None


AssistantCommand: TypeAlias = (
    CreateAssistant | ChangeAssistant | SelectVersion | SetAlias | RemoveAlias | DeleteAssistant
)


@dataclass(frozen=True, slots=True)
class Assistant:
    """`versions` is how many there are, `version` the one that it is now, counted from 1."""

    settings: AssistantSettings | None = None
    deleted: bool = False
    versions: int = 0
    version: int = 0
    aliases: dict[str, int] = field(default_factory=dict)


def decide(command: AssistantCommand, assistant: Assistant) -> Sequence[AssistantEvent]:
    settings = assistant.settings
    if isinstance(command, CreateAssistant):
        if settings is not None:
            return []
        created = AssistantCreated(
            tenant=command.tenant, dialect=command.dialect, settings=command.settings, message=command.message
        )
        return [created]
    if settings is None or assistant.deleted:
        raise NotFound(noun="assistant", id=command.assistant_id)
    match command:
        case ChangeAssistant(changes=changes, message=message):
            changed = settings.model_copy(update=changes)
            return [] if changed == settings else [AssistantChanged(settings=changed, message=message)]
        case SelectVersion(version=version, settings=selected):
            _must_be_there(command.assistant_id, assistant, version)
            selection = AssistantVersionSelected(version=version, settings=selected)
            return [] if assistant.version == version else [selection]
        case SetAlias(alias=alias, version=version):
            _must_be_there(command.assistant_id, assistant, version)
            return [] if assistant.aliases.get(alias) == version else [AssistantAliasSet(alias=alias, version=version)]
        case RemoveAlias(alias=alias):
            if alias not in assistant.aliases:
                raise NotFound(noun="alias", id=alias)
            return [AssistantAliasRemoved(alias=alias)]
        case DeleteAssistant(by=by):
            return [AssistantDeleted(by=by)]
        case _:
            assert_never(command)


def _must_be_there(assistant_id: str, assistant: Assistant, version: int) -> None:
    if not 1 <= version <= assistant.versions:
        raise NoSuchVersion(assistant_id=assistant_id, version=version, versions=assistant.versions)


def evolve(assistant: Assistant, event: AssistantEvent) -> Assistant:
    match event:
        case AssistantCreated(settings=settings) | AssistantChanged(settings=settings):
            newest = assistant.versions + 1
            return replace(assistant, settings=settings, versions=newest, version=newest)
        case AssistantVersionSelected(settings=settings, version=version):
            return replace(assistant, settings=settings, version=version)
        case AssistantAliasSet(alias=alias, version=version):
            return replace(assistant, aliases={**assistant.aliases, alias: version})
        case AssistantAliasRemoved(alias=gone):
            left = {alias: version for alias, version in assistant.aliases.items() if alias != gone}
            return replace(assistant, aliases=left)
        case AssistantDeleted():
            return replace(assistant, deleted=True)
        case _:
            assert_never(event)


assistant_rules: Decider[AssistantCommand, Assistant, AssistantEvent] = Decider(
    name="assistant", version=2, initial=Assistant(), decide=decide, evolve=evolve
)
