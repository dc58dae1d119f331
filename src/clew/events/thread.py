"""What can happen to a thread as a whole."""

from __future__ import annotations

from typing import ClassVar, Literal, TypeAlias

from clew.events.base import Event, Value
from clew.events.content import Content, JsonObject, Metadata, Tokens
from clew.events.run import Completion, Tool, Truncation


class ThreadSettings(Value):
    """What runs on a thread are like, in dialects where the thread says so: of an assistant's, or as it is said here.

    `assistant_version` pins a version, or an alias of one; None is whichever is the assistant's own when a run begins.
    The values of `json_metadata` in the thread's metadata are JSON, and were no texts where they came from.
    """

    assistant_id: str | None = None
    assistant_version: int | str | None = None
    model: str | None = None
    instructions: str | None = None
    tools: tuple[Tool, ...] = ()
    completion: Completion = Completion()
    name: str | None = None
    description: str | None = None
    json_metadata: tuple[str, ...] = ()


class ThreadCreated(Event):
    """A thread that is not `stored` is there for one run: nobody finds it, and nothing goes on with it."""

    kind: ClassVar[str] = "thread.created"

    tenant: str
    metadata: Metadata = {}
    tool_resources: JsonObject = {}
    dialect: str
    truncation: Truncation | None = None
    stored: bool = True


class ThreadConfigured(Event):
    """`settings` are those of the thread from here on."""

    kind: ClassVar[str] = "thread.configured"

    settings: ThreadSettings


class ThreadChanged(Event):
    """Only what changed; what is None stayed as it was. A `truncation` of "default": it has none of its own now."""

    kind: ClassVar[str] = "thread.changed"

    metadata: Metadata | None = None
    tool_resources: JsonObject | None = None
    truncation: Truncation | Literal["default"] | None = None


class ThreadForked(Event):
    """The first event of the child. Nothing is copied: the child reads the parent up to `parent_version`.

    `parent_position` is where that version is in the log: the child sees its parent as it was there, whatever the
    parent changes later. What the child inherits is counted here, because its rules ask: messages by users, items,
    their tokens. `summary` is the item that stands for the beginning of it in contexts, if there is one.
    """

    kind: ClassVar[str] = "thread.forked"

    parent: str
    parent_version: int
    parent_position: int | None = None
    tenant: str
    user_messages: int
    items: int
    tokens: int
    metadata: Metadata = {}
    tool_resources: JsonObject = {}
    dialect: str
    truncation: Truncation | None = None
    summary: str | None = None
    stored: bool = True


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
    """A summary stands for the items from `first_item` to `last_item` (item numbers) when a context is made.

    Only `last_messages` and `none` say themselves which items are shown, and show those and no summary. The numbers
    are of the thread's own stream, unless streams are named: those that it was forked from. Those items were `items`
    of `tokens_before` tokens, and stay in the thread.
    """

    kind: ClassVar[str] = "thread.compacted"

    item_id: str
    summary: Content
    first_item: int
    last_item: int
    model_call_id: str | None = None
    tokens: Tokens | None = None
    run_id: str | None = None
    first_stream: str | None = None
    last_stream: str | None = None
    items: int = 0
    tokens_before: int = 0


ThreadEvent: TypeAlias = (
    ThreadCreated | ThreadConfigured | ThreadChanged | ThreadForked | ThreadDeleted | ThreadErased | ThreadCompacted
)
