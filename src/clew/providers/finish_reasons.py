"""What providers' words for the end of an answer mean.

Clew knows four of them: `stop`, `tool_calls`, `length` (the answer was cut at a limit of tokens) and `content_filter`
(a filter cut it or took it back). An answer that ended in an error of the provider is none. Any other word is recorded
as it is.
"""

from __future__ import annotations

import re
from typing import Any, Final

FAILED: Final = "failed"

# In lower case, with underscores. From the documentation, and from reports on what servers send, of OpenAI, Anthropic,
# Mistral, Gemini (also by its endpoint in OpenAI's format), DeepSeek, Zhipu, Moonshot, Cohere, Bedrock, watsonx, TGI,
# vLLM and SGLang.
_MEANINGS: dict[str, tuple[str, ...]] = {
    "stop": ("stop", "end_turn", "stop_sequence", "eos", "eos_token", "complete", "completed"),
    "tool_calls": ("tool_calls", "tool_call", "tool_use", "function_call", "function_calls"),
    "length": (
        "length",
        "max_tokens",
        "max_output_tokens",
        "max_completion_tokens",
        "max_new_tokens",
        "max_length",
        "max_output",
        "model_length",
        "token_limit",
        "error_limit",
        # The answer has filled the window.
        "model_context_window_exceeded",
        "context_length_exceeded",
    ),
    "content_filter": (
        "content_filter",
        "content_filtered",
        "refusal",
        "safety",
        "sensitive",
        "recitation",
        "blocklist",
        "prohibited_content",
        "spii",
        "image_safety",
        "image_prohibited_content",
        "image_recitation",
        "guardrail_intervened",
        "error_toxic",
    ),
    FAILED: (
        "error",
        "failed",
        "server_error",
        "internal_error",
        "network_error",
        "insufficient_system_resource",
        "overloaded",
        "engine_overloaded",
        "unavailable",
        "abort",
        "aborted",
        "cancelled",
        "canceled",
        "timeout",
        # The model wrote a call that its own provider could not read, and nothing of it was passed on.
        "malformed_function_call",
        "malformed_response",
        "unexpected_tool_call",
    ),
}
_MEANING_OF = {word: meaning for meaning, words in _MEANINGS.items() for word in words}
# Some servers write a missing reason as a word.
_NONE = frozenset(("", "null", "none", "not_finished", "finish_reason_unspecified", "unspecified"))
_PREFIX = re.compile(r"^finish_?reason[._]")


def reason_in(value: Any) -> str | None:
    """Returns the reason that a field holds; None if it holds none."""
    return value if isinstance(value, str) and _plain(value) not in _NONE else None


def meaning_of(reason: str) -> str:
    """Returns one of the four words, `FAILED`, or the reason itself if nobody knows what it means.

    Gemini's endpoint in OpenAI's format writes two words: `function_call_filter: MALFORMED_FUNCTION_CALL`.
    """
    plain = _plain(reason)
    for word in (plain, *reversed([_plain(part) for part in plain.split(":")])):
        meaning = _MEANING_OF.get(_PREFIX.sub("", word))
        if meaning is not None:
            return meaning
    return reason


def _plain(reason: str) -> str:
    return re.sub(r"[\s-]+", "_", reason.strip().lower()).strip("_")
