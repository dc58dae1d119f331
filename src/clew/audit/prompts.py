"""The exact prompt: a provider request rendered again from the log, and proven to be the one that was sent.

The log keeps no prompts. It keeps which items a model call was shown and as of when, the name of the renderer,
and the SHA-256 of the body as sent. Rendering again gives the same bytes, or this says why not.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping

from pydantic import BaseModel

from clew.audit.history import events_of, moment_of, run_of, shown_items
from clew.errors import Erased, Misconfigured, NotFound, ProviderFailed
from clew.events.base import Recorded
from clew.events.items import Item
from clew.events.model import ContextAssembled
from clew.events.run import RunConfig, RunQueued, RunReconfigured
from clew.log import Reader
from clew.providers.base import Prompt
from clew.providers.renderers import RENDERERS, Renderer
from clew.providers.summaries import summary_prompt
from clew_projections import run_view
from clew_projections.run_view import RunView


class ExactPrompt(BaseModel):
    """A request body. `proven`: its SHA-256 is `digest`, which the log kept from the moment it was sent.

    `number` counts the run's model calls from 1; `as_of` is the position as of which items were read. `body` is
    what could be rendered, proven or not; `why_not` says what stands between it and the proof.
    """

    run_id: str
    thread_id: str
    model_call_id: str
    number: int
    at: int
    position: int
    as_of: int
    items: int
    renderer: str
    digest: str
    proven: bool = False
    rendered_digest: str | None = None
    why_not: str | None = None
    body: str | None = None


def exact_prompt(
    reader: Reader,
    run_id: str,
    step: str,
    renderers: Mapping[str, Renderer] = RENDERERS,
    as_of: int | None = None,
) -> ExactPrompt:
    """`step` is the id of a step or of a model call, or the number of a model call. Raises `NotFound`."""
    view = run_of(reader, run_id, as_of)
    wanted = _model_call_of(reader, view, step, as_of)
    for number, (recorded, configured) in enumerate(_assembled(reader, view, as_of), 1):
        if wanted in (recorded.event.model_call_id, str(number)):
            return _proven(reader, view, number, recorded, configured, renderers)
    raise NotFound(noun="step", id=step)


def exact_prompts(reader: Reader, run_id: str, renderers: Mapping[str, Renderer] = RENDERERS) -> list[ExactPrompt]:
    """Those of all model calls of a run. Raises `NotFound`."""
    view = run_of(reader, run_id)
    return [_proven(reader, view, number, *one, renderers) for number, one in enumerate(_assembled(reader, view), 1)]


def _assembled(
    reader: Reader, view: RunView, as_of: int | None = None
) -> Iterator[tuple[Recorded[ContextAssembled], int]]:
    """The run's contexts, each with the position of the configuration that it was made for."""
    configured = view.queued
    for recorded in events_of(reader, view, ContextAssembled.kind, RunReconfigured.kind, as_of=as_of):
        if isinstance(recorded.event, RunReconfigured):
            configured = recorded.position
        else:
            yield recorded, configured


def _model_call_of(reader: Reader, view: RunView, step: str, as_of: int | None) -> str:
    found = run_view.step(reader, step, as_of)
    if found is None:
        return step
    if found.run_id != view.run_id:
        raise NotFound(noun="step", id=step)
    return found.model_call_id


def _proven(
    reader: Reader,
    view: RunView,
    number: int,
    recorded: Recorded[ContextAssembled],
    configured: int,
    renderers: Mapping[str, Renderer],
) -> ExactPrompt:
    assembled = recorded.event
    prompt = unproven(view.run_id, number, recorded)
    try:
        items = shown_items(reader, recorded)
        event = reader.event(configured).event
    except Erased as error:
        return prompt.model_copy(update={"why_not": str(error)})
    assert isinstance(event, (RunQueued, RunReconfigured))
    return prove(prompt, event.config, items, assembled, renderers)


def unproven(run_id: str, number: int, recorded: Recorded[ContextAssembled]) -> ExactPrompt:
    """What the log says of a request, before it is rendered."""
    assembled = recorded.event
    return ExactPrompt(
        run_id=run_id,
        thread_id=recorded.stream,
        model_call_id=assembled.model_call_id,
        number=number,
        at=recorded.at,
        position=recorded.position,
        as_of=moment_of(recorded),
        items=assembled.manifest.items,
        renderer=assembled.renderer,
        digest=assembled.digest,
    )


def prove(
    prompt: ExactPrompt,
    config: RunConfig,
    items: list[Item],
    assembled: ContextAssembled,
    renderers: Mapping[str, Renderer] = RENDERERS,
) -> ExactPrompt:
    """The prompt with its body and whether that is the one that was sent. `items` are as they were shown."""
    render = renderers.get(assembled.renderer)
    if render is None:
        return prompt.model_copy(update={"why_not": f"no renderer is called {assembled.renderer!r} here"})
    try:
        body = render(_prompt(config, items, assembled))
    except (ProviderFailed, Misconfigured) as error:
        return prompt.model_copy(update={"why_not": f"it cannot be rendered: {error}"})
    digest = hashlib.sha256(body).hexdigest()
    return prompt.model_copy(
        update={
            "body": body.decode(),
            "rendered_digest": digest,
            "proven": digest == assembled.digest,
            "why_not": _difference(digest, len(items), assembled),
        }
    )


def _prompt(config: RunConfig, items: list[Item], assembled: ContextAssembled) -> Prompt:
    if assembled.summarises is not None:
        return summary_prompt(config, assembled.summarises, items, assembled.max_output_tokens)
    return Prompt(config, items, assembled.max_output_tokens, assembled.origin)


def _difference(digest: str, found: int, assembled: ContextAssembled) -> str | None:
    if digest == assembled.digest:
        return None
    if found != assembled.manifest.items:
        return f"the model was shown {assembled.manifest.items} items and {found} of them can be found"
    return "rendered again it has another digest; what differs is not known, because prompts are not kept"
