"""Verifying a log: its chains with and without the tree, the follower that signs it, and single proofs.

The log is of the same realistic turns as that of `rebuild`, on many threads at once.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path

if not __package__:  # Run as a file, Python looks for modules beside it and not in the repository.
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

from benchmarks.common import (
    engine_without_worker,
    files_in,
    floor_figures,
    options,
    report,
    rounded,
    spread,
    timed,
    warm_up,
)
from benchmarks.rebuild import build
from benchmarks.turns import make_texts
from clew.log import Log, Reader, open_store
from clew.log.chain import FIRST, misfit
from clew.proof import merkle
from clew.proof.checkpoint import parse_key
from clew.proof.tree import consistency, inclusion, newest_checkpoint, tiles, tree_head
from clew.proof.verify import verify_log

_THREADS = 50
_PAGE_EVENTS = 2_000


def chains(reader: Reader) -> int:
    """Only the chains; gives the number of events."""
    heads: dict[str, bytes] = {}
    position = count = 0
    while page := reader.evidence(position, _PAGE_EVENTS):
        for row in page:
            assert misfit(heads.get(row[2], FIRST), *row[1:]) is None
            heads[row[2]] = row[-1]
        count += len(page)
        position = page[-1][0]
    return count


def everything(reader: Reader) -> int:
    """As `clew verify` does."""
    found = verify_log(reader)
    assert not found.faults
    assert found.covered
    return found.events


async def run(folder: Path, events: int, proofs: int) -> None:
    texts = make_texts()
    warm_up()
    store = folder / "log.db"
    async with engine_without_worker(store) as engine:
        await build(engine, events, texts)
        began = time.perf_counter()
        await engine.notary.follow(engine.log)
        following = time.perf_counter() - began
    log = Log(open_store(str(store), writing=False))
    with log.reading() as reader:
        head = reader.head()
        [chaining] = timed(lambda: chains(reader), 1)
        began_cpu = time.process_time()
        [verifying] = timed(lambda: everything(reader), 1)
        verifying_cpu = time.process_time() - began_cpu
        newest = newest_checkpoint(reader)
        size, root = newest.checkpoint.size, newest.checkpoint.root
        chance = random.Random(1)
        including = timed(lambda: inclusion(reader, chance.randint(1, size)), proofs)
        extending = timed(lambda: consistency(reader, chance.randint(1, size)), proofs)
        nodes = tiles(reader).node
        leaf, proof = nodes(0, 0), merkle.inclusion_proof(nodes, 0, size)
        checking = timed(lambda: merkle.includes(root, size, 0, leaf, proof), proofs)
        stored = tree_head(reader)
        assert stored is not None
        key = parse_key(stored.verifier)
        signing = timed(lambda: key.signed(newest), proofs)
    log.close()
    report(
        "verify",
        {"events": head, "threads": _THREADS, "proofs": proofs},
        events_per_second={
            "chains": rounded(head / chaining),
            "everything": rounded(head / verifying),
            "following": rounded(head / following),
        },
        # On a machine that others use, too, what a core would do of it alone.
        everything_per_cpu_second=rounded(head / verifying_cpu),
        proofs={
            "inclusion_made": spread(including),
            "consistency_made": spread(extending),
            "inclusion_checked": spread(checking),
            "signature_checked": spread(signing),
            "inclusion_hashes": len(proof),
        },
        floor=floor_figures(folder / "raw.db", texts.answers),
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = options(__doc__, events=(100_000, "events in the log"), proofs=(1_000, "proofs of each kind"))
    chosen = parser.parse_args(arguments)
    with files_in(chosen.folder) as folder:
        asyncio.run(run(folder, chosen.events, chosen.proofs))


if __name__ == "__main__":
    main()
