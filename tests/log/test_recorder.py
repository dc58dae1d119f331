"""The eventsourcing library's own tests of recorders, on ours.

They count versions from 0 in places; our table refuses a version below 1, as a second opinion on what the code
believes. Those tests get a recorder that counts one higher on the way in: they never look at versions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import UUID, uuid4

import pytest
from eventsourcing.persistence import IntegrityError, StoredEvent
from eventsourcing.tests.persistence import ApplicationRecorderTestCase, NonInterleavingNotificationIDsBaseCase

from clew.log.stores import LogRecorder, SqliteStore


class FromOne(LogRecorder):
    def insert_events(self, stored_events: Sequence[StoredEvent], **kwargs: Any) -> Sequence[int] | None:
        counted = [replace(event, originator_version=event.originator_version + 1) for event in stored_events]
        return super().insert_events(counted, **kwargs)


class Stores:
    """Opens a store in a file, and closes it after the test."""

    recorder_class: type[LogRecorder] = LogRecorder

    def new_originator_id(self) -> UUID | str:
        return str(uuid4())

    def create_recorder(self) -> LogRecorder:
        folder = TemporaryDirectory()
        store = SqliteStore(Path(folder.name) / "log.db")
        self.addCleanup(folder.cleanup)  # type: ignore[attr-defined]
        self.addCleanup(store.close)  # type: ignore[attr-defined]
        return self.recorder_class(store.recorder.datastore)


class TestRecorder(Stores, ApplicationRecorderTestCase[LogRecorder]):
    def test_concurrent_no_conflicts(self, initial_position: int = 0) -> None:
        self.recorder_class = FromOne
        super().test_concurrent_no_conflicts(initial_position)

    def test_concurrent_throughput(self) -> None:
        self.recorder_class = FromOne
        super().test_concurrent_throughput()

    def test_performance(self) -> None:
        self.skipTest("it measures, and promises nothing")


class TestNotificationsDoNotInterleave(Stores, NonInterleavingNotificationIDsBaseCase):
    recorder_class = FromOne


def test_a_version_below_one_is_refused_by_the_table(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "log.db")
    with pytest.raises(IntegrityError, match="originator_version > 0"):
        store.recorder.insert_events([StoredEvent("thread-1", 0, "thread.deleted", b"{}")])
    store.close()


def test_subscribing_is_left_to_the_bus(tmp_path: Path) -> None:
    """The library's SQLite recorder has no subscriptions: that test of its suite is optional, and not for us."""
    store = SqliteStore(tmp_path / "log.db")
    with pytest.raises(NotImplementedError):
        store.recorder.subscribe(gt=0)
    store.close()
