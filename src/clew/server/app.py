"""The application: each dialect under its own mount, Clew's own API beside them, and the past of them below `/at/`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route, Router

from clew.dialects.anthropic_messages import routes as anthropic_routes
from clew.dialects.mistral_conversations import routes as mistral_routes
from clew.dialects.openai_assistants import routes as assistants_routes
from clew.engine.engine import Engine
from clew.errors import StoreFailed, StoreLost
from clew.past import PATH
from clew.server.native import make_native_app
from clew.serving.request_log import RequestLog


def make_app(engine: Engine) -> RequestLog:
    """The whole server. Its lifespan starts and stops `engine`.

    A bare router and one application around it: a dialect answers its own errors, and middleware on each sending would
    cost more than they do.
    """

    @asynccontextmanager
    async def lifespan(app: object) -> AsyncIterator[None]:
        await engine.start()
        try:
            yield
        finally:
            await engine.stop()

    async def health(request: Request) -> Response:
        try:
            with engine.log.reading() as reader:
                return JSONResponse({"status": "ok", "position": reader.head()})
        except (StoreFailed, StoreLost) as error:
            return JSONResponse({"status": "unavailable", "error": str(error)}, 503)

    assistants = assistants_routes(engine)
    mounts = [
        Mount("/openai/v1", routes=assistants),
        Mount("/v1", routes=assistants),
        Mount("/mistral", routes=mistral_routes(engine)),
        Mount("/anthropic", routes=anthropic_routes(engine)),
        Mount("/clew/v1", app=make_native_app(engine)),
    ]
    routes = [Route("/healthz", health), *mounts, Mount(PATH, routes=mounts)]
    return RequestLog(Router(routes=routes, lifespan=lifespan))
