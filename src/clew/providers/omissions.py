"""What a request does not hold of its context, and why. The manifest of each model call says so.

Each renderer has a function for it, as pure as the renderer itself. The items that one reason holds for are told
as a range and a number, so that what is told does not grow with the thread.
"""

from __future__ import annotations

from collections.abc import Sequence

from clew.events.content import File, Image, Other, Text
from clew.events.items import Item, MessageItem, ReasoningItem, ToolResultItem
from clew.events.model import ItemRange, NotRendered
from clew.providers.base import Prompt


class Omissions:
    """Collects them, in the order in which they are first met."""

    def __init__(self) -> None:
        # First place, last place, and how many, by what, why and stream; None for a setting.
        self._found: dict[tuple[str, str, str | None], tuple[int, int, int] | None] = {}

    def item(self, item: Item, what: str, reason: str) -> None:
        key, number = (what, reason, item.place.stream), item.place.number
        first, last, count = self._found.get(key) or (number, number, 0)
        self._found[key] = (min(first, number), max(last, number), count + 1)

    def setting(self, what: str, reason: str) -> None:
        self._found[what, reason, None] = None

    def all(self) -> tuple[NotRendered, ...]:
        return tuple(map(_told, self._found.items()))


def _told(found: tuple[tuple[str, str, str | None], tuple[int, int, int] | None]) -> NotRendered:
    (what, reason, stream), where = found
    if stream is None or where is None:
        return NotRendered(what=what, reason=reason)
    first, last, count = where
    return NotRendered(what=what, reason=reason, items=ItemRange(stream=stream, first=first, last=last), count=count)


def settings_left_out(found: Omissions, prompt: Prompt, names: Sequence[str], reason: str) -> None:
    """Those of `names` that the run's sampling says something about."""
    for name in names:
        if getattr(prompt.config.sampling, name) not in (None, ()):
            found.setting(name, reason)


def parts_left_out(found: Omissions, prompt: Prompt, *, of_any: bool = False) -> None:
    """Parts of messages that only another provider understands. `of_any`: this one does not take its own either."""
    provider = prompt.config.provider
    for item in prompt.items:
        if isinstance(item, MessageItem):
            for part in item.content:
                if isinstance(part, Other) and (of_any or part.provider != provider):
                    found.item(item, "part", f"a part that {part.provider} made is not for {provider}")


def uploads_left_out(found: Omissions, prompt: Prompt) -> None:
    """What is known by an id of ours only. The model is told that it is missing."""
    for item in prompt.items:
        if isinstance(item, MessageItem):
            for part in item.content:
                if isinstance(part, Image) and part.url is None and part.data is None:
                    found.item(item, "image", "an uploaded image is not sent; the model is told that it is missing")
                elif isinstance(part, File) and part.data is None:
                    found.item(item, "file", "an uploaded file is not sent; the model is told that it is missing")


def only_texts_of_results(found: Omissions, prompt: Prompt) -> None:
    """For a provider whose results of calls are texts."""
    for item in prompt.items:
        if isinstance(item, ToolResultItem) and not all(isinstance(part, Text) for part in item.content):
            found.item(item, "part", f"results of calls are texts for {prompt.config.provider}")


def thinking_left_out(found: Omissions, prompt: Prompt) -> None:
    """How to think, in words that only another provider understands."""
    if prompt.config.thinking is not None:
        found.setting("thinking", f"{prompt.config.provider} has other words for it, if any")


def is_for(item: ReasoningItem, prompt: Prompt) -> str | None:
    """None when this reasoning may go back to the model that is asked, else why not: signatures hold for one model."""
    config = prompt.config
    if item.provider != config.provider:
        return f"reasoning of {item.provider} is not for {config.provider}"
    if item.model is not None and item.model != config.model:
        return f"reasoning of {item.model} is not for {config.model}"
    return None
