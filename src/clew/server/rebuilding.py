"""Making read models anew, in Clew's own API."""

from __future__ import annotations

from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict

from clew.engine.engine import Engine
from clew.engine.rebuilding import Rebuilding, Rebuilt


class RebuildWanted(BaseModel):
    """All read models when none is named."""

    model_config = ConfigDict(extra="forbid")

    names: list[str] = []


class RebuildProgress(BaseModel):
    """`done` of `of` positions. `error` says why it broke off; the old rows are still there then."""

    names: list[str]
    running: bool
    done: int
    of: int
    error: str | None


def add_rebuilding(app: FastAPI, engine: Engine) -> None:
    rebuilding = Rebuilding(engine)

    @app.post(
        "/projections/rebuild",
        summary="Make read models anew from the log",
        description="In small portions, beside everything else. Readers see the old rows until the new ones are whole.",
        status_code=202,
    )
    async def rebuild(body: RebuildWanted | None = None) -> RebuildProgress:
        return _shown(rebuilding.start(body.names if body is not None else []))

    @app.get("/projections/rebuild", summary="How far the newest rebuilding is")
    async def progress() -> RebuildProgress:
        return _shown(rebuilding.newest)


def _shown(rebuilt: Rebuilt) -> RebuildProgress:
    return RebuildProgress(
        names=list(rebuilt.names), running=rebuilt.running, done=rebuilt.done, of=rebuilt.of, error=rebuilt.error
    )
