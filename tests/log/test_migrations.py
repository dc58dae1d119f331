"""Whatever the way there, a store is made of the same; one process at a time makes it; a newer one is left alone."""

from __future__ import annotations

import asyncio
import re
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from unittest.mock import Mock
from uuid import uuid4

import psycopg
import pytest

from clew.errors import NewerStore
from clew.log import Log, is_postgres, open_store
from clew.log.migrations import migration_texts, newest_migration
from clew.projecting import Keeper
from tests.log.schema import dump, make_at, newer_clew
from tests.log.stores import everything, said, words_of
from tests.log.verifying import holds_together
from tests.projecting.counting import counted, counting, open_log
from tests.rigs.commands import refused, shown
from tests.rigs.postgres import Databases
from tests.rigs.processes import clew

NUMBERS = [number for number, _ in migration_texts()]
AT_ONCE = 4


@pytest.fixture
def databases(postgres: Databases) -> Iterator[Callable[[], str]]:
    """Gives an empty database each time."""
    names: list[str] = []

    def make() -> str:
        names.append(f"empty_{uuid4().hex}")
        return postgres.create_database(names[-1])

    yield make
    for name in names:
        postgres.drop_database(name)


@pytest.fixture(params=["sqlite", "postgres"])
def places(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], str]:
    """Gives a place each time where no store is yet."""
    if request.param == "sqlite":
        return lambda: str(tmp_path / f"{uuid4().hex}.db")
    made: Callable[[], str] = request.getfixturevalue("databases")
    return made


@pytest.fixture
def empty(places: Callable[[], str]) -> str:
    return places()


@pytest.fixture
def empty_dsn(databases: Callable[[], str]) -> str:
    return databases()


def execute(place: str, *statements: str) -> None:
    if is_postgres(place):
        with psycopg.connect(place) as connection:
            for statement in statements:
                connection.execute(statement)
    else:
        with closing(sqlite3.connect(place)) as file:
            for statement in statements:
                file.execute(statement)
            file.commit()


async def append(log: Log, words: str, after: int) -> None:
    await log.append("thread-1", [said(words)], after=after)


def test_both_stores_have_the_same_numbers_without_a_gap() -> None:
    assert [number for number, _ in migration_texts("postgres")] == NUMBERS
    assert list(range(1, len(NUMBERS) + 1)) == NUMBERS


def test_made_at_once_or_step_by_step_it_is_the_same(places: Callable[[], str]) -> None:
    at_once, step_by_step = places(), places()
    open_store(at_once).close()
    make_at(step_by_step, NUMBERS[-1])
    assert dump(at_once) == dump(step_by_step)
    assert any("events_stream" in line for line in dump(at_once)), "the dump shows what there is"


@pytest.mark.parametrize("number", NUMBERS)
def test_an_older_store_with_events_in_it_is_brought_up(places: Callable[[], str], number: int) -> None:
    old, fresh = places(), places()
    make_at(old, number)
    words = fill(old)
    log = Log(open_store(old))
    assert words_of(everything(log)) == words
    asyncio.run(append(log, "after", after=len(words)))
    with log.reading() as reader:
        holds_together(reader.sealed(0, 100))
    log.close()
    open_store(fresh).close()
    assert dump(old) == dump(fresh)


def fill(place: str) -> list[str]:
    """Three events and what else there may be, written as any Clew since the first has written them."""
    words = ["a", "b", "c"]
    source = Log(open_store(":memory:"))
    for version, word in enumerate(words):
        asyncio.run(append(source, word, after=version))
    with source.reading() as reader:
        events = reader.sealed(0, 10)
    source.close()
    position = "notification_id" if is_postgres(place) else "rowid"
    mark, schema = ("%s", "clew.") if is_postgres(place) else ("?", "")
    columns = ("originator_id", "originator_version", "topic", "at", "actor", "state", "salt", "body_hash", "hash")
    rows = [(event.position, *(getattr(event, column) for column in columns)) for event in events]
    insert = f"insert into {schema}events ({position}, {', '.join(columns)}) values ({', '.join([mark] * 10)})"
    lease = f"insert into {schema}leases (run_id, worker, fence, until) values ('run_1', 'w', 1, 1)"
    if is_postgres(place):
        with psycopg.connect(place) as connection:
            connection.cursor().executemany(insert, rows)
            connection.execute("update clew.log_head set head = %s, at = %s", (events[-1].position, events[-1].at))
            if not has_column(connection, "leases", "claimed"):
                connection.execute(lease)
    else:
        with closing(sqlite3.connect(place)) as file:
            file.executemany(insert, rows)
            if "claimed" not in [row[1] for row in file.execute("pragma table_info(leases)")]:
                file.execute(lease)
            file.commit()
    return words


def has_column(connection: psycopg.Connection[tuple[object, ...]], table: str, column: str) -> bool:
    sql = "select from information_schema.columns where table_schema = 'clew' and table_name = %s and column_name = %s"
    return connection.execute(sql, (table, column)).fetchone() is not None


def test_processes_that_start_at_once_on_an_empty_database_all_come_up(empty_dsn: str, postgres_dsn: str) -> None:
    starting = [
        clew("migrate", "--store", empty_dsn, environment={}, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(AT_ONCE)
    ]
    for process in starting:
        told, trouble = process.communicate(timeout=60)
        assert process.returncode == 0, trouble.decode()
        assert f"is up: migration {NUMBERS[-1]}" in " ".join(told.decode().split())
    # Every table there is, those of the read models too, is as if one process had come alone.
    shown("migrate", store=postgres_dsn)
    assert without_generations(dump(empty_dsn)) == without_generations(dump(postgres_dsn))


def without_generations(lines: list[str]) -> list[str]:
    """Indexes of read models bear the moment at which they were made."""
    return sorted(re.sub(r"_[0-9a-f]{14,16}\b", "", line) for line in lines)


def test_of_processes_that_start_at_once_on_a_file_one_gets_it(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    starting = [
        clew("migrate", "--store", str(path), environment={}, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        for _ in range(AT_ONCE)
    ]
    ended = [(process.communicate(timeout=60)[1].decode(), process.returncode) for process in starting]
    assert 0 in {code for _, code in ended}
    for told, code in ended:
        assert code == 0 or (code == 2 and "in use by another Clew process" in told), told
    shown("doctor", store=path)


def test_a_file_whose_making_was_cut_short_is_ours_from_its_first_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "log.db"
    with monkeypatch.context() as patch:
        patch.setattr("clew.log.sqlite.refuse_newer", Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            open_store(str(path))
    assert path.stat().st_size > 0
    open_store(str(path)).close()


def test_a_store_that_is_up_to_date_is_not_touched(empty: str) -> None:
    shown("migrate", store=empty)
    before = dump(empty)
    again = shown("migrate", store=empty)
    assert "made anew" not in again
    assert dump(empty) == before


@pytest.mark.parametrize("command", [("serve", "--port", "0"), ("migrate",), ("threads",), ("doctor",)])
def test_a_newer_store_is_refused_in_one_line_and_left_as_it_is(empty: str, command: tuple[str, ...]) -> None:
    open_store(empty).close()
    newer = newest_migration() + 1
    execute(
        empty,
        f"update clew.log_head set migration = {newer}" if is_postgres(empty) else f"pragma user_version = {newer}",
    )
    before = dump(empty)
    told = refused(*command, store=empty)
    assert f"newer Clew (schema {newer}, this one knows {newer - 1}); upgrade Clew" in told
    assert dump(empty) == before


def test_a_file_of_a_newer_clew_has_no_byte_changed(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    open_store(str(path)).close()
    execute(str(path), "pragma user_version = 999")
    before = {one.name: one.read_bytes() for one in tmp_path.iterdir()}
    refused("migrate", store=path)
    assert {one.name: one.read_bytes() for one in tmp_path.iterdir()} == before


def test_who_runs_while_a_newer_clew_migrates_reads_on_and_appends_no_more(empty_dsn: str, tmp_path: Path) -> None:
    log = Log(open_store(empty_dsn))

    async def main() -> None:
        await append(log, "a", after=0)
        with newer_clew(tmp_path):
            newer = Log(open_store(empty_dsn))
            await append(newer, "b", after=1)
        for _ in range(2):
            with pytest.raises(NewerStore, match="upgrade Clew"):
                await append(log, "c", after=2)
        assert words_of(everything(log)) == ["a", "b"]
        await append(newer, "c", after=2)
        newer.close()

    asyncio.run(main())
    log.close()


@pytest.mark.parametrize("has_appended", [True, False], ids=["busy", "idle"])
def test_who_runs_while_a_newer_read_model_is_swapped_in_appends_no_more(empty_dsn: str, has_appended: bool) -> None:
    older, newer = Keeper([counting("inline")]), Keeper([counting("inline", version=2, each=10)])
    log = open_log(older, empty_dsn)

    async def main() -> None:
        await older.prepare(log)
        first = int(has_appended)
        if has_appended:
            await append(log, "a", after=0)
        newer_log = open_log(newer, empty_dsn)
        await newer.prepare(newer_log)
        for _ in range(2):
            with pytest.raises(NewerStore, match="the read model counter was written by a newer Clew"):
                await append(log, "b", after=first)
        await append(newer_log, "b", after=first)
        assert counted(newer_log) == {"thread-1": 10 * (first + 1)}
        newer_log.close()

    asyncio.run(main())
    log.close()


def test_a_follower_leaves_a_newer_read_model_alone(empty_dsn: str) -> None:
    older, newer = Keeper([counting("follow")]), Keeper([counting("follow", version=2, each=10)])
    log = open_log(older, empty_dsn)

    async def main() -> None:
        await older.prepare(log)
        await append(log, "a", after=0)
        newer_log = open_log(newer, empty_dsn)
        await newer.prepare(newer_log)
        await append(newer_log, "b", after=1)
        await older.follow(log, "counter")
        assert counted(newer_log) == {"thread-1": 10}, "the older one would have counted 1"
        await newer.follow(newer_log, "counter")
        assert counted(newer_log) == {"thread-1": 20}
        newer_log.close()

    asyncio.run(main())
    log.close()
