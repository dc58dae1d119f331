"""The Merkle tree of RFC 6962 and RFC 9162: hashes, roots, proofs, and the checking of proofs. Nothing is stored here.

The leaf at index `position - 1` is the `hash` of the event at `position`. The position need not be in it, because
positions have no gaps and a proof is for one index; what else an auditor asks for (stream, version, kind, time, actor,
body) is in that hash already.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import sha256

EMPTY_ROOT = sha256(b"").digest()

# The hash of the full subtree of 2 ** level leaves that is the index-th of its level.
Nodes = Callable[[int, int], bytes]


def leaf_hash(event_hash: bytes) -> bytes:
    return sha256(b"\0" + event_hash).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return sha256(b"\1" + left + right).digest()


class Frontier:
    """A tree that grows and can tell its root: it keeps the roots of its full subtrees, largest first."""

    def __init__(self) -> None:
        self.size = 0
        self._peaks: list[bytes] = []

    def add(self, leaf: bytes) -> None:
        size = self.size
        while size & 1:
            leaf = sha256(b"\1" + self._peaks.pop() + leaf).digest()
            size >>= 1
        self._peaks.append(leaf)
        self.size += 1

    def root(self) -> bytes:
        if not self._peaks:
            return EMPTY_ROOT
        root = self._peaks[-1]
        for peak in reversed(self._peaks[:-1]):
            root = node_hash(peak, root)
        return root


def root(nodes: Nodes, size: int) -> bytes:
    return _hash_of(nodes, 0, size) if size else EMPTY_ROOT


def _hash_of(nodes: Nodes, start: int, end: int) -> bytes:
    """The root of the leaves from `start` to before `end`, a range as RFC 6962 splits them."""
    middle = _middle(start, end)
    if middle == end:
        level = (end - start).bit_length() - 1
        return nodes(level, start >> level)
    return node_hash(_hash_of(nodes, start, middle), _hash_of(nodes, middle, end))


def _middle(start: int, end: int) -> int:
    """Where a range is split: after the largest power of two that is less than it; `end` when it is one itself."""
    length = end - start
    largest = 1 << (length.bit_length() - 1)
    return end if largest == length else start + largest


def inclusion_proof(nodes: Nodes, index: int, size: int) -> list[bytes]:
    """What the leaf at `index` must be hashed with, from the bottom up, to get the root of `size` leaves."""
    assert 0 <= index < size
    path: list[bytes] = []
    start, end = 0, size
    while end - start > 1:
        middle = _half(start, end)
        if index < middle:
            path.append(_hash_of(nodes, middle, end))
            end = middle
        else:
            path.append(_hash_of(nodes, start, middle))
            start = middle
    return path[::-1]


def _half(start: int, end: int) -> int:
    return start + (1 << ((end - start - 1).bit_length() - 1))


def consistency_proof(nodes: Nodes, old: int, new: int) -> list[bytes]:
    """What shows that the first `old` leaves of a tree of `new` are the tree that was there before."""
    assert 0 <= old <= new
    if old in (0, new):
        return []
    path: list[bytes] = []
    start, end = 0, new
    while old != end:
        middle = _half(start, end)
        if old <= middle:
            path.append(_hash_of(nodes, middle, end))
            end = middle
        else:
            path.append(_hash_of(nodes, start, middle))
            start = middle
    if start:
        path.append(_hash_of(nodes, start, end))
    return path[::-1]


def includes(root: bytes, size: int, index: int, leaf: bytes, proof: Sequence[bytes]) -> bool:
    """Whether `proof` shows the leaf at `index` beneath `root` (RFC 9162, 2.1.3.2)."""
    if not 0 <= index < size:
        return False
    place, last, found = index, size - 1, leaf
    for step in proof:
        if last == 0:
            return False
        if place & 1 or place == last:
            found = node_hash(step, found)
            while not place & 1 and place:
                place >>= 1
                last >>= 1
        else:
            found = node_hash(found, step)
        place >>= 1
        last >>= 1
    return last == 0 and found == root


def extends(old_root: bytes, old: int, new_root: bytes, new: int, proof: Sequence[bytes]) -> bool:
    """Whether `proof` shows that the tree of `new` leaves begins with that of `old` (RFC 9162, 2.1.4.2)."""
    if not 0 <= old <= new:
        return False
    if old in (0, new):
        return not proof and old_root == (EMPTY_ROOT if old == 0 else new_root)
    steps = list(proof) if old & (old - 1) else [old_root, *proof]
    if not steps:
        return False
    place, last = old - 1, new - 1
    while place & 1:
        place >>= 1
        last >>= 1
    was = found = steps[0]
    for step in steps[1:]:
        if last == 0:
            return False
        if place & 1 or place == last:
            was, found = node_hash(step, was), node_hash(step, found)
            while not place & 1 and place:
                place >>= 1
                last >>= 1
        else:
            found = node_hash(found, step)
        place >>= 1
        last >>= 1
    return last == 0 and was == old_root and found == new_root
