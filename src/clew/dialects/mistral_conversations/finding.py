"""What answers in a conversation, as far as anything was ever said about it, and the agents that may."""

from __future__ import annotations

from collections.abc import Sequence

from clew.engine.configuring import config_of_assistant, config_of_model
from clew.engine.engine import Engine
from clew.engine.models import resolve
from clew.errors import NoSuchVersion, NotFound, Refused
from clew.events.run import Completion, Limits, RunConfig
from clew.events.thread import ThreadSettings
from clew.events.tool import Executor
from clew.log import Reader
from clew.serving.finding import the_assistant
from clew_projections import assistant_catalog, run_view, thread_settings
from clew_projections.assistant_catalog import AssistantView
from clew_projections.thread_view import Segment

# A bare name of a model is one of the provider that this API is named after, where the operator has set that up.
_OWN_PROVIDER = "mistral"


def default_provider(engine: Engine) -> str:
    return _OWN_PROVIDER if _OWN_PROVIDER in engine.providers else engine.settings.default_provider


def check_model(engine: Engine, model: str) -> None:
    """Raises `NoSuchProvider`."""
    resolve(model, engine.providers, default_provider(engine))


def settings_of(reader: Reader, history: Sequence[Segment], as_of: int | None = None) -> ThreadSettings | None:
    """What the conversation itself says; else what the newest run on it was like, in whichever dialect it began.

    None: it says nothing, and there has been no run.
    """
    stretches = [(segment.stream, segment.moment(as_of)) for segment in reversed(history)]
    said = thread_settings.settings(reader, stretches)
    if said is not None:
        return said
    for stream, at in stretches:
        if found := run_view.runs(reader, stream, limit=1, as_of=at):
            return _as_it_ran(reader, run_view.configs(reader, [found[0].run_id])[found[0].run_id], as_of)
    return None


def _as_it_ran(reader: Reader, config: RunConfig, as_of: int | None) -> ThreadSettings:
    """Its agent, if that is still there; else all that it was."""
    if config.assistant_id is not None and assistant_catalog.assistant(reader, config.assistant_id, as_of) is not None:
        return ThreadSettings(assistant_id=config.assistant_id)
    handing_over = {handoff.tool_name for handoff in config.handoffs}
    return ThreadSettings(
        model=f"{config.provider}/{config.model}",
        instructions=config.instructions or None,
        tools=tuple(tool for tool in config.tools if tool.name not in handing_over),
        completion=Completion(
            sampling=config.sampling,
            max_output_tokens=config.max_output_tokens,
            tool_choice=config.tool_choice,
            response_format=config.response_format,
        ),
    )


def the_version(
    reader: Reader, assistant_id: str, version: int | str | None, as_of: int | None = None
) -> AssistantView:
    """The assistant as it is, or as it is in a version: a number counted from 1, or an alias. Raises `NotFound`."""
    view = the_assistant(reader, assistant_id, as_of)
    if version is None:
        return view
    if isinstance(version, str):
        alias = view.named(version)
        if alias is None:
            raise NotFound(noun="alias", id=version)
        version = alias.version
    found = assistant_catalog.versions(reader, view, newest=version, limit=1, as_of=as_of)
    if not found or found[0].version != version:
        raise NoSuchVersion(assistant_id=assistant_id, version=version, versions=view.versions)
    return found[0]


def run_config(
    engine: Engine,
    reader: Reader,
    settings: ThreadSettings | None,
    *,
    completion: Completion,
    handoffs_by: Executor,
    stream: bool,
) -> RunConfig:
    """`completion` is what the request says of this one answer. Raises `NotFound`, and `Refused` without any model.

    A run with tools is streamed in any case: whoever answers its calls may want to see what comes of that.
    """
    config = _run_config(engine, reader, settings, completion, handoffs_by)
    return config.model_copy(update={"stream": stream or bool(config.tools)})


def _run_config(
    engine: Engine, reader: Reader, settings: ThreadSettings | None, completion: Completion, handoffs_by: Executor
) -> RunConfig:
    limits = Limits(steps=engine.settings.steps_max)
    if settings is not None and settings.assistant_id is not None:
        return config_of_assistant(
            reader,
            the_version(reader, settings.assistant_id, settings.assistant_version),
            providers=engine.providers,
            default_provider=engine.settings.default_provider,
            limits=limits,
            completion=completion.over(settings.completion),
            handoffs_by=handoffs_by,
        )
    if settings is None or settings.model is None:
        raise Refused(
            "Nothing was ever said of which model answers in this conversation: it was begun elsewhere, and nobody"
            " has run anything on it yet. Run something on it there first."
        )
    return config_of_model(
        settings.model,
        providers=engine.providers,
        default_provider=default_provider(engine),
        limits=limits,
        instructions=settings.instructions,
        tools=settings.tools,
        completion=completion.over(settings.completion),
    )
