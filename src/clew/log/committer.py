"""Committing: a batch of appends becomes rows of the log, in one transaction with the read models.

An append that conflicts is refused before anything is written; should a batch fail all the same, each append is
tried alone, so that one bad append never fails its neighbours.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple, dataclass
from functools import partial
from typing import Any, NamedTuple

from eventsourcing.persistence import PersistenceError
from tenacity import (
    Retrying,
    retry_if_exception_type,
    sleep_using_event,
    stop_after_delay,
    stop_any,
    stop_when_event_set,
    wait_random_exponential,
)

from clew.errors import StoreFailed, StoreLost
from clew.events.base import Event, Recorded
from clew.log.chain import FIRST, Head, Row, Sealer
from clew.log.draft import Draft
from clew.log.store import IDEMPOTENCY, Cursor, End, First, Meanwhile, Raced, Store, nothing
from clew.log.tasks import Append, Forget, Inline, Job, Outcome

# A store that is away for longer is somebody's to look after; until then appends wait.
_AWAY_SECONDS_MAX = 30.0
# As much as our clock may be behind the database's, for a time that is ours to be written.
_CLOCKS_APART_MICROSECONDS_MAX = 10_000


class _Foreseen(NamedTuple):
    """`heads` are the ends of the draft's streams as they were before."""

    draft: Draft
    heads: dict[str, Head]


@dataclass(frozen=True, slots=True)
class _Sent:
    """What went to the store. Of each append that was in it: its identity, its events, the hash of the last one."""

    appends: Sequence[Append]
    outcomes: Sequence[Outcome | BaseException]
    rows: Sequence[Row]

    def __iter__(self) -> Iterator[tuple[int, list[Recorded[Event]], bytes]]:
        hashes = {row.position: row.hash for row in self.rows}
        for append, outcome in zip(self.appends, self.outcomes, strict=True):
            if isinstance(outcome, list) and outcome[-1].position in hashes:
                yield id(append), outcome, hashes[outcome[-1].position]


class Committer:
    """Commits batches, one after the other. Without a thread of its own: the writer's, or a simulation's.

    `forget_inline` is told of streams whose end had to be looked up, because another process may have moved them,
    and of None when nothing that was remembered counts any more. `swapped` is called when another process has
    swapped a read model, in the transaction, and may refuse to go on.
    """

    def __init__(
        self,
        store: Store,
        inline: Inline,
        forget_inline: Forget,
        swapped: Callable[[Cursor], None] = lambda cursor: None,
    ) -> None:
        self._store = store
        self._inline = inline
        self._forget_inline = forget_inline
        self._swapped = swapped
        self._sealer = Sealer()
        self._epoch: int | None = None
        self._sent: _Sent | None = None
        self._found: dict[int, list[Recorded[Event]]] = {}
        self._adding = range(0)
        # Position and time of the log's end when we were done with it last, and whether we found it so the time before.
        self._left: tuple[int, int] | None = None
        self._undisturbed = False
        self._foreseen: _Foreseen | None = None
        self.closing = threading.Event()
        # Positions that this process appended, until whoever follows the log has passed them. Only where others are.
        self.own: set[int] = set()

    def commit(self, appends: Sequence[Append], meanwhile: Meanwhile = nothing) -> None:
        """Sets each append's `outcome`. `meanwhile` is called, maybe more than once, where there is only waiting.

        When the store goes away in the middle, nobody knows what came of it until it is back: it is asked, under
        the lock that the lost transaction held, and what was not kept is appended once more.
        """
        self._sent, self._found = None, {}
        try:
            self._attempt(appends, meanwhile)
        except StoreLost:
            meanwhile()
            self._commit_when_back(appends)

    def _commit_when_back(self, appends: Sequence[Append]) -> None:
        retrying = Retrying(
            retry=retry_if_exception_type(StoreLost),
            wait=wait_random_exponential(multiplier=0.05, max=1.0),
            stop=stop_any(stop_after_delay(_AWAY_SECONDS_MAX), stop_when_event_set(self.closing)),
            sleep=sleep_using_event(self.closing),
            reraise=True,
        )
        try:
            # Those that were tried alone and came through are not tried again.
            retrying(lambda: self._attempt([append for append in appends if append.outcome is None]))
        except StoreLost as error:
            for append in appends:
                append.outcome = append.outcome or error

    def _attempt(self, appends: Sequence[Append], meanwhile: Meanwhile = nothing, *, raced: bool = False) -> None:
        try:
            self._transact(appends, meanwhile)
        except StoreLost:
            self._forget()
            raise
        except Exception as error:
            self._forget()
            self._sent = None
            if isinstance(error, Raced) and not raced:
                # What we remembered was behind. Now that it is forgotten, the truth is looked up beneath the lock.
                self._attempt(appends, meanwhile, raced=True)
            elif len(appends) == 1:
                # Whatever a read model or an event made go wrong, its appender hears of it; the writer lives on.
                appends[0].outcome = _as_ours(error)
            else:
                for append in appends:
                    self._attempt([append])

    def run(self, job: Job) -> None:
        try:
            if job.alone:
                with self._store.appending() as (cursor, _):
                    job.outcome = job.work(cursor)
            else:
                with self._store.transaction() as cursor:
                    job.outcome = job.work(cursor)
        except Exception as error:
            # The job's author hears of it; the writer lives on.
            self._forget()
            job.error = _as_ours(error)

    def _forget(self) -> None:
        # Nothing is foreseen next time, so that whatever is not known any more is looked up.
        self._left = None
        # If they were not kept, others will have these positions.
        self.own.difference_update(self._adding)
        self._sealer.forget()
        self._forget_inline(None)

    def _transact(self, appends: Sequence[Append], meanwhile: Meanwhile) -> None:
        self._foreseen = None
        # Before the question is sent, and so never ahead of the time that comes with its answer.
        foresee = partial(self._foresee, appends, self._store.now())
        with self._store.appending(meanwhile, foresee) as (cursor, end):
            draft = self._as_foreseen(end) or self._draft(cursor, end, appends)
            self._adding = range(0)
            if draft.rows:
                self._note_sent(appends, draft.outcomes, draft.rows)
                self._store.insert_events(cursor, draft.rows)
                self._insert_keys(cursor, draft)
                self._inline(cursor, draft.recorded)
        self._left = (draft.rows[-1].position, draft.rows[-1].at) if draft.rows else (end.position, end.at)
        for append, outcome in zip(appends, draft.outcomes, strict=True):
            append.outcome = outcome

    def _draft(self, cursor: Cursor, end: End, appends: Sequence[Append]) -> Draft:
        self._begin(cursor, end)
        kept = self._kept(cursor)
        draft = Draft(self._sealer, self._first_outcomes(cursor, appends), kept)
        self._learn_heads(cursor, appends)
        draft.take(appends)
        return draft

    def _begin(self, cursor: Cursor, end: End) -> None:
        self._sealer.begin(end.position, end.at, end.now)
        if self._epoch != end.epoch:
            # Also the first time: since this process looked at the read models, another may have swapped one.
            if self._store.shared:
                self._swapped(cursor)
            if self._epoch is not None:
                self._forget()
            self._epoch = end.epoch

    def _foresee(self, appends: Sequence[Append], now: int) -> None:
        """While the store is asked where the log ends: what the batch comes to if it ends where we left it.

        Nothing, where that is unlikely, or more has to be looked up than the end.
        """
        if self._left is None or not self._undisturbed:
            return
        position, at = self._left
        self._sealer.begin(position, at, now)
        heads, unknown = self._remembered(appends)
        if unknown or any(append.key is not None for append in appends):
            return
        draft = Draft(self._sealer, {}, self._found)
        draft.take(appends)
        self._foreseen = _Foreseen(draft, heads)

    def _as_foreseen(self, end: End) -> Draft | None:
        self._undisturbed = self._left == (end.position, end.at)
        if self._foreseen is None:
            return None
        draft, heads = self._foreseen
        behind = end.now - draft.at
        if self._undisturbed and end.epoch == self._epoch and 0 <= behind < _CLOCKS_APART_MICROSECONDS_MAX:
            return draft
        self._sealer.restore(heads)
        return None

    def _note_sent(self, appends: Sequence[Append], outcomes: Sequence[Any], rows: Sequence[Row]) -> None:
        """Remember what is about to be sent, for the case that the answer to it is lost."""
        self._sent = _Sent(appends, outcomes, rows)
        if self._store.shared:
            self._adding = range(rows[0].position, rows[-1].position + 1)
            self.own.update(self._adding)

    def _kept(self, cursor: Cursor) -> dict[int, list[Recorded[Event]]]:
        """What earlier attempts sent, and the store has kept: its hashes are there. What was found once is still there
        when the answer to this attempt is lost too."""
        for append, recorded, sent_hash in self._sent or ():
            last = recorded[-1]
            found = self._store.heads(cursor, [last.stream]).get(last.stream)
            if found is not None and found.version >= last.version:
                cursor.execute(
                    "select hash from events where partition = 0 and originator_id = ? and originator_version = ?",
                    (last.stream, last.version),
                )
                if bytes(cursor.fetchone()[0]) == sent_hash:
                    self._found[append] = recorded
        return self._found

    def _first_outcomes(self, cursor: Cursor, appends: Sequence[Append]) -> dict[str, First]:
        keys = [append.key for append in appends if append.key is not None]
        return self._store.first_outcomes(cursor, keys) if keys else {}

    def _learn_heads(self, cursor: Cursor, appends: Sequence[Append]) -> None:
        _, unknown = self._remembered(appends)
        if unknown:
            found = self._store.heads(cursor, unknown)
            for stream in unknown:
                self._sealer.learn(stream, found.get(stream) or Head(0, FIRST))
                self._forget_inline(stream)

    def _remembered(self, appends: Sequence[Append]) -> tuple[dict[str, Head], list[str]]:
        """The ends of their streams, and the streams whose ends must be looked up: they are not remembered, or another
        process may have moved them."""
        # What counts is where the first append of each stream believes that it ends.
        afters = {append.stream: append.after for append in reversed(appends)}
        heads = {}
        for stream, after in afters.items():
            head = self._sealer.head(stream)
            if head is not None and (head.version == after or not self._store.shared):
                heads[stream] = head
        return heads, [stream for stream in afters if stream not in heads]

    def _insert_keys(self, cursor: Cursor, draft: Draft) -> None:
        if draft.new_keys:
            at = draft.recorded[-1].at
            rows = [(key, *astuple(draft.firsts[key]), at) for key in draft.new_keys]
            cursor.insert("idempotency", IDEMPOTENCY, rows)


def _as_ours(error: BaseException) -> BaseException:
    return StoreFailed(why=str(error)) if isinstance(error, (sqlite3.Error, PersistenceError, Raced)) else error
