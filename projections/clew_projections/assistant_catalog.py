"""Which assistants there are, and how each was at any point in the past: its versions, and the names they go by."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

from clew.events.assistant import (
    AssistantAliasRemoved,
    AssistantAliasSet,
    AssistantChanged,
    AssistantCreated,
    AssistantDeleted,
    AssistantSettings,
    AssistantVersionSelected,
)
from clew.events.base import Recorded
from clew.log import Reader
from clew.projecting import Projection, Rows, Table, documents, moment, upper_bound


class Alias(BaseModel):
    """A name of a version. Times are in microseconds."""

    model_config = ConfigDict(frozen=True)

    alias: str
    version: int
    created_at: int
    updated_at: int


class AssistantView(BaseModel):
    """`created` is the position of its first event, `created_at` in microseconds.

    Versions count from 1; `versions` is how many there are, and `version` the one that it is, with its `settings`.
    """

    model_config = ConfigDict(frozen=True)

    assistant_id: str
    tenant: str
    created: int
    created_at: int
    updated_at: int
    version: int
    versions: int
    settings: AssistantSettings
    message: str | None = None
    aliases: tuple[Alias, ...] = ()

    def named(self, alias: str) -> Alias | None:
        return next((one for one in self.aliases if one.alias == alias), None)


ASSISTANTS = documents(
    "assistants",
    AssistantView,
    key=("assistant_id",),
    columns={"assistant_id": "text not null", "tenant": "text not null", "created": "integer not null"},
    indexes=(("tenant", "created"),),
)
# Where each version is in the log.
VERSIONS = Table(
    name="assistant_versions",
    key=("assistant_id", "version"),
    columns={"assistant_id": "text not null", "version": "integer not null", "position": "integer not null"},
)
projection = Projection(name="assistant_catalog", version=2, lifecycle="inline", tables=(ASSISTANTS, VERSIONS))


@projection.on(AssistantCreated)
def _(recorded: Recorded[AssistantCreated], rows: Rows) -> None:
    view = AssistantView(
        assistant_id=recorded.stream,
        tenant=recorded.event.tenant,
        created=recorded.position,
        created_at=recorded.at,
        updated_at=recorded.at,
        version=1,
        versions=1,
        settings=recorded.event.settings,
        message=recorded.event.message,
    )
    rows.save(ASSISTANTS, view)
    rows.add(VERSIONS, assistant_id=recorded.stream, version=1, position=recorded.position)


@projection.on(AssistantChanged)
def _(recorded: Recorded[AssistantChanged], rows: Rows) -> None:
    newest = _view(recorded, rows).versions + 1
    change = recorded.event
    _keep(recorded, rows, settings=change.settings, message=change.message, version=newest, versions=newest)
    rows.add(VERSIONS, assistant_id=recorded.stream, version=newest, position=recorded.position)


@projection.on(AssistantVersionSelected)
def _(recorded: Recorded[AssistantVersionSelected], rows: Rows) -> None:
    _keep(recorded, rows, settings=recorded.event.settings, version=recorded.event.version, message=None)


@projection.on(AssistantAliasSet)
def _(recorded: Recorded[AssistantAliasSet], rows: Rows) -> None:
    view, alias = _view(recorded, rows), recorded.event.alias
    before = view.named(alias)
    named = Alias(
        alias=alias,
        version=recorded.event.version,
        created_at=before.created_at if before is not None else recorded.at,
        updated_at=recorded.at,
    )
    others = [one for one in view.aliases if one.alias != alias]
    _keep(recorded, rows, aliases=(*others, named))


@projection.on(AssistantAliasRemoved)
def _(recorded: Recorded[AssistantAliasRemoved], rows: Rows) -> None:
    left = tuple(one for one in _view(recorded, rows).aliases if one.alias != recorded.event.alias)
    _keep(recorded, rows, aliases=left)


@projection.on(AssistantDeleted)
def _(recorded: Recorded[AssistantDeleted], rows: Rows) -> None:
    rows.remove(ASSISTANTS, recorded.stream)


def _view(recorded: Recorded[Any], rows: Rows) -> AssistantView:
    view = rows.load(ASSISTANTS, recorded.stream)
    assert view is not None, "only an assistant that exists is changed"
    return view


def _keep(recorded: Recorded[Any], rows: Rows, **changes: object) -> None:
    rows.save(ASSISTANTS, _view(recorded, rows).model_copy(update={**changes, "updated_at": recorded.at}))


# Questions


def assistant(reader: Reader, assistant_id: str, as_of: int | None = None) -> AssistantView | None:
    now, at = moment(as_of)
    rows = reader.rows(
        f"select doc from assistants where assistant_id = ? and {now} order by since desc limit 1", (assistant_id, *at)
    )
    return ASSISTANTS.read(rows[0][0]) if rows else None


def versions(
    reader: Reader, view: AssistantView, *, newest: int, limit: int, as_of: int | None = None
) -> list[AssistantView]:
    """The assistant as it was in its versions, from `newest` downwards. Each was made when it says it was updated."""
    now, at = moment(as_of)
    rows = reader.rows(
        f"select version, position from assistant_versions where assistant_id = ? and version <= ? and {now}"
        " order by version desc limit ?",
        (view.assistant_id, newest, *at, limit),
    )
    events = reader.events({position for _, position in rows})
    return [_as_version(view, version, events[position]) for version, position in rows]


def _as_version(view: AssistantView, version: int, recorded: Recorded[Any]) -> AssistantView:
    made: AssistantCreated | AssistantChanged = recorded.event
    changes = {"version": version, "settings": made.settings, "message": made.message, "updated_at": recorded.at}
    return view.model_copy(update=changes)


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
        (tenant, *at, after or 0, upper_bound(before, as_of), limit),
    )
    return [ASSISTANTS.read(row[0]) for row in rows]
