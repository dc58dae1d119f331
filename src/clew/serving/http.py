"""What every request of a dialect goes through: key, size, JSON, point in the past, errors, headers.

An endpoint is an ASGI application of its own and not a Starlette function: on the path of an append, a request
object and a response object for each request would cost more than the append does. What differs from dialect to
dialect is its `Manners`: the words it has for what goes wrong, and the headers it sends.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.datastructures import QueryParams
from starlette.types import Receive, Scope, Send

from clew import exact_json
from clew.desk import Key
from clew.engine.engine import Engine
from clew.errors import PastIsReadOnly
from clew.log import Reader
from clew.past import Point, point_of
from clew.serving.request_log import note_fault, request_of

BODY_BYTES_MAX = 2_000_000

B = TypeVar("B", bound=BaseModel)
Header: TypeAlias = tuple[bytes, bytes]


class Gone(Exception):
    """The client went away before its request was whole: nobody is left to answer."""


@dataclass(slots=True)
class Call:
    """One request. It asks about position `as_of`, or now if that is None; `shown` is the one that was answered."""

    engine: Engine
    manners: Manners
    scope: Scope
    headers: dict[bytes, bytes]
    body: bytes
    as_of: int | None = None
    shown: int | None = None
    request_id: bytes = b""

    @contextmanager
    def reading(self) -> Iterator[Reader]:
        """The moment that the answer shows."""
        with self.engine.log.reading() as reader:
            self.shown = reader.head() if self.as_of is None else self.as_of
            yield reader

    def id(self, name: str) -> str:
        """The id of that name in the path, as the dialect checks it."""
        value: str = self.scope["path_params"][name]
        return self.manners.checked_id(name, value)

    def query(self) -> QueryParams:
        return QueryParams(self.scope["query_string"])

    def read(self, model: type[B]) -> B:
        """The body as a `model`; no body is an empty object."""
        try:
            given = exact_json.loads(self.body) if self.body else {}
        except ValueError:
            raise self.manners.not_json() from None
        try:
            return model.__pydantic_validator__.validate_python(given)  # type: ignore[no-any-return]
        except ValidationError as error:
            raise self.manners.rejection(error) from None

    def key(self) -> Key | None:
        """The request's idempotency key. The same key on another path is another key."""
        given = self.headers.get(b"idempotency-key")
        if not given:
            return None
        path = self.scope["path"].removeprefix(self.scope.get("root_path", ""))
        name = f"{self.manners.dialect} {self.scope['method']} {path} {given.decode('latin-1')}"
        return Key(name, hashlib.sha256(self.body).digest())


@dataclass(frozen=True, slots=True)
class Answer:
    """`content` None is an answer without a body. `refusal` is what is logged of one that is an error, and `is_ours`
    not set where what went wrong, went wrong elsewhere.
    """

    content: Any
    status: int = 200
    headers: tuple[Header, ...] = ()
    refusal: str = ""
    is_ours: bool = True


@dataclass(frozen=True, slots=True)
class Stream:
    """Frames of server-sent events. `frames` is closed when the client goes away."""

    frames: AsyncGenerator[bytes, None]
    headers: tuple[Header, ...] = ()


Handler: TypeAlias = Callable[[Call], Awaitable[Answer | Stream]]


class Manners(ABC):
    """How a dialect puts things. The exceptions that it gives to raise are its own; `to_answer` knows them again."""

    dialect: ClassVar[str]
    body_bytes_max: ClassVar[int] = BODY_BYTES_MAX

    @abstractmethod
    def to_answer(self, error: Exception, call: Call) -> Answer:
        """What the client is told. Whatever is not foreseen is a fault of ours."""

    @abstractmethod
    def rejection(self, error: ValidationError) -> Exception:
        """A body that is not what the endpoint takes."""

    @abstractmethod
    def not_json(self) -> Exception: ...

    @abstractmethod
    def too_large_a_body(self, limit_bytes: int) -> Exception: ...

    @abstractmethod
    def unknown_url(self, method: str, path: str) -> Exception: ...

    @abstractmethod
    def wrong_key(self, presented: str | None) -> Exception:
        """`presented` None: there was none at all."""

    @abstractmethod
    def checked_id(self, name: str, value: str) -> str:
        """What the engine calls the thing that `value`, found in the path under `name`, is the id of."""

    def presented_key(self, headers: dict[bytes, bytes]) -> bytes | None:
        """The key that a request came with, None when there is none: `Authorization: Bearer KEY`."""
        scheme, _, presented = headers.get(b"authorization", b"").partition(b" ")
        return presented.strip() or None if scheme.lower() == b"bearer" else None

    def thread_id(self, call: Call) -> str | None:
        """The thread that a request names in its path, of which `v12` is then a version."""
        return call.id("thread_id") if "thread_id" in call.scope["path_params"] else None

    def only_reads(self, call: Call) -> bool:
        """Whether the request changes nothing, so that it may be asked of the past."""
        return bool(call.scope["method"] == "GET")

    def headers(self, request_id: bytes, started: float) -> tuple[Header, ...]:
        """What is sent with every answer. `started` is when the request came, by `time.perf_counter`."""
        return ((b"x-request-id", request_id),)


class Endpoint:
    """What one path does, by method, now or as of a point in the past."""

    def __init__(self, engine: Engine, manners: Manners, **handlers: Handler) -> None:
        self._engine = engine
        self._manners = manners
        self._handlers = handlers
        key = engine.settings.api_key
        self._api_key = key.encode() if key is not None else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = request_of(scope)
        request.id_sent = True
        call = Call(self._engine, self._manners, scope, dict(scope["headers"]), b"", request_id=request.id)
        try:
            answer = await self._answer(call, receive)
        except Gone:
            return
        except Exception as error:
            answer = self._manners.to_answer(error, call)
            request.refusal = answer.refusal
            request.is_ours = answer.is_ours
            if answer.status >= 500 and answer.is_ours:
                note_fault(request, error)
        common = self._manners.headers(request.id, request.started)
        if isinstance(answer, Stream):
            await _send_stream(answer, (*common, *answer.headers), receive, send)
            return
        headers = [*common, *answer.headers]
        body = b""
        if answer.content is not None:
            body = exact_json.dumps(answer.content)
            headers += ((b"content-type", b"application/json"), (b"content-length", b"%d" % len(body)))
        if call.shown is not None:
            # What was shown is found again as of there, for ever.
            headers.append((b"clew-position", b"%d" % call.shown))
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _answer(self, call: Call, receive: Receive) -> Answer | Stream:
        scope, headers = call.scope, call.headers
        if self._api_key is not None:
            self._check_key(headers, self._api_key)
        handler = self._handlers.get(scope["method"])
        if handler is None:
            raise self._unhandled(scope)
        point = point_of(scope, headers.get(b"clew-as-of"))
        if point is not None:
            call.as_of = self._position(call, point)
        call.body = await self._whole_body(headers, receive)
        return await handler(call)

    def _unhandled(self, scope: Scope) -> Exception:
        """What a method without a handler is answered; the body is not read for that."""
        return self._manners.unknown_url(scope["method"], scope["path"])

    def _position(self, call: Call, point: Point) -> int:
        if not self._manners.only_reads(call):
            raise PastIsReadOnly(point=point.written, where=point.where)
        thread_id = self._manners.thread_id(call)
        with call.engine.log.reading() as reader:
            return point.position(reader, thread_id)

    def _check_key(self, headers: dict[bytes, bytes], expected: bytes) -> None:
        presented = self._manners.presented_key(headers)
        if presented is None:
            raise self._manners.wrong_key(None)
        if not hmac.compare_digest(presented, expected):
            raise self._manners.wrong_key(presented.decode("latin-1"))

    async def _whole_body(self, headers: dict[bytes, bytes], receive: Receive) -> bytes:
        """The body, of which never more than the limit is held, whatever its headers say."""
        declared = headers.get(b"content-length", b"")
        limit = self._manners.body_bytes_max
        if declared.isdigit() and int(declared) > limit:
            raise self._manners.too_large_a_body(limit)
        pieces: list[bytes] = []
        size = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise Gone
            piece = message.get("body", b"")
            size += len(piece)
            if size > limit:
                raise self._manners.too_large_a_body(limit)
            pieces.append(piece)
            if not message.get("more_body", False):
                return b"".join(pieces) if len(pieces) > 1 else piece


class NotOffered(Endpoint):
    """A path of an API that this server does not have: every method is answered with what `refusal` makes."""

    def __init__(self, engine: Engine, manners: Manners, refusal: Callable[[], Exception]) -> None:
        super().__init__(engine, manners)
        self._refusal = refusal

    def _unhandled(self, scope: Scope) -> Exception:
        return self._refusal()


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
