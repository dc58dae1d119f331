"""Bugs to plant: what the simulation must find, so that its silence means something."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from typing import Any
from unittest.mock import patch

from clew.engine.budgets import Budgets
from clew.errors import StaleFence
from clew.log import Cursor, Log
from clew.log.committer import Committer
from clew.log.tasks import Append
from clew.rules import calls, runs
from clew.rules.state import ActiveRun, Thread
from clew_projections import run_board

Planted = AbstractContextManager[Any]


def _all_of(*patches: AbstractContextManager[Any]) -> Planted:
    stack = ExitStack()
    for one in patches:
        stack.enter_context(one)
    return stack


def no_fence() -> Planted:
    """Whoever wakes up goes on with a run that has become somebody else's."""

    def held(thread: Thread, run_id: str, fence: int) -> ActiveRun:
        if thread.run is None or thread.run.run_id != run_id:
            raise StaleFence(run_id=run_id, fence=fence, newest=-1)
        return thread.run

    return _all_of(patch.object(runs, "held", held), patch.object(calls, "held", held))


def no_idempotency_key() -> Planted:
    """Whatever is asked twice is done twice."""
    return _all_of(
        patch.object(Log, "first_outcome", lambda self, key: None),
        patch.object(Committer, "_first_outcomes", lambda self, cursor, appends: {}),
        patch.object(Committer, "_insert_keys", lambda self, cursor, firsts, recorded: None),
    )


def no_lease() -> Planted:
    """Every run that is worked on is anybody's."""
    real = run_board.claim

    def claim(cursor: Cursor, *, worker: str, lease_microseconds: int, limit: int) -> list[run_board.BoardRow]:
        cursor.execute("delete from leases")
        cursor.execute("update run_board set leased_until = 0")
        return real(cursor, worker=worker, lease_microseconds=lease_microseconds, limit=limit)

    return _all_of(patch.object(run_board, "claim", claim))


def hasty_acknowledgement() -> Planted:
    """The appender hears of success before the commit."""
    real: Callable[..., None] = Committer._note_sent

    def note_sent(self: Committer, appends: Sequence[Append], outcomes: Sequence[Any], rows: Any) -> None:
        for append, outcome in zip(appends, outcomes, strict=True):
            if isinstance(outcome, list) and append.future is not None and not append.future.done():
                append.future.set_result(outcome)
        real(self, appends, outcomes, rows)

    return _all_of(patch.object(Committer, "_note_sent", note_sent))


def skipping_follower() -> Planted:
    """Who comes behind begins his next look one event too late."""
    real: Callable[[Log, int], int] = Log._tell_of_others

    def tell_of_others(self: Log, position: int) -> int:
        reached = real(self, position)
        return reached + 1 if reached != position else reached

    return _all_of(patch.object(Log, "_tell_of_others", tell_of_others))


def stale_state() -> Planted:
    """Nobody is told what others append."""

    async def follow_others(self: Log, woken: Any, after: int) -> None:
        return

    return _all_of(patch.object(Log, "follow_others", follow_others))


def no_second_look() -> Planted:
    """What fits when it is looked at is sent, whatever others have appended meanwhile."""
    return _all_of(patch.object(Budgets, "after", lambda self, hand, config, call: ()))


BUGS: tuple[Callable[[], Planted], ...] = (
    no_fence,
    no_idempotency_key,
    no_lease,
    hasty_acknowledgement,
    skipping_follower,
    stale_state,
    no_second_look,
)
