"""Rendering a prompt as an OpenAI chat completions request: `openai-chat/2`, which says all of the sampling.

Everything else is as in `openai-chat/1`, and where nothing more is said the bytes are the same. What this file makes
is never changed either.
"""

from __future__ import annotations

from typing import Any

import orjson

from clew.events.model import NotRendered
from clew.providers import openai_render
from clew.providers.base import Prompt
from clew.providers.openai_omit import NEVER_SAID, omitted_items

RENDERER = "openai-chat/2"


def render(prompt: Prompt) -> bytes:
    """The request body. The same prompt gives the same bytes, for ever."""
    body = openai_render.render(prompt)
    sampling = prompt.config.sampling
    said: dict[str, Any] = {name: its for name in NEVER_SAID if (its := getattr(sampling, name)) not in (None, ())}
    if not said:
        return body
    # What asks for a stream stays at the very end, where it is looked for.
    tail = openai_render.STREAM_TAIL if openai_render.asks_for_stream(body) else b"}"
    head = body[: -len(tail)].rstrip(b",")
    return head + b"," + orjson.dumps(said)[1:-1] + (b"," if len(tail) > 1 else b"") + tail


def omitted(prompt: Prompt) -> tuple[NotRendered, ...]:
    """What the request does not hold of the prompt."""
    return omitted_items(prompt).all()
