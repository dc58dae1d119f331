"""The application: each dialect under its own mount, Clew's own API beside them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route, Router

from clew.dialects.openai_assistants import routes as assistants_routes
from clew.engine.engine import Engine
from clew.server.native import make_native_app


def make_app(engine: Engine) -> Router:
    """The whole server. Its lifespan starts and stops `engine`.

    A bare router: a dialect answers its own errors, and middleware on each sending would cost more than they do.
    """

    @asynccontextmanager
    async def lifespan(app: object) -> AsyncIterator[None]:
        await engine.start()
        try:
            yield
        finally:
            await engine.stop()

    async def health(request: Request) -> Response:
        with engine.log.reading() as reader:
            return JSONResponse({"status": "ok", "position": reader.head()})

    assistants = assistants_routes(engine)
    return Router(
        routes=[
            Route("/healthz", health),
            Mount("/openai/v1", routes=assistants),
            Mount("/v1", routes=assistants),
            Mount("/clew/v1", app=make_native_app(engine)),
        ],
        lifespan=lifespan,
    )
