"""Every way of rendering that a log may name, by its name and version, and what each of them leaves out.

A name stays here for as long as there are logs that bear it: renderers are added and never changed or removed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

from clew.events.model import NotRendered
from clew.providers import anthropic_render, mistral_render, openai_render, openai_render_2
from clew.providers.base import Prompt
from clew.providers.openai_omit import omitted as omitted_for_openai

Renderer: TypeAlias = Callable[[Prompt], bytes]
Omitter: TypeAlias = Callable[[Prompt], tuple[NotRendered, ...]]

# These send no reasoning back, so that none takes room in a context: it is not counted when it is recorded.
WITHOUT_REASONING = frozenset((openai_render.RENDERER, "scripted/1"))

RENDERERS: Mapping[str, Renderer] = {
    openai_render.RENDERER: openai_render.render,
    openai_render_2.RENDERER: openai_render_2.render,
    anthropic_render.RENDERER: anthropic_render.render,
    mistral_render.RENDERER: mistral_render.render,
    # The scripted provider is given what OpenAI would be given.
    "scripted/1": openai_render.render,
}

_OMITTERS: Mapping[str, Omitter] = {
    openai_render.RENDERER: omitted_for_openai,
    openai_render_2.RENDERER: openai_render_2.omitted,
    anthropic_render.RENDERER: anthropic_render.omitted,
    mistral_render.RENDERER: mistral_render.omitted,
    "scripted/1": omitted_for_openai,
}


def omitted(renderer: str, prompt: Prompt) -> tuple[NotRendered, ...]:
    """What a request of this renderer does not hold of its context. Of a renderer that is not ours nobody knows."""
    omitter = _OMITTERS.get(renderer)
    return () if omitter is None else omitter(prompt)
