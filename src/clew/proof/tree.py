"""The stored tree, read: whose it is, how far it goes, its checkpoints, and proofs from its tiles."""

from __future__ import annotations

from dataclasses import dataclass

from clew.errors import NotCovered
from clew.log import Reader
from clew.proof import merkle
from clew.proof.checkpoint import Note, parse_note
from clew.proof.tiles import Tiles


@dataclass(frozen=True, slots=True)
class TreeHead:
    """`verifier` is the public half of the key that signs, as text. `size` counts the events that are covered."""

    origin: str
    verifier: str
    size: int


def has_tree(reader: Reader) -> bool:
    """Whether the store has the tables at all: one that an older Clew wrote and nobody has brought up has not."""
    if reader.tongue.name == "postgres":
        sql = "select to_regclass('proof_head') is not null"
    else:
        sql = "select exists (select 1 from sqlite_master where name = 'proof_head')"
    return bool(reader.rows(sql)[0][0])


def tree_head(reader: Reader) -> TreeHead | None:
    """None as long as nobody has begun a tree."""
    rows = reader.raw_rows("select origin, verifier, size from proof_head where partition = 0")
    if not rows:
        return None
    origin, verifier, size = rows[0]
    return TreeHead(str(origin), str(verifier), size if isinstance(size, int) else 0)


def load_tile(reader: Reader, level: int, number: int) -> bytes:
    """Empty when it is not there, or is no tile."""
    sql = "select hashes from proof_tiles where partition = 0 and level = ? and number = ?"
    rows = reader.rows(sql, (level, number))
    return rows[0][0] if rows and isinstance(rows[0][0], bytes) else b""


def tiles(reader: Reader) -> Tiles:
    return Tiles(lambda level, number: load_tile(reader, level, number))


def newest_note(reader: Reader) -> str | None:
    sql = "select note from proof_checkpoints where partition = 0 order by size desc limit 1"
    rows = reader.raw_rows(sql)
    return str(rows[0][0]) if rows else None


def notes(reader: Reader) -> list[tuple[int, str]]:
    """The size under which each checkpoint is kept, and its text; oldest first."""
    sql = "select size, note from proof_checkpoints where partition = 0 order by size"
    return [(row[0] if isinstance(row[0], int) else 0, str(row[1])) for row in reader.raw_rows(sql)]


def newest_checkpoint(reader: Reader) -> Note:
    """Raises `NotCovered` when there is none yet."""
    written = newest_note(reader)
    if written is None:
        raise NotCovered(size=1, covered=0)
    return parse_note(written)


def inclusion(reader: Reader, position: int, size: int | None = None) -> tuple[int, bytes, list[bytes]]:
    """For the event at `position` in the tree of `size` (else as large as it is): the size, the leaf, the proof."""
    size = _size(reader, size)
    if not 1 <= position <= size:
        raise NotCovered(size=position, covered=size)
    stored = tiles(reader)
    leaf = stored.node(0, position - 1)
    return size, leaf, merkle.inclusion_proof(stored.node, position - 1, size)


def consistency(reader: Reader, old: int, new: int | None = None) -> tuple[int, list[bytes]]:
    """That the tree of size `new` (else as large as it is) extends that of `old`: its size, the proof."""
    new = _size(reader, new)
    if not 0 <= old <= new:
        raise NotCovered(size=old, covered=new)
    return new, merkle.consistency_proof(tiles(reader).node, old, new)


def _size(reader: Reader, size: int | None) -> int:
    head = tree_head(reader)
    covered = head.size if head is not None else 0
    if size is not None and not 0 <= size <= covered:
        raise NotCovered(size=size, covered=covered)
    return covered if size is None else size
