"""Finding in the log what a client asked for."""

from __future__ import annotations

from clew.events.base import Event
from clew.events.content import plain_text
from clew.events.message import MessageAppended
from clew.events.run import RunCancelRequested, RunQueued
from clew.events.thread import ThreadCreated, ThreadDeleted
from clew.events.tool import ToolReturned, ToolSettled
from tests.simulation.history import Asked, What


def mark_of(event: Event) -> tuple[What, str] | None:
    """What a client wanted by this event, and the mark it left in it."""
    match event:
        case ThreadCreated(metadata=metadata):
            return "create", metadata["op"]
        case MessageAppended(role="user", content=content):
            return "message", plain_text(content)
        case RunQueued(metadata=metadata):
            return "run", metadata["op"]
        case ToolReturned(output=output):
            return "submit", output
        case RunCancelRequested(by=str(by)):
            return "cancel", by
        case ToolSettled(by=by):
            return "settle", by
        case ThreadDeleted(by=str(by)):
            return "delete", by
        case _:
            return None


def is_marked(asked: Asked, event: Event) -> bool:
    return mark_of(event) == (asked.what, asked.mark)
