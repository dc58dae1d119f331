"""What must hold of a budget that all runs of a world share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from clew.events.base import Event, Recorded
from clew.events.model import ModelAnswered, ModelCalled, ModelFailed
from clew.events.run import BudgetReached, RunFailed
from clew.rules.standing import REACHED, TAKEN
from tests.simulation.outside import ANSWER_TOKENS

if TYPE_CHECKING:
    from tests.simulation.world import Outcome


def faults_of_budget(outcome: Outcome, recorded: Sequence[Recorded[Event]]) -> Iterator[str]:
    """It is exceeded by one answer at most, whoever runs out of it is told, and what is not sent is not sent."""
    called = sum(isinstance(one.event, ModelCalled) for one in recorded)
    unsent = sum(isinstance(one.event, ModelFailed) and one.event.code in (REACHED, TAKEN) for one in recorded)
    if outcome.outside.asked > called - unsent:
        yield f"the model was asked {outcome.outside.asked} times, of {called} calls {unsent} were not to be sent"
    if outcome.plan.budget is None:
        if unsent:
            yield f"{unsent} calls were not sent, though there was no budget"
        return
    used = sum(one.event.usage.total for one in recorded if isinstance(one.event, ModelAnswered) and one.event.usage)
    if used > outcome.plan.budget + ANSWER_TOKENS:
        yield f"{used} tokens were used, and {outcome.plan.budget} might be"
    told = {one.event.run_id for one in recorded if isinstance(one.event, BudgetReached)}
    for one in recorded:
        if isinstance(one.event, RunFailed) and one.event.code == REACHED and one.event.run_id not in told:
            yield f"{one.event.run_id} met a budget, and no event says so"
