"""The follower that extends the tree and signs checkpoints: every second, or every thousand events.

Position order is commit order in both stores, so the events up to where the log ends are always a whole prefix, and
nothing can come to lie between them later. On PostgreSQL many processes try; whoever locks the head row first wins,
and what the others made of the same events is dropped.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from clew.errors import ClewError, DamagedTree
from clew.events.base import Event, Recorded
from clew.log import ColumnType, Cursor, Log, Reader
from clew.proof import merkle
from clew.proof.checkpoint import Checkpoint, Signer
from clew.proof.tiles import Tiles, grown
from clew.proof.tree import TreeHead, load_tile, tree_head

CHECKPOINT_EVENTS = 1_000
CHECKPOINT_SECONDS = 1.0
_POLL_SECONDS = 5.0
# What a process that ends does at most for its last events; the next one goes on with them.
_LAST_SECONDS = 1.0

_TILES: Mapping[str, ColumnType] = {"partition": "integer", "level": "integer", "number": "integer", "hashes": "blob"}
_CHECKPOINTS: Mapping[str, ColumnType] = {"partition": "integer", "size": "integer", "at": "integer", "note": "text"}

logger = logging.getLogger(__name__)


class CannotSign(Exception):
    """This process must not extend this tree; the message says why."""


@dataclass(frozen=True, slots=True)
class Extension:
    """What one step adds to the tree."""

    before: int
    size: int
    tiles: dict[tuple[int, int], bytes]
    note: str


class Notary:
    """Belongs to one process. `signer` None: it may not sign, and leaves the tree to others."""

    def __init__(self, signer: Signer | None) -> None:
        self._signer = signer
        self._pending = 0
        self._woken = asyncio.Event()
        self._enough = asyncio.Event()

    def committed(self, recorded: Sequence[Recorded[Event]]) -> None:
        self._pending += len(recorded)
        self._woken.set()
        if self._pending >= CHECKPOINT_EVENTS:
            self._enough.set()

    async def keep_following(self, log: Log) -> None:
        """Until it finds that it must not: extend the tree by what was appended."""
        while self._signer is not None:
            try:
                await self.follow(log)
            except CannotSign as why:
                logger.error("no checkpoints are signed by this process: %s", why)
                return
            except ClewError as why:
                # The tree has time until the store is back.
                logger.warning("checkpoints wait for the store: %s", why)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._woken.wait(), _POLL_SECONDS)
                # Processes that were woken by the same events should not all come at once.
                pause = CHECKPOINT_SECONDS * (random.uniform(0.8, 1.0) if log.store.shared else 1.0)
                await asyncio.wait_for(self._enough.wait(), pause)

    async def finish(self, log: Log) -> None:
        """The last events of a process that ends."""
        if self._signer is None:
            return
        try:
            await self.follow(log, seconds=_LAST_SECONDS)
        except (CannotSign, ClewError) as error:
            logger.warning("the newest events are in no checkpoint yet: %s", error)

    async def follow(self, log: Log, *, seconds: float = float("inf")) -> int:
        """Bring the tree to where the log ends; gives its size. Raises `CannotSign`."""
        assert self._signer is not None
        self._pending = 0
        self._woken.clear()
        self._enough.clear()
        until = time.monotonic() + seconds
        while True:
            with log.reading() as reader:
                head = tree_head(reader)
                extension = self._extension(reader, head) if head is not None else None
            if head is None:
                await log.write(self._begin)
            elif extension is None:
                return head.size
            else:
                await log.write(partial(_write, extension))
                if extension.size - extension.before < CHECKPOINT_EVENTS or time.monotonic() > until:
                    # What was appended meanwhile can wait for the next checkpoint.
                    return extension.size

    def _begin(self, cursor: Cursor) -> None:
        """A log gets its name when its first checkpoint is due, and the key it is bound to."""
        assert self._signer is not None
        origin = f"clew/{secrets.token_hex(16)}"
        sql = "insert into proof_head (partition, origin, verifier, size) values (0, ?, ?, 0) on conflict do nothing"
        cursor.execute(sql, (origin, str(self._signer.verifier(origin))))

    def _extension(self, reader: Reader, head: TreeHead) -> Extension | None:
        """The next step, if there is anything to add."""
        assert self._signer is not None
        if str(self._signer.verifier(head.origin)) != head.verifier:
            raise CannotSign(
                "its key is not the one that this log's checkpoints are signed with; set CLEW_SIGNING_KEY_FILE"
                " to the same file for all processes"
            )
        leaves = _leaves(reader, head)
        if not leaves:
            return None
        size = head.size + len(leaves)
        try:
            changed = grown(lambda level, number: load_tile(reader, level, number), head.size, leaves)
            nodes = Tiles(lambda level, number: changed.get((level, number)) or load_tile(reader, level, number)).node
            note = self._signer.sign(Checkpoint(head.origin, size, merkle.root(nodes, size)))
        except DamagedTree as damage:
            raise CannotSign(f"{damage}; `clew verify` tells more") from damage
        return Extension(head.size, size, changed, note)


def _leaves(reader: Reader, head: TreeHead) -> list[bytes]:
    """Of the events that are not in the tree yet. What does not follow on what was signed is not signed."""
    rows = reader.hashes(head.size, CHECKPOINT_EVENTS)
    if rows and rows[-1][0] != head.size + len(rows):
        raise CannotSign(f"events are missing from the log after position {head.size}; `clew verify` tells more")
    if not rows and (end := reader.head()) < head.size:
        raise CannotSign(f"the log ends at {end}, and {head.size} events were signed; `clew verify` tells more")
    if not all(isinstance(hashed, bytes) for _, hashed in rows):
        raise CannotSign(f"not every event after position {head.size} has a hash; `clew verify` tells more")
    return [merkle.leaf_hash(hashed) for _, hashed in rows]


def _write(extension: Extension, cursor: Cursor) -> None:
    """Nothing, when another process was there first."""
    cursor.execute(f"select size from proof_head where partition = 0{cursor.tongue.for_update}")
    if cursor.fetchone()[0] != extension.before:
        return
    tiles = [(0, level, number, hashes) for (level, number), hashes in extension.tiles.items()]
    cursor.insert("proof_tiles", _TILES, tiles, replacing=("partition", "level", "number"))
    cursor.insert("proof_checkpoints", _CHECKPOINTS, [(0, extension.size, cursor.now(), extension.note)])
    cursor.execute("update proof_head set size = ? where partition = 0", (extension.size,))
