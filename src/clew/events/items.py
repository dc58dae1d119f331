"""The entries of a transcript, as readers and renderers see them.

An item is not an event: it is what one or more events have made of an entry by some point in the log. A message
that was edited is one item with its newest content. `place` is where it stands, so that a manifest can name it.
`tokens` were counted when it was appended; `encoding` is what they were counted in, None when that is an estimate.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from clew.events.content import Content
from clew.events.message import Role


@dataclass(frozen=True, slots=True)
class Place:
    """Where an item stands: its number is the version of the event that appended it to its stream."""

    stream: str
    number: int


@dataclass(frozen=True, slots=True)
class MessageItem:
    place: Place
    message_id: str
    role: Role
    content: Content
    model_call_id: str | None
    tokens: int
    encoding: str | None = None


@dataclass(frozen=True, slots=True)
class ReasoningItem:
    """`model` is the one that was asked, None in logs of the first versions, which do not say. `origin` is the server
    that thought it, where the provider is whoever speaks a format: its host and port."""

    place: Place
    provider: str
    blocks: tuple[str, ...]
    model_call_id: str
    tokens: int
    encoding: str | None = None
    model: str | None = None
    origin: str | None = None


@dataclass(frozen=True, slots=True)
class ToolCallItem:
    place: Place
    tool_call_id: str
    name: str
    arguments: str
    model_call_id: str
    tokens: int
    encoding: str | None = None


@dataclass(frozen=True, slots=True)
class ToolResultItem:
    place: Place
    tool_call_id: str
    output: str
    is_error: bool
    tokens: int
    encoding: str | None = None
    content: Content = ()


@dataclass(frozen=True, slots=True)
class SummaryItem:
    place: Place
    content: Content
    tokens: int
    encoding: str | None = None


Item: TypeAlias = MessageItem | ReasoningItem | ToolCallItem | ToolResultItem | SummaryItem
