"""The test of the tests: a history that is not true to its log is found out."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from clew.events.base import Event, Recorded
from clew.events.content import text
from clew.events.message import MessageAppended
from clew.events.run import RunCompleted, RunStarted
from tests.rigs.history import Asked, check_events

pytestmark = pytest.mark.slow


def message(position: int, mark: str, version: int | None = None) -> Recorded[Event]:
    event = MessageAppended(message_id=mark, role="user", content=text("words"), metadata={"mark": mark})
    return Recorded(position, "thread-1", version or position, 0, None, event)


def of_run(position: int, event: Event) -> Recorded[Event]:
    return Recorded(position, "thread-1", position, 0, None, event)


def started(fence: int) -> RunStarted:
    return RunStarted(run_id="run", worker="w", attempt=1, fence=fence, lease_seconds=1)


ENDED = RunCompleted(run_id="run")
LOG = [message(1, "a"), message(2, "b")]
TRUE = [Asked("a", 0, 1, "ok", 1), Asked("b", 2, 3, "ok", 2)]


def test_a_true_history_is_believed() -> None:
    found = check_events(LOG, [*TRUE, Asked("c", 4, 5, "fail"), Asked("d", 4), Asked("b", 2)])
    assert not found.faults
    assert (found.acknowledged, found.refused, found.unknown, found.unknown_kept) == (2, 1, 2, 1)


@pytest.mark.parametrize(
    ("events", "asked", "told"),
    [
        (LOG[:1], TRUE, "b was acknowledged and is not there"),
        (LOG, [Asked("a", 0, 1, "fail")], "a was refused and is there"),
        (LOG, [Asked("a", 0, 1, "ok", 2)], "a was acknowledged at 2 and is at 1"),
        ([*LOG, message(3, "a")], TRUE, "a is there 2 times"),
        ([*LOG, message(3, "c")], [Asked("c", 0, 1, "ok"), Asked("a", 2)], "a stands at 1, before 3"),
        ([LOG[0], message(3, "b")], [], "position 3 stands where 2 should"),
        ([LOG[0], message(2, "b", version=3)], [], "version 3 stands where 2 should"),
        ([of_run(1, started(2)), of_run(2, started(1))], [], "fence 1 at position 2, after 2"),
        ([of_run(1, started(1)), of_run(2, started(1))], [], "fence 1 at position 2, after 1"),
        ([of_run(1, ENDED), of_run(2, ENDED)], [], "run ended 2 times"),
    ],
)
def test_what_must_not_be_is_told(events: Sequence[Recorded[Event]], asked: Sequence[Asked], told: str) -> None:
    [fault] = check_events(events, asked).faults
    assert told in fault


def test_a_deed_that_must_not_happen_twice_is_counted() -> None:
    twice = ["undeclared a", "undeclared a", "repeatable b key 1", "repeatable b key 2", "repeatable c key 1"]
    found = check_events([], [], twice)
    assert (found.deeds, found.deeds_doubled) == (5, 1)
    [fault] = check_events([], [], ["repeatable b key 1", "repeatable b other 2"]).faults
    assert "another idempotency key" in fault
