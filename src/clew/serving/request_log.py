"""One line in the log for each request: what was asked for, and what came of it. Never what anybody said.

This is an application around the whole server, so that what no endpoint answers is told too. It gives each request its
id, under which dialects answer it.
"""

from __future__ import annotations

import itertools
import logging
import re
import time
from collections.abc import Awaitable
from typing import Any
from urllib.parse import quote

from starlette.routing import Router
from starlette.types import Message, Receive, Scope, Send

from clew.errors import ClewError, ProviderFailed
from clew.ids import new_id

logger = logging.getLogger(__name__)

_PATH_CHARS_MAX = 200
_PLAIN = re.compile(rb"[!-~]{1,%d}" % _PATH_CHARS_MAX)
# What is asked for again and again by whoever watches over the server.
_WATCHED = b"/healthz"
_KEY = "clew.request"
# How a place in a request looks. What looks otherwise was chosen by the client, and may be anything.
_PLACE = re.compile(r"[\w.\[\]*-]{1,100}", re.ASCII)

# A request's id needs no randomness of its own, and randomness costs a system call.
_PROCESS = new_id("req").encode()
_requests = itertools.count(1)


class Request:
    """What is told of one request. `refusal` is the type and the code of an error and where it is, without its message.

    `error` is set where the fault is ours. `id_sent`: its endpoint sends the id in a header of its own.
    """

    __slots__ = ("ended", "error", "id", "id_sent", "method", "path", "refusal", "started", "status")

    def __init__(self, scope: Scope) -> None:
        self.id = b"%b%08x" % (_PROCESS, next(_requests))
        self.method: str = scope["method"]
        self.path: bytes = scope.get("raw_path") or scope["path"].encode()
        self.started = time.perf_counter()
        self.ended = self.started
        self.status = 0
        self.refusal = ""
        self.error: BaseException | None = None
        self.id_sent = False

    @property
    def level(self) -> int:
        if self.status >= 500:
            return logging.ERROR
        return logging.DEBUG if self.path == _WATCHED else logging.INFO

    def __str__(self) -> str:
        status = str(self.status) if self.status else "-"
        milliseconds = (self.ended - self.started) * 1_000
        refusal = f" {self.refusal}" if self.refusal else ""
        return f"{self.method[:20]} {self._path()} {status} {milliseconds:.1f} ms {self.id.decode()}{refusal}"

    def _path(self) -> str:
        if _PLAIN.fullmatch(self.path):
            return self.path.decode()
        # What was sent percent-encoded is left so, and what should have been is now.
        path = quote(self.path, safe="/%:@!$&'()*+,;=~")
        return path if len(path) <= _PATH_CHARS_MAX else f"{path[: _PATH_CHARS_MAX - 3]}..."


def refusal(type: str, code: str | None = None, place: str | None = None) -> str:
    """What is told of an error. `place` is where a request is wrong."""
    found = [type, *([code] if code else [])]
    if place:
        found.append(f"at {place if _PLACE.fullmatch(place) else '?'}")
    return " ".join(found)


def note_fault(request: Request, error: Exception) -> None:
    """A fault of ours. What has a name here says what happened; of anything else one wants to know where."""
    if isinstance(error, ProviderFailed):
        request.refusal = error.code
    elif isinstance(error, ClewError):
        request.refusal = f"{type(error).__name__}: {error}"
    else:
        request.error = error


def request_of(scope: Scope) -> Request:
    """The request that an endpoint answers."""
    found: Request | None = scope.get(_KEY)
    if found is None:
        found = scope[_KEY] = Request(scope)
    return found


class RequestLog:
    """Passes all on to `router`, and tells of each request when its answer, or its stream, is over."""

    def __init__(self, router: Router) -> None:
        self.router = router

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.router(scope, receive, send)
            return
        request = request_of(scope)

        def sending(message: Message) -> Awaitable[Any]:
            if message["type"] == "http.response.start":
                request.status = message["status"]
                if not request.id_sent:
                    message["headers"] = [*message.get("headers", ()), (b"x-request-id", request.id)]
            return send(message)

        try:
            await self.router(scope, receive, sending)
        finally:
            request.ended = time.perf_counter()
            _tell(request)


def _tell(request: Request) -> None:
    level, error = request.level, request.error
    if logger.isEnabledFor(level):
        # `logger.log` would look for who calls it, which is always this and takes a third of the time.
        where = (type(error), error, error.__traceback__) if error is not None else None
        logger.handle(logging.LogRecord(logger.name, level, __file__, 0, "%s", (request,), where))
