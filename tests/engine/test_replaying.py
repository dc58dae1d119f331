"""Today's engine does again what it did: golden histories, and what is told when it would not.

`golden/<name>.jsonl` is a thread's stream, after the streams that it was forked from, as this version wrote it. These
files are never edited: a change of the engine that makes one of them differ makes everybody's history differ.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, get_args

import pytest

from clew.engine import context
from clew.engine.replaying import recordings
from clew.engine.replaying.comparing import Difference
from clew.engine.replaying.files import lines, read_lines
from clew.engine.replaying.recordings import Recording
from clew.engine.replaying.verifying import Verdict, Verifier
from clew.events.base import Event, Recorded
from clew.events.model import ContextAssembled, ContextTruncated, InsteadOf, ModelCalled, ModelFailed
from clew.events.run import RunCompleted, RunOver, RunQueued, RunStarted, Strategy
from clew.events.tool import ToolFailed, ToolReturned, ToolStarted
from clew.rules import told as told_by_rules

GOLDEN = Path(__file__).with_name("golden")
NAMES = sorted(file.stem for file in GOLDEN.glob("*.jsonl"))


def golden(name: str) -> Recording:
    return read_lines((GOLDEN / f"{name}.jsonl").read_text().splitlines())


def verify(*found: Recording) -> list[Verdict]:
    async def main() -> list[Verdict]:
        verifier = Verifier()
        try:
            return [verdict for recording in found for verdict in await verifier.thread(recording)]
        finally:
            await verifier.close()

    return asyncio.run(main())


def told(recording: Recording) -> list[Difference]:
    return [difference for verdict in verify(recording) for difference in verdict.differences]


def changed(recording: Recording, version: int, event: Event) -> Recording:
    events = list(recording.events)
    events[version - 1] = events[version - 1]._replace(event=event)
    return Recording(recording.thread_id, events, recording.lineage)


def without(recording: Recording, version: int) -> Recording:
    """As if event `version` had never been."""
    kept = [one for one in recording.events if one.version != version]
    events = [one._replace(version=number) for number, one in enumerate(kept, 1)]
    return Recording(recording.thread_id, events, recording.lineage)


@pytest.mark.parametrize("name", NAMES)
def test_golden_histories_happen_again_as_they_happened(name: str) -> None:
    recording = golden(name)
    verdicts = verify(recording)
    assert [str(one) for verdict in verdicts for one in verdict.differences] == []
    assert len(verdicts) == len(recording.runs())
    for verdict, queued in zip(verdicts, recording.runs(), strict=True):
        recorded = [one.version for one in recording.of_run(verdict.run_id, queued.version)]
        assert verdict.events >= recorded[-1] - queued.version


def test_the_golden_histories_hold_every_way_that_a_run_can_end() -> None:
    every = {one.event.kind for name in NAMES for one in golden(name).events}
    ends = {kind for kind, event in Event.kinds.items() if issubclass(event, RunOver)}
    assert ends <= every
    assert {"tool.in_doubt", "tool.settled", "context.truncated", "thread.forked", "reasoning.recorded"} <= every
    assert {"thread.compacted", "budget.reached", "budget.awaited"} <= every


def test_the_golden_histories_hold_every_strategy_and_why_one_was_not_followed() -> None:
    cuts = [one.event for name in NAMES for one in golden(name).events if isinstance(one.event, ContextTruncated)]
    assert {cut.strategy for cut in cuts} == set(get_args(Strategy)) - {"none"}, "nothing is cut under none"
    reasons = get_args(InsteadOf.model_fields["reason"].annotation)
    assert {cut.instead_of.reason for cut in cuts if cut.instead_of is not None} == set(reasons)
    assert any(cut.items_cleared for cut in cuts)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_exported_is_read_as_it_was(name: str) -> None:
    assert list(lines(golden(name))) == (GOLDEN / f"{name}.jsonl").read_text().splitlines()


_OTHERWISE: dict[type[Event], Callable[[Any], dict[str, object]]] = {
    ContextAssembled: lambda event: {"digest": "0" * 64},
    ModelCalled: lambda event: {"attempt": event.attempt + 1},
    RunStarted: lambda event: {"fence": event.fence + 1},
    ToolStarted: lambda event: {"idempotency_key": "another"},
    RunCompleted: lambda event: {"usage": event.usage.plus(event.usage.model_copy(update={"input": 1}))},
}


@pytest.mark.parametrize("kind", _OTHERWISE, ids=lambda kind: kind.kind)
@pytest.mark.parametrize("name", ["server_tools", "client_tools"])
def test_a_field_that_comes_out_otherwise_is_told_with_its_event(name: str, kind: type[Event]) -> None:
    recording = golden(name)
    found: Recorded[Event] | None = next((one for one in recording.events if isinstance(one.event, kind)), None)
    if found is None:
        return
    [(field, value)] = _OTHERWISE[kind](found.event).items()
    told_of = told(changed(recording, found.version, found.event.model_copy(update={field: value})))
    assert told_of[0].version == found.version
    assert told_of[0].kind == kind.kind
    assert told_of[0].field.split(".")[0] == field
    assert told_of[0].recorded != told_of[0].today


def test_an_event_that_was_not_there_is_told_by_its_kind() -> None:
    recording = golden("truncated_and_limited")
    cut = next(one.version for one in recording.events if one.event.kind == "context.truncated")
    [difference] = [one for one in told(without(recording, cut)) if one.version == cut]
    assert (difference.field, difference.recorded, difference.today) == ("kind", "model.called", "context.truncated")


def test_an_event_that_does_not_come_any_more_is_told_by_its_kind() -> None:
    recording = golden("client_tools")
    waits = next(one for one in recording.events if one.event.kind == "run.action_required")
    end = next(one for one in recording.events if isinstance(one.event, RunCompleted))
    events = [*recording.events[: waits.version], end._replace(version=waits.version + 1)]
    [difference] = told(Recording(recording.thread_id, events))
    assert (difference.version, difference.field) == (waits.version + 1, "kind")
    assert (difference.recorded, difference.today) == ("run.completed", None)


def test_an_engine_that_truncates_otherwise_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(context, "_fits", lambda kept, window, budget: False)
    monkeypatch.setattr(context, "_first_message", lambda past, budget: None)
    differing = told(golden("truncated_and_limited"))
    assert {one.kind for one in differing} >= {"context.assembled"}
    assert any(one.field.startswith("manifest.shown") for one in differing)


def test_an_engine_that_closes_otherwise_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(told_by_rules.RUN_ENDED, "run_expired", "Too late.")
    [difference] = [one for one in told(golden("expired")) if one.field == "output"][:1]
    assert difference.kind == "tool.failed"
    assert difference.today == "Too late."


def test_other_runs_of_the_thread_are_verified_after_one_that_differs() -> None:
    recording = golden("failures_and_retries")
    first = next(one for one in recording.events if isinstance(one.event, ModelFailed))
    assert isinstance(first.event, ModelFailed)
    final = first.event.model_copy(update={"final": True})
    verdicts = verify(changed(recording, first.version, final))
    assert [verdict.same for verdict in verdicts] == [False, True, True, True, True]


def test_a_run_under_way_is_verified_as_far_as_it_is() -> None:
    recording = golden("server_tools")
    for version in range(recording.runs()[0].version, recording.runs()[1].version - 2):
        part = Recording(recording.thread_id, recording.events[:version])
        if _is_whole(recording, version):
            assert told(part) == [], version


def _is_whole(recording: Recording, version: int) -> bool:
    """Whether an append ended here: those of one append bear one time, and no tool is between two of its events."""
    here, following = recording.at(version), recording.at(version + 1)
    assert here is not None
    return following is None or here.at != following.at


def test_a_lone_run_of_a_long_thread_and_of_a_fork_is_verified() -> None:
    for name in ("plain_answers", "forks_with_edits"):
        recording = golden(name)
        queued = recording.runs()[-1]
        assert isinstance(queued.event, RunQueued)
        assert one_run(recording, queued.event.run_id).same


def one_run(recording: Recording, run_id: str) -> Verdict:
    async def main() -> Verdict:
        verifier = Verifier()
        try:
            return await verifier.run(recording, run_id)
        finally:
            await verifier.close()

    return asyncio.run(main())


def test_tools_side_by_side_end_in_the_order_in_which_they_did() -> None:
    recording = golden("server_tools")
    ended: Sequence[Any] = [
        one.event.tool_call_id for one in recording.events if isinstance(one.event, (ToolReturned, ToolFailed))
    ]
    started = [one.event.tool_call_id for one in recording.events if isinstance(one.event, ToolStarted)]
    assert ended[: len(started)] != started
    assert told(recording) == []


def test_a_tool_seems_declared_as_its_calls_went() -> None:
    recording = golden("in_doubt_and_settled")
    names = {"deed": "once", "again": "idempotent", "doubtful": "once", "probed": "once"}
    for name, effect in names.items():
        tool = recording.tool(name, 0)
        assert tool is not None
        assert tool.effect == effect
    doubtful, probed = recording.tool("doubtful", 0), recording.tool("probed", 0)
    assert doubtful is not None
    assert doubtful.in_doubt == "tell_model"
    assert probed is not None
    assert probed.probe is not None
    assert golden("client_tools").tool("f", 0) is None
    assert recordings.is_outcome(RunCompleted(run_id="r")) is False
