"""Rendering a prompt as a request to Anthropic's Messages API: `anthropic-messages/3`.

As `anthropic-messages/2`, but thinking that the API would refuse is left out. What this file makes is never changed.
"""

from __future__ import annotations

from dataclasses import replace

from clew import exact_json
from clew.events.content import Other, Refusal, Text
from clew.events.items import Item, MessageItem, ReasoningItem, ToolCallItem
from clew.events.model import NotRendered
from clew.providers import anthropic_render_2
from clew.providers.base import Prompt
from clew.providers.omissions import Omissions, is_for
from clew.providers.openai_render import spoken_in

RENDERER = "anthropic-messages/3"

_THOUGHTS = ("thinking", "redacted_thinking")
# In the names of models whose thinking is signed.
_SIGN = ("claude", "opus", "sonnet", "haiku")
_UNSIGNED = "it is not signed, which Claude's API refuses"
_LAST = "nothing was said after it, which Anthropic's API refuses"


def render(prompt: Prompt) -> bytes:
    """The request body. The same prompt gives the same bytes, for ever. Raises `ProviderFailed`."""
    sent, _ = _without_refused(prompt)
    return anthropic_render_2.render(sent)


def omitted(prompt: Prompt) -> tuple[NotRendered, ...]:
    """What the request does not hold of the prompt, and which calls it holds in another form."""
    sent, found = _without_refused(prompt)
    return (*anthropic_render_2.omitted(sent), *found.all())


def _without_refused(prompt: Prompt) -> tuple[Prompt, Omissions]:
    """Returns the prompt without thinking that the API refuses, and what that is.

    An answer that was cut while the model thought ends with thinking, and what was cut is not signed. Other models
    behind servers of this format do not sign, and may want back what they thought.
    """
    found = Omissions()
    spoken = {spoken_in(item) for item in prompt.items if _says_anything(item)}
    signs = any(name in prompt.config.model for name in _SIGN)
    items: list[Item] = []
    for item in prompt.items:
        if not isinstance(item, ReasoningItem) or is_for(item, prompt) is not None:
            items.append(item)
            continue
        kept = [block for block in item.blocks if not (signs and _is_refused(block))]
        if len(kept) < len(item.blocks):
            found.item(item, "reasoning", _UNSIGNED)
        sent = _without_last(kept, item.model_call_id in spoken)
        if len(sent) < len(kept):
            found.item(item, "reasoning", _LAST)
        if sent:
            items.append(item if len(sent) == len(item.blocks) else replace(item, blocks=tuple(sent)))
    return replace(prompt, items=items), found


def _is_refused(block: str) -> bool:
    known = exact_json.object_in(block)
    return known.get("type") == "thinking" and not known.get("signature")


def _without_last(blocks: list[str], spoken: bool) -> list[str]:
    """Without thinking at the end of the answer. `spoken`: there are texts or calls that are not among the blocks."""
    thoughts = [exact_json.object_in(block).get("type") in _THOUGHTS for block in blocks]
    if all(thoughts):
        return blocks if spoken else []
    return blocks[: len(thoughts) - thoughts[::-1].index(False)]


def _says_anything(item: Item) -> bool:
    """Whether it is a call, or a message of the assistant of which anything is sent."""
    if isinstance(item, ToolCallItem):
        return True
    if not isinstance(item, MessageItem) or item.role != "assistant":
        return False
    return any(
        bool(part.text.strip()) if isinstance(part, (Text, Refusal)) else not isinstance(part, Other)
        for part in item.content
    )
