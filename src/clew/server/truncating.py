"""Truncation in Clew's own API: of threads and forks, and of assistants."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, Field

from clew.engine.engine import Engine
from clew.engine.strategies import as_written, callable_by, checked, written
from clew.errors import NotFound
from clew.events.content import Metadata
from clew.events.run import Truncation
from clew.ids import DEFAULT_TENANT
from clew.rules.assistant import ChangeAssistant
from clew_projections import assistant_catalog

DEFAULT: Literal["default"] = "default"

TruncationIn: TypeAlias = Annotated[
    str | Truncation | None,
    Field(
        description="A strategy: auto, none, last_messages:20, token_budget:8000, clear_tool_results:3, summarise,"
        " summarise:8000, with @MODEL behind it where another model is to summarise; or the same as an object, as in"
        " events; or `default`, for none of its own."
    ),
]


def truncation(engine: Engine, given: str | Truncation | None) -> Truncation | Literal["default"] | None:
    """None where nothing was given. Raises `NoSuchStrategy` and `NoSuchProvider`."""
    if given is None:
        return None
    if given == DEFAULT:
        return DEFAULT
    found = checked(given, "truncation") if isinstance(given, Truncation) else written(given, "truncation")
    return callable_by(found, engine.providers)


def own_truncation(engine: Engine, given: str | Truncation | None) -> Truncation | None:
    """The same, where there is nothing yet that could be taken away."""
    found = truncation(engine, given)
    return found if isinstance(found, Truncation) else None


class ThreadToChange(BaseModel):
    """Only what changes; `truncation` "default" takes the thread's own away."""

    model_config = ConfigDict(extra="forbid")

    kind: Literal["thread.changed"]
    metadata: Metadata | None = None
    truncation: TruncationIn = None


class AssistantToChange(BaseModel):
    model_config = ConfigDict(extra="forbid")

    kind: Literal["assistant.changed"]
    truncation: TruncationIn


class AssistantTruncation(BaseModel):
    assistant_id: str
    version: int
    truncation: str | None


def add_assistants(app: FastAPI, engine: Engine) -> None:
    @app.post(
        "/assistants/{assistant_id}/events",
        summary="Change how the contexts of an assistant's runs are made to fit",
        description="It holds for runs queued from then on, where neither they nor their threads say otherwise.",
    )
    async def change_assistant(assistant_id: str, body: AssistantToChange) -> AssistantTruncation:
        changes: dict[str, object] = {"truncation": own_truncation(engine, body.truncation)}
        command = ChangeAssistant(assistant_id=assistant_id, changes=changes)
        await engine.desk.on_assistant(assistant_id, lambda: command, actor="clew")
        with engine.log.reading() as reader:
            found = assistant_catalog.assistant(reader, assistant_id)
        if found is None or found.tenant != DEFAULT_TENANT:
            raise NotFound(noun="assistant", id=assistant_id)
        its = found.settings.truncation
        return AssistantTruncation(
            assistant_id=assistant_id,
            version=found.version,
            truncation=as_written(its) if its is not None else None,
        )
