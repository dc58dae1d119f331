"""Every way of rendering that a log may name, by its name and version, and what each of them leaves out.

A name stays here for as long as there are logs that bear it: renderers are added and never changed or removed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

from clew.events.model import NotRendered
from clew.providers import (
    anthropic_render,
    anthropic_render_2,
    anthropic_render_3,
    message_state,
    mistral_render,
    mistral_render_2,
    openai_render,
    openai_render_2,
    openai_render_3,
    openai_render_4,
)
from clew.providers.base import Prompt
from clew.providers.openai_omit import omitted as omitted_for_openai

Renderer: TypeAlias = Callable[[Prompt], bytes]
Omitter: TypeAlias = Callable[[Prompt], tuple[NotRendered, ...]]

# These send no reasoning back, so that none takes room in a context: it is not counted when it is recorded.
# `openai-chat/2` sends none either, but logs that bear it have it counted.
_WITHOUT_REASONING = frozenset((openai_render.RENDERER, "scripted/1", "scripted/2"))

# These send back what a server of chat completions wants to have back.
_WITH_STATE = frozenset((openai_render_3.RENDERER, openai_render_4.RENDERER))

RENDERERS: Mapping[str, Renderer] = {
    openai_render.RENDERER: openai_render.render,
    openai_render_2.RENDERER: openai_render_2.render,
    openai_render_3.RENDERER: openai_render_3.render,
    openai_render_4.RENDERER: openai_render_4.render,
    anthropic_render.RENDERER: anthropic_render.render,
    anthropic_render_2.RENDERER: anthropic_render_2.render,
    anthropic_render_3.RENDERER: anthropic_render_3.render,
    mistral_render.RENDERER: mistral_render.render,
    mistral_render_2.RENDERER: mistral_render_2.render,
    # The scripted provider is given what OpenAI was given when it was made.
    "scripted/1": openai_render.render,
    "scripted/2": openai_render_3.render,
}

_OMITTERS: Mapping[str, Omitter] = {
    openai_render.RENDERER: omitted_for_openai,
    openai_render_2.RENDERER: openai_render_2.omitted,
    openai_render_3.RENDERER: openai_render_3.omitted,
    openai_render_4.RENDERER: openai_render_4.omitted,
    anthropic_render.RENDERER: anthropic_render.omitted,
    anthropic_render_2.RENDERER: anthropic_render_2.omitted,
    anthropic_render_3.RENDERER: anthropic_render_3.omitted,
    mistral_render.RENDERER: mistral_render.omitted,
    mistral_render_2.RENDERER: mistral_render_2.omitted,
    "scripted/1": omitted_for_openai,
    "scripted/2": openai_render_3.omitted,
}


def sent_back(renderer: str, reasoning: tuple[str, ...]) -> tuple[str, ...]:
    """The blocks of an answer's reasoning that later requests of this renderer hold."""
    if renderer in _WITHOUT_REASONING:
        return ()
    return message_state.sent_back(reasoning) if renderer in _WITH_STATE else reasoning


def omitted(renderer: str, prompt: Prompt) -> tuple[NotRendered, ...]:
    """What a request of this renderer does not hold of its context. Of a renderer that is not ours nobody knows."""
    omitter = _OMITTERS.get(renderer)
    return () if omitter is None else omitter(prompt)
