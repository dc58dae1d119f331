"""What must hold after every run of the simulation, whatever went wrong in it. Each fault is told as a sentence."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import cast

from clew.events import ThreadStreamEvent
from clew.events.base import Event, Recorded
from clew.events.budget import BudgetSet
from clew.events.run import RunExpired, RunQueued
from clew.events.tool import ToolSettled, ToolStarted
from clew.log import Log
from clew.log.chain import Sealed, check
from clew.proof.verify import verify_log
from clew.rules.thread import thread_rules
from tests.simulation.budgeting import faults_of_budget
from tests.simulation.history import Asked, What
from tests.simulation.marks import mark_of
from tests.simulation.process import NETWORK_SECONDS_MAX
from tests.simulation.runs import faults_of_lucky_run, faults_of_run
from tests.simulation.tables import AtOnce, faults_of_rebuilding, faults_of_tables
from tests.simulation.world import EPOCH_MICROSECONDS, Outcome

# Clocks tick between the moment something is decided and the moment it is written.
_CLOCK_MICROSECONDS = 1_000_000
_REBUILT_EVERY = 20


def faults_of(outcome: Outcome, *, tables: bool = True) -> list[str]:
    """Everything that is not as it must be. `tables`: also whether the read models can be made again."""
    log = Log(outcome.store, make_writer=AtOnce)
    with log.reading() as reader:
        recorded = reader.follow(0, 1_000_000)
        sealed = reader.sealed(0, 1_000_000)
        tree = verify_log(reader)
    found = [*outcome.faults]
    found += _of_the_log(recorded, sealed)
    found += [f"the signed tree: {fault}" for fault in tree.faults]
    found += _of_answers(outcome.history.asked, recorded)
    found += _of_times(outcome.history.asked)
    found += _of_expiry(recorded)
    found += _of_states(outcome, recorded)
    for run_id, events in by_run(recorded).items():
        found += faults_of_run(run_id, events, outcome.stopped)
        if outcome.plan.lucky:
            found += faults_of_lucky_run(run_id, events)
    found += _of_deeds(outcome, recorded)
    found += faults_of_budget(outcome, recorded)
    if tables:
        found += faults_of_tables(log, sealed, recorded)
        if outcome.plan.seed % _REBUILT_EVERY == 0:
            found += faults_of_rebuilding(log)
    return found


def by_stream(recorded: Iterable[Recorded[Event]]) -> dict[str, list[Recorded[Event]]]:
    streams = defaultdict(list)
    for one in recorded:
        streams[one.stream].append(one)
    return streams


def by_run(recorded: Iterable[Recorded[Event]]) -> dict[str, list[Recorded[Event]]]:
    runs = defaultdict(list)
    for one in recorded:
        run_id = getattr(one.event, "run_id", None)
        if run_id is not None:
            runs[run_id].append(one)
    return runs


def _of_the_log(recorded: Sequence[Recorded[Event]], sealed: Sequence[Sealed]) -> Iterator[str]:
    if [one.position for one in recorded] != list(range(1, len(recorded) + 1)):
        yield "positions have gaps"
    if any(one.at > two.at for one, two in pairwise(recorded)):
        yield "times go back"
    for stream, events in by_stream(recorded).items():
        if [one.version for one in events] != list(range(1, len(events) + 1)):
            yield f"versions of {stream} have gaps"
        broken = check([one for one in sealed if one.originator_id == stream])
        if broken is not None:
            yield f"the chain of {stream} breaks at {broken}"


def _of_answers(asked: Sequence[Asked], recorded: Sequence[Recorded[Event]]) -> Iterator[str]:
    """What was acknowledged is there once, what was refused is not there, and nothing is there twice."""
    found: dict[tuple[What, str], list[int]] = defaultdict(list)
    for one in recorded:
        mark = mark_of(one.event)
        if mark is not None:
            found[mark].append(one.position)
    for one_asked in asked:
        positions = tuple(found.get((one_asked.what, one_asked.mark), ()))
        name = f"{one_asked.what} {one_asked.mark}"
        if one_asked.ended == "ok" and positions != one_asked.positions:
            yield f"{name} was acknowledged at {one_asked.positions}, and is at {positions}"
        if one_asked.ended == "ok" and len(positions) != one_asked.events:
            yield f"{name} was acknowledged, and is there {len(positions)} times instead of {one_asked.events}"
        if one_asked.ended == "fail" and any(_was_there(one_asked, recorded[place - 1]) for place in positions):
            yield f"{name} was refused ({one_asked.why}), and is at {positions}"
        if len(positions) not in (0, one_asked.events):
            yield f"{name} is there {len(positions)} times instead of {one_asked.events}"


def _was_there(asked: Asked, recorded: Recorded[Event]) -> bool:
    """Whether it was there when it was refused: a copy that was still on its way may have been taken later."""
    if not asked.doubled or asked.returned is None:
        return True
    return recorded.at < EPOCH_MICROSECONDS + (asked.returned - NETWORK_SECONDS_MAX) * 1_000_000


def _of_times(asked: Sequence[Asked]) -> Iterator[str]:
    """What was acknowledged before something else was asked for stands before it."""
    done = [one for one in asked if one.positions]
    order = sorted(done, key=lambda one: one.returned or 0.0)
    highest, waiting = 0, iter(order)
    ended = next(waiting, None)
    for begun in sorted(done, key=lambda one: one.invoked):
        while ended is not None and ended.returned is not None and ended.returned < begun.invoked:
            highest = max(highest, *ended.positions)
            ended = next(waiting, None)
        if min(begun.positions) <= highest:
            yield f"{begun.mark} is at {begun.positions}, before what was acknowledged earlier, at {highest}"


def _of_expiry(recorded: Sequence[Recorded[Event]]) -> Iterator[str]:
    """Nobody's clock but the database's says that a run is over."""
    until = {one.event.run_id: one.event.expires_at for one in recorded if isinstance(one.event, RunQueued)}
    for one in recorded:
        if isinstance(one.event, RunExpired):
            expires_at = until[one.event.run_id]
            if expires_at is None or one.at < expires_at - _CLOCK_MICROSECONDS:
                yield f"{one.event.run_id} expired at {one.at}, before its time ({expires_at})"


def _of_states(outcome: Outcome, recorded: Sequence[Recorded[Event]]) -> Iterator[str]:
    """What each process believes of a thread is what the log says."""
    for stream, events in by_stream(recorded).items():
        if isinstance(events[0].event, BudgetSet):
            continue
        known = [one.event for one in events if one.position <= outcome.believed_at]
        truth = thread_rules.fold(cast("list[ThreadStreamEvent]", known))
        for name, believed in outcome.beliefs.items():
            if stream in believed and believed[stream] != truth:
                yield f"{name} believes {believed[stream]} of {stream}, and it is {truth}"


def _of_deeds(outcome: Outcome, recorded: Sequence[Recorded[Event]]) -> Iterator[str]:
    """The log knows before the world does; and what is to happen once does not happen twice."""
    started: dict[str, list[int]] = defaultdict(list)
    effects: dict[str, str] = {}
    free: Counter[str] = Counter()
    for one in recorded:
        match one.event:
            case ToolStarted(idempotency_key=key, effect=effect):
                started[key].append(one.at)
                effects[key] = effect
            case ToolSettled(run_id=run_id, tool_call_id=call_id, outcome="did_not_happen"):
                free[f"{run_id}_{call_id}"] += 1
            case _:
                pass
    times = Counter(deed.key for deed in outcome.outside.deeds)
    for key, count in times.items():
        if effects.get(key) == "once" and count > 1 + free[key]:
            yield f"{key} was to be done once, and was done {count} times"
    for key, began in started.items():
        if effects[key] == "once" and len(began) > 1 + free[key]:
            yield f"{key} was to be done once, and was started {len(began)} times"
    for deed in outcome.outside.deeds:
        if not any(at <= deed.at for at in started[deed.key]):
            yield f"{deed.key} was done before the log knew of it"
