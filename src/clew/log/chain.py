"""The hash chain: what makes a change behind Clew's back show.

Each event carries `body_hash = SHA-256(salt || stored bytes)` and
`hash = SHA-256("clew/1" || hash before it in its stream || header || body_hash)`. The header is the JSON array
`[partition, stream, version, kind, at, actor]` without white space. Body and salt are outside the second hash, so
that they can be erased and the chain still holds. The position is not in it: the order of streams among each
other is proved by checkpoints, not by chains.
"""

from __future__ import annotations

import hashlib
import os
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson
from eventsourcing.persistence import StoredEvent

from clew.events.base import Recorded

FIRST = bytes(32)
_PREFIX = b"clew/1"
_SALT_BYTES = 16
_SALTS_AT_ONCE = 256
_HEADS_MAX = 100_000
# Looked up once, since they are called for every event; `_new` in place of a named tuple's own constructor, which is
# a function of Python and takes twice as long.
_sha256, _dumps, _new = hashlib.sha256, orjson.dumps, tuple.__new__


class Row(NamedTuple):
    """An event as it goes to the database. A tuple, as there is one for every event that is written."""

    position: int
    partition: int
    stream: str
    version: int
    kind: str
    at: int
    actor: str | None
    state: bytes
    salt: bytes
    body_hash: bytes
    hash: bytes


@dataclass(frozen=True)
class Sealed(StoredEvent):
    """A stored event with its place and its hashes, as it is read."""

    position: int
    partition: int
    at: int
    actor: str | None
    salt: bytes | None
    body_hash: bytes
    hash: bytes


def body_hash(salt: bytes, state: bytes) -> bytes:
    return _sha256(salt + state).digest()


def chain_hash(
    before: bytes, partition: int, stream: str, version: int, kind: str, at: int, actor: str | None, body: bytes
) -> bytes:
    header = _dumps((partition, stream, version, kind, at, actor))
    return _sha256(_PREFIX + before + header + body).digest()


class Head(NamedTuple):
    """The end of a stream: its version (0 when it has no events) and the hash of its last event."""

    version: int
    hash: bytes


class Salted(NamedTuple):
    """An event, what is stored of it, and the half of its hashes that is the same wherever it will stand.

    An event of ours, or of the eventsourcing library.
    """

    event: Any
    kind: str
    state: bytes
    salt: bytes
    body_hash: bytes


class Salter:
    """Salts events. In whatever thread: many may ask at once, and each salt is given to one of them."""

    def __init__(self) -> None:
        # Drawn many at a time: asking the system for one costs as much as a hash.
        self._drawn: list[bytes] = []

    def salt(self, event: Any, kind: str, state: bytes) -> Salted:
        try:
            salt = self._drawn.pop()
        except IndexError:
            drawn = os.urandom(_SALT_BYTES * _SALTS_AT_ONCE)
            salt, *others = (drawn[place : place + _SALT_BYTES] for place in range(0, len(drawn), _SALT_BYTES))
            self._drawn += others
        return _new(Salted, (event, kind, state, salt, body_hash(salt, state)))


class Sealer:
    """Gives events their positions, times and hashes. Belongs to the one thread that writes.

    It remembers the ends of the streams that were written last; `forget` after a transaction that failed.
    """

    def __init__(self) -> None:
        self._heads: OrderedDict[str, Head] = OrderedDict()
        self._position = 0
        # The time of what is sealed, in microseconds since 1970.
        self.at = 0

    def begin(self, position: int, at: int, now: int) -> None:
        """Go on after the event at `position`. Times never go back along positions: a time means one position.

        The streams that were not written for longest are forgotten here, and so none that a batch has learnt of.
        """
        while len(self._heads) > _HEADS_MAX:
            self._heads.popitem(last=False)
        self._position = position
        self.at = max(now, at)

    def head(self, stream: str) -> Head | None:
        """The end of `stream` as far as remembered."""
        return self._heads.get(stream)

    def learn(self, stream: str, head: Head) -> None:
        self._heads[stream] = head
        self._heads.move_to_end(stream)

    def restore(self, heads: Mapping[str, Head]) -> None:
        """Unlearn what was sealed and is not to be: these are the ends of its streams as they were before."""
        self._heads.update(heads)

    def forget(self) -> None:
        self._heads.clear()

    def seal(
        self,
        stream: str,
        before: Head,
        actor: str | None,
        events: Iterable[Salted],
        rows: list[Row],
        partition: int = 0,
    ) -> list[Recorded[Any]]:
        """The events in their places; what is to be stored of them is added to `rows`.

        Free of conflicts by its caller, who knows that `before` is where the stream ends.
        """
        at, position = self.at, self._position
        version, hashed = before
        placed: list[Recorded[Any]] = []
        for event, kind, state, salt, body in events:
            position += 1
            version += 1
            # This is `chain_hash`, written out: calling it for every event would be a tenth of the work here.
            header = _dumps((partition, stream, version, kind, at, actor))
            hashed = _sha256(_PREFIX + hashed + header + body).digest()
            rows.append(_new(Row, (position, partition, stream, version, kind, at, actor, state, salt, body, hashed)))
            placed.append(_new(Recorded, (position, stream, version, at, actor, event)))
        self._position = position
        self.learn(stream, _new(Head, (version, hashed)))
        return placed


def seal_stored(sealer: Sealer, heads: Mapping[str, Head], events: Iterable[StoredEvent]) -> list[Row]:
    """Events of the eventsourcing library, of whatever streams, at the versions that they bring. `heads` are the
    ends of those streams that have any."""
    for stream, head in heads.items():
        sealer.learn(stream, head)
    salter = Salter()
    rows: list[Row] = []
    for event in events:
        stream = str(event.originator_id)
        before = (sealer.head(stream) or Head(0, FIRST))._replace(version=event.originator_version - 1)
        sealer.seal(stream, before, None, [salter.salt(event, event.topic, event.state)], rows)
    return rows


def misfit(
    before: bytes,
    partition: int,
    stream: str,
    version: int,
    kind: str,
    at: int,
    actor: str | None,
    state: bytes | None,
    salt: bytes | None,
    body: bytes,
    hashed: bytes,
) -> str | None:
    """Why an event does not follow from the hash before it; None when it does.

    An erased event (no body, no salt) is held by its hashes alone. SQLite gives back whatever type a tampering hand
    stored, which need not be the one that is written here.
    """
    try:
        erased = state is None and salt is None
        if not erased and (salt is None or body_hash(salt, state or b"") != body):
            return "its body does not fit its hash"
        if chain_hash(before, partition, stream, version, kind, at, actor, body) != hashed:
            return "its hash does not follow from the event before it"
    except TypeError:
        return "it holds values of a kind that Clew does not write"
    return None


def check(events: Sequence[Sealed], before: bytes = FIRST) -> tuple[int, str] | None:
    """The index of the first event of a stream that does not fit, and why; None when all do."""
    for place, event in enumerate(events):
        why = misfit(
            before,
            event.partition,
            str(event.originator_id),
            event.originator_version,
            event.topic,
            event.at,
            event.actor,
            event.state,
            event.salt,
            event.body_hash,
            event.hash,
        )
        if why is not None:
            return place, why
        before = event.hash
    return None
