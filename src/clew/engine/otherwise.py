"""What a run in a fork is told: as another run was, or an assistant is, and what is otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from clew.engine.models import check_provider, resolve
from clew.engine.strategies import checked, with_provider
from clew.errors import NotFound, Refused
from clew.events.run import Limits, RunConfig, RunQueued, RunReconfigured, Truncation
from clew.log import Reader
from clew.providers.base import Provider
from clew.settings import Settings
from clew_projections import assistant_catalog, run_view, thread_view
from clew_projections.run_view import RunView


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What a run is told otherwise; what is None stays as it was. Of an assistant comes all that it says."""

    assistant_id: str | None = None
    model: str | None = None
    instructions: str | None = None
    truncation: Truncation | None = None


def changed(
    reader: Reader,
    base: RunConfig | None,
    changes: Changes,
    providers: Mapping[str, Provider],
    settings: Settings,
) -> RunConfig:
    """`base` is None where nothing has run yet. Raises `NotFound` and `Refused`."""
    asked = changes.model
    found: dict[str, Any] = {"rerun": None}
    if changes.assistant_id is not None:
        said = _said_by(reader, changes.assistant_id)
        asked = asked or said.pop("asked_model")
        found |= said
    if asked is not None:
        provider, model = resolve(asked, providers, settings.default_provider)
        found |= {"provider": provider, "model": model, "asked_model": asked}
    elif base is None:
        raise Refused("nothing has run in this thread yet; name an assistant or a model")
    if changes.instructions is not None:
        found["instructions"] = changes.instructions
    if base is not None:
        config = base.model_copy(update=found)
    else:
        config = RunConfig(**{"limits": Limits(steps=settings.steps_max), **found})
    check_provider(config.provider, config.asked_model, providers)
    if changes.truncation is None:
        return config
    truncation = with_provider(checked(changes.truncation, "truncation"), providers, config.provider)
    return config.model_copy(update={"truncation": truncation})


def _said_by(reader: Reader, assistant_id: str) -> dict[str, Any]:
    view = assistant_catalog.assistant(reader, assistant_id)
    if view is None:
        raise NotFound(noun="assistant", id=assistant_id)
    its = view.settings
    return {
        "assistant_id": assistant_id,
        "assistant_version": view.version,
        "asked_model": its.model,
        "instructions": its.instructions or "",
        "tools": its.tools,
        "response_format": its.response_format,
        "sampling": its.sampling,
        "tool_resources": its.tool_resources,
    }


def config_of(reader: Reader, run: RunView) -> RunConfig:
    """The newest one that it had."""
    configured = reader.event(run.configured).event
    assert isinstance(configured, (RunQueued, RunReconfigured))
    return configured.config


def run_before(reader: Reader, thread_id: str, version: int) -> RunView | None:
    """The newest run of a thread, or of those that it was forked from, as of a version; else the first one after."""
    [last] = reader.stream(thread_id, after=version - 1, upto=version)
    for segment in reversed(thread_view.segments_upto(reader, thread_id, version, last.position)):
        found = run_view.runs(reader, segment.stream, limit=1, as_of=segment.moment(last.position))
        if found:
            return found[0]
    return next(iter(run_view.runs(reader, thread_id, newest_first=False, limit=1)), None)
