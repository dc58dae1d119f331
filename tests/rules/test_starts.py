"""Starts that come to nothing are counted: what ends the process each time, a call or a run, is given up."""

from __future__ import annotations

from dataclasses import replace

import pytest
from pydantic import TypeAdapter

from clew.events import ThreadStreamEvent
from clew.events.model import ModelFailed
from clew.events.run import RunFailed, RunReconfigured, RunStarted
from clew.events.tool import Effect, ToolConfirmed, ToolFailed, ToolSettled, ToolStarted
from clew.rules.commands import StartRun, StartTool
from clew.rules.moves import RunTools, next_move
from clew.rules.state import RUN_STARTS_MAX, TOOL_STARTS_MAX, Thread
from clew.rules.thread import thread_rules
from tests.rules.example import (
    ASKED,
    CLAIM,
    DOUBTING,
    MIXED,
    SERVER_CALL,
    WAITING,
    WORKING,
    R,
    T,
    answered,
    assembled,
    called,
    config,
    in_doubt,
    model_called,
    model_failed,
    returned,
    started,
    tool_failed,
    tool_started,
    waits_for,
)
from tests.specify import given

Events = tuple[ThreadStreamEvent, ...]


def start_tool(fence: int, effect: Effect = "pure") -> StartTool:
    return StartTool(thread_id=T, run_id=R, fence=fence, tool_call_id="call_s", effect=effect, idempotency_key="call_s")


def take(fence: int) -> StartRun:
    return StartRun(thread_id=T, run_id=R, fence=fence, claim=CLAIM)


def died(times: int, effect: Effect = "pure") -> Events:
    """A call that was started so often; the process ended each time, and another one took the run."""
    events: list[ThreadStreamEvent] = [*SERVER_CALL]
    for n in range(1, times + 1):
        events += [tool_started("call_s", effect, n, fence=n), started(n + 1)]
    return tuple(events)


def taken(times: int, before: Events = WORKING) -> Events:
    """A run that was taken so often, each time by somebody who died with it."""
    return (*before, *(started(fence) for fence in range(2, times + 1)))


def starts(*events: ThreadStreamEvent) -> int:
    run = thread_rules.fold(events).run
    assert run is not None
    return run.starts


# Calls


@pytest.mark.parametrize("effect", ["pure", "idempotent"])
def test_a_call_with_which_the_process_ended_each_time_is_started_five_times_and_not_again(effect: Effect) -> None:
    assert TOOL_STARTS_MAX == 5
    given(thread_rules, *died(4, effect)).when(start_tool(5, effect)).then(
        tool_started("call_s", effect, attempt=5, fence=5)
    )
    given(thread_rules, *died(5, effect)).when(start_tool(6, effect)).then_nothing()


def test_a_replay_of_what_was_started_more_often_starts_it_as_often() -> None:
    given(thread_rules, *died(7)).when(replace(start_tool(8), starts_max=100)).then_kinds(ToolStarted)


def settled(by: str, fence: int) -> ToolSettled:
    return ToolSettled(
        run_id=R, fence=fence, step_id="step_1", tool_call_id="call_s", outcome="did_not_happen", output="", by=by
    )


def doubted(times: int, by: str) -> Events:
    """A call that is to happen once: it was in doubt so often, and each time it was found out that it had not."""
    events: list[ThreadStreamEvent] = [*SERVER_CALL]
    for n in range(1, times + 1):
        events += [tool_started("call_s", attempt=n, fence=n), in_doubt("call_s", fence=n), settled(by, n)]
        events.append(started(n + 1))
    return tuple(events)


def test_a_call_that_a_probe_has_made_again_and_again_is_not_started_for_ever() -> None:
    given(thread_rules, *doubted(4, "probe")).when(start_tool(5, "once")).then_kinds(ToolStarted)
    given(thread_rules, *doubted(5, "probe")).when(start_tool(6, "once")).then_nothing()


def test_a_call_that_a_person_has_made_again_is_started_as_often_as_persons_want() -> None:
    given(thread_rules, *doubted(9, "Ada")).when(start_tool(10, "once")).then(
        tool_started("call_s", "once", attempt=10, fence=10)
    )
    again = (*died(5, "idempotent"), in_doubt("call_s", fence=6), settled("Ada", 6), started(7))
    given(thread_rules, *again).when(start_tool(7, "idempotent")).then(
        tool_started("call_s", "idempotent", attempt=6, fence=7)
    )


def test_calls_of_which_one_may_have_ended_the_process_are_made_in_turn() -> None:
    two = (*ASKED, answered("tool_calls"), called("call_s", "server"), called("call_t", "server"))
    for history, in_turn in ((two, False), ((*two, tool_started("call_s", "pure"), started(2)), True)):
        run = thread_rules.fold(history).run
        assert run is not None
        move = next_move(run)
        assert isinstance(move, RunTools)
        assert move.in_turn == in_turn


# Runs


def test_a_run_that_is_taken_again_and_again_without_progress_ends_when_it_is_taken_once_more() -> None:
    assert RUN_STARTS_MAX == 10
    given(thread_rules, *taken(9)).when(take(9)).then(started(10))
    events = given(thread_rules, *taken(10)).when(take(10)).then_kinds(RunStarted, RunFailed)
    failed = events[1]
    assert isinstance(failed, RunFailed)
    assert (failed.code, failed.message) == (
        "server_error",
        "the run was started 10 times in a row and made no progress",
    )


def test_what_is_open_in_a_run_that_was_taken_too_often_is_closed_with_it() -> None:
    asked = taken(10, ASKED)
    given(thread_rules, *asked).when(take(10)).then_kinds(RunStarted, ModelFailed, RunFailed)
    calling = (*died(10), tool_started("call_s", "pure", attempt=11, fence=11))
    events = given(thread_rules, *calling).when(take(11)).then_kinds(RunStarted, ToolFailed, RunFailed)
    assert [getattr(event, "fence", None) for event in events] == [12, 12, None]


def test_a_replay_of_a_run_that_was_taken_more_often_takes_it_as_often() -> None:
    given(thread_rules, *taken(20)).when(replace(take(20), starts_max=100)).then(started(21))


CONFIRM = called("call_a", "server").model_copy(update={"confirm": True})
UNCONFIRMED = (*ASKED, answered("tool_calls"), CONFIRM, called("call_b"), waits_for("call_a", "call_b"))


@pytest.mark.parametrize(
    ("before", "progress"),
    [
        (ASKED, answered("tool_calls")),
        (SERVER_CALL, returned("call_s")),
        (SERVER_CALL, tool_failed("call_s", "error", "no such place")),
        (DOUBTING, settled("Ada", 1)),
        (DOUBTING, settled("probe", 1).model_copy(update={"outcome": "happened"})),
        (WAITING, returned("call_a")),
        (WAITING, RunReconfigured(run_id=R, config=config())),
        (UNCONFIRMED, ToolConfirmed(run_id=R, fence=1, step_id="step_1", tool_call_id="call_a", allowed=True)),
        (UNCONFIRMED, ToolConfirmed(run_id=R, fence=1, step_id="step_1", tool_call_id="call_a", allowed=False)),
    ],
    ids=lambda value: value.kind if isinstance(value, ThreadStreamEvent) else "",
)
def test_a_run_that_made_progress_is_counted_anew(before: Events, progress: ThreadStreamEvent) -> None:
    assert starts(*taken(3, before)) > 0
    assert starts(*taken(3, before), progress) == 0


@pytest.mark.parametrize(
    ("before", "event"),
    [
        (ASKED, model_failed(code="lost")),
        (ASKED, model_failed(code="timeout")),
        (SERVER_CALL, tool_started("call_s", "pure")),
        (DOUBTING, settled("probe", 1)),
        (WORKING, assembled()),
        (WORKING, model_called()),
    ],
)
def test_what_is_only_begun_or_lost_is_no_progress(before: Events, event: ThreadStreamEvent) -> None:
    assert starts(*taken(3, before), event) == starts(*taken(3, before)) > 0


# What was kept of a thread by the version before this one, in the words of its snapshots.
_OLD = (
    '{"exists":true,"deleted":false,"tenant":"acme","user_messages":1,"items":3,"tokens":11,"run":{"run_id":"run_1",'
    '"status":"in_progress","expires_at":1000000,"limits":{"prompt_tokens":null,"completion_tokens":null,"steps":null,'
    '"seconds":null,"amount":null,"tokens":null},"fence":2,"attempts":2,"steps":1,"usage":{"input":10,"output":5,'
    '"cached":0,"cache_write":0,"reasoning":0,"cache_write_1h":0,"input_audio":0,"output_audio":0,"web_searches":0},'
    '"model_call":null,"calls":[{"tool_call_id":"call_s","step_id":"step_1","name":"look","executor":"server",'
    '"status":"started","attempts":2,"effect":"idempotent","hands_over":false},{"tool_call_id":"call_c","step_id":'
    '"step_1","name":"look","executor":"client","status":"called","attempts":0,"effect":null,"hands_over":false}],'
    '"changed":[],"budget_until":null,"reconfigured":0},"truncation":null,"summary":null,"changes":0,"stored":true}'
)


def test_a_snapshot_of_the_version_before_is_read_and_its_calls_are_counted_as_they_were() -> None:
    assert thread_rules.version == 2
    read = TypeAdapter(Thread).validate_json(_OLD)
    history = (*MIXED, tool_started("call_s", "idempotent"), started(2))
    now = thread_rules.fold((*history, tool_started("call_s", "idempotent", attempt=2, fence=2)))
    assert now.run is not None
    assert read.run is not None
    assert read == replace(now, run=replace(now.run, starts=0))
    assert read.run.calls[0].starts == 2
