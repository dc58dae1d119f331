"""What is given to the writer: appends, and other work in a transaction of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from clew.events.base import Event, Recorded
from clew.log.chain import Salted
from clew.log.store import Cursor

Inline: TypeAlias = Callable[[Cursor, Sequence[Recorded[Event]]], None]
Forget: TypeAlias = Callable[[str | None], None]


@dataclass(frozen=True, slots=True)
class FirstOutcome:
    """The key of an append was seen before: these versions of this stream are what came of it."""

    stream: str
    first_version: int
    last_version: int


Outcome: TypeAlias = "list[Recorded[Event]] | FirstOutcome"


@dataclass(slots=True)
class Append:
    """All of `events`, or nothing. `outcome` is set by the writer's thread.

    `settled` is called in the appender's loop once these events are on disk, before anybody hears of them.
    """

    stream: str
    events: Sequence[Salted]
    after: int
    actor: str | None = None
    key: str | None = None
    fingerprint: bytes = b""
    size_bytes: int = 0
    settled: Callable[[], None] | None = None
    outcome: Outcome | BaseException | None = None
    future: asyncio.Future[Any] | None = None


@dataclass(slots=True)
class Job:
    """Something else to do in a transaction of its own: rows of a follower, a lease, a snapshot.

    `alone`: while nobody appends, in whatever process.
    """

    work: Callable[[Cursor], Any]
    alone: bool = False
    outcome: Any = None
    error: BaseException | None = None
    future: asyncio.Future[Any] | None = None


Task: TypeAlias = Append | Job
Done: TypeAlias = Callable[[Sequence[Task]], None]
