"""What model calls used, in one shape for all providers."""

from __future__ import annotations

from clew.events.base import Value


class Usage(Value):
    """Token counts. `input` includes what was cached and written to the cache; `output` includes reasoning."""

    input: int = 0
    output: int = 0
    cached: int = 0
    cache_write: int = 0
    reasoning: int = 0

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
        )


NO_USAGE = Usage()
