"""What a chat completions request does not hold of its context."""

from __future__ import annotations

from clew.events.content import Refusal
from clew.events.items import MessageItem, ReasoningItem
from clew.events.model import NotRendered
from clew.providers.base import Prompt
from clew.providers.omissions import (
    Omissions,
    errors_of_results_left_out,
    media_left_out,
    only_texts_of_results,
    parts_left_out,
    settings_left_out,
    takes_any,
    thinking_left_out,
    words_about_parts_left_out,
)

# By `openai-chat/1`.
NEVER_SAID = ("seed", "stop", "presence_penalty", "frequency_penalty")


def omitted(prompt: Prompt) -> tuple[NotRendered, ...]:
    """What a request of `openai-chat/1` leaves out."""
    found = omitted_items(prompt)
    settings_left_out(found, prompt, NEVER_SAID, "this renderer does not write it down")
    return found.all()


def omitted_items(prompt: Prompt) -> Omissions:
    """Its messages have no place for reasoning, nor for parts that no class of ours models, whoever made them."""
    found, provider = Omissions(), prompt.config.provider
    for item in prompt.items:
        if isinstance(item, ReasoningItem):
            own = item.provider == provider
            why = "chat completions take none back" if own else f"reasoning of {item.provider} is not for {provider}"
            found.item(item, "reasoning", why)
        elif isinstance(item, MessageItem):
            refusal_left_out(found, item)
    parts_of_messages_left_out(found, prompt)
    return found


def refusal_left_out(found: Omissions, item: MessageItem) -> None:
    for part in item.content:
        if isinstance(part, Refusal) and item.role != "assistant":
            found.item(item, "refusal", "chat completions have those of assistants only")


def parts_of_messages_left_out(found: Omissions, prompt: Prompt) -> None:
    parts_left_out(found, prompt, of_any=True)
    media_left_out(found, prompt, takes_any, assistants_told=False)
    words_about_parts_left_out(found, prompt, details=True)
    only_texts_of_results(found, prompt)
    errors_of_results_left_out(found, prompt)
    thinking_left_out(found, prompt)
