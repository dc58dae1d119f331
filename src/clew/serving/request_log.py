"""One line in the log for each request: what was asked for, and what came of it. Never what anybody said.

This is an application around the whole server, so that what no endpoint answers is told too. It gives each request its
id, under which dialects answer it.
"""

from __future__ import annotations

import itertools
import logging
import sys
import time
from collections.abc import Awaitable
from typing import Any

from starlette.routing import Router
from starlette.types import Message, Receive, Scope, Send

from clew.errors import ClewError, ProviderFailed
from clew.ids import new_id
from clew.logged_errors import Places, kind, places
from clew.serving.known_words import HIDDEN, shown_path, shown_place, words_of

logger = logging.getLogger(__name__)

_METHODS = frozenset(("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "CONNECT"))
# What is asked for again and again by whoever watches over the server.
_WATCHED = b"/healthz"
_KEY = "clew.request"

# A request's id needs no randomness of its own, and randomness costs a system call.
_PROCESS = new_id("req").encode()
_requests = itertools.count(1)


class Request:
    """What is told of one request. `refusal` is the type and the code of an error and where it is, without its message.

    `error` is set where the fault is ours, and `is_ours` not where somebody else's is why there is no answer.
    `id_sent`: its endpoint sends the id in a header of its own. `words` are those that may be in its path.
    """

    __slots__ = (
        "ended",
        "error",
        "id",
        "id_sent",
        "is_ours",
        "method",
        "path",
        "refusal",
        "started",
        "status",
        "words",
    )

    def __init__(self, scope: Scope) -> None:
        self.id = b"%b%08x" % (_PROCESS, next(_requests))
        self.method: str = scope["method"]
        self.path: bytes = scope.get("raw_path") or scope["path"].encode()
        self.started = time.perf_counter()
        self.ended = self.started
        self.status = 0
        self.refusal = ""
        self.error: BaseException | None = None
        self.is_ours = True
        self.id_sent = False
        self.words: frozenset[str] = frozenset()

    @property
    def level(self) -> int:
        if self.status >= 500:
            return logging.ERROR if self.is_ours else logging.WARNING
        return logging.DEBUG if self.path == _WATCHED else logging.INFO

    def __str__(self) -> str:
        status = str(self.status) if self.status else "-"
        milliseconds = (self.ended - self.started) * 1_000
        refusal = f" {self.refusal}" if self.refusal else ""
        method = self.method if self.method in _METHODS else HIDDEN
        path = shown_path(self.path, self.words)
        return f"{method} {path} {status} {milliseconds:.1f} ms {self.id.decode()}{refusal}"


def refusal(type: str, code: str | None = None, place: str | None = None) -> str:
    """What is told of an error. `place` is where a request is wrong."""
    found = [type, *([code] if code else [])]
    if place:
        found.append(f"at {shown_place(place)}")
    return " ".join(found)


def note_fault(request: Request, error: Exception) -> None:
    """A fault of ours. What has a name here says what happened; of anything else one wants to know where."""
    if isinstance(error, ProviderFailed):
        request.refusal = error.code
    elif isinstance(error, ClewError):
        request.refusal = kind(error)
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
        self._words = words_of(router.routes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._live(scope, receive, send)
            return
        request = request_of(scope)
        request.words = self._words

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

    async def _live(self, scope: Scope, receive: Receive, send: Send) -> None:
        """From start to end. Why either failed is told here: the router would send all the words of the error."""

        def sending(message: Message) -> Awaitable[Any]:
            if message["type"].endswith(".failed"):
                error = sys.exception()
                when = "start" if message["type"] == "lifespan.startup.failed" else "end as it should"
                logger.critical(f"the server could not {when}\n%s", places(error) if error is not None else Places())
                message["message"] = ""
            return send(message)

        await self.router(scope, receive, sending)


def _tell(request: Request) -> None:
    level, error = request.level, request.error
    if logger.isEnabledFor(level):
        # `logger.log` would look for who calls it, which is always this and takes a third of the time.
        where = (type(error), error, None) if error is not None else None
        logger.handle(logging.LogRecord(logger.name, level, __file__, 0, "%s", (request,), where))
