"""The tree grown once more from the events, beside the stored one: roots on the way, and where the two differ."""

from __future__ import annotations

from collections.abc import Iterator

from clew.proof.merkle import EMPTY_ROOT, leaf_hash, node_hash
from clew.proof.tiles import HASH_BYTES, WIDTH, LoadTile

# Stands for an event that is not there, or that has no hash.
MISSING = bytes(HASH_BYTES)


class _Level:
    """The tile that is being filled, and the roots of its full subtrees."""

    def __init__(self) -> None:
        self.number = 0
        self.hashes: list[bytes] = []
        self.peaks: list[bytes] = []

    def add(self, hashed: bytes) -> None:
        size = len(self.hashes)
        self.hashes.append(hashed)
        while size & 1:
            hashed = node_hash(self.peaks.pop(), hashed)
            size >>= 1
        self.peaks.append(hashed)


class Regrown:
    """`covered` is the size of the stored tree; what is added beyond it has nothing to be compared with."""

    def __init__(self, load: LoadTile, covered: int) -> None:
        self.size = 0
        self._load = load
        self._covered = covered
        self._levels: list[_Level] = []
        self._differs = False
        # Positions whose event is not the one in the stored tree, and ranges where the tree does not fit itself.
        self.differing: list[int] = []
        self.torn: list[tuple[int, int]] = []

    def add(self, event_hash: object) -> None:
        self._add(0, leaf_hash(event_hash) if isinstance(event_hash, bytes) else MISSING)
        self.size += 1

    def _add(self, depth: int, hashed: bytes) -> None:
        if depth == len(self._levels):
            self._levels.append(_Level())
        level = self._levels[depth]
        level.add(hashed)
        if len(level.hashes) == WIDTH:
            self._compare(depth, level)
            [root] = level.peaks
            level.number += 1
            level.hashes, level.peaks = [], []
            self._add(depth + 1, root)

    def root(self) -> bytes:
        peaks = [peak for level in reversed(self._levels) for peak in level.peaks]
        if not peaks:
            return EMPTY_ROOT
        root = peaks.pop()
        while peaks:
            root = node_hash(peaks.pop(), root)
        return root

    def finish(self) -> None:
        """Compare the tiles that were not filled."""
        for depth, level in enumerate(self._levels):
            if level.hashes:
                self._compare(depth, level)

    def _compare(self, depth: int, level: _Level) -> None:
        expected = (self._covered >> 8 * depth) - level.number * WIDTH
        if expected <= 0:
            return
        ours = level.hashes[:expected]
        stored = self._load(depth, level.number)
        if stored[: len(ours) * HASH_BYTES] == b"".join(ours):
            return
        if depth == 0:
            self._differs = True
            self.differing += _places(stored, ours, level.number * WIDTH + 1)
        elif not self._differs:
            # Whatever differs below makes what is above it differ too.
            span = WIDTH**depth
            first = level.number * WIDTH * span + 1
            self.torn.append((first, first - 1 + len(ours) * span))


def _places(stored: bytes, ours: list[bytes], first: int) -> Iterator[int]:
    for place, hashed in enumerate(ours):
        if hashed != MISSING and stored[place * HASH_BYTES : (place + 1) * HASH_BYTES] != hashed:
            yield first + place
