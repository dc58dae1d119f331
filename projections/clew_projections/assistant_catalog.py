"""Which assistants there are, and how each was at any point in the past."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from clew.events.assistant import AssistantChanged, AssistantCreated, AssistantDeleted, AssistantSettings
from clew.events.base import Recorded
from clew.log import Reader
from clew.projecting import Fold, documents, moment


class AssistantView(BaseModel):
    """`created` is the position of its first event, `created_at` in microseconds; versions count from 1."""

    model_config = ConfigDict(frozen=True)

    assistant_id: str
    tenant: str
    created: int
    created_at: int
    version: int
    settings: AssistantSettings


ASSISTANTS = documents(
    "assistants",
    AssistantView,
    key=("assistant_id",),
    columns={"assistant_id": "text not null", "tenant": "text not null", "created": "integer not null"},
    indexes=(("tenant", "created"),),
)
fold = Fold(name="assistant_catalog", version=1, table=ASSISTANTS)
projection = fold.projection


@fold.on(AssistantCreated)
def _(view: AssistantView | None, recorded: Recorded[AssistantCreated]) -> AssistantView:
    return AssistantView(
        assistant_id=recorded.stream,
        tenant=recorded.event.tenant,
        created=recorded.position,
        created_at=recorded.at,
        version=recorded.version,
        settings=recorded.event.settings,
    )


@fold.on(AssistantChanged)
def _(view: AssistantView | None, recorded: Recorded[AssistantChanged]) -> AssistantView:
    assert view is not None, "only an assistant that exists is changed"
    return view.model_copy(update={"settings": recorded.event.settings, "version": recorded.version})


@fold.on(AssistantDeleted)
def _(view: AssistantView | None, recorded: Recorded[AssistantDeleted]) -> None:
    return None


def assistant(reader: Reader, assistant_id: str, as_of: int | None = None) -> AssistantView | None:
    now, at = moment(as_of)
    rows = reader.rows(f"select doc from assistants where assistant_id = ? and {now}", (assistant_id, *at))
    return ASSISTANTS.read(rows[0][0]) if rows else None


def assistants(
    reader: Reader,
    *,
    tenant: str,
    after: int | None = None,
    before: int | None = None,
    newest_first: bool = True,
    limit: int,
    as_of: int | None = None,
) -> list[AssistantView]:
    """By creation; `after` and `before` are `created` positions."""
    now, at = moment(as_of)
    rows = reader.rows(
        f"select doc from assistants where tenant = ? and {now} and created > ? and created < ?"
        f" order by created {'desc' if newest_first else 'asc'} limit ?",
        (tenant, *at, after or 0, 2**62 if before is None else before, limit),
    )
    return [ASSISTANTS.read(row[0]) for row in rows]
