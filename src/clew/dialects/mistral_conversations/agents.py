"""Agents, their versions, and the names that versions go by."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from starlette.datastructures import QueryParams

from clew.dialects.mistral_conversations import translate
from clew.dialects.mistral_conversations.conversations import PAGE_SIZE_MAX, labels_of, whole_number
from clew.dialects.mistral_conversations.errors import not_offered, rejected, wrong
from clew.dialects.mistral_conversations.finding import check_model, default_provider, the_version
from clew.dialects.mistral_conversations.handling import DIALECT
from clew.dialects.mistral_conversations.identifiers import agent_id, assistant_id
from clew.dialects.mistral_conversations.objects import agent_object, alias_object
from clew.dialects.mistral_conversations.requests import CreateAgent, UpdateAgent, Version
from clew.errors import NotFound
from clew.events.assistant import AssistantSettings
from clew.events.content import Metadata
from clew.ids import DEFAULT_TENANT, new_id
from clew.log import Reader
from clew.rules.assistant import (
    AssistantCommand,
    ChangeAssistant,
    CreateAssistant,
    DeleteAssistant,
    RemoveAlias,
    SelectVersion,
    SetAlias,
)
from clew.serving.finding import the_assistant
from clew.serving.http import Answer, Call
from clew_projections import assistant_catalog
from clew_projections.assistant_catalog import AssistantView

_PAGE_SIZE = 20
_VERSIONS_PAGE_MAX = 100
_PAGE_MAX = 2**40
_READ_AT_ONCE = 200
_ALIAS = re.compile(r"[a-z](?:[a-z0-9_-]{0,62}[a-z0-9])?")


async def create(call: Call) -> Answer:
    given = call.read(CreateAgent)
    translate.no_guardrails(given.guardrails)
    check_model(call.engine, given.model)
    completion = translate.completion(given.completion_args)
    texts, json_names = translate.metadata(given.metadata)
    settings = AssistantSettings(
        model=given.model,
        name=given.name,
        description=given.description,
        instructions=given.instructions,
        tools=translate.tools(given.tools),
        sampling=completion.sampling,
        response_format=completion.response_format,
        metadata=texts,
        tool_choice=completion.tool_choice,
        max_output_tokens=completion.max_output_tokens,
        handoffs=_handoffs(call, given.handoffs),
        json_metadata=json_names,
        default_provider=default_provider(call.engine),
    )
    new = new_id("asst")
    command = CreateAssistant(
        assistant_id=new,
        tenant=DEFAULT_TENANT,
        dialect=DIALECT,
        settings=settings,
        message=given.version_message,
    )
    done = await call.engine.desk.on_assistant(new, lambda: command, actor=DIALECT, key=call.key(), new=True)
    call.shown = done.events[0].position
    with call.engine.log.reading() as reader:
        return Answer(agent_object(the_assistant(reader, done.stream, call.shown)))


def _handoffs(call: Call, given: list[str] | None) -> tuple[str, ...]:
    found = []
    with call.engine.log.reading() as reader:
        for index, agent in enumerate(given or ()):
            try:
                found.append(the_assistant(reader, assistant_id(agent)).assistant_id)
            except NotFound:
                raise wrong(("body", "handoffs", index), f"No agent has the id {agent!r}.", "not_found") from None
    return tuple(found)


async def retrieve(call: Call) -> Answer:
    wanted = call.id("agent_id")
    version = _asked_version(call.query().get("agent_version"))
    with call.reading() as reader:
        return Answer(agent_object(the_version(reader, wanted, version, call.as_of)))


def _asked_version(given: str | None) -> Version | None:
    """A number, which counts from 0 there and from 1 in the engine, or an alias."""
    if not given:
        return None
    return int(given) + 1 if given.isdecimal() and len(given) < 10 else given


async def update(call: Call) -> Answer:
    """What changes nothing makes no version: programs say the same of their agent at every start."""
    agent = call.id("agent_id")
    given = call.read(UpdateAgent)
    translate.no_guardrails(given.guardrails)
    if given.deployment_chat:
        raise not_offered("deployments to a chat", "body", "deployment_chat")
    changes = _changes(call, given)

    def make() -> AssistantCommand:
        with call.engine.log.reading() as reader:
            the_assistant(reader, agent)
        return ChangeAssistant(assistant_id=agent, changes=changes, message=given.version_message)

    return await _done(call, agent, make)


def _changes(call: Call, given: UpdateAgent) -> dict[str, Any]:
    """The fields that were given, in the engine's words. A model, a name and arguments cannot be taken away."""
    named = given.model_fields_set
    changes: dict[str, Any] = {name: getattr(given, name) for name in ("instructions", "description") if name in named}
    changes.update({name: its for name in ("model", "name") if (its := getattr(given, name)) is not None})
    if given.model is not None:
        check_model(call.engine, given.model)
        changes["default_provider"] = default_provider(call.engine)
    if given.tools is not None:
        changes["tools"] = translate.tools(given.tools)
    if "handoffs" in named:
        changes["handoffs"] = _handoffs(call, given.handoffs)
    if "metadata" in named:
        changes["metadata"], changes["json_metadata"] = translate.metadata(given.metadata)
    if given.completion_args is not None:
        completion = translate.completion(given.completion_args)
        for name in ("sampling", "response_format", "tool_choice", "max_output_tokens"):
            changes[name] = getattr(completion, name)
    return changes


async def _done(call: Call, agent: str, make: Any) -> Answer:
    await call.engine.desk.on_assistant(agent, make, actor=DIALECT, key=call.key())
    with call.reading() as reader:
        return Answer(agent_object(the_assistant(reader, agent)))


async def delete(call: Call) -> Answer:
    agent = call.id("agent_id")
    command = DeleteAssistant(assistant_id=agent, by=DIALECT)
    await call.engine.desk.on_assistant(agent, lambda: command, actor=DIALECT)
    return Answer(None, 204)


# Lists


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What a list is asked for. Agents here were all made through an API, and none is deployed to a chat."""

    nothing: bool
    name: str | None
    search: str | None
    id: str | None
    labels: Metadata

    def has(self, view: AssistantView) -> bool:
        its, id = view.settings, agent_id(view.assistant_id)
        if self.name is not None and its.name != self.name:
            return False
        if self.search is not None and self.search.lower() not in f"{its.name or ''} {id}".lower():
            return False
        if self.id is not None and id != self.id:
            return False
        return self.labels.items() <= its.metadata.items()


def _wanted(query: QueryParams) -> _Wanted:
    sources = query.getlist("sources")
    deployed = (query.get("deployment_chat") or "").lower() in ("true", "1")
    return _Wanted(
        nothing=deployed or bool(sources and "api" not in sources),
        name=query.get("name") or None,
        search=query.get("search") or None,
        id=query.get("id") or None,
        labels=labels_of(query),
    )


def _found(reader: Reader, wanted: _Wanted, before: int | None, as_of: int | None) -> Iterator[AssistantView]:
    """The newest first, from `before`, which is a position, on."""
    while not wanted.nothing:
        page = assistant_catalog.assistants(
            reader, tenant=DEFAULT_TENANT, before=before, limit=_READ_AT_ONCE, as_of=as_of
        )
        yield from filter(wanted.has, page)
        if len(page) < _READ_AT_ONCE:
            return
        before = page[-1].created


async def list_all(call: Call) -> Answer:
    query = call.query()
    number = whole_number(query, "page", 0, 0, _PAGE_MAX)
    size = whole_number(query, "page_size", _PAGE_SIZE, 1, PAGE_SIZE_MAX)
    wanted = _wanted(query)
    shown = []
    with call.reading() as reader:
        for index, view in enumerate(_found(reader, wanted, None, call.as_of)):
            if index >= (number + 1) * size:
                break
            if index >= number * size:
                shown.append(agent_object(view))
    return Answer(shown)


async def list_pages(call: Call) -> Answer:
    query = call.query()
    size = whole_number(query, "page_size", _PAGE_SIZE, 1, PAGE_SIZE_MAX)
    token = query.get("page_token") or None
    if token is not None and not (token.isdecimal() and len(token) < 19):
        raise rejected(400, "This page_token was never given out.", "invalid_request_error", "no_such_page")
    wanted = _wanted(query)
    found: list[AssistantView] = []
    with call.reading() as reader:
        for view in _found(reader, wanted, int(token) if token is not None else None, call.as_of):
            found.append(view)
            if len(found) > size:
                break
    shown = found[:size]
    following = str(shown[-1].created) if len(found) > size else None
    return Answer({"object": "list", "data": list(map(agent_object, shown)), "next_page_token": following})


# Versions


async def select_version(call: Call) -> Answer:
    agent = call.id("agent_id")
    version = _required_version(call.query())

    def make() -> AssistantCommand:
        with call.engine.log.reading() as reader:
            wanted = the_version(reader, agent, version)
        return SelectVersion(assistant_id=agent, version=version, settings=wanted.settings)

    return await _done(call, agent, make)


def _required_version(query: QueryParams) -> int:
    if not query.get("version"):
        raise wrong(("query", "version"), "Field required", "missing")
    return whole_number(query, "version", 0, 0, 2**31) + 1


async def list_versions(call: Call) -> Answer:
    agent, query = call.id("agent_id"), call.query()
    number = whole_number(query, "page", 0, 0, _PAGE_MAX)
    size = whole_number(query, "page_size", _PAGE_SIZE, 1, _VERSIONS_PAGE_MAX)
    with call.reading() as reader:
        view = the_assistant(reader, agent, call.as_of)
        newest = view.versions - number * size
        if newest < 1:
            return Answer([])
        found = assistant_catalog.versions(reader, view, newest=newest, limit=size, as_of=call.as_of)
    return Answer(list(map(agent_object, found)))


async def retrieve_version(call: Call) -> Answer:
    agent = call.id("agent_id")
    version = _asked_version(call.scope["path_params"]["version"])
    with call.reading() as reader:
        return Answer(agent_object(the_version(reader, agent, version, call.as_of)))


# Aliases


async def list_aliases(call: Call) -> Answer:
    agent = call.id("agent_id")
    with call.reading() as reader:
        view = the_assistant(reader, agent, call.as_of)
    return Answer(list(map(alias_object, view.aliases)))


async def set_alias(call: Call) -> Answer:
    agent, alias, version = call.id("agent_id"), _alias(call.query()), _required_version(call.query())
    command = SetAlias(assistant_id=agent, alias=alias, version=version)
    await call.engine.desk.on_assistant(agent, lambda: command, actor=DIALECT, key=call.key())
    with call.reading() as reader:
        named = the_assistant(reader, agent).named(alias)
    if named is None:
        raise NotFound(noun="alias", id=alias)
    return Answer(alias_object(named))


async def remove_alias(call: Call) -> Answer:
    agent, alias = call.id("agent_id"), _alias(call.query())
    command = RemoveAlias(assistant_id=agent, alias=alias)
    await call.engine.desk.on_assistant(agent, lambda: command, actor=DIALECT)
    return Answer(None, 204)


def _alias(query: QueryParams) -> str:
    alias = query.get("alias") or ""
    if not _ALIAS.fullmatch(alias):
        message = "Give an alias of small letters, digits, _ and -, which begins with a letter, 64 at most."
        raise wrong(("query", "alias"), message, "string_pattern_mismatch")
    return alias
