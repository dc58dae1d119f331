"""Exports: a thread or the whole log as lines of JSON, with everything that the hashes are made of.

The first line says what follows, with the newest signed checkpoint and the key that signed it; then a line an event,
bytes in base64; then a line that says that this was all. A thread's events bring their inclusion proofs; a whole log
needs none, since the tree can be grown from it. `clew.proof.standalone` verifies the file without Clew.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import orjson

from clew.errors import DamagedTree, Misconfigured, NotCovered, NotFound
from clew.log import Reader
from clew.proof import merkle
from clew.proof.checkpoint import Note, parse_note
from clew.proof.tiles import Tiles
from clew.proof.tree import has_tree, newest_note, tiles, tree_head
from clew.proof.verify import evidence

FORMAT = 1

Progress = Callable[[int, int], None]


def lines(
    reader: Reader,
    stream: str | None = None,
    *,
    held: Note | None = None,
    progress: Progress = lambda done, of: None,
) -> Iterator[bytes]:
    """`held`: a checkpoint that somebody has; the export then brings the proof that its own extends it."""
    if stream is not None and not reader.version(stream):
        raise NotFound(noun="thread", id=stream)
    head = tree_head(reader) if has_tree(reader) else None
    written = newest_note(reader) if head is not None else None
    size = parse_note(written).checkpoint.size if written is not None else 0
    stored = tiles(reader)
    of = reader.version(stream) if stream is not None else reader.head()
    yield _line(
        {
            "clew_export": FORMAT,
            "thread": stream,
            "origin": head.origin if head is not None else None,
            "key": head.verifier if head is not None else None,
            "checkpoint": written,
            "extends": _extends(stored, held, size) if held is not None else None,
        }
    )
    count = 0
    for row in evidence(reader, stream):
        covered = stream is not None and 1 <= row[0] <= size
        proof = _proof(stored, row[0], size) if covered else None
        yield _line(_event(row, proof))
        count += 1
        if not count % 1_000:
            progress(count, of)
    progress(count, count)
    yield _line({"end": True, "events": count})


def _extends(stored: Tiles, held: Note, size: int) -> dict[str, Any]:
    old = held.checkpoint.size
    if old > size:
        raise NotCovered(size=old, covered=size)
    return {"size": old, "proof": _coded(merkle.consistency_proof(stored.node, old, size))}


def _proof(stored: Tiles, position: int, size: int) -> list[bytes]:
    try:
        return merkle.inclusion_proof(stored.node, position - 1, size)
    except DamagedTree as damage:
        raise Misconfigured(f"{damage}, so nothing can be proved to others; `clew verify` tells more") from damage


def _event(row: Any, proof: Sequence[bytes] | None) -> dict[str, Any]:
    position, partition, stream, version, kind, at, actor, state, salt, body_hash, hashed = row
    erased = state is None and salt is None
    event = {
        "position": position,
        "partition": partition,
        "stream": stream,
        "version": version,
        "kind": kind,
        "at": at,
        "actor": actor,
        "salt": _in_base64(salt),
        "body": _in_base64(b"" if state is None and not erased else state),
        "body_hash": _in_base64(body_hash),
        "hash": _in_base64(hashed),
    }
    if erased:
        event["erased"] = True
    if proof is not None:
        event["proof"] = _coded(proof)
    return event


def _coded(hashes: Sequence[bytes]) -> list[str | None]:
    return [_in_base64(hashed) for hashed in hashes]


def _in_base64(value: Any) -> str | None:
    """What is not bytes is nothing that Clew wrote, and fits no hash; who verifies the export will find it."""
    if value is None:
        return None
    return base64.b64encode(value if isinstance(value, bytes) else str(value).encode()).decode()


def _line(value: dict[str, Any]) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE, default=str)
