"""What the past would have cost otherwise, in Clew's own API."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import FastAPI, Query

from clew.billing.supposing import Otherwise, supposed_of
from clew.billing.what_if import RunIf, steps
from clew.billing.what_if_told import WhatIf, tell
from clew.engine.engine import Engine
from clew.engine.models import resolve
from clew.engine.strategies import as_written
from clew.errors import BadQuestion, Erased
from clew.log import Reader
from clew.server.items import the_thread
from clew.server.past import AsOf
from clew_projections import run_view

_ABOUT = (
    "Every context of the past is made again as of the position where it was made, and nothing is called. `truncation`"
    " is a strategy: auto, none, last_messages:20, token_budget:8000, clear_tool_results:3, summarise, summarise:8000;"
    " `model` is a model, or PROVIDER/MODEL. Without `thread_id` it is of all threads, without the runs one by one."
)


def add_what_if(app: FastAPI, engine: Engine) -> None:
    @app.get("/what-if", summary="What another strategy or model would have used and cost", description=_ABOUT)
    async def get_what_if(
        as_of: AsOf,
        thread_id: Annotated[str, Query()] = "",
        truncation: Annotated[str, Query()] = "",
        model: Annotated[str, Query()] = "",
    ) -> WhatIf:
        otherwise = _otherwise(engine, truncation, model)
        with engine.log.reading() as reader:
            if thread_id:
                the_thread(reader, thread_id, as_of)
            threads = [thread_id] if thread_id else run_view.threads(reader)
        runs: list[RunIf] = []
        erased: list[str] = []
        for one in threads:
            try:
                runs += await _of_thread(engine, one, otherwise, as_of)
            except Erased:
                if thread_id:
                    raise
                erased.append(one)
        found = tell(
            runs,
            truncation=as_written(otherwise.truncation) if otherwise.truncation is not None else None,
            model=f"{otherwise.provider}/{otherwise.model}" if otherwise.model is not None else None,
            prices=None,
            erased_threads=erased,
        )
        return found if thread_id else found.model_copy(update={"runs": []})


def _otherwise(engine: Engine, truncation: str, model: str) -> Otherwise:
    if not truncation and not model:
        raise BadQuestion(
            name="truncation", given="", why="say what would be otherwise: a truncation, a model, or both"
        )
    provider, name = resolve(model, engine.providers, engine.settings.default_provider) if model else (None, None)
    strategy = supposed_of(truncation, "truncation", engine.providers) if truncation else None
    return Otherwise(strategy, provider, name)


async def _of_thread(engine: Engine, thread_id: str, otherwise: Otherwise, as_of: int | None) -> list[RunIf]:
    """Call by call; between two of them others have their turn, and the log is not kept open for us."""
    found: list[RunIf] = []
    lent: list[Reader] = []
    with engine.log.reading() as reader:
        upto = as_of if as_of is not None else reader.head()
    every = steps(
        lambda: lent[-1],
        thread_id,
        otherwise,
        engine.prices,
        context_tokens=engine.settings.context_tokens,
        as_of=upto,
    )
    over = False
    while not over:
        with engine.log.reading() as reader:
            lent[:] = [reader]
            try:
                run = next(every)
            except StopIteration:
                over = True
            else:
                found += [run] if run is not None else []
        await asyncio.sleep(0)
    return found
