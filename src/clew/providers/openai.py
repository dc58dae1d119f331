"""OpenAI's chat completions, and every server that speaks them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager, suppress
from typing import Any

import httpx2
import orjson

from clew.errors import ProviderFailed
from clew.providers import openai_render
from clew.providers.base import ModelInfo, Piece, Prompt
from clew.providers.http import (
    ERROR_BYTES_MAX,
    Clients,
    checked_key,
    checked_url,
    described,
    error_in,
    excerpt,
    meaning,
    retry_after,
)
from clew.providers.openai_read import Gathering, Lines, nonsense

# A model that repeats itself for ever would otherwise fill the memory.
ANSWER_BYTES_MAX = 32 * 1024 * 1024

# Once the answer is whole only the usage and the end mark are to come; a server that forgets to hang up must
# not hold the run for the rest of its time.
AFTER_FINISH_SECONDS = 10.0

# The connection can be used again only when the response was read to its end, which comes with the end mark
# or right behind it. Not waiting longer is cheap: it costs one connection.
AFTER_DONE_SECONDS = 0.25


class OpenAI:
    """`name` is the provider's name in models and settings: `openai` belongs to CLEW_OPENAI_API_KEY.

    An answer, streamed or not, may take `timeout_seconds` in all. A `client` that is given is not closed.
    """

    renderer = openai_render.RENDERER

    def __init__(
        self,
        *,
        base_url: str,
        api_key: str | None,
        name: str = "openai",
        timeout_seconds: float = 600,
        connect_seconds: float = 10,
        client: httpx2.AsyncClient | None = None,
    ) -> None:
        self.name = name
        setting = f"CLEW_{name.upper()}"
        self._key_setting = f"{setting}_API_KEY"
        self._key = checked_key(api_key, self._key_setting)
        self._url_setting = f"{setting}_BASE_URL"
        base_url = checked_url(base_url, self._url_setting)
        self._completions = httpx2.URL(f"{base_url}/chat/completions")
        self._models = httpx2.URL(f"{base_url}/models")
        # Without the path, and without a user and password that a proxy's URL may carry.
        self._where = f"{self._completions.scheme}://{self._completions.netloc.decode()}"
        self._timeout_seconds = timeout_seconds
        # Silence is bounded by the deadline of the whole answer, so that reading needs no clock of its own.
        self._timeout = httpx2.Timeout(None, connect=connect_seconds)
        # Compression saves nothing on short chunks and makes servers hold them back to fill a block.
        headers = {"accept-encoding": "identity", "content-type": "application/json"}
        if self._key is not None:
            headers["authorization"] = f"Bearer {self._key}"
        self._headers = httpx2.Headers(headers)
        self._clients = Clients(client)

    def __repr__(self) -> str:
        return f"OpenAI(name={self.name!r}, base_url={self._where!r}, api_key={'…' if self._key else None!r})"

    def render(self, prompt: Prompt) -> bytes:
        return openai_render.render(prompt)

    async def call(self, body: bytes) -> AsyncGenerator[Piece]:
        deadline = asyncio.get_running_loop().time() + self._timeout_seconds
        async with self._response("POST", self._completions, body, deadline) as response:
            gathering = Gathering(self.name, response.headers.get("x-request-id"))
            if openai_render.asks_for_stream(body) and _content_type(response) != "application/json":
                async with aclosing(self._streamed(response, gathering, deadline)) as pieces:
                    async for piece in pieces:
                        yield piece
                answer = gathering.answer()
            else:
                answer = gathering.take_whole(self._checked(await self._whole(response, deadline)))
        yield answer

    async def models(self) -> list[ModelInfo]:
        deadline = asyncio.get_running_loop().time() + self._timeout_seconds
        async with self._response("GET", self._models, None, deadline) as response:
            listed = self._checked(await self._whole(response, deadline)).get("data")
        if not isinstance(listed, list):
            raise nonsense(self.name, "a list of models that is none")
        return [_model(model) for model in listed if isinstance(model, dict) and "id" in model]

    async def close(self) -> None:
        await self._clients.close()

    @asynccontextmanager
    async def _response(
        self, method: str, url: httpx2.URL, body: bytes | None, deadline: float
    ) -> AsyncGenerator[httpx2.Response]:
        """A response with a good status, its body not read yet."""
        with self._clients.one() as client:
            request = client.build_request(method, url, content=body, headers=self._headers, timeout=self._timeout)
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
                if size > ANSWER_BYTES_MAX:
                    raise self._endless()
                was_finished = gathering.finish_reason is not None
                for line in lines.take(data):
                    if line == b"[DONE]":
                        await _drain(received)
                        data = b""
                        break
                    for piece in gathering.take(self._checked(line)):
                        yield piece
                if not data:
                    break
                if gathering.finish_reason is not None and not was_finished:
                    deadline = min(deadline, loop.time() + AFTER_FINISH_SECONDS)
        if gathering.finish_reason is None:
            raise self._ended_early(response, lines)

    async def _whole(self, response: httpx2.Response, deadline: float) -> bytes:
        parts, size = [], 0
        try:
            async with asyncio.timeout_at(deadline), aclosing(response.aiter_bytes()) as received:
                async for data in received:
                    parts.append(data)
                    size += len(data)
                    if size > ANSWER_BYTES_MAX:
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
            status = words[0] if words and isinstance(words[0], int) else None
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
            code = "server_error"
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
        message = f"{self.name} sent more than {ANSWER_BYTES_MAX // 1024 // 1024} MB for one answer"
        return ProviderFailed(message, code="nonsense", retryable=False)


async def _drain(received: AsyncGenerator[bytes]) -> None:
    with suppress(TimeoutError, httpx2.HTTPError):
        async with asyncio.timeout(AFTER_DONE_SECONDS):
            while await anext(received, b""):
                pass


def _content_type(response: httpx2.Response) -> str:
    return str(response.headers.get("content-type", "")).partition(";")[0].strip().lower()


def _model(listed: dict[str, Any]) -> ModelInfo:
    created = listed.get("created")
    return ModelInfo(
        id=str(listed["id"]),
        created=int(created) if isinstance(created, (int, float)) else 0,
        owned_by=str(listed.get("owned_by") or ""),
    )
