"""What is changed in the file behind Clew's back is found."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from clew.log import Log, open_store
from clew.log.chain import check
from tests.log.stores import said
from tests.log.verifying import fault, holds_together, stored


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Two streams of five events, interleaved, closed."""
    file = tmp_path / "log.db"
    log = Log(open_store(str(file)))

    async def main() -> None:
        for version in range(5):
            for stream in ("thread-1", "thread-2"):
                await log.append(stream, [said(f"{stream} {version}")], after=version, actor="key_1")

    asyncio.run(main())
    log.close()
    return file


def change(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        for statement in statements:
            assert connection.execute(statement).rowcount != 0, "nothing was changed"
        connection.commit()


def test_an_untouched_log_verifies(path: Path) -> None:
    events = stored(path)
    assert len(events) == 10
    holds_together(events)


THIRD = "where originator_id = 'thread-1' and originator_version = 3"


@pytest.mark.parametrize(
    ("statement", "version"),
    [
        (f"update events set state = cast('{{}}' as blob) {THIRD}", 3),
        (f"update events set state = null {THIRD}", 3),
        (f"update events set state = cast('{{}}' as blob), salt = null {THIRD}", 3),
        (f"update events set salt = randomblob(16) {THIRD}", 3),
        (f"update events set body_hash = randomblob(32) {THIRD}", 3),
        (f"update events set state = null, salt = null, body_hash = randomblob(32) {THIRD}", 3),
        (f"update events set topic = 'thread.deleted' {THIRD}", 3),
        (f"update events set at = at + 1 {THIRD}", 3),
        (f"update events set actor = 'key_2' {THIRD}", 3),
        (f"update events set actor = null {THIRD}", 3),
        (f"update events set hash = randomblob(32) {THIRD}", 3),
        (f"update events set partition = 1 {THIRD}", 3),
        (f"update events set originator_id = 'thread-3' {THIRD}", 4),
        (f"delete from events {THIRD}", 4),
        ("delete from events where originator_id = 'thread-1' and originator_version = 1", 2),
        ("update events set originator_version = originator_version + 10 where originator_id = 'thread-1'", 11),
    ],
)
def test_a_planted_change_is_found(path: Path, statement: str, version: int) -> None:
    change(path, statement)
    found = fault(stored(path))
    assert found is not None, "nobody noticed"
    assert found[:2] == ("thread-1", version)


def test_two_events_that_changed_places_are_found(path: Path) -> None:
    change(
        path,
        "update events set originator_version = 99 where originator_id = 'thread-1' and originator_version = 2",
        f"update events set originator_version = 2 {THIRD}",
        "update events set originator_version = 3 where originator_id = 'thread-1' and originator_version = 99",
    )
    found = fault(stored(path))
    assert found is not None
    assert found[:2] == ("thread-1", 2)


def test_an_event_put_between_is_found(path: Path) -> None:
    change(
        path,
        "insert into events (partition, originator_id, originator_version, topic, at, actor, state, salt, body_hash,"
        " hash) select partition, originator_id, 6, topic, at, actor, state, salt, body_hash, hash from events "
        + THIRD,
    )
    found = fault(stored(path))
    assert found is not None
    assert found[:2] == ("thread-1", 6)


def test_an_erased_body_leaves_a_chain_that_holds(path: Path) -> None:
    change(path, f"update events set state = null, salt = null {THIRD}")
    holds_together(stored(path))


def test_a_chain_may_be_checked_from_the_middle(path: Path) -> None:
    chain = [event for event in stored(path) if event.originator_id == "thread-1"]
    assert check(chain[2:], before=chain[1].hash) is None
    assert check(chain[2:], before=chain[0].hash) == (0, "its hash does not follow from the event before it")


def test_equal_bodies_have_unequal_hashes(tmp_path: Path) -> None:
    """The salt sees to it: who has an erased event's hash cannot try out what it said."""
    log = Log(open_store(str(tmp_path / "log.db")))

    async def main() -> None:
        for stream in ("thread-1", "thread-2"):
            await log.append(stream, [said("yes")], after=0)

    asyncio.run(main())
    with log.reading() as reader:
        one, other = reader.sealed(0, 10)
    log.close()
    assert one.state == other.state
    assert one.body_hash != other.body_hash
