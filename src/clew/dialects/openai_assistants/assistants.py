"""Assistants, and the models they may use."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import Any

from clew.dialects.openai_assistants import translate
from clew.dialects.openai_assistants.errors import rejected
from clew.dialects.openai_assistants.finding import ACTOR, DIALECT
from clew.dialects.openai_assistants.lists import by_position, list_object, page_of
from clew.dialects.openai_assistants.objects import Object, assistant_object, deleted, model_object
from clew.dialects.openai_assistants.requests import CreateAssistant, ModifyAssistant
from clew.engine.engine import Engine
from clew.engine.models import resolve
from clew.errors import NoSuchProvider, ProviderFailed
from clew.events.assistant import AssistantCreated, AssistantSettings
from clew.events.run import Sampling
from clew.ids import DEFAULT_TENANT, new_id
from clew.providers.base import Provider
from clew.rules.assistant import ChangeAssistant, DeleteAssistant
from clew.rules.assistant import CreateAssistant as CreateCommand
from clew.serving.finding import the_assistant
from clew.serving.http import Answer, Call
from clew_projections import assistant_catalog
from clew_projections.assistant_catalog import AssistantView

_MODELS_WAIT_SECONDS = 10.0
_SAMPLING = ("temperature", "top_p", "reasoning_effort")

logger = logging.getLogger(__name__)


async def create(call: Call) -> Answer:
    given = call.read(CreateAssistant)
    _check_model(call.engine, given.model)
    settings = AssistantSettings(
        model=given.model,
        name=given.name,
        description=given.description,
        instructions=given.instructions,
        tools=translate.tools(given.tools or ()),
        tool_resources=translate.no_tool_resources(given.tool_resources),
        sampling=Sampling(temperature=given.temperature, top_p=given.top_p, reasoning_effort=given.reasoning_effort),
        response_format=translate.response_format(given.response_format),
        metadata=given.metadata or {},
    )
    assistant_id = new_id("asst")
    command = CreateCommand(assistant_id=assistant_id, tenant=DEFAULT_TENANT, dialect=DIALECT, settings=settings)
    done = await call.engine.desk.on_assistant(assistant_id, lambda: command, actor=ACTOR, key=call.key(), new=True)
    first = done.events[0]
    call.shown = first.position
    assert isinstance(first.event, AssistantCreated)
    return Answer(assistant_object(first.stream, first.at, first.event.settings))


def _check_model(engine: Engine, model: str) -> None:
    """Raises `NoSuchProvider`."""
    resolve(model, engine.providers, engine.settings.default_provider)


async def retrieve(call: Call) -> Answer:
    assistant_id = call.id("assistant_id")
    with call.reading() as reader:
        return Answer(_shown(the_assistant(reader, assistant_id, call.as_of)))


async def modify(call: Call) -> Answer:
    assistant_id = call.id("assistant_id")
    given = call.read(ModifyAssistant)
    if "model" in given.model_fields_set:
        _check_model(call.engine, given.model)
    changes = _changes(given)
    sampling = {name: getattr(given, name) for name in _SAMPLING if name in given.model_fields_set}

    def make() -> ChangeAssistant:
        if not sampling:
            return ChangeAssistant(assistant_id=assistant_id, changes=changes)
        with call.engine.log.reading() as reader:
            now = the_assistant(reader, assistant_id).settings.sampling
        return ChangeAssistant(
            assistant_id=assistant_id, changes={**changes, "sampling": now.model_copy(update=sampling)}
        )

    await call.engine.desk.on_assistant(assistant_id, make, actor=ACTOR, key=call.key())
    with call.reading() as reader:
        return Answer(_shown(the_assistant(reader, assistant_id)))


def _changes(given: ModifyAssistant) -> dict[str, Any]:
    """The fields that were given, in the engine's words; null sets a field back."""
    named = given.model_fields_set
    changes: dict[str, Any] = {
        name: getattr(given, name) for name in ("model", "name", "description", "instructions") if name in named
    }
    if "model" in named:
        changes["default_provider"] = None
    if "tools" in named:
        changes["tools"] = translate.tools(given.tools or ())
    if "tool_resources" in named:
        changes["tool_resources"] = translate.no_tool_resources(given.tool_resources)
    if "response_format" in named:
        changes["response_format"] = translate.response_format(given.response_format)
    if "metadata" in named:
        changes["metadata"] = given.metadata or {}
    return changes


async def delete(call: Call) -> Answer:
    assistant_id = call.id("assistant_id")
    command = DeleteAssistant(assistant_id=assistant_id, by=ACTOR)
    await call.engine.desk.on_assistant(assistant_id, lambda: command, actor=ACTOR)
    return Answer(deleted("assistant", assistant_id))


async def list_all(call: Call) -> Answer:
    page = page_of(call.query(), "assistant_id")
    with call.reading() as reader:
        found, has_more = by_position(
            page,
            lambda id: the_assistant(reader, id, call.as_of).created,
            lambda **where: assistant_catalog.assistants(reader, tenant=DEFAULT_TENANT, as_of=call.as_of, **where),
        )
    return Answer(list_object(list(map(_shown, found)), has_more))


def _shown(view: AssistantView) -> Object:
    return assistant_object(view.assistant_id, view.created_at, view.settings)


# Models


async def list_models(call: Call) -> Answer:
    names = list(call.engine.providers)
    lists = await asyncio.gather(*(_models(call.engine, name) for name in names))
    return Answer({"object": "list", "data": [model for models in lists for model in models]})


async def retrieve_model(call: Call) -> Answer:
    asked: str = call.scope["path_params"]["model"]
    engine = call.engine
    with suppress(NoSuchProvider):
        provider, model = resolve(asked, engine.providers, engine.settings.default_provider)
        for known in await _models(engine, provider):
            if known["id"] in (model, f"{provider}/{model}"):
                return Answer({**known, "id": asked})
    raise rejected(f"The model '{asked}' does not exist", param="model", code="model_not_found", status=404)


async def _models(engine: Engine, name: str) -> list[Object]:
    """A provider's models under the names that they can be asked for by: bare ones go to the default provider."""
    provider: Provider = engine.providers[name]
    try:
        found = await asyncio.wait_for(provider.models(), _MODELS_WAIT_SECONDS)
    except (ProviderFailed, TimeoutError) as error:
        logger.warning("the models of %s are left out of the list: %s", name, error)
        return []
    prefix = "" if name == engine.settings.default_provider else f"{name}/"
    return [model_object(prefix + model.id, model.created, model.owned_by) for model in found]
