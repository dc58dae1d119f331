"""Why a provider's list and the ledger differ on a day: what accounts for a difference, to the last token.

Pure: counts are tuples, a difference is what the provider lists less what the ledger has. An explanation is taken
only if it leaves nothing over, or, where usage is unknown, if what is left may well be what was not known.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from itertools import pairwise
from operator import add, neg, sub
from typing import Literal, TypeAlias

Counts: TypeAlias = tuple[int, ...]
Reason: TypeAlias = Literal[
    "midnight", "lost", "broken_off", "not_billed", "cached_otherwise", "only_listed", "only_ours"
]

Verdict: TypeAlias = Literal["agrees", "explained", "unexplained"]

# Nobody says which clock a provider puts a call by: when it came, when it was answered, or when it was counted.
_NEAR_MIDNIGHT = 5 * 60 * 1_000_000
_DAY = 86_400_000_000
# Our count of a prompt is off by some, and leaves out what a provider puts around it; were it more than so many times
# as much and so many tokens for each call, something else was going on.
_ESTIMATE_OFF_MAX = 2
_AROUND_TOKENS_MAX = 100
_EPOCH = date(1970, 1, 1)


@dataclass(frozen=True, slots=True)
class Call:
    """An attempt of the ledger: when it was begun and ended (microseconds), and what it used.

    `counts` None: nobody knows. With a `failure` they are what was known when it broke off.
    """

    position: int
    begun: int
    ended: int
    model: str
    counts: Counts | None
    failure: str | None
    estimated_tokens: int
    run_id: str
    thread_id: str
    step_id: str | None = None

    @property
    def day(self) -> date:
        return day_of(self.ended)

    @property
    def broke_off(self) -> bool:
        return self.failure is not None and self.counts is not None


@dataclass(frozen=True, slots=True)
class Found:
    """Calls that account for `counts` of a difference. `settles` the rest of it: nothing is left to look for.

    `other_day` is the one that calls near midnight were counted on, or came from: it depends on `away`.
    """

    reason: Reason
    calls: tuple[Call, ...]
    counts: Counts
    settles: bool
    other_day: date | None = None
    away: bool = False


@dataclass(slots=True)
class Day:
    """One model on one day. `compared` is False for a day beside those that the export is about."""

    day: date
    listed: Counts
    calls: list[Call]
    compared: bool = True
    found: list[Found] = field(default_factory=list)
    moved: Counts = ()

    @property
    def known(self) -> list[Call]:
        return [call for call in self.calls if call.counts is not None]

    @property
    def ours(self) -> Counts:
        return total((call.counts for call in self.calls if call.counts is not None), len(self.listed))

    @property
    def difference(self) -> Counts:
        return minus(self.listed, self.ours)

    @property
    def left(self) -> Counts:
        """What is still to be explained once calls were moved over midnight."""
        return plus(self.difference, self.moved) if self.moved else self.difference

    @property
    def verdict(self) -> Verdict:
        if not any(self.difference) and not self.found:
            return "agrees"
        return "explained" if not any(self.left) or any(found.settles for found in self.found) else "unexplained"


def day_of(at: int) -> date:
    return datetime.fromtimestamp(at // 1_000_000, UTC).date()


def plus(one: Counts, other: Counts) -> Counts:
    return tuple(map(add, one, other))


def minus(one: Counts, other: Counts) -> Counts:
    return tuple(map(sub, one, other))


def total(counts: Iterable[Counts], columns: int) -> Counts:
    found = (0,) * columns
    for one in counts:
        found = plus(found, one)
    return found


def explain(days: Sequence[Day], counted: Sequence[str]) -> None:
    """`days` are those of one model, in order and without gaps; what is found is put down in them."""
    for before, after in pairwise(days):
        _over_midnight(before, after)
    for day in days:
        if day.compared and any(day.left):
            day.found += _reasons(day, counted)


# Over midnight


def _over_midnight(before: Day, after: Day) -> None:
    """Count calls on the other day if more of the two days agree then; so none agrees less."""
    if not any(day.compared and any(day.left) for day in (before, after)):
        return
    most, best = sum(day.compared and not any(day.left) for day in (before, after)), None
    for move in _moves(before, after):
        agree = sum(day.compared and not any(left) for day, left in move.leaves(before, after))
        if agree > most:
            most, best = agree, move
    if best is not None:
        best.done(before, after)


@dataclass(frozen=True, slots=True)
class _Move:
    """The first so many of `calls`, which come to `counts`, are counted on the later day, or on the earlier one."""

    calls: Sequence[Call]
    number: int
    counts: Counts
    forward: bool

    def leaves(self, before: Day, after: Day) -> Iterator[tuple[Day, Counts]]:
        """What is still to be explained on each of the two days then."""
        for day, change in self._changes(before, after):
            yield day, plus(day.left, change)

    def _changes(self, before: Day, after: Day) -> tuple[tuple[Day, Counts], tuple[Day, Counts]]:
        other = tuple(map(neg, self.counts))
        gone, come = (self.counts, other) if self.forward else (other, self.counts)
        return (before, gone), (after, come)

    def done(self, before: Day, after: Day) -> None:
        calls = tuple(self.calls[: self.number])
        for day, change in self._changes(before, after):
            day.moved = plus(day.moved, change) if day.moved else change
            other = after.day if day is before else before.day
            away = (day is before) == self.forward
            day.found.append(Found("midnight", calls, self.counts, settles=False, other_day=other, away=away))


def _moves(before: Day, after: Day) -> Iterator[_Move]:
    """Calls that a provider's clock may have put on the other day: those that were under way at midnight, or so many
    of the last before it or of the first after it."""
    midnight = (after.day - _EPOCH).days * _DAY
    columns = len(before.listed)
    across = [call for call in after.known if call.begun < midnight]
    if across:
        yield _Move(across, len(across), total(filter(None, (call.counts for call in across)), columns), False)
    late = sorted((c for c in before.known if c.ended >= midnight - _NEAR_MIDNIGHT), key=lambda c: -c.ended)
    early = sorted((c for c in after.known if c.ended < midnight + _NEAR_MIDNIGHT), key=lambda c: c.ended)
    for calls, forward in ((late, True), (early, False)):
        running = (0,) * columns
        for number, call in enumerate(calls, 1):
            assert call.counts is not None, "only calls of known usage are moved"
            running = plus(running, call.counts)
            yield _Move(calls, number, running, forward)


# On the day itself


def _reasons(day: Day, counted: Sequence[str]) -> list[Found]:
    left = day.left
    if all(count <= 0 for count in left):
        return _more_of_ours(day, left, counted)
    if all(count >= 0 for count in left):
        return _more_of_theirs(day, left, counted)
    return _counted_otherwise(day, left, counted)


def _more_of_ours(day: Day, left: Counts, counted: Sequence[str]) -> list[Found]:
    """Which calls are exactly what the provider does not list. One that failed need not have been billed."""
    wanted = tuple(map(neg, left))
    broken = tuple(call for call in day.calls if call.broke_off)
    if broken and total((call.counts for call in broken if call.counts), len(left)) == wanted:
        return [Found("not_billed", broken, wanted, settles=True)]
    alone = [call for call in day.known if call.counts == wanted]
    failed = next((call for call in alone if call.broke_off), None)
    if failed is not None:
        return [Found("not_billed", (failed,), wanted, settles=True)]
    if not any(day.listed):
        return [Found("only_ours", tuple(day.known), wanted, settles=False)]
    if alone:
        return [Found("only_ours", tuple(alone), wanted, settles=False)]
    return _counted_otherwise(day, left, counted)


def _more_of_theirs(day: Day, left: Counts, counted: Sequence[str]) -> list[Found]:
    """The provider bills what nobody here knows the usage of: calls whose answer was lost, or broke off."""
    lost = tuple(call for call in day.calls if call.counts is None)
    more = dict(zip(counted, left, strict=True))
    requests = more.get("requests")
    room = sum(call.estimated_tokens * _ESTIMATE_OFF_MAX + _AROUND_TOKENS_MAX for call in lost)
    if lost and more["input"] <= room and (requests is None or 1 <= requests <= len(lost)):
        return [Found("lost", lost, left, settles=True)]
    broken = tuple(call for call in day.calls if call.broke_off)
    if broken and not any(count for name, count in more.items() if name != "output"):
        return [Found("broken_off", broken, left, settles=True)]
    if lost:
        return [Found("lost", lost, left, settles=False)]
    if not day.known:
        return [Found("only_listed", (), left, settles=False)]
    return _counted_otherwise(day, left, counted)


def _counted_otherwise(day: Day, left: Counts, counted: Sequence[str]) -> list[Found]:
    """The same tokens, of which another part is said to have gone through the cache: that changes what they cost."""
    parts = ("cached", "cache_write", "cache_write_1h")
    if any(count for name, count in zip(counted, left, strict=True) if name not in parts):
        return []
    return [Found("cached_otherwise", (), left, settles=False)]
