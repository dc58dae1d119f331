"""What can happen to a thread as a whole."""

from __future__ import annotations

from typing import ClassVar, TypeAlias

from clew.events.base import Event
from clew.events.content import Content, JsonObject, Metadata, Tokens


class ThreadCreated(Event):
    kind: ClassVar[str] = "thread.created"

    tenant: str
    metadata: Metadata = {}
    tool_resources: JsonObject = {}
    dialect: str


class ThreadChanged(Event):
    """Only what changed; what is None stayed as it was."""

    kind: ClassVar[str] = "thread.changed"

    metadata: Metadata | None = None
    tool_resources: JsonObject | None = None


class ThreadForked(Event):
    """The first event of the child. Nothing is copied: the child reads the parent up to `parent_version`.

    What the child inherits is counted here, because its rules ask: messages by users, items, their tokens.
    """

    kind: ClassVar[str] = "thread.forked"

    parent: str
    parent_version: int
    tenant: str
    user_messages: int
    items: int
    tokens: int
    metadata: Metadata = {}
    tool_resources: JsonObject = {}
    dialect: str


class ThreadDeleted(Event):
    """The thread is gone from every reading of now; the log and every reading of the past keep it."""

    kind: ClassVar[str] = "thread.deleted"

    by: str | None = None
    reason: str | None = None


class ThreadErased(Event):
    """The bodies of the events up to `upto_version` were destroyed; their hashes still verify."""

    kind: ClassVar[str] = "thread.erased"

    upto_version: int
    by: str
    reason: str


class ThreadCompacted(Event):
    """A summary stands for the items from `first_item` to `last_item` (item numbers) when a context is made."""

    kind: ClassVar[str] = "thread.compacted"

    item_id: str
    summary: Content
    first_item: int
    last_item: int
    model_call_id: str | None = None
    tokens: Tokens | None = None


ThreadEvent: TypeAlias = ThreadCreated | ThreadChanged | ThreadForked | ThreadDeleted | ThreadErased | ThreadCompacted
