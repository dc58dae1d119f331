"""What a request does not hold of its context, and why. The manifest of each model call says so.

Each renderer has a function for it, as pure as the renderer itself. The items that one reason holds for are told
as a range and a number, so that what is told does not grow with the thread.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from clew.events.content import Content, File, Image, Other, Text
from clew.events.items import Item, MessageItem, ReasoningItem, ToolResultItem
from clew.events.model import ItemRange, NotRendered
from clew.providers.base import Prompt
from clew.providers.valid_calls import changed_calls


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


def parts_left_out(found: Omissions, prompt: Prompt, *, of_any: bool = False, of_results: bool = False) -> None:
    """Parts of messages that only another provider understands. `of_any`: this one does not take its own either.

    `of_results`: results of calls have parts with this provider, too.
    """
    provider = prompt.config.provider
    for item in prompt.items:
        if isinstance(item, MessageItem) or of_results:
            for part in _content(item):
                if isinstance(part, Other) and (of_any or part.provider != provider):
                    found.item(item, "part", f"a part that {part.provider} made is not for {provider}")


def media_left_out(
    found: Omissions, prompt: Prompt, takes: Callable[[Image | File], bool], *, assistants_told: bool = True
) -> None:
    """Pictures and files that are not sent: of whoever is known by an id of ours only, of a kind that is not taken, or
    the assistant's own. `assistants_told`: also of these the model hears that they are missing.
    """
    provider = prompt.config.provider
    for item in prompt.items:
        for part in _content(item):
            if not isinstance(part, (Image, File)):
                continue
            if isinstance(item, MessageItem) and item.role == "assistant":
                told = "; the model is told that it is missing" if assistants_told else ""
                found.item(item, part.type, f"what an assistant shows {provider} does not take back{told}")
            elif _is_upload(part):
                article = "an uploaded image" if isinstance(part, Image) else "an uploaded file"
                found.item(item, part.type, f"{article} is not sent; the model is told that it is missing")
            elif not takes(part):
                kind = f"{provider} does not take {part.media_type or 'this kind'}"
                found.item(item, part.type, f"{kind}; the model is told that it is missing")


def _content(item: Item) -> Content:
    return item.content if isinstance(item, (MessageItem, ToolResultItem)) else ()


def _is_upload(part: Image | File) -> bool:
    return part.data is None and (isinstance(part, File) or part.url is None)


def takes_any(part: Image | File) -> bool:
    return True


def words_about_parts_left_out(found: Omissions, prompt: Prompt, *, details: bool) -> None:
    """What is said about a text or a picture that is sent itself. `details`: how closely to look is sent, too."""
    provider = prompt.config.provider
    for item in prompt.items:
        for part in _content(item):
            if isinstance(part, Text) and part.annotations:
                found.item(item, "citations", f"{provider} is sent the text without them")
            elif isinstance(part, Image) and part.detail is not None and not details and not _is_upload(part):
                found.item(item, "detail", f"{provider} is not told how closely to look at an image")


def errors_of_results_left_out(found: Omissions, prompt: Prompt) -> None:
    """For a provider whose results do not say whether the call went wrong, but for what they say themselves."""
    for item in prompt.items:
        if isinstance(item, ToolResultItem) and item.is_error:
            found.item(item, "is_error", f"results of calls have no mark for errors with {prompt.config.provider}")


def only_texts_of_results(found: Omissions, prompt: Prompt) -> None:
    """For a provider whose results of calls are texts."""
    for item in prompt.items:
        if isinstance(item, ToolResultItem) and not all(isinstance(part, Text) for part in item.content):
            found.item(item, "part", f"results of calls are texts for {prompt.config.provider}")


def thinking_left_out(found: Omissions, prompt: Prompt) -> None:
    """How to think, in words that only another provider understands."""
    if prompt.config.thinking is not None:
        found.setting("thinking", f"{prompt.config.provider} has other words for it, if any")


def calls_changed(found: Omissions, prompt: Prompt) -> None:
    """Calls that are sent in another form than they were written in: see `valid_calls`."""
    for item, sent in changed_calls(prompt):
        if sent.name != item.name:
            found.item(item, "name", f"no function can have it, so {prompt.config.provider} is sent what is left of it")
        if sent.arguments != item.arguments:
            found.item(item, "arguments", f"they are no JSON object, so {prompt.config.provider} is sent one")


def is_for(item: ReasoningItem, prompt: Prompt) -> str | None:
    """None when this reasoning may go back to the model that is asked, else why not: signatures hold for one model."""
    config = prompt.config
    if item.provider != config.provider:
        return f"reasoning of {item.provider} is not for {config.provider}"
    if item.model is not None and item.model != config.model:
        return f"reasoning of {item.model} is not for {config.model}"
    return None
