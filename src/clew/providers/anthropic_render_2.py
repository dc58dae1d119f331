"""Rendering a prompt as a request to Anthropic's Messages API: `anthropic-messages/2`.

As `anthropic-messages/1`, but calls are in a form that every provider takes, also those that stand in reasoning, and
numbers in schemas are as they were written. What this file makes is never changed.
"""

from __future__ import annotations

from dataclasses import replace

from clew import exact_json
from clew.events.items import Item, ReasoningItem
from clew.events.model import NotRendered
from clew.providers import anthropic_render
from clew.providers.base import Prompt
from clew.providers.omissions import Omissions, calls_changed
from clew.providers.openai_render import unwritable
from clew.providers.text import written
from clew.providers.valid_calls import valid_name, with_valid_calls

RENDERER = "anthropic-messages/2"


def render(prompt: Prompt) -> bytes:
    """The request body. The same prompt gives the same bytes, for ever. Raises `ProviderFailed`."""
    offered = {tool.name for tool in prompt.config.tools}
    valid = with_valid_calls(prompt)
    valid = replace(valid, items=[_valid(item, offered) for item in valid.items])
    try:
        return exact_json.dumps(anthropic_render.body_of(valid))
    except TypeError as error:
        # Half a surrogate pair in a text.
        raise unwritable(error) from error


def _valid(item: Item, offered: set[str]) -> Item:
    """Calls that stand among the blocks of reasoning have their names there, too."""
    if not isinstance(item, ReasoningItem) or item.provider != "anthropic":
        return item
    blocks = tuple(_valid_block(block, offered) for block in item.blocks)
    return item if blocks == item.blocks else replace(item, blocks=blocks)


def _valid_block(block: str, offered: set[str]) -> str:
    try:
        known = exact_json.loads(block)
    except ValueError:
        return block
    if not isinstance(known, dict) or known.get("type") != "tool_use":
        return block
    name = str(known.get("name"))
    return block if name in offered or valid_name(name) == name else written({**known, "name": valid_name(name)})


def omitted(prompt: Prompt) -> tuple[NotRendered, ...]:
    """What the request does not hold of the prompt, and which calls it holds in another form."""
    found = Omissions()
    calls_changed(found, prompt)
    return (*anthropic_render.omitted(prompt), *found.all())
