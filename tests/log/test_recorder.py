"""The eventsourcing library's own tests of recorders, on ours.

They count versions from 0 in places; our table refuses a version below 1, as a second opinion on what the code
believes. Those tests get a recorder that counts one higher on the way in: they never look at versions.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest
from eventsourcing.persistence import StoredEvent

from clew.log.postgres import connection_string
from clew.log.postgres_recorder import Datastore, PostgresRecorder
from clew.log.sqlite import SqliteRecorder, SqliteStore

if TYPE_CHECKING:
    from eventsourcing.tests.persistence import ApplicationRecorderTestCase, NonInterleavingNotificationIDsBaseCase
else:
    _library = pytest.importorskip(
        "eventsourcing.tests.persistence", reason="the library's tests import its ciphers: install pycryptodome"
    )
    ApplicationRecorderTestCase = _library.ApplicationRecorderTestCase
    NonInterleavingNotificationIDsBaseCase = _library.NonInterleavingNotificationIDsBaseCase


def one_higher(events: Sequence[StoredEvent]) -> list[StoredEvent]:
    return [replace(event, originator_version=event.originator_version + 1) for event in events]


class FromOne(SqliteRecorder):
    def insert_events(self, stored_events: Sequence[StoredEvent], **kwargs: Any) -> Sequence[int] | None:
        return super().insert_events(one_higher(stored_events), **kwargs)


class PostgresFromOne(PostgresRecorder):
    def insert_events(self, stored_events: Sequence[StoredEvent], **kwargs: Any) -> Sequence[int] | None:
        return super().insert_events(one_higher(stored_events), **kwargs)


class Stores:
    """Opens a store in a file, and closes it after the test."""

    recorder_class: type[SqliteRecorder] = SqliteRecorder

    def new_originator_id(self) -> UUID | str:
        return str(uuid4())

    def create_recorder(self) -> SqliteRecorder:
        folder = TemporaryDirectory()
        store = SqliteStore(Path(folder.name) / "log.db")
        self.addCleanup(folder.cleanup)  # type: ignore[attr-defined]
        self.addCleanup(store.close)  # type: ignore[attr-defined]
        self.addCleanup(_wait_for_readers)  # type: ignore[attr-defined]
        return self.recorder_class(store.recorder.datastore)


class Databases:
    """Opens a fresh database for each test."""

    recorder_class: type[PostgresRecorder] = PostgresRecorder

    @pytest.fixture(autouse=True)
    def _take(self, postgres_dsn: str) -> None:
        self._dsn = postgres_dsn

    def new_originator_id(self) -> UUID | str:
        return str(uuid4())

    def create_recorder(self) -> PostgresRecorder:
        datastore = Datastore(connection_string(self._dsn))
        self.addCleanup(datastore.close)  # type: ignore[attr-defined]
        self.addCleanup(_wait_for_readers)  # type: ignore[attr-defined]
        return self.recorder_class(datastore)


def _wait_for_readers() -> None:
    """The library's tests tell their readers to stop and go on; a connection in use must not be closed."""
    for thread in threading.enumerate():
        if "read_continuously" in thread.name:
            thread.join(timeout=30)


class TestRecorder(Stores, ApplicationRecorderTestCase[SqliteRecorder]):
    def test_concurrent_no_conflicts(self, initial_position: int = 0) -> None:  # noqa: PT028  (the library calls it so)
        self.recorder_class = FromOne
        super().test_concurrent_no_conflicts(initial_position)

    def test_concurrent_throughput(self) -> None:
        self.recorder_class = FromOne
        super().test_concurrent_throughput()

    def test_performance(self) -> None:
        self.skipTest("it measures, and promises nothing")


class TestNotificationsDoNotInterleave(Stores, NonInterleavingNotificationIDsBaseCase):
    recorder_class = FromOne


class TestPostgresRecorder(Databases, ApplicationRecorderTestCase[PostgresRecorder]):
    def test_concurrent_no_conflicts(self, initial_position: int = 0) -> None:  # noqa: PT028  (the library calls it so)
        self.recorder_class = PostgresFromOne
        super().test_concurrent_no_conflicts(initial_position)

    def test_concurrent_throughput(self) -> None:
        self.recorder_class = PostgresFromOne
        super().test_concurrent_throughput()

    def test_performance(self) -> None:
        self.skipTest("it measures, and promises nothing")

    def test_insert_subscribe(self) -> None:
        self.skipTest("nothing is notified within our transactions, so the library's subscriptions would sleep on")


class TestPostgresNotificationsDoNotInterleave(Databases, NonInterleavingNotificationIDsBaseCase):
    recorder_class = PostgresFromOne
