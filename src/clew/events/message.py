"""What can happen to a message."""

from __future__ import annotations

from typing import ClassVar, Literal, TypeAlias

from clew.events.base import Event, Value
from clew.events.content import Attachment, Content, Metadata, Tokens

Role: TypeAlias = Literal["user", "assistant", "system"]


class Spot(Value):
    """Before which item a message was put: the one of that number in that stream."""

    stream: str
    number: int


class MessageAppended(Event):
    """`run_id`, `fence`, `model_call_id` and `step_id` are set when a model wrote it; `model_call_id` alone, when a
    client says that one wrote it elsewhere: it ties it to what was called beside it.

    `incomplete` says why the text ends early (`max_tokens`, `content_filter`), None for a whole message. `before` is
    set when a fork puts it into what it inherited; every other message stands where it was appended.
    """

    kind: ClassVar[str] = "message.appended"

    message_id: str
    role: Role
    content: Content
    attachments: tuple[Attachment, ...] = ()
    metadata: Metadata = {}
    tokens: Tokens | None = None
    run_id: str | None = None
    fence: int | None = None
    assistant_id: str | None = None
    model_call_id: str | None = None
    step_id: str | None = None
    incomplete: str | None = None
    before: Spot | None = None


class MessageChanged(Event):
    """Its metadata is `metadata` from here on."""

    kind: ClassVar[str] = "message.changed"

    message_id: str
    metadata: Metadata


class MessageEdited(Event):
    """It says `content` from here on; what it said before, in `tokens_before` tokens, stays in the log."""

    kind: ClassVar[str] = "message.edited"

    message_id: str
    content: Content
    tokens: Tokens | None = None
    tokens_before: int = 0


class MessageRemoved(Event):
    """It is not shown and not sent from here on; it stays in the log. `tokens` is how many it had."""

    kind: ClassVar[str] = "message.removed"

    message_id: str
    role: Role
    tokens: int = 0


MessageEvent: TypeAlias = MessageAppended | MessageChanged | MessageEdited | MessageRemoved
