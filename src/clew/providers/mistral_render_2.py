"""Rendering a prompt as a request for one of Mistral's chat completions: `mistral-chat/2`.

As `mistral-chat/1`, but calls are in a form that every provider takes, and numbers in schemas are as they were written.
What this file makes is never changed.
"""

from __future__ import annotations

from clew import exact_json
from clew.events.model import NotRendered
from clew.providers import mistral_render
from clew.providers.base import Prompt
from clew.providers.omissions import Omissions, calls_changed
from clew.providers.openai_render import unwritable
from clew.providers.valid_calls import with_valid_calls

RENDERER = "mistral-chat/2"


def render(prompt: Prompt) -> bytes:
    """The request body. The same prompt gives the same bytes, for ever. Raises `ProviderFailed`."""
    try:
        return exact_json.dumps(mistral_render.body_of(with_valid_calls(prompt)))
    except TypeError as error:
        # Half a surrogate pair in a text.
        raise unwritable(error) from error


def omitted(prompt: Prompt) -> tuple[NotRendered, ...]:
    """What the request does not hold of the prompt, and which calls it holds in another form."""
    found = Omissions()
    calls_changed(found, prompt)
    return (*mistral_render.omitted(prompt), *found.all())
