"""What a failed call says: the provider's own words, without the key, and what can be done about it."""

from __future__ import annotations

from typing import Any

import httpx2

from clew.errors import ProviderFailed
from clew.providers import http
from clew.providers.http import described, error_in, excerpt, meaning, retry_after, status_of
from clew.settings import key_setting, url_setting


def content_type(response: httpx2.Response) -> str:
    return str(response.headers.get("content-type", "")).partition(";")[0].strip().lower()


class Failures:
    """The failures of one provider. `name` is its name in settings, `where` the server without its path."""

    def __init__(self, name: str, where: str, key: str | None, timeout_seconds: float) -> None:
        self._name = name
        self._where = where
        self._key = key
        self._timeout_seconds = timeout_seconds
        self._key_setting = key_setting(name)
        self._url_setting = url_setting(name)

    def shown(self, text: str) -> str:
        """Returns an excerpt without the key, which some servers repeat. It is cut only then, or half a key would
        stay."""
        return excerpt(text.replace(self._key, "[key]") if self._key else text)

    def nonsense(self, what: str) -> ProviderFailed:
        return http.nonsense(self._name, what)

    def inside(self, error: Any, status: Any = None) -> ProviderFailed:
        """An error that came where an answer should. `status` is what it says of it itself."""
        text, words = described(error)
        found = next((known for word in (*words[:1], status) if (known := status_of(word)) is not None), None)
        code, retryable = meaning(found, words)
        message = f"{self._name} failed while answering: {self.shown(text)}"
        return ProviderFailed(message, code=code, retryable=retryable, status=found)

    def refused(self, response: httpx2.Response, body: bytes) -> ProviderFailed:
        """A status that is not good."""
        status = response.status_code
        text, words = described(error_in(body))
        code, retryable = meaning(status, words)
        hint = ""
        if status in (401, 403):
            hint = f"; check {self._key_setting}{'' if self._key else ', which is not set'}"
        elif status < 400 or (status == 404 and not words):
            hint = f"; check {self._url_setting}"
        return ProviderFailed(
            f"{self._name} answered {status}: {self.shown(text) or 'nothing'}{hint}",
            code=code,
            retryable=retryable,
            retry_after_seconds=retry_after(response.headers) if retryable else None,
            status=status,
        )

    def unreachable(self, error: Exception) -> ProviderFailed:
        """A connection that could not be made, or that broke before an answer came."""
        if isinstance(error, httpx2.DecodingError):
            return self.nonsense("a body that cannot be decompressed")
        if isinstance(error, httpx2.TimeoutException):
            message, code = f"{self._name} cannot be reached at {self._where} in time", "timeout"
        elif isinstance(error, TimeoutError):
            message, code = f"{self._name} did not answer within {self._timeout_seconds:g} s", "timeout"
        elif isinstance(error, httpx2.ConnectError):
            message = f"{self._name} cannot be reached at {self._where}: {error}; check {self._url_setting}"
            return ProviderFailed(message, code="server_error", retryable=True, reached=False)
        else:
            message = f"the connection to {self._name} broke: {str(error) or type(error).__name__}"
            code = "server_error"
        return ProviderFailed(message, code=code, retryable=True)

    def broken(self, error: Exception) -> ProviderFailed:
        """A stream that broke."""
        if isinstance(error, (TimeoutError, httpx2.TimeoutException, httpx2.DecodingError)):
            return self.unreachable(error)
        message = f"the stream from {self._name} broke: {str(error) or type(error).__name__}"
        return ProviderFailed(message, code="broken_stream", retryable=True)

    def ended_early(self, response: httpx2.Response, had_events: bool) -> ProviderFailed:
        """A stream that ended before its answer, or that was none."""
        if not had_events and content_type(response) != "text/event-stream":
            return self.nonsense(f"{content_type(response)!r} instead of a stream")
        message = f"the stream from {self._name} ended before the answer did"
        return ProviderFailed(message, code="broken_stream", retryable=True)

    def endless(self, bytes_max: int) -> ProviderFailed:
        message = f"{self._name} sent more than {bytes_max // 1024 // 1024} MB for one answer"
        return ProviderFailed(message, code="nonsense", retryable=False)
