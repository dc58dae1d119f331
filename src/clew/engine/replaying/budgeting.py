"""Where budgets stood when a run was recorded: its events say so, and nothing else could any more."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING

from clew.engine.budgets import Budgets, Call
from clew.engine.hand import Hand
from clew.events.base import Event
from clew.events.model import ContextAssembled, ModelCalled, ModelFailed
from clew.events.run import BudgetAwaited, BudgetReached, OfBudget, RunConfig, RunStarted
from clew.events.tool import ToolFailed
from clew.rules.standing import REACHED, TAKEN, Standing

if TYPE_CHECKING:
    from clew.engine.replaying.rehearsing import Rehearsal

_NOTHING = Decimal(0)
# A call that was not sent because its run was cancelled at that moment: which budget it was, nobody wrote down.
_SOME = Standing(
    budget="",
    version=1,
    scope="tenant",
    subject=None,
    period="total",
    since=None,
    unit="tokens",
    limit=_NOTHING,
    hard=True,
    spent=_NOTHING,
    asked=_NOTHING,
    reserved=Decimal(1),
)
_SOME_REACHED = replace(_SOME, spent=Decimal(1), reserved=_NOTHING)


class RecordedBudgets(Budgets):
    """Gives back what was found when the run was recorded, if anything came of it."""

    def __init__(self, play: Rehearsal) -> None:
        super().__init__()
        self._play = play

    def before(self, hand: Hand, config: RunConfig, call: Call) -> Sequence[Standing]:
        """Warnings are told before a run is ended by another budget; by themselves, only after the call."""
        told: list[Standing] = []
        for event in self._following():
            match event:
                case RunStarted():
                    # Taken for this, or taken over before it came to this: who drives the run is told by then.
                    continue
                case BudgetReached(hard=False):
                    told.append(_standing(event, hard=False))
                case BudgetReached():
                    self._let_time_pass(hand)
                    return [*told, _standing(event)]
                case BudgetAwaited():
                    return [_standing(event)]
                case _:
                    return ()
        return ()

    def after(self, hand: Hand, config: RunConfig, call: Call) -> Sequence[Standing]:
        told: list[Standing] = []
        following = self._following()
        for event in following:
            match event:
                case BudgetReached(hard=False):
                    told.append(_standing(event, hard=False))
                case ModelFailed(code=code) if code in (TAKEN, REACHED):
                    return [*told, self._why_unsent(hand, code, next(following, None))]
                case _:
                    break
        return told

    def _why_unsent(self, hand: Hand, code: str, then: Event | None) -> Standing:
        if isinstance(then, BudgetAwaited) and code == TAKEN:
            return _standing(then)
        if isinstance(then, BudgetReached) and then.hard and code == REACHED:
            self._let_time_pass(hand)
            return _standing(then)
        return _SOME if code == TAKEN else _SOME_REACHED

    async def pause(self, hand: Hand, seconds: float) -> bool:
        def goes_on(event: Event) -> bool:
            return isinstance(event, (ContextAssembled, ModelCalled, BudgetReached))

        return await self._play.passes(hand, goes_on, "room in a budget")

    def late_at(self, hand: Hand, config: RunConfig) -> int | None:
        """By no clock of today."""
        return None

    def late(self, hand: Hand, config: RunConfig) -> Standing | None:
        if config.limits.seconds is None:
            return None
        for event in self._following():
            match event:
                case RunStarted() | ModelFailed(code="run_incomplete") | ToolFailed(reason="run_incomplete"):
                    continue
                case BudgetReached(hard=True, unit="seconds"):
                    return _standing(event)
                case _:
                    return None
        return None

    def _following(self) -> Iterator[Event]:
        """What the engine did next."""
        recording = self._play.recording
        return (
            recorded.event
            for recorded in recording.after(self._play.version)
            if not recording.is_from_outside(recorded.version)
        )

    def _let_time_pass(self, hand: Hand) -> None:
        """If it waited for room, it did so until its time was up."""
        run = hand.run()
        if run is not None and run.budget_until is not None:
            self._play.stage.clock.now = max(self._play.stage.clock.now, run.budget_until)


def _standing(event: OfBudget, *, hard: bool = True) -> Standing:
    return Standing(
        budget=event.budget,
        version=event.version,
        scope=event.scope,
        subject=event.subject,
        period=event.period,
        since=event.since,
        unit=event.unit,
        limit=Decimal(event.limit),
        hard=hard,
        spent=Decimal(event.spent),
        asked=Decimal(event.asked),
        reserved=Decimal(event.reserved),
        blind=event.blind,
    )
