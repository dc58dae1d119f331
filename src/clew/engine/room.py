"""How much a model call may be shown, and which limit says so."""

from __future__ import annotations

from dataclasses import dataclass

from clew.engine.windows import prompt_window
from clew.errors import ClewError
from clew.events.run import RunConfig
from clew.events.usage import Usage

# Strategies whose number is of tokens: the most that a context may have.
_OF_TOKENS = ("token_budget", "summarise")


class ContextTooLarge(ClewError):
    """Not even the newest items fit. `limit_name` says which limit that is."""

    def __init__(self, *, limit: int, limit_name: str, needed: int) -> None:
        super().__init__(
            f"the context needs at least {needed} tokens and {limit_name} allows {limit};"
            " raise the limit or shorten the newest message"
        )
        self.limit_name = limit_name


@dataclass(frozen=True, slots=True)
class Budget:
    """How much may be shown. `tokens` is for items, `messages` counts messages; None means no limit of that kind.

    `tokens_limit` is the limit that `tokens` is what is left of, and `tokens_name` its name. Of tool results, the
    newest `results` are shown whole.
    """

    tokens: int | None
    tokens_limit: int
    tokens_name: str
    messages: int | None
    results: int | None = None

    def too_large(self, size: int) -> ContextTooLarge:
        fixed = self.tokens_limit - (self.tokens or 0)
        return ContextTooLarge(limit=self.tokens_limit, limit_name=self.tokens_name, needed=size + fixed)


def budget_of(config: RunConfig, spent: Usage, server_limit: int | None, fixed: int) -> Budget:
    """The tightest of the limits that hold for this call; `fixed` tokens are taken by what is always shown."""
    truncation = config.truncation
    messages = truncation.n if truncation.strategy == "last_messages" else None
    results = truncation.n if truncation.strategy == "clear_tool_results" else None
    limits: list[tuple[int, str]] = []
    if config.limits.prompt_tokens is not None:
        limits.append((config.limits.prompt_tokens - spent.input, "max_prompt_tokens"))
    if server_limit is not None:
        limits.append((server_limit, "context_tokens"))
    if truncation.strategy != "none" and (window := prompt_window(config.model)) is not None:
        limits.append((window, "context_window"))
    if truncation.strategy in _OF_TOKENS and truncation.n is not None:
        limits.append((truncation.n, truncation.strategy))
    if not limits:
        return Budget(None, 0, "", messages, results)
    tightest, name = min(limits)
    return Budget(tightest - fixed, tightest, name, messages, results)


def max_output(config: RunConfig, spent: Usage) -> int | None:
    limit = config.limits.completion_tokens
    left = None if limit is None else max(1, limit - spent.output)
    return min((some for some in (left, config.max_output_tokens) if some is not None), default=None)
