"""The table says what the code believes: whoever gets past the code is stopped by the database."""

from __future__ import annotations

from pathlib import Path

import pytest
from eventsourcing.persistence import IntegrityError, StoredEvent

from clew.log.sqlite import SqliteStore


def event(version: int) -> StoredEvent:
    return StoredEvent("thread-1", version, "thread.deleted", b"{}")


def test_a_version_below_one_is_refused_by_the_table(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "log.db")
    with pytest.raises(IntegrityError, match="originator_version > 0"):
        store.recorder.insert_events([event(0)])
    store.close()


def test_subscribing_is_left_to_the_bus(tmp_path: Path) -> None:
    """The library's SQLite recorder has no subscriptions: that test of its suite is optional, and not for us."""
    store = SqliteStore(tmp_path / "log.db")
    with pytest.raises(NotImplementedError):
        store.recorder.subscribe(gt=0)
    store.close()


def test_a_version_is_taken_once(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "log.db")
    store.recorder.insert_events([event(1)])
    with pytest.raises(IntegrityError, match="UNIQUE"):
        store.recorder.insert_events([event(2), event(1)])
    assert [one.originator_version for one in store.recorder.select_events("thread-1")] == [1]
    store.close()


def test_a_position_is_never_used_twice(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "log.db")
    store.recorder.insert_events([event(1), event(2)])
    with store.transaction() as cursor:
        cursor.execute("delete from events where rowid = 2")
        cursor.execute("select seq from sqlite_sequence where name = 'events'")
        assert cursor.fetchone()[0] == 2
    store.close()
