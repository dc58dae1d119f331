"""Commands about budgets that a run may be given: of any kind, anywhere, also where they make no sense."""

from __future__ import annotations

from decimal import Decimal
from random import Random

from clew.rules.standing import AwaitBudget, OnBudget, Standing, StopAtBudget, WarnOfBudget


def budget_command(random: Random, thread_id: str, run_id: str, fence: int, *, until: int) -> OnBudget:
    """Now and then of a call that is to be left unsent, though none may be in the log."""
    stands = Standing(
        budget="acme-daily",
        version=random.randrange(2),
        scope="tenant",
        subject="acme",
        period="day",
        since=1,
        unit="tokens",
        limit=Decimal(100),
        hard=random.random() < 0.8,
        spent=Decimal(random.choice((50, 95))),
        reserved=Decimal(random.choice((0, 45))),
        asked=Decimal(10),
    )
    unsent, choice = random.random() < 0.5, random.randrange(4)
    if choice == 0:
        return StopAtBudget(thread_id=thread_id, run_id=run_id, fence=fence, standing=stands, unsent=unsent)
    if choice == 1:
        return WarnOfBudget(thread_id=thread_id, run_id=run_id, fence=fence, standing=stands)
    return AwaitBudget(thread_id=thread_id, run_id=run_id, fence=fence, standing=stands, until=until, unsent=unsent)
