"""The bill in Clew's own API: totals, groups and entries, what waits for an answer, what items carry, a forecast."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import Depends, FastAPI, Query
from fastapi.responses import Response, StreamingResponse

from clew.billing.carried import carried_record
from clew.billing.export import entries_csv, groups_csv
from clew.billing.forecasting import Forecast, forecast
from clew.billing.questions import Asked, entry_page, following_entries, ledger, understood
from clew.billing.records import CarriedRecord, EntryList, Ledger, OpenCallRecord, open_call_record
from clew.engine.engine import Engine
from clew.errors import NoSuchPoint, Refused
from clew.ids import DEFAULT_TENANT
from clew.log import Reader
from clew.past import HEADER, Point
from clew.server.past import AsOf
from clew_projections import billing_ledger
from clew_projections.billing_ledger import Span

# So many are read within about ten milliseconds, for which everybody else waits.
_CSV_PAGE_ENTRIES = 500

Format = Annotated[Literal["json", "csv"], Query(description="How it is told: as JSON, or as CSV.")]

_TIME = "a time (RFC 3339), a day (2026-11-25), a month (2026-11), or how long ago (7d, 12h)"
_ABOUT_GROUPS = (
    "`group_by` is one of tenant, thread, run, step, assistant, provider, model, tag (all that a call bears),"
    " tag:LABEL, hour, day, month (UTC). The groups that are not listed because of `limit` are told together as"
    " `others`, so that all parts are the total. Amounts are decimals in text."
)


def _asked(
    since: Annotated[str, Query(description=f"From then on: {_TIME}.")] = "",
    until: Annotated[str, Query(description="Until before then.")] = "",
    thread_id: str = "",
    run_id: str = "",
    step_id: str = "",
    assistant_id: str = "",
    provider: str = "",
    model: Annotated[str, Query(description="A model, or PROVIDER/MODEL.")] = "",
    tag: Annotated[
        list[str] | None, Query(description="LABEL=VALUE, of the metadata of runs; may be repeated.")
    ] = None,
) -> Asked:
    return Asked(
        since=since,
        until=until,
        tenant=DEFAULT_TENANT,
        thread_id=thread_id,
        run_id=run_id,
        step_id=step_id,
        assistant_id=assistant_id,
        provider=provider,
        model=model,
        tags=tuple(tag or ()),
    )


WhatIsAsked = Annotated[Asked, Depends(_asked)]


@dataclass(frozen=True, slots=True)
class When:
    """As of which point is asked: `noted` is the position that the header or the path names, `written` the query."""

    noted: int | None
    written: str

    def position(self, reader: Reader, asked: Asked) -> int | None:
        if not self.written:
            return self.noted
        if self.noted is not None:
            why = f"{HEADER} or the path names one, too; name one point"
            raise NoSuchPoint(point=self.written, where="as_of", why=why)
        return Point(self.written, "as_of").position(reader, asked.thread_id or None)


async def _when(
    noted: AsOf,
    as_of: Annotated[str, Query(description=f"As of a point in the past; the header {HEADER} says it, too.")] = "",
) -> When:
    return When(noted, as_of)


WhenAsked = Annotated[When, Depends(_when)]


def add_billing(app: FastAPI, engine: Engine) -> None:
    @app.get("/ledger", summary="What model calls have used and cost", description=_ABOUT_GROUPS, response_model=Ledger)
    async def get_ledger(
        asked: WhatIsAsked,
        when: WhenAsked,
        group_by: str = "",
        order: Annotated[str, Query(description="key, amount, calls, tokens, input_tokens, output_tokens, saved")] = "",
        limit: Annotated[int, Query(ge=1, le=100_000)] = 1_000,
        format: Format = "json",
    ) -> Any:
        with engine.log.reading() as reader:
            found = ledger(
                reader,
                asked,
                group_by=group_by or None,
                order=order or None,
                limit=limit,
                as_of=when.position(reader, asked),
            )
        return _as_csv("".join(groups_csv(found))) if format == "csv" else found

    @app.get(
        "/ledger/entries",
        summary="The model calls one by one",
        description="Ask on with `after` set to `next`. As CSV they come all at once, the oldest first.",
        response_model=EntryList,
    )
    async def get_entries(
        asked: WhatIsAsked,
        when: WhenAsked,
        after: Annotated[int | None, Query(ge=0)] = None,
        limit: Annotated[int, Query(ge=1, le=1_000)] = 100,
        order: Literal["asc", "desc"] = "asc",
        format: Format = "json",
    ) -> Any:
        if format == "csv":
            return _entries_as_csv(engine, asked, when)
        with engine.log.reading() as reader:
            as_of = when.position(reader, asked)
            return entry_page(reader, asked, after=after, limit=limit, newest_first=order == "desc", as_of=as_of)

    @app.get("/ledger/open", summary="The model calls that wait for their answers")
    async def get_open_calls(when: WhenAsked) -> list[OpenCallRecord]:
        if when.noted is not None or when.written:
            raise Refused("which calls wait for an answer is no part of the history; it is only known of now")
        with engine.log.reading() as reader:
            return [open_call_record(call) for call in billing_ledger.open_calls(reader, tenant=DEFAULT_TENANT)]

    _add_threads(app, engine)


def _add_threads(app: FastAPI, engine: Engine) -> None:
    @app.get(
        "/threads/{thread_id}/ledger/carried",
        summary="What each item of a thread has cost by being sent again and again",
        description="Each call's input is shared among its instructions, its tools and the items that it was shown, by"
        " their tokens. The parts add up to what was paid, to the last digit.",
    )
    async def get_carried(
        thread_id: str, as_of: AsOf, limit: Annotated[int, Query(ge=1, le=100_000)] = 100
    ) -> CarriedRecord:
        with engine.log.reading() as reader:
            return carried_record(reader, thread_id, limit=limit, as_of=as_of)

    @app.get(
        "/threads/{thread_id}/ledger/forecast",
        summary="What the next run on a thread will cost",
        description="Nothing is sent to anybody: the context is assembled, the rest is learnt from the newest calls.",
    )
    async def get_forecast(
        thread_id: str,
        as_of: AsOf,
        model: Annotated[str, Query(description="Another model than that of the newest run: PROVIDER/MODEL.")] = "",
        say: Annotated[str, Query(max_length=100_000, description="What a user would add first.")] = "",
    ) -> Forecast:
        if as_of is not None:
            raise Refused("a forecast is of the next run, from now")
        thread = engine.desk.thread(thread_id)
        with engine.log.reading() as reader:
            return forecast(
                reader,
                thread_id,
                thread,
                engine.prices,
                server_limit=engine.settings.context_tokens,
                model=model or None,
                say=say or None,
            )


def _as_csv(text: str) -> Response:
    return Response(text, media_type="text/csv; charset=utf-8", headers=_attached("ledger.csv"))


def _entries_as_csv(engine: Engine, asked: Asked, when: When) -> StreamingResponse:
    """Page by page, and others have their turn between. Entries do not change, so all pages are as of one moment.

    What is wrong with the question is said before it begins.
    """
    with engine.log.reading() as reader:
        meant = understood(reader, asked, when.position(reader, asked))

    async def pages() -> AsyncIterator[str]:
        within: Span | None = meant.within
        begun = False
        while within is not None:
            with engine.log.reading() as reader:
                records, within = following_entries(reader, meant.scope, within, limit=_CSV_PAGE_ENTRIES)
            yield "".join(entries_csv(records, header=not begun))
            begun = True

    return StreamingResponse(pages(), media_type="text/csv; charset=utf-8", headers=_attached("entries.csv"))


def _attached(name: str) -> dict[str, str]:
    return {"content-disposition": f'attachment; filename="{name}"'}
