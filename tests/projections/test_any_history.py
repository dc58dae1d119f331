"""Whatever happened: rows made again are the rows that were kept, and the past reads as it was when it was now."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clew.audit.telling import audit
from clew.events import Event, Recorded
from clew.events.budget import BudgetRemoved, BudgetSet
from clew.log import Reader
from clew.past import Point
from clew.rules.state import ActiveRun
from clew_projections import (
    assistant_catalog,
    billing_ledger,
    budgets,
    run_view,
    thread_settings,
    thread_stats,
    thread_view,
)
from tests.log.clocks import clock
from tests.projections.living import House, live

pytestmark = pytest.mark.slow

COMMANDS_MAX = 80


@settings(max_examples=20)
@given(st.randoms(use_true_random=False), st.integers(1, COMMANDS_MAX))
def test_rows_made_again_from_the_log_are_the_rows_that_were_kept(random: Random, commands: int) -> None:
    asyncio.run(_rebuilt_equals_kept(random, commands))


def test_so_they_are_after_a_long_history(store: str) -> None:
    asyncio.run(_rebuilt_equals_kept(Random(7), 1_500, store))


def test_so_they_are_on_postgres(fresh_databases: Callable[[], str]) -> None:
    @settings(max_examples=6)
    @given(st.randoms(use_true_random=False), st.integers(1, COMMANDS_MAX))
    def each(random: Random, commands: int) -> None:
        asyncio.run(_rebuilt_equals_kept(random, commands, fresh_databases()))

    each()


async def _rebuilt_equals_kept(random: Random, commands: int, store: str = ":memory:") -> None:
    house = await House(store).open()
    try:
        await live(house, random, commands)
        await house.keeper.follow(house.log, "thread_stats")
        kept = house.tables()
        for name in house.keeper.projections:
            await house.keeper.rebuild(house.log, name)
        assert house.tables() == kept
        await house.keeper.rebuild(house.log, *house.keeper.projections, gently=True)
        assert house.tables() == kept
    finally:
        await house.close()


@settings(max_examples=12)
@given(st.randoms(use_true_random=False), st.integers(1, COMMANDS_MAX))
def test_the_past_reads_as_it_did_when_it_was_now(random: Random, commands: int) -> None:
    asyncio.run(_past_equals_then(random, commands))


def test_so_it_does_in_a_long_history() -> None:
    asyncio.run(_past_equals_then(Random(11), 250))


def test_so_it_does_on_postgres(fresh_databases: Callable[[], str]) -> None:
    """The second log is in SQLite, so this also says that both stores read alike."""

    @settings(max_examples=6)
    @given(st.randoms(use_true_random=False), st.integers(1, COMMANDS_MAX))
    def each(random: Random, commands: int) -> None:
        asyncio.run(_past_equals_then(random, commands, fresh_databases()))

    each()


async def _past_equals_then(random: Random, commands: int, store: str = ":memory:") -> None:
    """A second log is given the events one by one, and asked after each what the first is asked as of then."""
    house, replay = await House(store).open(), await House().open()
    ticks = count(1_000_000, 1_000)
    try:
        with clock(lambda: next(ticks)):
            await live(house, random, commands)
            await house.keeper.follow(house.log, "thread_stats")
        events = house.events()
        names = _names(events)
        newest_at = {recorded.at: recorded.position for recorded in events}
        for recorded in events:
            with clock(lambda at=recorded.at: at):  # type: ignore[misc]
                await replay.log.append(
                    recorded.stream, [recorded.event], after=recorded.version - 1, actor=recorded.actor
                )
            if random.random() < 0.05:
                # What came since then is counted all the same.
                await replay.keeper.follow(replay.log, "thread_stats")
            with house.log.reading() as whole, replay.log.reading() as only_then:
                then = list(_answers(only_then, names, None, only_then))
                assert list(_answers(whole, names, recorded.position, only_then)) == then
                assert Point(f"v{recorded.version}", "").position(whole, recorded.stream) == recorded.position
                assert Point(_written(recorded.at), "").position(whole) == newest_at[recorded.at]
    finally:
        await house.close()
        await replay.close()


def _written(at: int) -> str:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=at)).isoformat()


def _names(events: list[Recorded[Event]]) -> dict[str, list[str]]:
    """Everything that can be asked for by its id."""
    names: dict[str, list[str]] = {of: [] for of in ("threads", "runs", "messages", "steps", "assistants", "budgets")}
    fields = {"run_id": "runs", "message_id": "messages", "step_id": "steps"}
    for recorded in events:
        if isinstance(recorded.event, (BudgetSet, BudgetRemoved)):
            names["budgets"].append(recorded.event.budget_id)
            continue
        kind = "assistants" if recorded.event.kind.startswith("assistant") else "threads"
        names[kind].append(recorded.stream)
        for field, of in fields.items():
            if getattr(recorded.event, field, None) is not None:
                names[of].append(getattr(recorded.event, field))
    return {of: sorted(set(ids)) for of, ids in names.items()}


def _answers(reader: Reader, names: dict[str, list[str]], as_of: int | None, then: Reader) -> Iterator[Any]:
    for labels in ({}, {"a": "x"}, {"a": "x", "b": "y"}):
        yield thread_view.threads(reader, tenant="acme", labels=labels, limit=100, as_of=as_of)
    yield thread_view.threads(reader, tenant="other", limit=100, as_of=as_of)
    yield thread_view.threads(reader, tenant="acme", limit=2, offset=1, as_of=as_of)
    yield from _pages(partial(thread_view.threads, reader, tenant="acme", as_of=as_of), "created")
    yield thread_stats.stats(reader, names["threads"], as_of)
    for thread_id in names["threads"]:
        yield thread_view.thread(reader, thread_id, as_of)
        yield reader.version(thread_id, as_of)
        history = thread_view.segments(reader, thread_id, as_of)
        yield history
        for newest_first in (True, False):
            rows = list(thread_view.walk(reader, history, newest_first=newest_first, page=3, as_of=as_of))
            yield rows
            yield thread_view.items(reader, rows)
        yield thread_settings.settings(reader, [(one.stream, one.moment(as_of)) for one in reversed(history)])
        for message_id in names["messages"]:
            yield thread_view.message(reader, history, message_id, as_of)
        yield from _pages(partial(run_view.runs, reader, thread_id, as_of=as_of), "queued")
    for run_id in names["runs"]:
        yield run_view.run(reader, run_id, as_of)
        yield run_view.run(then, run_id) and audit(reader, run_id, as_of)
        yield from _pages(partial(run_view.steps, reader, run_id, as_of=as_of), "created")
    for step_id in names["steps"]:
        yield run_view.step(reader, step_id, as_of)
    for assistant_id in names["assistants"]:
        assistant = assistant_catalog.assistant(reader, assistant_id, as_of)
        yield assistant
        if assistant is not None:
            yield assistant_catalog.versions(reader, assistant, newest=100, limit=100, as_of=as_of)
    yield from _pages(partial(assistant_catalog.assistants, reader, tenant="acme", as_of=as_of), "created")
    yield budgets.budgets(reader, as_of)
    for budget_id in names["budgets"]:
        yield budgets.budget(reader, budget_id, as_of)
        yield budgets.reached(reader, budget_id, limit=2, as_of=as_of)
    within = billing_ledger.span(reader, as_of=as_of)
    for by in ("model", "assistant", "tag:a", "hour"):
        yield billing_ledger.grouped(reader, billing_ledger.Scope(tenant="acme"), within, by)
    for thread_id in names["threads"]:
        yield billing_ledger.spending(reader, thread_id=thread_id, as_of=as_of)
    yield billing_ledger.entries(reader, billing_ledger.Scope(), within)


def _pages(read: Callable[..., Sequence[Any]], place: str) -> Iterator[Any]:
    """What a list gives at once, and behind and before each cursor in it."""
    whole = read(limit=100)
    yield whole
    yield read(limit=100, newest_first=False)
    for one in whole[:3]:
        yield read(limit=2, after=getattr(one, place), newest_first=False)
        yield read(limit=2, before=getattr(one, place))


@settings(max_examples=15)
@given(st.randoms(use_true_random=False), st.integers(1, COMMANDS_MAX))
def test_what_is_on_the_board_is_what_the_rules_say_is_under_way(random: Random, commands: int) -> None:
    asyncio.run(_board_equals_rules(random, commands))


def test_so_it_is_after_a_long_history() -> None:
    for seed in range(10):
        asyncio.run(_board_equals_rules(Random(seed), 300))


async def _board_equals_rules(random: Random, commands: int) -> None:
    house = await House().open()
    try:
        await live(house, random, commands)
        streams = {one.stream for one in house.events() if one.stream.startswith(("thread", "fork"))}
        states = [house.desk.thread(stream).run for stream in streams]
        active = {run.run_id: run for run in states if run is not None}
        with house.log.reading() as reader:
            board = {row[0]: dict(row) for row in reader.rows("select * from run_board")}
            views = {run_id: run_view.run(reader, run_id) for run_id in board}
        assert set(board) == set(active)
        for run_id, run in active.items():
            view = views[run_id]
            assert view is not None
            assert (view.status, view.fence, view.attempts) == (run.status, run.fence, run.attempts)
            assert view.usage == run.usage
            assert set(view.in_doubt) == {call.tool_call_id for call in run.calls if call.status == "in_doubt"}
            if run.status == "requires_action":
                assert view.waits_for == tuple(call.tool_call_id for call in run.awaited)
            assert board[run_id]["fence"] == run.fence
            assert board[run_id]["in_doubt"] == len(view.in_doubt)
            assert board[run_id]["standing"] == _standing(run)
    finally:
        await house.close()


def _standing(run: ActiveRun) -> str:
    # Also of two calls side by side: when one was settled, and the run queued, and then the other came into doubt.
    if run.in_doubt and run.status in ("queued", "in_progress"):
        return "in_doubt"
    return {"queued": "ready", "in_progress": "working", "requires_action": "waiting"}.get(run.status, "cancelling")
