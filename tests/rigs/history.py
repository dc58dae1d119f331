"""What clients asked for and what they were told, held against what the log says afterwards.

Each thing that a client wants carries a mark, in the metadata of the event that it leads to. However often it asks,
with the same idempotency key, there is one line about it: when it first asked, what it was told last, and when.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

from clew.events.base import Event, Recorded
from clew.events.message import MessageAppended
from clew.events.run import RunOver, RunQueued, RunStarted
from clew.events.tool import ToolInDoubt
from clew.log import Log, Reader, open_store
from tests.log.verifying import fault

_PAGE_EVENTS = 5_000

# `ok` was acknowledged, `fail` was refused, `unknown`: nobody told the client what came of it.
Outcome: TypeAlias = Literal["ok", "fail", "unknown"]


@dataclass(slots=True)
class Asked:
    """One wish. `invoked` and `ended` are on the monotonic clock; `place` is the position that was acknowledged."""

    mark: str
    invoked: float
    ended: float | None = None
    outcome: Outcome = "unknown"
    place: int | None = None


@dataclass(slots=True)
class History:
    asked: list[Asked] = field(default_factory=list)

    def invoke(self, mark: str) -> Asked:
        self.asked.append(Asked(mark, time.monotonic()))
        return self.asked[-1]

    def end(self, asked: Asked, outcome: Outcome, place: int | None = None) -> None:
        asked.ended, asked.outcome, asked.place = time.monotonic(), outcome, place


@dataclass(slots=True)
class Found:
    """What came of it all. `faults` says in words whatever must not be."""

    acknowledged: int = 0
    refused: int = 0
    unknown: int = 0
    unknown_kept: int = 0
    lost: int = 0
    doubled: int = 0
    events: int = 0
    runs: int = 0
    runs_finished: int = 0
    runs_taken_over: int = 0
    calls_in_doubt: int = 0
    deeds: int = 0
    deeds_doubled: int = 0
    faults: list[str] = field(default_factory=list)


def check(store: str | Path, asked: Sequence[Asked], deeds: Sequence[str] = ()) -> Found:
    """`deeds` are the lines that the tools of `tests.rigs.deeds` wrote."""
    log = Log(open_store(str(store), writing=False))
    try:
        with log.reading() as reader:
            return check_events(list(_everything(reader)), asked, deeds, fault_of_rows(reader))
    finally:
        log.close()


def check_events(
    events: Sequence[Recorded[Event]], asked: Sequence[Asked], deeds: Sequence[str] = (), broken: str | None = None
) -> Found:
    found = Found(events=len(events), faults=[broken] if broken else [])
    _check_order(events, found)
    places = _places(events)
    for one in asked:
        _check_one(one, places.get(one.mark, []), found)
    _check_real_time(asked, places, found)
    _check_runs(events, found)
    _check_deeds(deeds, found)
    return found


def _everything(reader: Reader) -> Iterator[Recorded[Event]]:
    position = 0
    while page := reader.follow(position, _PAGE_EVENTS):
        yield from page
        position = page[-1].position


def fault_of_rows(reader: Reader) -> str | None:
    """The first row whose hash does not follow from what is stored."""
    rows = []
    position = 0
    while page := reader.sealed(position, _PAGE_EVENTS):
        rows += page
        position = page[-1].position
    found = fault(rows)
    return f"the chain of {found[0]} breaks at version {found[1]}: {found[2]}" if found is not None else None


def _check_order(events: Sequence[Recorded[Event]], found: Found) -> None:
    versions: Counter[str] = Counter()
    for number, one in enumerate(events, start=1):
        versions[one.stream] += 1
        if one.position != number:
            found.faults.append(f"position {one.position} stands where {number} should")
            return
        if one.version != versions[one.stream]:
            found.faults.append(f"{one.stream}: version {one.version} stands where {versions[one.stream]} should")
            return


def _places(events: Sequence[Recorded[Event]]) -> dict[str, list[int]]:
    """Where each mark is in the log."""
    places = defaultdict(list)
    for one in events:
        if isinstance(one.event, (MessageAppended, RunQueued)) and (mark := one.event.metadata.get("mark")):
            places[mark].append(one.position)
    return places


def _check_one(one: Asked, places: Sequence[int], found: Found) -> None:
    match one.outcome:
        case "ok":
            found.acknowledged += 1
            if not places:
                found.lost += 1
                found.faults.append(f"{one.mark} was acknowledged and is not there")
            elif one.place not in (None, places[0]):
                found.faults.append(f"{one.mark} was acknowledged at {one.place} and is at {places[0]}")
        case "fail":
            found.refused += 1
            if places:
                found.faults.append(f"{one.mark} was refused and is there, at {places[0]}")
        case "unknown":
            found.unknown += 1
            found.unknown_kept += bool(places)
    if len(places) > 1:
        found.doubled += 1
        found.faults.append(f"{one.mark} is there {len(places)} times: {places[:5]}")


def _check_real_time(asked: Sequence[Asked], places: dict[str, list[int]], found: Found) -> None:
    """What was acknowledged before something else was asked for stands before it."""
    ended = sorted((one.ended, places[one.mark][0]) for one in asked if one.outcome == "ok" and places.get(one.mark))
    newest, next_ended = 0, 0
    for one in sorted(asked, key=lambda one: one.invoked):
        while next_ended < len(ended) and (ended[next_ended][0] or 0) < one.invoked:
            newest = max(newest, ended[next_ended][1])
            next_ended += 1
        at = places.get(one.mark)
        if at and at[0] < newest:
            found.faults.append(f"{one.mark} stands at {at[0]}, before {newest}, which was acknowledged earlier")


def _check_runs(events: Sequence[Recorded[Event]], found: Found) -> None:
    fences: dict[str, int] = {}
    ends: Counter[str] = Counter()
    for one in events:
        event = one.event
        run_id: str | None = getattr(event, "run_id", None)
        if run_id is None:
            continue
        if isinstance(event, RunQueued):
            found.runs += 1
        if isinstance(event, RunOver):
            ends[run_id] += 1
        if isinstance(event, ToolInDoubt):
            found.calls_in_doubt += 1
        fence: int | None = getattr(event, "fence", None)
        if fence is None:
            continue
        before = fences.get(run_id, 0)
        if fence < before or (isinstance(event, RunStarted) and fence == before):
            found.faults.append(f"{run_id}: fence {fence} at position {one.position}, after {before}")
        found.runs_taken_over += isinstance(event, RunStarted) and before > 0
        fences[run_id] = fence
    found.runs_finished = len(ends)
    found.faults += [f"{run_id} ended {times} times" for run_id, times in ends.items() if times > 1]


def _check_deeds(deeds: Sequence[str], found: Found) -> None:
    """A deed is its tool's name, its text, and for some its idempotency key. Only `repeatable` may happen again."""
    times: Counter[str] = Counter()
    keys: dict[str, str] = {}
    for line in deeds:
        name, text, *rest = line.split()
        times[f"{name} {text}"] += 1
        if rest and keys.setdefault(f"{name} {text}", rest[0]) != rest[0]:
            found.faults.append(f"the tool {name} {text} was called with another idempotency key")
    found.deeds = sum(times.values())
    for deed, often in times.items():
        if often > 1 and not deed.startswith("repeatable"):
            found.deeds_doubled += 1
            found.faults.append(f"the deed {deed} was done {often} times")
