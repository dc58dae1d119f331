"""As of when a request of Clew's own API asks: the header or the path says so, and every reading endpoint heeds it."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends, Header, Request

from clew.engine.engine import Engine
from clew.errors import NotFound, PastIsReadOnly
from clew.log import Reader
from clew.past import HEADER, point_of
from clew_projections import run_view

_ABOUT = (
    "Answer as of a point in the past: a position (1234), a version of the thread (v12), or an RFC 3339 time."
    " The same below `/at/<point>/clew/v1`. The past is read-only."
)


def point_check(engine: Engine) -> Any:
    """A dependency of every endpoint: it notes the position that is asked about, and keeps writes out of the past."""

    async def check(
        request: Request, clew_as_of: Annotated[str | None, Header(alias=HEADER, description=_ABOUT)] = None
    ) -> None:
        request.state.as_of = None
        point = point_of(request.scope, clew_as_of)
        if point is None:
            return
        if request.method != "GET":
            raise PastIsReadOnly(point=point.written, where=point.where)
        with engine.log.reading() as reader:
            request.state.as_of = point.position(reader, _thread_of(reader, request.path_params))

    return check


def _thread_of(reader: Reader, named: dict[str, str]) -> str | None:
    """The thread that a request names, or the one of the run that it names."""
    if "run_id" not in named:
        return named.get("thread_id")
    run = run_view.run(reader, named["run_id"])
    if run is None:
        raise NotFound(noun="run", id=named["run_id"])
    return run.thread_id


async def _noted(request: Request) -> int | None:
    as_of: int | None = request.state.as_of
    return as_of


# A parameter of an endpoint: the position that it is to answer for, None for now.
AsOf = Annotated[int | None, Depends(_noted)]
