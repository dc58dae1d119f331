"""The gate before each model call: budgets are asked, and asked again once the call is in the log.

A check before an append races with what other processes append meanwhile. So the call goes into the log first, and
then what stands before it there decides: if it does not fit, it is not sent. Of two that race, the first is sent.
"""

from __future__ import annotations

import random
from collections.abc import Iterable

from clew.desk import Key
from clew.engine.budgets import expected
from clew.engine.hand import Hand
from clew.engine.requests import ModelRequest
from clew.events.run import RunConfig
from clew.rules.standing import (
    AwaitBudget,
    Fits,
    Over,
    Standing,
    StopAtBudget,
    Waits,
    WarnOfBudget,
    verdict,
    warnings,
)
from clew.rules.state import ActiveRun
from clew_projections.budgets import occasion

# Calls under way end, and give back what they had reserved and did not need; for so long that is waited for.
WAIT_SECONDS_MAX = 120.0
_PAUSE_FIRST_SECONDS = 0.1
_PAUSE_MAX_SECONDS = 2.0
_MICROSECONDS = 1_000_000
# Its own, so that nobody who counts on the seed of the common one is disturbed.
_dice = random.Random()


class Gate:
    """Of one request: for an answer, or for a summary, which is asked of another model maybe. Leave it when it is over.

    `config` is the run's.
    """

    def __init__(self, hand: Hand, config: RunConfig, request: ModelRequest) -> None:
        self._hand = hand
        self._config = config
        self._call = expected(
            request.config.provider,
            request.config.model,
            request.tokens.total,
            request.manifest.items,
            request.prompt.max_output_tokens,
        )
        self._warnings: list[Standing] = []

    def __enter__(self) -> Gate:
        return self

    def __exit__(self, *_: object) -> None:
        self._hand.of.budgets.came(self._hand)

    async def opens(self) -> bool:
        """Whether the call may be made: maybe after a wait. If not, the run has ended, or is to be looked at anew."""
        hand, budgets = self._hand, self._hand.of.budgets
        pause, waited = _PAUSE_FIRST_SECONDS, False
        while (run := hand.run()) is not None:
            standings = budgets.before(hand, self._config, self._call)
            self._warnings = warnings(standings)
            match verdict(standings, hand.of.now(), run.budget_until):
                case Fits():
                    if waited:
                        # Of what it was about to show the model, something may have been removed meanwhile.
                        return False
                    if standings:
                        budgets.comes(hand, self._config, self._call)
                    return True
                case Over(standing):
                    await self._stop(run, standing)
                    return False
                case Waits(standing):
                    if run.status == "queued":
                        # Only who holds it may have it wait.
                        await hand.take(run)
                        return False
                    await hand.do(self._wait(standing))
                    if not await budgets.pause(hand, pause * (0.5 + _dice.random())):
                        return False
                    pause, waited = min(2 * pause, _PAUSE_MAX_SECONDS), True
        return False

    async def holds(self) -> bool:
        """Whether the call, which is in the log, may be sent. If not, the run has ended, or is to be looked at anew."""
        hand, budgets = self._hand, self._hand.of.budgets
        standings = budgets.after(hand, self._config, self._call)
        budgets.came(hand)
        run = hand.run()
        if run is None:
            return False
        await self._warn((*self._warnings, *warnings(standings)))
        match verdict(standings, hand.of.now(), run.budget_until):
            case Fits():
                return True
            case Over(standing):
                await hand.do(self._end(standing, unsent=True))
            case Waits(standing):
                await hand.do(self._wait(standing, unsent=True))
        return False

    async def _stop(self, run: ActiveRun, standing: Standing) -> None:
        if await self._hand.holds(run):
            await self._warn(self._warnings)
            await self._hand.do(self._end(standing))

    async def _warn(self, standings: Iterable[Standing]) -> None:
        """Once for each subject and period, whichever process is the first: the key sees to that."""
        hand = self._hand
        for one in standings:
            place = occasion(one.version, one.subject, one.period, one.since, hand.run_id, blind=one.blind is not None)
            command = WarnOfBudget(thread_id=hand.thread_id, run_id=hand.run_id, fence=hand.fence, standing=one)
            await hand.do(command, Key(f"budget {one.budget} {place}", b""))

    def _wait(self, standing: Standing, *, unsent: bool = False) -> AwaitBudget:
        hand = self._hand
        return AwaitBudget(
            thread_id=hand.thread_id,
            run_id=hand.run_id,
            fence=hand.fence,
            standing=standing,
            until=hand.of.now() + round(WAIT_SECONDS_MAX * _MICROSECONDS),
            unsent=unsent,
        )

    def _end(self, standing: Standing, *, unsent: bool = False) -> StopAtBudget:
        return end_at(self._hand, standing, unsent=unsent)


def end_at(hand: Hand, standing: Standing, *, unsent: bool = False) -> StopAtBudget:
    return StopAtBudget(
        thread_id=hand.thread_id, run_id=hand.run_id, fence=hand.fence, standing=standing, unsent=unsent
    )
