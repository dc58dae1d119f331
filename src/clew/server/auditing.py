"""What happened, told and proven, in Clew's own API: audits, exact prompts, differences."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from clew.audit.diffs import Diff, diff
from clew.audit.prompts import ExactPrompt, exact_prompt
from clew.audit.records import Audit
from clew.audit.telling import audit
from clew.engine.engine import Engine
from clew.providers.renderers import RENDERERS
from clew.server.past import AsOf
from clew.server.responses import ExactResponse


def add_audits(app: FastAPI, engine: Engine) -> None:
    @app.get("/runs/{run_id}/audit", summary="A run told step by step", response_model=Audit)
    async def get_audit(run_id: str, as_of: AsOf) -> Any:
        with engine.log.reading() as reader:
            return ExactResponse(audit(reader, run_id, as_of).model_dump())

    @app.get(
        "/runs/{run_id}/steps/{step_id}/prompt",
        summary="Exactly what a model call was sent",
        description="Rendered again from the log. `proven` says whether its SHA-256 is the one in the log, `why_not`"
        " why it is not. `step_id` is the id of a step or of a model call, or the number of a model call.",
    )
    async def get_prompt(run_id: str, step_id: str, as_of: AsOf) -> ExactPrompt:
        here = {provider.renderer: provider.render for provider in engine.providers.values()}
        with engine.log.reading() as reader:
            return exact_prompt(reader, run_id, step_id, {**here, **RENDERERS}, as_of)

    @app.get(
        "/diff",
        summary="What differs between two runs, two threads, or a thread at two points",
        description="`a` and `b` are ids of runs or of threads; `THREAD@v12` is a thread as it was at version 12, and"
        " any other point in the past may stand behind the `@`, too.",
        response_model=Diff,
    )
    async def get_diff(a: str, b: str, as_of: AsOf) -> Any:
        with engine.log.reading() as reader:
            return ExactResponse(diff(reader, a, b, as_of).model_dump())
