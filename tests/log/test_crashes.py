"""Killed while it writes, or left with half a write-ahead log: what was acknowledged is there, and nothing else is."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
from pathlib import Path

import pytest

from clew.log import Log, open_store
from tests.log.appender import start
from tests.log.stores import everything, said, words_of
from tests.log.verifying import holds_together, stored

pytestmark = pytest.mark.slow

ROUNDS = int(os.environ.get("CLEW_KILL_ROUNDS", "8"))
MUTATIONS = 20


def killed_after(acknowledgements: int, path: Path) -> list[tuple[str, int, int]]:
    """Stream, version and position of what was acknowledged before the appender was killed."""
    appender = start("append", path)
    try:
        assert appender.stdout is not None
        assert appender.stdout.readline() == "open\n"
        lines = [appender.stdout.readline() for _ in range(acknowledgements)]
        appender.kill()
        lines += appender.stdout.readlines()
    finally:
        appender.kill()
        appender.communicate(timeout=30)
    whole = [line.split() for line in lines if line.endswith("\n")]
    assert len(whole) >= acknowledgements, "the appender ended by itself"
    return [(stream, int(version), int(position)) for stream, version, position in whole]


def test_whoever_is_killed_has_what_was_acknowledged(tmp_path: Path) -> None:
    path, seed = tmp_path / "log.db", random.randrange(10**9)
    moments = random.Random(seed)
    acknowledged: list[tuple[str, int, int]] = []
    for turn in range(ROUNDS):
        acknowledged += killed_after(moments.randrange(1, 300), path)
        log = Log(open_store(str(path)))
        found = everything(log)
        log.close()
        context = f"seed {seed}, round {turn}"
        holds_together(stored(path))
        places = {(one.stream, one.version, one.position) for one in found}
        lost = [place for place in acknowledged if place not in places]
        assert not lost, f"{context}: acknowledged and gone: {lost[:5]}"
        assert words_of(found) == [str(one.version) for one in found], context


def running_log(folder: Path) -> tuple[list[str], int]:
    """A log of sixty appends of three events, copied as it lies on the disk while its writer runs."""
    log = Log(open_store(str(folder / "running.db")))

    async def main() -> None:
        for turn in range(60):
            await log.append("thread-1", [said(f"{turn}.{n}") for n in range(3)], after=turn * 3)

    asyncio.run(main())
    words = words_of(everything(log))
    for suffix in ("", "-wal"):
        shutil.copy(folder / f"running.db{suffix}", folder / f"copy.db{suffix}")
    log.close()
    return words, (folder / "copy.db-wal").stat().st_size


def torn(wal: bytes, chance: random.Random) -> bytes:
    place = chance.randrange(len(wal))
    match chance.randrange(3):
        case 0:
            return wal[:place]
        case 1:
            return wal[:place] + bytes([wal[place] ^ 1 << chance.randrange(8)]) + wal[place + 1 :]
        case _:
            return wal[:place] + bytes(min(4096, len(wal) - place)) + wal[place + 4096 :]


def test_a_torn_write_ahead_log_leaves_a_clean_beginning(tmp_path: Path) -> None:
    words, size = running_log(tmp_path)
    assert size > 100_000, "nothing left to tear"
    wal = (tmp_path / "copy.db-wal").read_bytes()
    lengths = set()
    for seed in range(MUTATIONS):
        folder = tmp_path / str(seed)
        folder.mkdir()
        shutil.copy(tmp_path / "copy.db", folder / "log.db")
        (folder / "log.db-wal").write_bytes(torn(wal, random.Random(seed)))
        log = Log(open_store(str(folder / "log.db")))
        found = words_of(everything(log))
        assert found == words[: len(found)], f"seed {seed}"
        assert len(found) % 3 == 0, f"seed {seed}: half an append"
        lengths.add(len(found))
        log.close()
        holds_together(stored(folder / "log.db"))
    assert len(lengths) > MUTATIONS // 3, "the tears were all alike"


@pytest.mark.parametrize("words", [["a"], ["a", "b", "c"]])
def test_a_log_goes_on_after_a_crash_where_it_ended(tmp_path: Path, words: list[str]) -> None:
    path = tmp_path / "log.db"
    killed_after(1, path)
    log = Log(open_store(str(path)))
    head = len(everything(log))

    async def main() -> None:
        done = await log.append("thread-new", [said(word) for word in words], after=0)
        assert [one.position for one in done.events] == list(range(head + 1, head + 1 + len(words)))

    asyncio.run(main())
    log.close()
    holds_together(stored(path))
