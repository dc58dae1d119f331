"""The tree as it is stored: tiles of at most 256 hashes, so that a proof reads a few of them from a log of any length.

Tile `number` of level 0 holds leaves; of level n, the roots of full subtrees of 256 ** n leaves. The layout is that of
C2SP's tlog-tiles. Nodes between two levels of tiles are computed when they are asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from hashlib import sha256

from clew.errors import DamagedTree
from clew.proof.merkle import node_hash

HASH_BYTES = 32
WIDTH = 256
_TILE_BYTES = WIDTH * HASH_BYTES
_HEIGHT = 8
# A proof for the largest log touches a dozen.
_KEPT_TILES = 64

LoadTile = Callable[[int, int], bytes]


class Tiles:
    """Reads nodes from stored tiles. `node` is what `clew.proof.merkle` asks for."""

    def __init__(self, load: LoadTile) -> None:
        self._layers = lru_cache(maxsize=_KEPT_TILES)(lambda level, number: _layers(load(level, number)))

    def node(self, level: int, index: int) -> bytes:
        tile_level, height = divmod(level, _HEIGHT)
        number, place = divmod(index, WIDTH >> height)
        layer = self._layers(tile_level, number)[height]
        if place >= len(layer):
            raise _damaged(tile_level, number)
        return layer[place]


def hashes_of(tile: bytes) -> list[bytes]:
    return [tile[start : start + HASH_BYTES] for start in range(0, len(tile) - HASH_BYTES + 1, HASH_BYTES)]


def _layers(tile: bytes) -> list[list[bytes]]:
    """The hashes of a tile, then those of each height above them, as far as they are full."""
    layers = [hashes_of(tile)]
    for _ in range(1, _HEIGHT):
        below = layers[-1]
        layers.append([node_hash(below[place], below[place + 1]) for place in range(0, len(below) - 1, 2)])
    return layers


def grown(load: LoadTile, size: int, leaves: Iterable[bytes]) -> dict[tuple[int, int], bytes]:
    """The tiles that change when `leaves` are added to a tree of `size`, by level and number."""
    changed: dict[tuple[int, int], bytes] = {}
    hashes = list(leaves)
    level = 0
    while hashes:
        number, kept = divmod(size >> (_HEIGHT * level), WIDTH)
        tile = _beginning(load, level, number, kept)
        above: list[bytes] = []
        tile += b"".join(hashes)
        for start in range(0, len(tile), _TILE_BYTES):
            part = tile[start : start + _TILE_BYTES]
            changed[level, number] = part
            if len(part) == _TILE_BYTES:
                above.append(_root_of_full(part))
            number += 1
        hashes = above
        level += 1
    return changed


def _beginning(load: LoadTile, level: int, number: int, kept: int) -> bytes:
    if not kept:
        return b""
    tile = load(level, number)
    if len(tile) < kept * HASH_BYTES:
        raise _damaged(level, number)
    return tile[: kept * HASH_BYTES]


def _damaged(level: int, number: int) -> DamagedTree:
    span = WIDTH ** (level + 1)
    return DamagedTree(level=level, number=number, first=number * span + 1, last=(number + 1) * span)


def _root_of_full(tile: bytes) -> bytes:
    row = tile
    while len(row) > HASH_BYTES:
        step = 2 * HASH_BYTES
        row = b"".join([sha256(b"\1" + row[at : at + step]).digest() for at in range(0, len(row), step)])
    return row
