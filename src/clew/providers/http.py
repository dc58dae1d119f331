"""What all providers share about HTTP: clients that stay fast under many calls, and what failures mean."""

from __future__ import annotations

import math
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from functools import cache
from typing import Any

import httpx2

from clew import exact_json
from clew.errors import Misconfigured, ProviderFailed
from clew.providers.text import whole_text, written

# httpx2's pool looks at each of its connections twice per request, and asks the socket of each idle one
# whether it is still good (15 µs). 500 calls at once cost 2.1 ms of CPU each in one pool, 0.56 ms in pools of 8.
CALLS_PER_CLIENT_MAX = 8
KEEPALIVE_SECONDS = 30
EXCERPT_CHARS_MAX = 500
ERROR_BYTES_MAX = 65_536
# Events can hold what is nested a little deeper.
DEPTH_MAX = 200
RETRY_AFTER_SECONDS_MAX = 86_400

# What the words of OpenAI and Anthropic for errors mean where no status says it. All others may pass. The first
# group that any of the words is in counts.
_MEANINGS: tuple[tuple[tuple[str, ...], str, bool], ...] = (
    (("invalid_request_error", "context_length_exceeded", "invalid_prompt"), "invalid_prompt", False),
    (("model_not_found", "not_found_error", "request_too_large"), "invalid_prompt", False),
    (("authentication_error", "permission_error", "billing_error"), "server_error", False),
    (("rate_limit_exceeded", "rate_limit_error"), "rate_limit_exceeded", True),
    (("timeout_error",), "timeout", True),
)
# Members of answers and of their pieces.
_ANSWERS = frozenset(("choices", "content", "content_block", "delta", "data"))
# Codes of what is no error.
_FINE = frozenset(("none", "", "0", "200", "ok", "success"))


def nonsense(who: str, what: str) -> ProviderFailed:
    """An answer that is no answer. Most often a proxy's page, so it may be gone the next time."""
    return ProviderFailed(f"{who} sent {what}", code="nonsense", retryable=True)


def excerpt(text: str) -> str:
    text = whole_text(text)
    return text if len(text) <= EXCERPT_CHARS_MAX else text[: EXCERPT_CHARS_MAX - 1] + "…"


def checked_url(base_url: str, setting: str) -> str:
    """`base_url` without a slash at its end, if calls can be sent to it."""
    try:
        url = httpx2.URL(base_url.strip())
    except httpx2.InvalidURL as error:
        raise Misconfigured(f"{setting} is not a URL: {error}") from error
    if url.scheme not in ("http", "https") or not url.host:
        raise Misconfigured(f"{setting} must begin with http:// or https:// and then name a host")
    return str(url).rstrip("/")


def checked_key(api_key: str | None, setting: str) -> str | None:
    """The key as it can stand in a header. The message does not show it, and nothing later could hide it."""
    key = (api_key or "").strip()
    if not all("!" <= character <= "~" for character in key):
        raise Misconfigured(f"{setting} holds a space, line break or letter that no key has; copy it again")
    return key or None


@cache
def _certificates() -> ssl.SSLContext:
    """Reading them is nearly all of the time that making a client takes (20 to 100 ms), so it is done once for all
    providers, and not while calls are under way."""
    return httpx2.create_ssl_context()


class Clients:
    """As many httpx2 clients as the calls under way need. The first with room takes the next call."""

    def __init__(self, client: httpx2.AsyncClient | None = None) -> None:
        self._given = client
        self._own: list[_Client] = []
        self._closed = False
        if client is None:
            self._ssl_context = _certificates()

    @contextmanager
    def one(self) -> Iterator[httpx2.AsyncClient]:
        """A client for one call."""
        if self._given is not None:
            yield self._given
            return
        if self._closed:
            raise RuntimeError("this provider has been closed")
        chosen = next((own for own in self._own if own.calls < CALLS_PER_CLIENT_MAX), None)
        if chosen is None:
            chosen = _Client(self._ssl_context)
            self._own.append(chosen)
        chosen.calls += 1
        try:
            yield chosen.client
        finally:
            chosen.calls -= 1

    async def close(self) -> None:
        """Closes what was made here; a client that was given stays its giver's."""
        self._closed = True
        while self._own:
            await self._own.pop().client.aclose()


class _Client:
    __slots__ = ("calls", "client")

    def __init__(self, ssl_context: Any) -> None:
        limits = httpx2.Limits(max_connections=None, max_keepalive_connections=None, keepalive_expiry=KEEPALIVE_SECONDS)
        self.client = httpx2.AsyncClient(verify=ssl_context, limits=limits, timeout=None)
        self.calls = 0


def retry_after(headers: httpx2.Headers) -> float | None:
    """How long the provider asks us to stay away, in seconds."""
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        value = headers.get(name)
        if value is None:
            continue
        try:
            seconds = float(value) * unit
        except ValueError:
            try:
                seconds = parsedate_to_datetime(value).timestamp() - time.time()
            except (ValueError, OverflowError):
                continue
        if math.isfinite(seconds):
            return min(max(seconds, 0.0), RETRY_AFTER_SECONDS_MAX)
    return None


def parsed(data: bytes | str) -> Any:
    """JSON of a provider, with numbers as they were written; half characters may be in it, and bytes that are no
    UTF-8 are U+FFFD. Raises `ValueError`, also for what is nested so deeply that it could not be stored."""
    try:
        value = exact_json.loads(data)
    except ValueError:
        text = data if isinstance(data, str) else data.decode("utf-8-sig", "replace")
        value = exact_json.parse(text)
    brackets = data.count(b"{") + data.count(b"[") if isinstance(data, bytes) else data.count("{") + data.count("[")
    if brackets > DEPTH_MAX and exact_json.is_deeper(value, DEPTH_MAX):
        raise ValueError(f"nested more than {DEPTH_MAX} deep")
    return value


def error_in(body: bytes) -> Any:
    """The error in a response body: an object where it is JSON, else its text."""
    try:
        said = parsed(body)
    except ValueError:
        return body.decode(errors="replace").strip()
    if isinstance(said, list) and said and isinstance(said[0], dict):
        # As Gemini's endpoint in OpenAI's format has it.
        said = said[0]
    return said.get("error") or said if isinstance(said, dict) else said


def error_of(chunk: dict[str, Any]) -> Any:
    """The error that an answer, or a chunk of one, is or holds; None if it holds none.

    It may stand in the choice. Some servers send an error with each answer in which nothing is said.
    """
    if chunk.get("object") == "error" or chunk.get("type") == "error":
        return chunk.get("error") or chunk
    choices = chunk.get("choices")
    for holder in (chunk, *(choices if isinstance(choices, list) else ())):
        error = holder.get("error") if isinstance(holder, dict) else None
        if error and _says_anything(error):
            return error
    if _ANSWERS.isdisjoint(chunk):
        # As DashScope and many gateways have it.
        if isinstance(chunk.get("message"), str) and not _is_fine(chunk.get("code")):
            return chunk
        # As Cloudflare has it.
        if chunk.get("success") is False:
            return chunk.get("errors") or chunk
    # As MiniMax tells of errors: with status 200, and whatever else an answer has.
    status = chunk.get("base_resp")
    if isinstance(status, dict) and not _is_fine(status.get("status_code")):
        return {"message": status.get("status_msg"), "code": status["status_code"]}
    return None


def _is_fine(code: Any) -> bool:
    return str(code).lower() in _FINE


def _says_anything(error: Any) -> bool:
    """Whether there is an error in what stands where one would, and is not empty."""
    if not isinstance(error, dict):
        return True
    return any(error.values()) and not (_is_fine(error.get("code")) and _is_fine(error.get("message")))


def status_of(word: Any) -> int | None:
    """The HTTP status of an error that a word for one is, if it is one."""
    if isinstance(word, str) and word.isdecimal() and len(word) == 3:
        word = int(word)
    return word if isinstance(word, int) and not isinstance(word, bool) and 400 <= word <= 599 else None


def described(error: Any) -> tuple[str, tuple[Any, ...]]:
    """The provider's own message, and the words by which it names the kind of error."""
    if not isinstance(error, dict):
        return error if isinstance(error, str) else written(error), ()
    message = error.get("message") or error.get("detail")
    if not isinstance(message, str):
        message = written(error)
    return message, (error.get("code"), error.get("type"))


def meaning(status: int | None, words: tuple[Any, ...]) -> tuple[str, bool]:
    """Our code for a failure, and whether the same call may succeed later.

    `status` is None for an error inside a stream that had begun well.
    """
    if "insufficient_quota" in words:
        # It comes as 429, but waiting does not fill an account.
        return "rate_limit_exceeded", False
    if status is None:
        found = ((code, again) for group, code, again in _MEANINGS if any(word in group for word in words))
        return next(found, ("server_error", True))
    if status == 429:
        return "rate_limit_exceeded", True
    if status == 408:
        return "timeout", True
    if status == 409 or status >= 500:
        return "server_error", True
    if status in (401, 402, 403) or status < 400:
        return "server_error", False
    return "invalid_prompt", False
