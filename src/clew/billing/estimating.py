"""What a call would have used, had it been shown something else: our counts, in what the provider made of them.

The provider has said what it counted for what was sent, and we have counted the same. So much of it for each token
that we counted is taken for each token of the other context too. What was answered is taken as it was.

A cache gives back the beginning that a request shares with the one before. So many tokens as were cached of each that
the two requests shared are taken to be cached of those that they would have shared. That a cache forgets in time, and
takes nothing that is short, is in the recorded rate; where nothing was cached, nothing is taken to be.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from clew.events.content import JsonObject
from clew.events.items import Item
from clew.events.model import ContextTokens
from clew.events.run import RunConfig
from clew.events.usage import Usage


@dataclass(frozen=True, slots=True)
class Shown:
    """What a model call is shown, as far as counting goes. `head` is all before the items: who is asked, with what
    instructions and tools."""

    head: JsonObject
    head_tokens: int
    items: tuple[tuple[str, int, int], ...]

    @property
    def tokens(self) -> int:
        return self.head_tokens + sum(tokens for _, _, tokens in self.items)


def shown(config: RunConfig, head: ContextTokens, items: Sequence[Item]) -> Shown:
    """The head is counted as it was when the call was made; another model may count it otherwise."""
    dumped = config.model_dump(mode="json", include={"provider", "model", "instructions", "tools"})
    places = tuple((item.place.stream, item.place.number, item.tokens) for item in items)
    return Shown(dumped, head.instructions + head.tools, places)


def shared(before: Shown, now: Shown) -> int:
    """The tokens of the beginning that both have."""
    if before.head != now.head:
        return 0
    count = now.head_tokens
    for one, other in zip(before.items, now.items, strict=False):
        if one != other:
            break
        count += one[2]
    return count


@dataclass(frozen=True, slots=True)
class Ratio:
    """So much as `now` is of `was`: of what was counted, and of what each shared with the request before it."""

    counted: tuple[int, int]
    shared: tuple[int, int] | None = None


def scaled(usage: Usage, ratio: Ratio) -> Usage:
    """Whole tokens; the parts stay within the whole."""
    given = part(usage.input, *ratio.counted)
    cached = min(given, part(usage.cached, *ratio.shared) if ratio.shared is not None else usage.cached)
    fresh_was, fresh = usage.input - usage.cached, given - cached
    written = min(fresh, part(usage.cache_write, fresh, fresh_was))
    return usage.model_copy(
        update={
            "input": given,
            "cached": cached,
            "cache_write": written,
            "cache_write_1h": min(written, part(usage.cache_write_1h, written, usage.cache_write)),
            "input_audio": min(fresh - written, part(usage.input_audio, given, usage.input)),
        }
    )


def part(count: int, now: int, was: int) -> int:
    """`count` times `now` by `was`, to the nearest; where there was nothing to go by, as it was."""
    return (2 * count * now + was) // (2 * was) if was > 0 else count
