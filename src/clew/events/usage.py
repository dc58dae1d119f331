"""What model calls used, in one shape for all providers."""

from __future__ import annotations

from clew.events.base import Value


class Usage(Value):
    """Token counts. `input` includes what was cached, written to the cache or heard; `output` includes reasoning.

    `cache_write_1h` is that part of `cache_write` which is to be kept for an hour. `web_searches` are no tokens: the
    provider made so many while it answered, and bills them by number.
    """

    input: int = 0
    output: int = 0
    cached: int = 0
    cache_write: int = 0
    reasoning: int = 0
    cache_write_1h: int = 0
    input_audio: int = 0
    output_audio: int = 0
    web_searches: int = 0

    @property
    def total(self) -> int:
        return self.input + self.output

    def plus(self, other: Usage) -> Usage:
        return Usage(
            input=self.input + other.input,
            output=self.output + other.output,
            cached=self.cached + other.cached,
            cache_write=self.cache_write + other.cache_write,
            reasoning=self.reasoning + other.reasoning,
            cache_write_1h=self.cache_write_1h + other.cache_write_1h,
            input_audio=self.input_audio + other.input_audio,
            output_audio=self.output_audio + other.output_audio,
            web_searches=self.web_searches + other.web_searches,
        )


NO_USAGE = Usage()
