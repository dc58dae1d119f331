"""What every request goes through: key, size, JSON, errors, headers.

An endpoint is an ASGI application of its own and not a Starlette function: on the path of an append, a request
object and a response object for each request would cost more than the append does.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import itertools
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

import orjson
from pydantic import BaseModel, ValidationError
from starlette.datastructures import QueryParams
from starlette.types import Receive, Scope, Send

from clew.desk import Key
from clew.dialects.openai_assistants.errors import (
    Fault,
    fault_of,
    not_json,
    too_large_a_body,
    unknown_url,
    wrong_id,
    wrong_key,
)
from clew.dialects.openai_assistants.wrong import rejection
from clew.engine.engine import Engine
from clew.ids import has_prefix, new_id

BODY_BYTES_MAX = 2_000_000
# How ids of each kind begin, by the name that the kind has in paths and bodies.
PREFIXES = {"assistant_id": "asst", "thread_id": "thread", "message_id": "msg", "run_id": "run", "step_id": "step"}

# A request's id needs no randomness of its own, and randomness costs a system call.
_PROCESS = new_id("req").encode()
_requests = itertools.count(1)

logger = logging.getLogger(__name__)

B = TypeVar("B", bound=BaseModel)
Header: TypeAlias = tuple[bytes, bytes]


class Gone(Exception):
    """The client went away before its request was whole: nobody is left to answer."""


@dataclass(slots=True)
class Call:
    """One request. `as_of` is the position that it asks about, None for now."""

    engine: Engine
    scope: Scope
    headers: dict[bytes, bytes]
    body: bytes
    as_of: int | None = None

    def id(self, name: str) -> str:
        """The id of that name in the path. Raises `Rejected` when it does not look like one."""
        value: str = self.scope["path_params"][name]
        return checked_id(name, value)

    def query(self) -> QueryParams:
        return QueryParams(self.scope["query_string"])

    def read(self, model: type[B]) -> B:
        """The body as a `model`; no body is an empty object. Raises `Rejected`."""
        try:
            given = orjson.loads(self.body) if self.body else {}
        except orjson.JSONDecodeError:
            raise not_json() from None
        try:
            return model.__pydantic_validator__.validate_python(given)  # type: ignore[no-any-return]
        except ValidationError as error:
            raise rejection(error) from None

    def key(self) -> Key | None:
        """The request's idempotency key. The same key on another path is another key."""
        given = self.headers.get(b"idempotency-key")
        if not given:
            return None
        path = self.scope["path"].removeprefix(self.scope.get("root_path", ""))
        name = f"openai {self.scope['method']} {path} {given.decode('latin-1')}"
        return Key(name, hashlib.sha256(self.body).digest())


@dataclass(frozen=True, slots=True)
class Answer:
    content: Any
    status: int = 200
    headers: tuple[Header, ...] = ()


@dataclass(frozen=True, slots=True)
class Stream:
    """Frames of server-sent events. `frames` is closed when the client goes away."""

    frames: AsyncGenerator[bytes, None]


Handler: TypeAlias = Callable[[Call], Awaitable[Answer | Stream]]


def checked_id(name: str, value: str, kind: str | None = None) -> str:
    """`value` if it has the form of the ids of `kind`, which is `name` unless given. Raises `Rejected`."""
    prefix = PREFIXES[kind or name]
    if not has_prefix(value, prefix):
        raise wrong_id(name, value, prefix)
    return value


class Endpoint:
    """What one path does, by method."""

    def __init__(self, engine: Engine, **handlers: Handler) -> None:
        self._engine = engine
        self._handlers = handlers
        key = engine.settings.api_key
        self._api_key = key.encode() if key is not None else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        try:
            answer = await self._answer(scope, receive)
        except Gone:
            return
        except Exception as error:
            answer = _to_error(error, scope)
        common = (
            (b"x-request-id", b"%b%08x" % (_PROCESS, next(_requests))),
            (b"openai-version", b"2020-10-01"),
            (b"openai-processing-ms", b"%d" % ((time.perf_counter() - started) * 1000)),
        )
        if isinstance(answer, Stream):
            await _send_stream(answer, common, receive, send)
            return
        body = orjson.dumps(answer.content)
        fixed = ((b"content-type", b"application/json"), (b"content-length", b"%d" % len(body)))
        headers = [*fixed, *common, *answer.headers]
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _answer(self, scope: Scope, receive: Receive) -> Answer | Stream:
        headers = dict(scope["headers"])
        if self._api_key is not None:
            _check_key(headers.get(b"authorization"), self._api_key)
        handler = self._handlers.get(scope["method"])
        if handler is None:
            raise unknown_url(scope["method"], scope["path"])
        return await handler(Call(self._engine, scope, headers, await _whole_body(headers, receive)))


def _check_key(authorization: bytes | None, expected: bytes) -> None:
    scheme, _, presented = (authorization or b"").partition(b" ")
    if not authorization or scheme.lower() != b"bearer" or not presented:
        raise wrong_key(None)
    if not hmac.compare_digest(presented.strip(), expected):
        raise wrong_key(presented.strip().decode("latin-1"))


async def _whole_body(headers: dict[bytes, bytes], receive: Receive) -> bytes:
    """The body, of which never more than the limit is held, whatever its headers say."""
    declared = headers.get(b"content-length", b"")
    if declared.isdigit() and int(declared) > BODY_BYTES_MAX:
        raise too_large_a_body(BODY_BYTES_MAX)
    pieces: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Gone
        piece = message.get("body", b"")
        size += len(piece)
        if size > BODY_BYTES_MAX:
            raise too_large_a_body(BODY_BYTES_MAX)
        pieces.append(piece)
        if not message.get("more_body", False):
            return b"".join(pieces) if len(pieces) > 1 else piece


def _to_error(error: Exception, scope: Scope) -> Answer:
    fault = fault_of(error)
    if fault.status >= 500:
        logger.error("%s %s failed", scope["method"], scope["path"], exc_info=error)
    return Answer(fault.body, fault.status, _retry_headers(fault, scope["method"]))


def _retry_headers(fault: Fault, method: str) -> tuple[Header, ...]:
    retry = fault.retry
    if retry is None and fault.status >= 500 and method == "POST":
        # What was asked for may have happened before the fault, and would happen twice.
        retry = False
    if retry is None:
        return ()
    return ((b"x-should-retry", b"true" if retry else b"false"),)


async def _send_stream(stream: Stream, common: tuple[Header, ...], receive: Receive, send: Send) -> None:
    """Frames until they end or the client is gone, whichever comes first."""
    headers = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-store"), *common]
    sending = asyncio.create_task(_pump(stream, headers, send))
    listening = asyncio.create_task(_until_gone(receive))
    try:
        await asyncio.wait({sending, listening}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (sending, listening):
            task.cancel()
        results = await asyncio.gather(sending, listening, return_exceptions=True)
    for result in results:
        if isinstance(result, Exception) and not isinstance(result, OSError):
            raise result


async def _pump(stream: Stream, headers: list[Header], send: Send) -> None:
    async with aclosing(stream.frames) as frames:
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        async for frame in frames:
            await send({"type": "http.response.body", "body": frame, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
