"""Forks, and runs made anew, in Clew's own API."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import FastAPI, Header, Request
from pydantic import BaseModel, ConfigDict, Field

from clew.desk import Done
from clew.engine import forking
from clew.engine.engine import Engine
from clew.engine.otherwise import Changes
from clew.engine.rerunning import run_of
from clew.events.content import Content, Metadata
from clew.events.thread import ThreadForked
from clew.rules.state import Thread
from clew.server.repeating import key_of
from clew.server.truncating import TruncationIn, own_truncation, truncation


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Replace(_Body):
    """The message says `content` in the fork: text, or parts as they are in events."""

    kind: Literal["replace"]
    message_id: str
    content: str | Content


class Drop(_Body):
    """The message is not in the fork."""

    kind: Literal["drop"]
    message_id: str


class Insert(_Body):
    """A message more, right before the message `before`."""

    kind: Literal["insert"]
    before: str
    role: Literal["user", "assistant"] = "user"
    content: str | Content


class Say(_Body):
    """A message more, where the fork begins."""

    kind: Literal["say"]
    role: Literal["user", "assistant"] = "user"
    content: str | Content


class Answer(_Body):
    """The tool call has this result in the fork, whether it had one before or not."""

    kind: Literal["answer"]
    tool_call_id: str
    output: str
    is_error: bool = False


Edit = Annotated[Replace | Drop | Insert | Say | Answer, Field(discriminator="kind")]


class RunWanted(_Body):
    """What is otherwise than in the newest run before, or else the first one after; an assistant brings all it says."""

    assistant_id: str | None = None
    model: Annotated[str | None, Field(min_length=1)] = None
    instructions: str | None = None
    truncation: TruncationIn = None


class ForkWanted(_Body):
    """`version` is that of the event after which the fork begins; without it, the thread as it is now.

    What is not given here, the fork has from its parent. With `run`, also an empty one, the fork runs at once.
    """

    version: Annotated[int | None, Field(ge=1)] = None
    edits: list[Edit] = []
    metadata: Metadata | None = None
    truncation: TruncationIn = None
    run: RunWanted | None = None


class RerunWanted(RunWanted):
    """`step` is the number of the model call to begin at.

    Results of tools are those that were `recorded`, and nothing is executed; or the text `stub`, whatever is called;
    or they are asked for `again`: the server's tools are executed, and the client answers its own.
    """

    step: Annotated[int, Field(ge=1)] = 1
    tools: Literal["recorded", "again", "stub"] = "recorded"
    stub: str = ""
    edits: list[Edit] = []


class Forked(BaseModel):
    """`forked_from` is the parent, `forked_at` the version it was left at; `run_id` the run that was begun, if any."""

    thread_id: str
    version: int
    forked_from: str
    forked_at: int
    run_id: str | None = None


def add_forks(app: FastAPI, engine: Engine) -> None:
    @app.post(
        "/threads/{thread_id}/fork",
        summary="Fork a thread where it stood after any of its events",
        description="Nothing is copied, however long the thread is, and the thread itself is not touched.",
    )
    async def fork_thread(
        request: Request,
        thread_id: str,
        body: ForkWanted | None = None,
        idempotency_key: Annotated[str | None, Header()] = None,
    ) -> Forked:
        wanted = body or ForkWanted()
        done = await engine.forks.fork(
            thread_id,
            dialect="clew",
            version=wanted.version,
            edits=[_otherwise(edit) for edit in wanted.edits],
            metadata=wanted.metadata,
            truncation=truncation(engine, wanted.truncation),
            run=_changes(engine, wanted.run) if wanted.run is not None else None,
            actor="clew",
            key=await key_of(request, idempotency_key),
        )
        return _forked(done)

    @app.post(
        "/runs/{run_id}/rerun",
        summary="Make a run anew for real, in a fork, with something else",
        description="Everything is as it was recorded but for what is named. The run itself is not touched.",
    )
    async def rerun(
        request: Request,
        run_id: str,
        body: RerunWanted | None = None,
        idempotency_key: Annotated[str | None, Header()] = None,
    ) -> Forked:
        wanted = body or RerunWanted()
        done = await engine.forks.rerun(
            run_id,
            _changes(engine, wanted),
            step=wanted.step,
            tools=wanted.tools,
            stub=wanted.stub,
            edits=[_otherwise(edit) for edit in wanted.edits],
            dialect="clew",
            actor="clew",
            key=await key_of(request, idempotency_key),
        )
        return _forked(done)


def _changes(engine: Engine, wanted: RunWanted) -> Changes:
    return Changes(
        assistant_id=wanted.assistant_id,
        model=wanted.model,
        instructions=wanted.instructions,
        truncation=own_truncation(engine, wanted.truncation),
    )


def _forked(done: Done[Thread]) -> Forked:
    first = done.events[0].event
    assert isinstance(first, ThreadForked), "a fork begins with where it comes from"
    return Forked(
        thread_id=done.stream,
        version=done.events[-1].version,
        forked_from=first.parent,
        forked_at=first.parent_version,
        run_id=run_of(done),
    )


def _otherwise(edit: Replace | Drop | Insert | Say | Answer) -> forking.Otherwise:
    match edit:
        case Insert():
            return forking.Insert(edit.before, edit.role, edit.content)
        case Replace():
            return forking.Replace(edit.message_id, edit.content)
        case Drop():
            return forking.Drop(edit.message_id)
        case Say():
            return forking.Say(edit.role, edit.content)
        case Answer():
            return forking.Answer(edit.tool_call_id, edit.output, edit.is_error)
