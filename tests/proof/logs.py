"""Logs to prove something about: small ones with several streams, signed by a key of their own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from clew.log import Log, Reader, open_store
from clew.proof import merkle
from clew.proof.checkpoint import Note, Signer, parse_key, parse_note
from clew.proof.notary import Notary
from clew.proof.tree import notes, tree_head
from tests.log.stores import said

SIGNER = Signer(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
OTHER_SIGNER = Signer(Ed25519PrivateKey.from_private_bytes(bytes(32)))


async def fill(log: Log, events: int, *, streams: int = 4, seed: int = 1) -> None:
    """So many events, one or two at a time, on streams drawn by chance."""
    chance = Random(seed)
    with log.reading() as reader:
        versions = {f"thread-{number}": reader.version(f"thread-{number}") for number in range(streams)}
    while events:
        stream = chance.choice(sorted(versions))
        count = min(events, chance.choice((1, 1, 2)))
        words = [said(f"{stream} {versions[stream] + number} …ü\t{chance.random()}") for number in range(count)]
        await log.append(stream, words, after=versions[stream], actor=chance.choice(("key_1", "key_2", None)))
        versions[stream] += count
        events -= count


@asynccontextmanager
async def opened(store: str) -> AsyncIterator[Log]:
    log = Log(open_store(store))
    try:
        yield log
    finally:
        log.close()


async def signed_log(store: str, *batches: int) -> None:
    """A log that was signed after so many events, and so many more, and so on."""
    async with opened(store) as log:
        for number, events in enumerate(batches):
            await fill(log, events, seed=number)
            await Notary(SIGNER).follow(log)


def signed_notes(reader: Reader) -> list[Note]:
    """The stored checkpoints, whose signatures and roots are right."""
    head = tree_head(reader)
    if head is None:
        return []
    found = [parse_note(note) for _, note in notes(reader)]
    leaves = [merkle.leaf_hash(hashed) for _, hashed in reader.hashes(0, 1_000_000)]
    frontier, roots = merkle.Frontier(), {}
    for leaf in leaves:
        frontier.add(leaf)
        roots[frontier.size] = frontier.root()
    for note in found:
        assert parse_key(head.verifier).signed(note)
        assert note.checkpoint.origin == head.origin
        assert note.checkpoint.root == roots[note.checkpoint.size]
    assert head.size == (found[-1].checkpoint.size if found else 0)
    return found
