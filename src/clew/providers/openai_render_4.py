"""Rendering a prompt as an OpenAI chat completions request: `openai-chat/4`.

As `openai-chat/3`, but an answer in which nothing was said is left out: Moonshot refuses a message of the assistant
that is empty. What this file makes is never changed.
"""

from __future__ import annotations

from dataclasses import replace

from clew.events.content import Refusal, plain_text
from clew.events.items import Item, MessageItem, ReasoningItem, ToolCallItem
from clew.events.model import NotRendered
from clew.providers import openai_render_3
from clew.providers.base import Prompt
from clew.providers.message_state import going_back
from clew.providers.omissions import Omissions
from clew.providers.openai_render import spoken_in

RENDERER = "openai-chat/4"


def render(prompt: Prompt) -> bytes:
    """The request body. The same prompt gives the same bytes, for ever. Raises `ProviderFailed`."""
    return openai_render_3.render(_without_empty(prompt))


def omitted(prompt: Prompt) -> tuple[NotRendered, ...]:
    """What the request does not hold of the prompt, and which calls it holds in another form."""
    found = Omissions()
    said = {spoken_in(item) for item in prompt.items if isinstance(item, ToolCallItem) or _says_anything(item)}
    for item in prompt.items:
        if isinstance(item, ReasoningItem) and item.model_call_id not in said and going_back(item, prompt):
            found.item(item, "reasoning", "nothing was said after it, and a message without anything is refused")
    return (*openai_render_3.omitted(prompt), *found.all())


def _without_empty(prompt: Prompt) -> Prompt:
    items = [item for item in prompt.items if not _is_assistants(item) or _says_anything(item)]
    return replace(prompt, items=items)


def _is_assistants(item: Item) -> bool:
    return isinstance(item, MessageItem) and item.role == "assistant"


def _says_anything(item: Item) -> bool:
    """Whether it is a message of the assistant with a text or a refusal."""
    if not isinstance(item, MessageItem) or item.role != "assistant":
        return False
    return bool(plain_text(item.content).strip()) or any(isinstance(part, Refusal) for part in item.content)
