"""The tree is that of RFC 6962: known answers, a slow reference, and proofs that hold for what they prove only."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clew.errors import DamagedTree
from clew.proof.merkle import (
    EMPTY_ROOT,
    Frontier,
    Nodes,
    consistency_proof,
    extends,
    includes,
    inclusion_proof,
    leaf_hash,
    root,
)
from clew.proof.tiles import Tiles, grown
from tests.proof import reference

# The entries and roots that implementations of certificate transparency test each other with.
KNOWN = [
    bytes.fromhex(entry)
    for entry in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
]
KNOWN_ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
# Proofs among those, put together by hand from the known nodes: index and size, or the two sizes, then the hashes.
KNOWN_PATHS = {
    (0, 8): ["96a296d2", "5f083f0a", "6b47aaf2"],
    (5, 8): ["bc1a0643", "ca854ea1", "d37ee418"],
    (2, 3): ["fac54203"],
    (1, 5): ["6e340b9c", "5f083f0a", "bc1a0643"],
}
KNOWN_EXTENSIONS = {
    (1, 1): [],
    (1, 8): ["96a296d2", "5f083f0a", "6b47aaf2"],
    (6, 8): ["0ebc5d34", "ca854ea1", "d37ee418"],
    (2, 5): ["5f083f0a", "bc1a0643"],
}


def stored(entries: Sequence[bytes], step: int = 7) -> Nodes:
    """The nodes of a tree kept in tiles, grown a few leaves at a time."""
    tiles: dict[tuple[int, int], bytes] = {}
    for size in range(0, len(entries), step):
        leaves = [leaf_hash(entry) for entry in entries[size : size + step]]
        tiles.update(grown(lambda level, number: tiles[level, number], size, leaves))
    return Tiles(lambda level, number: tiles[level, number]).node


def some_entries(count: int) -> list[bytes]:
    return [Random(number).randbytes(32) for number in range(count)]


@pytest.mark.parametrize("size", range(9))
def test_the_roots_are_the_known_ones(size: int) -> None:
    frontier = Frontier()
    for entry in KNOWN[:size]:
        frontier.add(leaf_hash(entry))
    assert frontier.root().hex() == KNOWN_ROOTS[size]
    assert root(stored(KNOWN), size).hex() == KNOWN_ROOTS[size]


def test_the_proofs_are_the_known_ones() -> None:
    nodes = stored(KNOWN)
    for (index, size), hashes in KNOWN_PATHS.items():
        assert [step.hex()[:8] for step in inclusion_proof(nodes, index, size)] == hashes
    for (old, new), hashes in KNOWN_EXTENSIONS.items():
        assert [step.hex()[:8] for step in consistency_proof(nodes, old, new)] == hashes


def test_every_proof_of_small_trees_is_that_of_the_rfc_and_holds() -> None:
    entries = some_entries(40)
    nodes = stored(entries)
    for new in range(1, 41):
        new_root = reference.tree_hash(entries[:new])
        assert root(nodes, new) == new_root
        for index in range(new):
            proof = inclusion_proof(nodes, index, new)
            assert proof == reference.path(index, entries[:new])
            assert includes(new_root, new, index, leaf_hash(entries[index]), proof)
        for old in range(1, new + 1):
            proof = consistency_proof(nodes, old, new)
            assert proof == reference.proof(old, entries[:new])
            assert extends(reference.tree_hash(entries[:old]), old, new_root, new, proof)


def test_trees_of_several_tiles_have_the_same_roots_and_proofs() -> None:
    entries = some_entries(70_000)
    nodes = stored(entries, step=997)
    frontier = Frontier()
    roots = {}
    for size, entry in enumerate(entries, start=1):
        frontier.add(leaf_hash(entry))
        if size in (255, 256, 257, 65_535, 65_536, 65_537, 70_000):
            roots[size] = frontier.root()
    assert roots[257] == reference.tree_hash(entries[:257])
    for size, expected in roots.items():
        assert root(nodes, size) == expected
        for index in (0, 200, size // 2, size - 1):
            assert includes(expected, size, index, leaf_hash(entries[index]), inclusion_proof(nodes, index, size))
        for old, old_root in roots.items():
            if old <= size:
                assert extends(old_root, old, expected, size, consistency_proof(nodes, old, size))


@given(st.integers(1, 300), st.data())
def test_a_proof_holds_for_what_it_proves_and_for_nothing_else(size: int, data: st.DataObject) -> None:
    entries = some_entries(size)
    nodes = stored(entries, step=50)
    index = data.draw(st.integers(0, size - 1))
    other = data.draw(st.integers(0, size - 1).filter(lambda place: place != index or size == 1))
    whole, leaf = root(nodes, size), leaf_hash(entries[index])
    proof = inclusion_proof(nodes, index, size)
    assert includes(whole, size, index, leaf, proof)
    if other != index:
        assert not includes(whole, size, other, leaf, proof)
        assert not includes(whole, size, index, leaf_hash(entries[other]), proof)
    assert not includes(whole, size, index, leaf, [*proof, leaf])
    assert not includes(leaf_hash(b"else"), size, index, leaf, proof)
    for place in range(len(proof)):
        assert not includes(whole, size, index, leaf, proof[:place] + proof[place + 1 :])
        assert not includes(whole, size, index, leaf, [*proof[:place], leaf_hash(b"else"), *proof[place + 1 :]])


@given(st.integers(2, 300), st.data())
def test_a_tree_that_was_changed_does_not_extend_what_it_was(size: int, data: st.DataObject) -> None:
    entries = some_entries(size)
    old = data.draw(st.integers(1, size))
    changed = data.draw(st.integers(0, old - 1))
    then = root(stored(entries[:old], step=50), old)
    honest = stored(entries, step=50)
    proof = consistency_proof(honest, old, size)
    assert extends(then, old, root(honest, size), size, proof)
    entries[changed] = b"something else"
    nodes = stored(entries, step=50)
    assert not extends(then, old, root(nodes, size), size, consistency_proof(nodes, old, size))
    assert not extends(then, old, root(nodes, size), size, proof)
    for place in range(len(proof)):
        assert not extends(then, old, root(honest, size), size, proof[:place] + proof[place + 1 :])


def test_any_tree_extends_the_empty_one_and_itself() -> None:
    whole = root(stored(KNOWN), 8)
    assert extends(EMPTY_ROOT, 0, whole, 8, [])
    assert extends(whole, 8, whole, 8, [])
    assert not extends(whole, 8, EMPTY_ROOT, 8, [])
    assert not extends(whole, 9, whole, 8, [])


def test_a_tile_that_is_too_short_is_told_with_its_positions() -> None:
    nodes = Tiles(lambda level, number: b"x" * 64).node
    with pytest.raises(DamagedTree) as told:
        nodes(0, 256 + 5)
    assert (told.value.first, told.value.last) == (257, 512)
