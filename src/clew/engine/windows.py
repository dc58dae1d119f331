"""How large a context a model takes, as far as the price table of genai-prices knows it."""

from __future__ import annotations

from functools import lru_cache

# What is kept free for the answer when nothing says how long it may get: an eighth of the window, but not more.
_ANSWER_TOKENS_MAX = 16_384
# No model gives a longer answer than this, as far as providers have said.
_LARGEST_ANSWER_TOKENS = 131_072


def prompt_window(model: str) -> int | None:
    """Tokens that a prompt may have, the answer's share taken off. None for a model that nobody knows."""
    window = _window(model)
    return None if window is None else window - min(window // 8, _ANSWER_TOKENS_MAX)


def largest_answer(model: str) -> int:
    """Tokens that an answer may have at most, when nothing says how long it may get."""
    window = _window(model)
    return _LARGEST_ANSWER_TOKENS if window is None else min(window, _LARGEST_ANSWER_TOKENS)


@lru_cache(maxsize=1_024)
def _window(model: str) -> int | None:
    # Loading the table takes some tenths of a second, which is nothing to do at import.
    from genai_prices.data_snapshot import get_snapshot

    try:
        _, found = get_snapshot().find_provider_model(model, None, None, None)
    except LookupError:
        return None
    return found.context_window
