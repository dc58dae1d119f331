"""Threads, in Clew's own API."""

from __future__ import annotations

from typing import Annotated

from fastapi import FastAPI, Header, Query, Request
from pydantic import BaseModel, ConfigDict

from clew.engine.engine import Engine
from clew.engine.strategies import as_written
from clew.events.content import Metadata
from clew.ids import DEFAULT_TENANT, new_id
from clew.log import Reader
from clew.rules.commands import CreateThread
from clew.server.items import the_thread
from clew.server.past import AsOf
from clew.server.repeating import key_of
from clew.server.truncating import TruncationIn, own_truncation
from clew_projections import thread_stats, thread_view


class NewThread(BaseModel):
    model_config = ConfigDict(extra="forbid")

    metadata: Metadata = {}
    truncation: TruncationIn = None


class ThreadCounts(BaseModel):
    """Of a fork, `messages` has those that it inherited, too; runs and tokens are its own."""

    messages: int
    runs: int
    input_tokens: int
    output_tokens: int
    active_at: int


class ThreadInfo(BaseModel):
    """A fork says of which thread, and at which of its versions."""

    thread_id: str
    created_at: int
    metadata: Metadata
    version: int
    truncation: str | None = None
    forked_from: str | None = None
    forked_at: int | None = None
    counts: ThreadCounts


def add_threads(app: FastAPI, engine: Engine) -> None:
    @app.post("/threads", summary="Begin a thread")
    async def create_thread(
        request: Request, body: NewThread | None = None, idempotency_key: Annotated[str | None, Header()] = None
    ) -> ThreadInfo:
        thread_id = new_id("thread")
        command = CreateThread(
            thread_id=thread_id,
            tenant=DEFAULT_TENANT,
            dialect="clew",
            metadata=body.metadata if body is not None else {},
            tool_resources={},
            truncation=own_truncation(engine, body.truncation) if body is not None else None,
        )
        key = await key_of(request, idempotency_key)
        done = await engine.desk.on_thread(thread_id, lambda: command, actor="clew", key=key, new=True)
        return _thread_info(engine, done.stream)

    @app.get(
        "/threads",
        summary="The newest threads",
        description="`after` is the last thread of the page before.",
    )
    async def list_threads(
        as_of: AsOf, limit: Annotated[int, Query(ge=1, le=100)] = 20, after: str | None = None
    ) -> list[ThreadInfo]:
        with engine.log.reading() as reader:
            before = the_thread(reader, after, as_of).created if after is not None else None
            found = thread_view.threads(reader, tenant=DEFAULT_TENANT, before=before, limit=limit, as_of=as_of)
            return [_shown_thread(reader, row, as_of) for row in found]

    @app.get("/threads/{thread_id}", summary="A thread")
    async def get_thread(thread_id: str, as_of: AsOf) -> ThreadInfo:
        return _thread_info(engine, thread_id, as_of)


def _thread_info(engine: Engine, thread_id: str, as_of: int | None = None) -> ThreadInfo:
    with engine.log.reading() as reader:
        return _shown_thread(reader, the_thread(reader, thread_id, as_of), as_of)


def _shown_thread(reader: Reader, row: thread_view.ThreadRow, as_of: int | None) -> ThreadInfo:
    stats = thread_stats.stats(reader, [row.thread_id], as_of)[row.thread_id]
    return ThreadInfo(
        thread_id=row.thread_id,
        created_at=row.created_at,
        metadata=row.metadata,
        version=reader.version(row.thread_id, as_of),
        truncation=as_written(row.truncation) if row.truncation is not None else None,
        forked_from=row.parent,
        forked_at=row.parent_version,
        counts=ThreadCounts(**{name: getattr(stats, name) for name in ThreadCounts.model_fields}),
    )
