"""Sending requests to a provider, hearing answers out, and saying what went wrong: the same for all providers.

What an answer means is not known here. A provider gives a gathering, into which its answer is read.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager, suppress
from typing import Any, Protocol

import httpx2

from clew.errors import ProviderFailed
from clew.providers import sse
from clew.providers.base import Answer, Piece, UsageSoFar
from clew.providers.failures import Failures, content_type
from clew.providers.http import ERROR_BYTES_MAX, Clients, checked_key, checked_url, error_of, parsed
from clew.settings import key_setting, url_setting

# A model that repeats itself for ever would otherwise fill the memory.
ANSWER_BYTES_MAX = 32 * 1024 * 1024

# Once the answer has ended only the usage and the end mark are to come; a server that forgets to hang up must not hold
# the run for the rest of its time. Some servers say that the answer has ended and then go on with it: they are slow
# when a model thinks, but not as slow as this.
AFTER_FINISH_SECONDS = 30.0

# The connection can be used again only when the response was read to its end, which comes with the end mark
# or right behind it. Not waiting longer is cheap: it costs one connection.
AFTER_DONE_SECONDS = 0.25


class Gathering(Protocol):
    """An answer as it comes.

    `said_anything`: there is some text, or a call. `ended`: the provider has said why the answer ended, and nothing
    after that. `doubtful`: it had said so before, and then the answer went on, so that only the end of the stream is
    to be believed. `over`: by an event of its own the provider has said that nothing more comes.
    """

    said_anything: bool
    ended: bool
    doubtful: bool
    over: bool

    def take(self, chunk: dict[str, Any]) -> Iterator[Piece]:
        """A chunk of a stream."""
        ...

    def take_whole(self, answer: dict[str, Any], received: bytes) -> Answer:
        """An answer that came at once, and its bytes as received."""
        ...

    def note_usage(self, chunk: dict[str, Any]) -> None:
        """Takes what is counted in a chunk, and nothing else of it."""
        ...

    def used(self) -> UsageSoFar | None:
        """What the provider has counted so far."""
        ...

    def end(self) -> Iterator[Piece]:
        """What is left to be shown of a stream when nothing more comes."""
        ...

    def answer(self) -> Answer:
        """The whole. Only to be asked for when the answer is whole. Raises `ProviderFailed`."""
        ...


class _Body:
    """The bytes of a response, as they come. `begun` is what has come of them already.

    `done`: nothing more is wanted. `at_end`: the server has said all that it will say. `found`: there was an event.
    """

    def __init__(self, response: httpx2.Response) -> None:
        self.response = response
        self.received = response.aiter_bytes()
        self.begun = b""
        self.size = 0
        self.done = False
        self.at_end = False
        self.found = False


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
        self._key = checked_key(api_key, key_setting(name))
        self.base_url = checked_url(base_url, url_setting(name))
        parsed = httpx2.URL(self.base_url)
        # Without the path, and without a user and password that a proxy's URL may carry.
        self.origin = parsed.netloc.decode()
        self._where = f"{parsed.scheme}://{self.origin}"
        self._timeout_seconds = timeout_seconds
        self._failures = Failures(name, self._where, self._key, timeout_seconds)
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
            told: Piece | None = None
            try:
                body_of_answer = _Body(response)
                if await self._is_stream(body_of_answer, deadline, streams):
                    async with aclosing(self._streamed(body_of_answer, gathering, deadline)) as pieces:
                        async for piece in pieces:
                            if isinstance(piece, UsageSoFar):
                                told = piece
                            if streams or piece is told:
                                yield piece
                    answer = gathering.answer()
                else:
                    received = await self._whole(body_of_answer, deadline)
                    answer = gathering.take_whole(self._checked(received, gathering), received)
            except ProviderFailed:
                # What it has cost is to be paid for all the same.
                if (used := gathering.used()) is not None and used != told:
                    yield used
                raise
        yield answer

    async def get(self, url: httpx2.URL) -> dict[str, Any]:
        """The object that is at `url`."""
        deadline = asyncio.get_running_loop().time() + self._timeout_seconds
        async with self._response("GET", url, None, deadline) as response:
            return self._checked(await self._whole(_Body(response), deadline))

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
                raise self._failures.unreachable(error) from error
            try:
                if not response.is_success:
                    raise self._failures.refused(response, await self._error_body(response, deadline))
                yield response
            finally:
                await response.aclose()

    async def _is_stream(self, body: _Body, deadline: float, asked_for: bool) -> bool:
        """Whether the answer comes as a stream, whatever was asked for and whatever its content type says."""
        while len(body.begun.strip()) < sse.BEGINNING_BYTES and not sse.begins_json(body.begun):
            try:
                async with asyncio.timeout_at(deadline):
                    data = await anext(body.received, None)
            except (TimeoutError, httpx2.HTTPError) as error:
                raise self._failures.broken(error) if asked_for else self._failures.unreachable(error) from error
            if data is None:
                body.at_end = True
                break
            self._count(body, data)
            body.begun += data
        if sse.begins_json(body.begun):
            return False
        return content_type(body.response) == "text/event-stream" or sse.begins_events(body.begun)

    async def _streamed(self, body: _Body, gathering: Gathering, deadline: float) -> AsyncGenerator[Piece]:
        """The pieces of a stream. Returns when the answer is whole, and raises when it ends before."""
        failure: ProviderFailed | None = None
        async for event in sse.events(self._bytes(body, gathering, deadline), body.response.request):
            for text in sse.texts_in(event) if event.data else ():
                if body.done:
                    break
                body.found = True
                try:
                    chunk = self._chunk(text, event.event, body, gathering)
                    for piece in gathering.take(chunk) if chunk is not None else ():
                        yield piece
                except ProviderFailed as failed:
                    # The body is closed from within, and not while somebody waits for more of it.
                    failure, body.done = failed, True
                if gathering.over:
                    body.done = True
        if failure is not None:
            raise failure
        if not gathering.ended and not (gathering.over and gathering.said_anything):
            raise self._failures.ended_early(body.response, body.found)
        for piece in gathering.end():
            yield piece

    async def _bytes(self, body: _Body, gathering: Gathering, deadline: float) -> AsyncIterator[bytes]:
        """The bytes of a stream, as long as more of them are wanted and come."""
        loop = asyncio.get_running_loop()
        if body.begun:
            yield body.begun
        while not body.done and not body.at_end:
            until = deadline
            sure = gathering.ended and not gathering.doubtful
            if sure and gathering.said_anything:
                until = min(deadline, loop.time() + self._after_finish_seconds)
            try:
                async with asyncio.timeout_at(until):
                    data = await anext(body.received, None)
            except TimeoutError as error:
                if sure:
                    return
                raise self._failures.unreachable(error) from error
            except httpx2.HTTPError as error:
                if sure:
                    return
                raise self._failures.broken(error) from error
            if data is None:
                body.at_end = True
            else:
                self._count(body, data)
                yield data
        if gathering.over:
            await _drain(body.received)

    def _count(self, body: _Body, data: bytes) -> None:
        body.size += len(data)
        if body.size > self._answer_bytes_max:
            raise self._failures.endless(self._answer_bytes_max)

    def _chunk(self, text: str, kind: str, body: _Body, gathering: Gathering) -> dict[str, Any] | None:
        """The object in an event of this kind; None for the end mark, and for an event that the end of the stream has
        cut."""
        if not text.startswith("{") and sse.is_end_mark(text):
            gathering.over = True
            return None
        try:
            chunk = parsed(text)
        except ValueError as error:
            if body.at_end:
                return None
            if kind == "error":
                raise self._failures.inside(text) from error
            raise self._failures.nonsense(f"something that is not JSON: {self._failures.shown(text)}") from error
        if kind == "error" and not (isinstance(chunk, dict) and chunk.get("error")):
            chunk = {"error": chunk}
        return self._without_error(chunk, gathering)

    async def _whole(self, body: _Body, deadline: float) -> bytes:
        parts = [body.begun]
        try:
            async with asyncio.timeout_at(deadline), aclosing(body.received) as received:
                async for data in received:
                    parts.append(data)
                    self._count(body, data)
        except (TimeoutError, httpx2.HTTPError) as error:
            raise self._failures.unreachable(error) from error
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

    def _checked(self, data: bytes, gathering: Gathering | None = None) -> dict[str, Any]:
        """`data` as an object that is no error."""
        try:
            chunk = parsed(data)
        except ValueError as error:
            shown = self._failures.shown(data[:ERROR_BYTES_MAX].decode(errors="replace"))
            raise self._failures.nonsense(f"something that is not JSON: {shown}") from error
        return self._without_error(chunk, gathering)

    def _without_error(self, chunk: Any, gathering: Gathering | None = None) -> dict[str, Any]:
        if isinstance(chunk, list) and chunk and isinstance(chunk[0], dict) and "error" in chunk[0]:
            # As Gemini's endpoint in OpenAI's format has it.
            chunk = chunk[0]
        if not isinstance(chunk, dict):
            raise self._failures.nonsense("JSON that is not an object")
        error = error_of(chunk)
        if error is None:
            return chunk
        if gathering is not None:
            gathering.note_usage(chunk)
        raise self._failures.inside(error, chunk.get("raw_status_code"))


async def _drain(received: AsyncGenerator[bytes]) -> None:
    with suppress(TimeoutError, httpx2.HTTPError):
        async with asyncio.timeout(AFTER_DONE_SECONDS):
            while await anext(received, b""):
                pass
