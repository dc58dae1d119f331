"""Sending requests to a provider, hearing answers out, and saying what went wrong: the same for all providers.

What an answer means is not known here. A provider gives a gathering, into which its answer is read.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager, suppress
from typing import Any, Protocol

import httpx2
import orjson

from clew.errors import ProviderFailed
from clew.providers.base import Answer, Piece
from clew.providers.http import (
    ERROR_BYTES_MAX,
    Clients,
    checked_key,
    checked_url,
    described,
    error_in,
    excerpt,
    meaning,
    nonsense,
    retry_after,
)
from clew.providers.lines import Lines

# A model that repeats itself for ever would otherwise fill the memory.
ANSWER_BYTES_MAX = 32 * 1024 * 1024

# Once the answer is whole only the usage and the end mark are to come; a server that forgets to hang up must
# not hold the run for the rest of its time.
AFTER_FINISH_SECONDS = 10.0

# The connection can be used again only when the response was read to its end, which comes with the end mark
# or right behind it. Not waiting longer is cheap: it costs one connection.
AFTER_DONE_SECONDS = 0.25

_END_MARK = b"[DONE]"


class Gathering(Protocol):
    """An answer as it comes. It is whole when there is a finish reason; `over` when nothing more will come."""

    finish_reason: str | None
    over: bool

    def take(self, chunk: dict[str, Any]) -> Iterator[Piece]:
        """A chunk of a stream."""
        ...

    def take_whole(self, answer: dict[str, Any], received: bytes) -> Answer:
        """An answer that came at once, and its bytes as received."""
        ...

    def answer(self) -> Answer:
        """The whole. Only to be asked for when there is a finish reason."""
        ...


class Transport:
    """`name` is the provider's name in models and settings: `openai` belongs to CLEW_OPENAI_API_KEY.

    `headers` are sent with each request, and the key as a bearer token, which all providers take. An answer, streamed
    or not, may take `timeout_seconds` in all. A `client` that is given is not closed.
    """

    def __init__(
        self,
        *,
        name: str,
        base_url: str,
        api_key: str | None,
        timeout_seconds: float,
        connect_seconds: float,
        client: httpx2.AsyncClient | None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        setting = f"CLEW_{name.upper()}"
        self._key_setting = f"{setting}_API_KEY"
        self._key = checked_key(api_key, self._key_setting)
        self._url_setting = f"{setting}_BASE_URL"
        self.base_url = checked_url(base_url, self._url_setting)
        parsed = httpx2.URL(self.base_url)
        # Without the path, and without a user and password that a proxy's URL may carry.
        self._where = f"{parsed.scheme}://{parsed.netloc.decode()}"
        self._timeout_seconds = timeout_seconds
        # Silence is bounded by the deadline of the whole answer, so that reading needs no clock of its own.
        self._timeout = httpx2.Timeout(None, connect=connect_seconds)
        self._answer_bytes_max = ANSWER_BYTES_MAX
        self._after_finish_seconds = AFTER_FINISH_SECONDS
        # Compression saves nothing on short chunks and makes servers hold them back to fill a block.
        all_headers = {"accept-encoding": "identity", "content-type": "application/json", **(headers or {})}
        if self._key is not None:
            all_headers["authorization"] = f"Bearer {self._key}"
        self._headers = httpx2.Headers(all_headers)
        self._clients = Clients(client)

    def __str__(self) -> str:
        return f"name={self.name!r}, base_url={self._where!r}, api_key={'…' if self._key else None!r}"

    async def call(
        self,
        url: httpx2.URL,
        body: bytes,
        *,
        streams: bool,
        gather: Callable[[httpx2.Headers], Gathering],
        headers: Mapping[str, str] | None = None,
    ) -> AsyncGenerator[Piece]:
        """Send `body`; pieces as they come, if a stream was asked for and comes, and last the answer.

        `headers` are those that this call needs beside the usual ones.
        """
        deadline = asyncio.get_running_loop().time() + self._timeout_seconds
        async with self._response("POST", url, body, deadline, headers) as response:
            gathering = gather(response.headers)
            if streams and _content_type(response) != "application/json":
                async with aclosing(self._streamed(response, gathering, deadline)) as pieces:
                    async for piece in pieces:
                        yield piece
                answer = gathering.answer()
            else:
                received = await self._whole(response, deadline)
                answer = gathering.take_whole(self._checked(received), received)
        yield answer

    async def get(self, url: httpx2.URL) -> dict[str, Any]:
        """The object that is at `url`."""
        deadline = asyncio.get_running_loop().time() + self._timeout_seconds
        async with self._response("GET", url, None, deadline) as response:
            return self._checked(await self._whole(response, deadline))

    async def close(self) -> None:
        await self._clients.close()

    @asynccontextmanager
    async def _response(
        self, method: str, url: httpx2.URL, body: bytes | None, deadline: float, more: Mapping[str, str] | None = None
    ) -> AsyncGenerator[httpx2.Response]:
        """A response with a good status, its body not read yet."""
        with self._clients.one() as client:
            headers = self._headers if not more else httpx2.Headers({**self._headers, **more})
            request = client.build_request(method, url, content=body, headers=headers, timeout=self._timeout)
            try:
                async with asyncio.timeout_at(deadline):
                    # The key must not follow a redirect to another host, so none is followed.
                    response = await client.send(request, stream=True, follow_redirects=False)
            except (TimeoutError, httpx2.HTTPError) as error:
                raise self._unreachable(error) from error
            try:
                if not response.is_success:
                    raise self._refused(response, await self._error_body(response, deadline))
                yield response
            finally:
                await response.aclose()

    async def _streamed(
        self, response: httpx2.Response, gathering: Gathering, deadline: float
    ) -> AsyncGenerator[Piece]:
        """The pieces of a stream. Returns when the answer is whole, and raises when it ends before."""
        loop = asyncio.get_running_loop()
        lines, size = Lines(), 0
        async with aclosing(response.aiter_bytes()) as received:
            while True:
                try:
                    async with asyncio.timeout_at(deadline):
                        data = await anext(received, b"")
                except (TimeoutError, httpx2.HTTPError) as error:
                    if gathering.finish_reason is not None:
                        return
                    raise self._broken(error) from error
                size += len(data)
                if size > self._answer_bytes_max:
                    raise self._endless()
                was_finished = gathering.finish_reason is not None
                for line in lines.take(data):
                    if line != _END_MARK:
                        for piece in gathering.take(self._checked(line)):
                            yield piece
                    if line == _END_MARK or gathering.over:
                        await _drain(received)
                        data = b""
                        break
                if not data:
                    break
                if gathering.finish_reason is not None and not was_finished:
                    deadline = min(deadline, loop.time() + self._after_finish_seconds)
        if gathering.finish_reason is None:
            raise self._ended_early(response, lines)

    async def _whole(self, response: httpx2.Response, deadline: float) -> bytes:
        parts, size = [], 0
        try:
            async with asyncio.timeout_at(deadline), aclosing(response.aiter_bytes()) as received:
                async for data in received:
                    parts.append(data)
                    size += len(data)
                    if size > self._answer_bytes_max:
                        raise self._endless()
        except (TimeoutError, httpx2.HTTPError) as error:
            raise self._unreachable(error) from error
        return b"".join(parts)

    async def _error_body(self, response: httpx2.Response, deadline: float) -> bytes:
        """As much of it as there is: the status alone says enough to go on."""
        body = b""
        with suppress(TimeoutError, httpx2.HTTPError):
            async with asyncio.timeout_at(deadline), aclosing(response.aiter_bytes()) as received:
                async for data in received:
                    body += data
                    if len(body) > ERROR_BYTES_MAX:
                        break
        return body

    def _checked(self, data: bytes) -> dict[str, Any]:
        """`data` as an object that is no error."""
        try:
            chunk = orjson.loads(data)
        except orjson.JSONDecodeError as error:
            shown = self._redacted(data[:ERROR_BYTES_MAX].decode(errors="replace"))
            raise nonsense(self.name, f"something that is not JSON: {shown}") from error
        if not isinstance(chunk, dict):
            raise nonsense(self.name, "JSON that is not an object")
        if chunk.get("error") or chunk.get("object") == "error":
            text, words = described(chunk.get("error") or chunk)
            status = next((word for word in (*words[:1], chunk.get("raw_status_code")) if isinstance(word, int)), None)
            code, retryable = meaning(status, words)
            message = f"{self.name} failed while answering: {self._redacted(text)}"
            raise ProviderFailed(message, code=code, retryable=retryable, status=status)
        return chunk

    def _redacted(self, text: str) -> str:
        """Some servers repeat the key that they refuse. Cut only afterwards, or half a key would stay."""
        return excerpt(text.replace(self._key, "[key]") if self._key else text)

    def _refused(self, response: httpx2.Response, body: bytes) -> ProviderFailed:
        status = response.status_code
        text, words = described(error_in(body))
        code, retryable = meaning(status, words)
        hint = ""
        if status in (401, 403):
            hint = f"; check {self._key_setting}{'' if self._key else ', which is not set'}"
        elif status < 400 or (status == 404 and not words):
            hint = f"; check {self._url_setting}"
        return ProviderFailed(
            f"{self.name} answered {status}: {self._redacted(text) or 'nothing'}{hint}",
            code=code,
            retryable=retryable,
            retry_after_seconds=retry_after(response.headers) if retryable else None,
            status=status,
        )

    def _unreachable(self, error: Exception) -> ProviderFailed:
        if isinstance(error, httpx2.DecodingError):
            return nonsense(self.name, "a body that cannot be decompressed")
        if isinstance(error, httpx2.TimeoutException):
            message, code = f"{self.name} cannot be reached at {self._where} in time", "timeout"
        elif isinstance(error, TimeoutError):
            message, code = f"{self.name} did not answer within {self._timeout_seconds:g} s", "timeout"
        elif isinstance(error, httpx2.ConnectError):
            message = f"{self.name} cannot be reached at {self._where}: {error}; check {self._url_setting}"
            return ProviderFailed(message, code="server_error", retryable=True, reached=False)
        else:
            message = f"the connection to {self.name} broke: {str(error) or type(error).__name__}"
            code = "server_error"
        return ProviderFailed(message, code=code, retryable=True)

    def _broken(self, error: Exception) -> ProviderFailed:
        if isinstance(error, (TimeoutError, httpx2.TimeoutException, httpx2.DecodingError)):
            return self._unreachable(error)
        message = f"the stream from {self.name} broke: {str(error) or type(error).__name__}"
        return ProviderFailed(message, code="broken_stream", retryable=True)

    def _ended_early(self, response: httpx2.Response, lines: Lines) -> ProviderFailed:
        if not lines.found and _content_type(response) != "text/event-stream":
            return nonsense(self.name, f"{_content_type(response)!r} instead of a stream")
        message = f"the stream from {self.name} ended before the answer did"
        return ProviderFailed(message, code="broken_stream", retryable=True)

    def _endless(self) -> ProviderFailed:
        message = f"{self.name} sent more than {self._answer_bytes_max // 1024 // 1024} MB for one answer"
        return ProviderFailed(message, code="nonsense", retryable=False)


async def _drain(received: AsyncGenerator[bytes]) -> None:
    with suppress(TimeoutError, httpx2.HTTPError):
        async with asyncio.timeout(AFTER_DONE_SECONDS):
            while await anext(received, b""):
                pass


def _content_type(response: httpx2.Response) -> str:
    return str(response.headers.get("content-type", "")).partition(";")[0].strip().lower()
