"""Clew's own API, under /clew/v1: the events themselves, and what is derived from them."""

from __future__ import annotations

import hmac
from typing import Annotated, Any, Literal

from fastapi import Depends, FastAPI, Header, HTTPException, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from clew.engine.counting import content_tokens, new_message, text_tokens
from clew.engine.engine import Engine
from clew.engine.files import check_files
from clew.errors import (
    ClewError,
    Conflict,
    Erased,
    NotCovered,
    NotFound,
    Refused,
    StoreFailed,
    StoreLost,
    TooLarge,
)
from clew.events.content import Content, JsonObject, Metadata, text
from clew.events.message import MessageAppended
from clew.events.tool import SettledOutcome
from clew.rules.commands import (
    AppendMessages,
    ChangeMessage,
    ChangeThread,
    EditMessage,
    RemoveMessage,
    SettleTool,
    ThreadCommand,
)
from clew.server.auditing import add_audits
from clew.server.billing import add_billing
from clew.server.budgets import add_budgets
from clew.server.forking import add_forks
from clew.server.items import add_items
from clew.server.past import AsOf, point_check
from clew.server.proofs import add_proofs
from clew.server.rebuilding import add_rebuilding
from clew.server.repeating import key_of
from clew.server.responses import ExactResponse
from clew.server.sse import feed_frames, past_frames, recorded_json
from clew.server.threads import add_threads
from clew.server.truncating import ThreadToChange, add_assistants, truncation
from clew.server.what_if import add_what_if
from clew.serving.request_log import note_fault, refusal, request_of
from clew_projections import run_view, thread_view

BODY_BYTES_MAX = 2_000_000

_STATUS: dict[type[ClewError], int] = {
    NotFound: 404,
    NotCovered: 404,
    TooLarge: 413,
    Erased: 410,
    Refused: 400,
    Conflict: 409,
    StoreFailed: 507,
    StoreLost: 503,
}


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class MessageToAppend(_Body):
    """`content` is text, or parts as they are in events."""

    kind: Literal["message.appended"]
    role: Literal["user", "assistant"]
    content: str | Content
    metadata: Metadata = {}


class MessageToEdit(_Body):
    kind: Literal["message.edited"]
    message_id: str
    content: str | Content


class MessageToChange(_Body):
    kind: Literal["message.changed"]
    message_id: str
    metadata: Metadata


class MessageToRemove(_Body):
    kind: Literal["message.removed"]
    message_id: str


EventToAppend = Annotated[
    MessageToAppend | MessageToEdit | MessageToChange | MessageToRemove | ThreadToChange, Field(discriminator="kind")
]


class Settlement(_Body):
    """What was found out about a tool call in doubt. `output` is what the model is told."""

    outcome: SettledOutcome
    output: str = ""
    by: str = "a person"


class RecordedEvent(BaseModel):
    """An event with its place in the log. `at` is in microseconds since 1970."""

    position: int
    thread_id: str
    version: int
    at: int
    actor: str | None
    kind: str
    data: JsonObject


class EventList(BaseModel):
    events: list[RecordedEvent]
    has_more: bool


class RunInfo(BaseModel):
    run: run_view.RunView
    steps: list[run_view.StepView]


class ProjectionStanding(BaseModel):
    name: str
    lifecycle: str
    version: int
    position: int
    behind: int


def make_native_app(engine: Engine) -> FastAPI:
    app = FastAPI(
        title="Clew",
        version="1",
        docs_url=None,
        redoc_url=None,
        max_body_size=BODY_BYTES_MAX,
        description=__doc__,
        dependencies=[Depends(_key_check(engine)), Depends(point_check(engine))],
    )
    add_threads(app, engine)
    add_items(app, engine)
    _add_events(app, engine)
    _add_runs(app, engine)
    add_forks(app, engine)
    add_audits(app, engine)
    add_budgets(app, engine)
    add_billing(app, engine)
    add_what_if(app, engine)
    add_proofs(app, engine)
    add_rebuilding(app, engine)
    add_assistants(app, engine)
    app.add_exception_handler(ClewError, _refusal)
    app.add_exception_handler(RequestValidationError, _invalid)
    return app


def _key_check(engine: Engine) -> Any:
    async def check(authorization: Annotated[str, Header()] = "") -> None:
        expected = engine.settings.api_key
        given = authorization.removeprefix("Bearer ").encode()
        if expected is not None and not hmac.compare_digest(given, expected.encode()):
            raise HTTPException(401, "send the key that CLEW_API_KEY names as `Authorization: Bearer <key>`")

    return check


async def _refusal(request: Request, error: Exception) -> Response:
    assert isinstance(error, ClewError)
    status = next((_STATUS[cls] for cls in type(error).__mro__ if cls in _STATUS), 500)
    request_of(request.scope).refusal = type(error).__name__
    if status >= 500:
        note_fault(request_of(request.scope), error)
    facts = {name: value for name, value in vars(error).items() if isinstance(value, (str, int, float))}
    return JSONResponse({"error": {"type": type(error).__name__, "message": str(error), **facts}}, status)


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    places = [".".join(map(str, fault["loc"][1:])) for fault in error.errors()]
    where = "; ".join(f"{place}: {fault['msg']}" for place, fault in zip(places, error.errors(), strict=True))
    request_of(request.scope).refusal = refusal("Invalid", place=places[0])
    return JSONResponse({"error": {"type": "Invalid", "message": where}}, 400)


def _add_events(app: FastAPI, engine: Engine) -> None:
    @app.post("/threads/{thread_id}/events", summary="Append to a thread", response_model=list[RecordedEvent])
    async def append_event(
        request: Request,
        thread_id: str,
        body: EventToAppend,
        idempotency_key: Annotated[str | None, Header()] = None,
    ) -> Any:
        key = await key_of(request, idempotency_key)
        done = await engine.desk.on_thread(thread_id, lambda: _command(engine, thread_id, body), actor="clew", key=key)
        return ExactResponse([recorded_json(recorded) for recorded in done.events])

    @app.get(
        "/threads/{thread_id}/events",
        summary="A thread's events, as JSON or as a feed",
        description="With `Accept: text/event-stream` the events come as they happen; each frame's id is the"
        " event's version, and `Last-Event-ID` or `after` says from where to go on, also after a restart. A feed of"
        " the past ends at its point; asked to go on behind that, it answers 204, which stops an EventSource.",
        response_model=EventList,
    )
    async def read_events(
        request: Request,
        thread_id: str,
        as_of: AsOf,
        after: Annotated[int, Query(ge=0)] = 0,
        limit: Annotated[int, Query(ge=1, le=1_000)] = 100,
        previews: bool = False,
        last_event_id: Annotated[str | None, Header()] = None,
    ) -> Any:
        upto = _end(engine, thread_id, as_of)
        if "text/event-stream" in request.headers.get("accept", ""):
            start = int(last_event_id) if last_event_id and last_event_id.isdecimal() else after
            if upto is None:
                frames = feed_frames(engine.feed, thread_id, start, previews=previews)
            elif last_event_id and start >= upto:
                return Response(status_code=204)
            else:
                frames = past_frames(engine.log, thread_id, start, upto)
            return StreamingResponse(frames, media_type="text/event-stream", headers={"cache-control": "no-store"})
        with engine.log.reading() as reader:
            found = reader.stream(thread_id, after=after, upto=upto, limit=limit + 1)
        shown = [recorded_json(recorded) for recorded in found[:limit]]
        return ExactResponse({"events": shown, "has_more": len(found) > limit})


def _end(engine: Engine, thread_id: str, as_of: int | None) -> int | None:
    """The last version to show, None for whatever there is and comes. Raises `NotFound`."""
    thread = engine.desk.thread(thread_id)
    if as_of is None:
        version, known = None, thread.exists
    else:
        with engine.log.reading() as reader:
            version = reader.version(thread_id, as_of)
        known = version > 0
    if not known or not thread.stored:
        raise NotFound(noun="thread", id=thread_id)
    return version


def _command(engine: Engine, thread_id: str, body: EventToAppend) -> ThreadCommand:
    match body:
        case MessageToAppend(role=role, content=content, metadata=metadata):
            message = new_message(role, _parts(content), metadata=metadata)
            return AppendMessages(thread_id=thread_id, messages=(message,))
        case ThreadToChange(metadata=metadata, truncation=given):
            return ChangeThread(thread_id=thread_id, metadata=metadata, truncation=truncation(engine, given))
        case _:
            return _message_command(engine, thread_id, body)


def _message_command(
    engine: Engine, thread_id: str, body: MessageToEdit | MessageToChange | MessageToRemove
) -> ThreadCommand:
    with engine.log.reading() as reader:
        history = thread_view.segments(reader, thread_id)
        row = thread_view.message(reader, history, body.message_id)
        appended = reader.event(row.created).event if row is not None else None
    if row is None or not isinstance(appended, MessageAppended):
        raise NotFound(noun="message", id=body.message_id)
    match body:
        case MessageToEdit(message_id=message_id, content=content):
            parts = _parts(content)
            return EditMessage(
                thread_id=thread_id,
                message_id=message_id,
                content=parts,
                tokens=content_tokens(parts),
                tokens_before=row.tokens,
            )
        case MessageToChange(message_id=message_id, metadata=metadata):
            return ChangeMessage(thread_id=thread_id, message_id=message_id, metadata=metadata)
        case MessageToRemove(message_id=message_id):
            return RemoveMessage(thread_id=thread_id, message_id=message_id, role=appended.role, tokens=row.tokens)


def _parts(content: str | Content) -> Content:
    """Raises `NotFound` for a file that is not there."""
    if isinstance(content, str):
        return text(content)
    check_files(content)
    return content


def _add_runs(app: FastAPI, engine: Engine) -> None:
    @app.get("/runs/{run_id}", summary="A run and its steps")
    async def get_run(run_id: str, as_of: AsOf) -> RunInfo:
        with engine.log.reading() as reader:
            run = run_view.run(reader, run_id, as_of)
            if run is None:
                raise NotFound(noun="run", id=run_id)
            steps = run_view.steps(reader, run_id, newest_first=False, limit=1_000, as_of=as_of)
            return RunInfo(run=run, steps=steps)

    @app.post(
        "/runs/{run_id}/tool_calls/{tool_call_id}/settle",
        summary="Settle a tool call in doubt",
        response_model=list[RecordedEvent],
    )
    async def settle(run_id: str, tool_call_id: str, body: Settlement) -> Any:
        with engine.log.reading() as reader:
            run = run_view.run(reader, run_id)
        if run is None:
            raise NotFound(noun="run", id=run_id)
        command = SettleTool(
            thread_id=run.thread_id,
            run_id=run_id,
            tool_call_id=tool_call_id,
            outcome=body.outcome,
            output=body.output,
            by=body.by,
            tokens=text_tokens(body.output),
        )
        done = await engine.desk.on_thread(run.thread_id, lambda: command, actor="clew")
        return ExactResponse([recorded_json(recorded) for recorded in done.events])

    @app.get("/projections", summary="Where the read models stand")
    async def projections(as_of: AsOf) -> list[ProjectionStanding]:
        if as_of is not None:
            raise Refused("where the read models stand is no part of the history; it is only known of now")
        with engine.log.reading() as reader:
            return [ProjectionStanding(**standing) for standing in map(_as_dict, engine.keeper.standings(reader))]


def _as_dict(standing: Any) -> dict[str, Any]:
    return {name: getattr(standing, name) for name in ProjectionStanding.model_fields}
