"""Files that are not ours, newer than us, somebody else's at the moment, or broken."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from clew.errors import NewerStore, NoPlace, NotOurs, StoreFailed, StoreLocked, Unusable
from clew.log import Log, open_store
from tests.log.appender import start
from tests.log.stores import everything, said, words_of


def append(log: Log, words: str, after: int) -> None:
    async def main() -> None:
        await log.append("thread-1", [said(words)], after=after)

    asyncio.run(main())


def one_event(path: Path) -> None:
    log = Log(open_store(str(path)))
    append(log, "a", 0)
    log.close()


def names(folder: Path) -> set[str]:
    return {entry.name for entry in folder.iterdir()}


@pytest.mark.parametrize("content", [b"Dear diary,\n", b"\x00" * 200, b"SQLite format 3\x00", b"{}"])
def test_what_is_no_database_is_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "diary.txt"
    path.write_bytes(content)
    with pytest.raises(NotOurs, match=r"not an SQLite database.*--store"):
        open_store(str(path))
    assert path.read_bytes() == content
    assert names(tmp_path) == {"diary.txt"}


@pytest.mark.parametrize("mode", ["delete", "wal"])
def test_another_programs_database_is_left_alone(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "other.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"pragma journal_mode = {mode}")
        connection.execute("create table events (a)")
        connection.commit()
    before = path.read_bytes()
    for writing in (True, False):
        with pytest.raises(NotOurs, match="another program's SQLite database"):
            open_store(str(path), writing=writing)
    assert path.read_bytes() == before
    assert names(tmp_path) == {"other.db"}


def test_a_newer_store_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    one_event(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("pragma user_version = 999")
    before = path.read_bytes()
    for writing in (True, False):
        with pytest.raises(NewerStore, match=r"newer Clew.*schema 999.*upgrade Clew"):
            open_store(str(path), writing=writing)
    assert path.read_bytes() == before


def test_an_empty_file_becomes_a_log(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    path.touch()
    one_event(path)
    log = Log(open_store(str(path)))
    assert words_of(everything(log)) == ["a"]
    log.close()


def test_folders_on_the_way_are_made(tmp_path: Path) -> None:
    path = tmp_path / "some" / "where" / "log.db"
    one_event(path)
    assert path.is_file()


def test_a_folder_is_no_store(tmp_path: Path) -> None:
    with pytest.raises(NotOurs, match="it is a folder"):
        open_store(str(tmp_path))


def test_what_keeps_nothing_is_no_store(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in ("/dev/null", "/dev/full", tmp_path / "pipe"):
        with pytest.raises(NotOurs, match="a device or a pipe, which keeps nothing"):
            open_store(str(path))


def test_where_nothing_can_be_written_there_is_no_place_for_a_store(tmp_path: Path) -> None:
    with pytest.raises(NoPlace, match=r"^/proc/nope/log.db cannot be written \(No such file.*--store$"):
        open_store("/proc/nope/log.db")
    (tmp_path / "file").touch()
    with pytest.raises(NotOurs, match="Not a directory"):
        open_store(str(tmp_path / "file" / "log.db"))


def test_what_is_not_there_is_not_made_by_a_reader(tmp_path: Path) -> None:
    with pytest.raises(NotOurs, match="no such file"):
        open_store(str(tmp_path / "log.db"), writing=False)
    assert names(tmp_path) == set()


def test_a_store_is_named_by_path_or_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one_event(tmp_path / "log.db")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for name in (f"sqlite:///{tmp_path}/log.db", "~/log.db", "log.db"):
        log = Log(open_store(name, writing=False))
        assert words_of(everything(log)) == ["a"]
        log.close()


def test_a_file_broken_inside_is_refused_as_unusable(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    one_event(path)
    content = path.read_bytes()
    path.write_bytes(content[:100] + b"\xff" * (len(content) - 100))
    with pytest.raises(Unusable):
        open_store(str(path))
    path.write_bytes(content)
    one_more = Log(open_store(str(path)))
    assert words_of(everything(one_more)) == ["a"], "the lock was let go"
    one_more.close()


def test_a_second_process_that_would_write_is_told_who_does_and_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    holder = start("hold", path)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "open\n"
        with pytest.raises(StoreLocked) as raised:
            open_store(str(path))
        assert f"process {holder.pid}" in str(raised.value)
        assert "stop that process, or use another --store" in str(raised.value)
    finally:
        holder.communicate("", timeout=30)
    one_event(path)


def test_a_second_log_in_the_same_process_is_refused_too(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    log = Log(open_store(str(path)))
    with pytest.raises(StoreLocked):
        open_store(str(path))
    log.close()
    one_event(path)


def test_reading_goes_on_beside_a_writer_and_cannot_write(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    writer = Log(open_store(str(path)))
    append(writer, "a", 0)
    reader = Log(open_store(str(path), writing=False))
    assert words_of(everything(reader)) == ["a"]
    append(writer, "b", 1)
    assert words_of(everything(reader)) == ["a", "b"]
    with pytest.raises(AssertionError, match="for reading only"):
        append(reader, "c", 2)
    with reader.reading() as rows, pytest.raises(sqlite3.OperationalError, match="readonly"):
        rows.rows("delete from events")
    reader.close()
    append(writer, "c", 2)
    assert words_of(everything(writer)) == ["a", "b", "c"]
    writer.close()


def page_count(cursor: Any) -> int:
    cursor.execute("pragma page_count")
    count: int = cursor.fetchone()[0]
    return count


def test_a_store_that_cannot_write_says_so_and_keeps_nothing(tmp_path: Path) -> None:
    """A file that may not grow stands for a disk that is full."""
    log = Log(open_store(str(tmp_path / "log.db")))

    async def main() -> None:
        await log.append("thread-1", [said("a")], after=0)
        pages = await log.write(page_count)
        await log.write(lambda cursor: cursor.execute(f"pragma max_page_count = {pages}"))
        with pytest.raises(StoreFailed, match="full"):
            await log.append("thread-2", [said("x" * 100_000)], after=0)
        assert words_of(everything(log)) == ["a"]
        await log.write(lambda cursor: cursor.execute("pragma max_page_count = 100000"))
        await log.append("thread-2", [said("b")], after=0)
        assert [one.position for one in everything(log)] == [1, 2]

    asyncio.run(main())
    log.close()
