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
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import orjson
from eventsourcing.persistence import StoredEvent

FIRST = bytes(32)
_PREFIX = b"clew/1"
_SALT_BYTES = 16
_HEADS_MAX = 100_000


@dataclass(frozen=True)
class Sealed(StoredEvent):
    """A stored event with its place and its hashes."""

    position: int
    partition: int
    at: int
    actor: str | None
    salt: bytes | None
    body_hash: bytes
    hash: bytes


def body_hash(salt: bytes, state: bytes) -> bytes:
    return hashlib.sha256(salt + state).digest()


def chain_hash(
    before: bytes, partition: int, stream: str, version: int, kind: str, at: int, actor: str | None, body: bytes
) -> bytes:
    header = orjson.dumps([partition, stream, version, kind, at, actor])
    return hashlib.sha256(_PREFIX + before + header + body).digest()


@dataclass(frozen=True, slots=True)
class Head:
    """The end of a stream: its version (0 when it has no events) and the hash of its last event."""

    version: int
    hash: bytes


@dataclass(frozen=True, slots=True)
class Unsealed:
    """An event on its way into the log. `version` is the one it was decided for."""

    stream: str
    version: int
    kind: str
    state: bytes
    actor: str | None


class Sealer:
    """Gives events their positions, times and hashes. Belongs to the one thread that writes.

    It remembers the ends of the streams that were written last; `forget` after a transaction that failed.
    """

    def __init__(self, load_head: Callable[[str], Head], load_end: Callable[[], tuple[int, int]]) -> None:
        self._load_head = load_head
        self._load_end = load_end
        self._heads: OrderedDict[str, Head] = OrderedDict()
        self._end: tuple[int, int] | None = None

    def head(self, stream: str) -> Head:
        found = self._heads.get(stream)
        if found is None:
            found = self._heads[stream] = self._load_head(stream)
            if len(self._heads) > _HEADS_MAX:
                self._heads.popitem(last=False)
        else:
            self._heads.move_to_end(stream)
        return found

    def forget(self) -> None:
        self._heads.clear()
        self._end = None

    def seal(self, events: Sequence[Unsealed], partition: int = 0) -> list[Sealed]:
        """Assert-free of conflicts: the caller has compared versions with `head`."""
        position, last_at = self._end if self._end is not None else self._load_end()
        # Times never go back along positions, so that a time always means one position.
        at = max(time.time_ns() // 1000, last_at)
        salts = os.urandom(_SALT_BYTES * len(events))
        sealed = []
        for place, event in enumerate(events):
            position += 1
            salt = salts[place * _SALT_BYTES : (place + 1) * _SALT_BYTES]
            body = body_hash(salt, event.state)
            before = self.head(event.stream).hash
            hashed = chain_hash(before, partition, event.stream, event.version, event.kind, at, event.actor, body)
            self._heads[event.stream] = Head(event.version, hashed)
            sealed.append(
                Sealed(
                    event.stream,
                    event.version,
                    event.kind,
                    event.state,
                    position,
                    partition,
                    at,
                    event.actor,
                    salt,
                    body,
                    hashed,
                )
            )
        self._end = (position, at)
        return sealed


def check(events: Sequence[Sealed], before: bytes = FIRST) -> tuple[int, str] | None:
    """The index of the first event of a stream that does not fit, and why; None when all do.

    An erased event (no body, no salt) is held by its hashes alone.
    """
    for place, event in enumerate(events):
        erased = event.salt is None and event.state is None
        if not erased and not _body_fits(event):
            return place, "its body does not fit its hash"
        expected = chain_hash(
            before,
            event.partition,
            str(event.originator_id),
            event.originator_version,
            event.topic,
            event.at,
            event.actor,
            event.body_hash,
        )
        if expected != event.hash:
            return place, "its hash does not follow from the event before it"
        before = event.hash
    return None


def _body_fits(event: Sealed) -> bool:
    """SQLite gives back whatever type a tampering hand stored, which need not be bytes."""
    if event.salt is None or not isinstance(event.state or b"", bytes):
        return False
    return body_hash(event.salt, event.state or b"") == event.body_hash
