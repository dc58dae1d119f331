"""What providers report of tokens, in Clew's words.

Servers that speak a format count in their own ways, and not always where the format says. A bill must come to what the
provider's own invoice says, so each rule here names who needs it.
"""

from __future__ import annotations

from typing import Any

from clew.events.content import JsonObject
from clew.events.usage import Usage

# No answer has so many tokens: a larger number is none.
_TOKENS_MAX = 10**12


def count(value: Any) -> int:
    """Returns a number of tokens, also where it is written as text or with a point; 0 for what is no number."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return 0
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return 0
    return int(value) if 0 < value <= _TOKENS_MAX else 0


def merged(before: JsonObject | None, said: JsonObject) -> JsonObject:
    """Returns what is known when `said` comes after `before`: the later number holds, but zero and null say nothing.

    Some servers send their numbers and then an empty object, or zeros.
    """
    if before is None:
        return said
    result = dict(before)
    for name, value in said.items():
        known = result.get(name)
        if isinstance(known, dict) and isinstance(value, dict):
            result[name] = merged(known, value)
        elif not known or not _says_nothing(value):
            result[name] = value
    return result


def _says_nothing(value: Any) -> bool:
    return not value or (isinstance(value, str) and count(value) == 0)


def of_chat(reported: JsonObject) -> Usage | None:
    """Returns the usage of a chat completion, None for one that counts no tokens.

    `prompt_tokens` include those that came from a cache, `completion_tokens` those of reasoning; `_beside` and
    `_output` say who counts otherwise.
    """
    if _is_of_messages(reported):
        return of_messages(reported)
    prompt = count(_first(reported, "prompt_tokens", "input_tokens"))
    details = _details(reported, "prompt_tokens_details", "prompt_token_details", "input_tokens_details")
    completion = _details(reported, "completion_tokens_details", "output_tokens_details")
    # DeepSeek, Moonshot, Mistral and LiteLLM have fields of their own for it.
    cached = count(details.get("cached_tokens")) or count(
        _first(reported, "prompt_cache_hit_tokens", "cached_tokens", "num_cached_tokens", "cache_read_input_tokens")
    )
    written = count(_first(details, "cache_write_tokens", "cache_creation_tokens", "cache_creation_input_tokens"))
    written = written or count(reported.get("cache_creation_input_tokens"))
    reasoning = count(completion.get("reasoning_tokens")) or count(reported.get("reasoning_tokens"))
    spoken, total = count(_first(reported, "completion_tokens", "output_tokens")), count(reported.get("total_tokens"))
    if not prompt:
        prompt = cached + count(reported.get("prompt_cache_miss_tokens")) or (max(0, total - spoken) if spoken else 0)
    if not prompt and not spoken:
        # A total alone does not say what is to be paid for.
        return None
    beside = _beside(prompt, cached, written)
    return Usage(
        input=prompt + beside,
        output=_output(spoken, reasoning, prompt, beside, total),
        cached=cached,
        cache_write=written,
        reasoning=reasoning,
        input_audio=count(details.get("audio_tokens")),
        output_audio=count(completion.get("audio_tokens")),
    )


def _beside(prompt: int, cached: int, written: int) -> int:
    """Returns how many tokens of the cache the prompt does not include, though it should.

    Some of xAI's models, and gateways in front of Anthropic, count them beside the prompt: there are more of them then
    than the prompt has.
    """
    if cached > prompt:
        return cached + written
    return written if cached + written > prompt else 0


def _output(spoken: int, reasoning: int, prompt: int, beside: int, total: int) -> int:
    """Returns the tokens of the answer, which are at least what the total has more than the prompt.

    xAI and Gemini's endpoint in OpenAI's format leave reasoning out of the completion, and count it in the total.
    """
    rest = total - prompt - beside
    if rest < spoken:
        # The total leaves out what is counted beside the prompt, too.
        rest = total - prompt
    output = max(spoken, rest)
    return spoken + reasoning if reasoning > output else output


def _is_of_messages(reported: JsonObject) -> bool:
    """Whether it is in Anthropic's form, which a gateway may pass on: there the input does not include the cache."""
    cache = ("cache_read_input_tokens", "cache_creation_input_tokens")
    return "prompt_tokens" not in reported and "input_tokens" in reported and any(name in reported for name in cache)


def of_messages(reported: JsonObject) -> Usage | None:
    """Returns the usage of Anthropic's Messages API, None for one that counts no tokens.

    It counts what is read from the cache or written to it beside the input, and reasoning within the output.
    """
    if "input_tokens" not in reported and "prompt_tokens" in reported:
        # A server that speaks both formats may mix them up.
        return of_chat(reported)
    creation = _details(reported, "cache_creation")
    for_an_hour = count(creation.get("ephemeral_1h_input_tokens"))
    by_duration = for_an_hour + count(creation.get("ephemeral_5m_input_tokens"))
    cached = count(reported.get("cache_read_input_tokens"))
    written = max(count(reported.get("cache_creation_input_tokens")), by_duration)
    fresh = count(reported.get("input_tokens"))
    # A server that speaks both formats may say one number in each.
    output = max(count(reported.get("output_tokens")), count(reported.get("completion_tokens")))
    if not (fresh or cached or written or output):
        return None
    return Usage(
        input=fresh + cached + written,
        output=output,
        cached=cached,
        cache_write=written,
        cache_write_1h=for_an_hour,
        reasoning=count(_details(reported, "output_tokens_details").get("thinking_tokens")),
    )


def reported_in(chunk: dict[str, Any]) -> list[JsonObject]:
    """Returns the usages that a chat completion, or a chunk of one, reports; the last of them holds.

    OpenAI's place is at the top. Moonshot reports in the choice, Groq in `x_groq`.
    """
    found: list[Any] = []
    choices = chunk.get("choices")
    for choice in choices if isinstance(choices, list) else ():
        if isinstance(choice, dict) and "usage" in choice:
            found.append(choice["usage"])
    for name in chunk:
        if name.startswith("x_"):
            found.append(_details(chunk, name).get("usage"))
    found.append(chunk.get("usage"))
    return [usage for usage in found if isinstance(usage, dict)]


def _details(reported: JsonObject, *names: str) -> JsonObject:
    """Returns what is in the objects of these names, of the first where several have it."""
    found: JsonObject = {}
    for name in reversed(names):
        details = reported.get(name)
        if isinstance(details, dict):
            found |= details
    return found


def _first(reported: JsonObject, *names: str) -> Any:
    """Returns the first of these that counts anything."""
    return next((reported[name] for name in names if count(reported.get(name))), None)
