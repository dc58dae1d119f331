"""The history: what clients asked for and heard, and what befell the processes, with virtual times."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

What: TypeAlias = Literal["create", "message", "run", "submit", "cancel", "settle", "delete"]
# `ok` was acknowledged, `fail` was refused, `info`: nobody knows.
Ended: TypeAlias = Literal["ok", "fail", "info"]


@dataclass(slots=True)
class Asked:
    """One thing that a client wanted, however often it asked. `mark` is found in the events that it leads to.

    `ended` is None while it is under way. `positions` are those of the events that the answer told of.
    """

    mark: str
    what: What
    thread_id: str | None
    invoked: float
    returned: float | None = None
    ended: Ended | None = None
    why: str = ""
    positions: tuple[int, ...] = ()
    # How many events there should be, if it is done.
    events: int = 1
    # The network delivered it twice: what one copy heard says nothing of what becomes of the other later.
    doubled: bool = False


@dataclass(slots=True)
class History:
    lines: list[str] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)

    def note(self, now: float, text: str) -> None:
        self.lines.append(f"{now:9.4f} {text}")
