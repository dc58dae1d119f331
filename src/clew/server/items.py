"""Clew's own API: what is in a thread, item by item."""

from __future__ import annotations

from itertools import islice
from typing import Annotated, Any, Literal

from fastapi import FastAPI, Query
from pydantic import BaseModel

from clew.engine.engine import Engine
from clew.errors import NotFound
from clew.events.content import JsonObject
from clew.events.items import Place
from clew.log import Reader
from clew.server.past import AsOf
from clew.server.responses import ExactResponse
from clew.server.sse import item_json
from clew_projections import thread_view


class ItemList(BaseModel):
    items: list[JsonObject]
    has_more: bool


def add_items(app: FastAPI, engine: Engine) -> None:
    @app.get(
        "/threads/{thread_id}/items",
        summary="What is in a thread: messages, tool calls and their results, reasoning, summaries",
        description="`after` is the `place` of the last item of the page before, written `stream:number`.",
        response_model=ItemList,
    )
    async def list_items(
        thread_id: str,
        as_of: AsOf,
        limit: Annotated[int, Query(ge=1, le=1_000)] = 100,
        order: Literal["asc", "desc"] = "desc",
        after: Annotated[str | None, Query(pattern=r"^.+:[0-9]{1,18}$")] = None,
    ) -> Any:
        with engine.log.reading() as reader:
            the_thread(reader, thread_id, as_of)
            history = thread_view.segments(reader, thread_id, as_of)
            newest_first = order == "desc"
            walk = thread_view.walk(
                reader, history, beyond=_place(after), newest_first=newest_first, page=limit + 1, as_of=as_of
            )
            rows = list(islice(walk, limit + 1))
            shown = [item_json(item) for item in thread_view.items(reader, rows[:limit])]
        return ExactResponse({"items": shown, "has_more": len(rows) > limit})


def _place(given: str | None) -> Place | None:
    if given is None:
        return None
    stream, _, number = given.rpartition(":")
    return Place(stream, int(number))


def the_thread(reader: Reader, thread_id: str, as_of: int | None) -> thread_view.ThreadRow:
    row = thread_view.thread(reader, thread_id, as_of)
    if row is None:
        raise NotFound(noun="thread", id=thread_id)
    return row
