"""What a seed stands for: how many processes and clients there are, and what befalls them when."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Literal, TypeAlias

Fault: TypeAlias = Literal["crash", "freeze", "cut", "clock", "stop"]
_FAULTS: tuple[Fault, ...] = ("crash", "crash", "freeze", "freeze", "cut", "clock", "stop")
_SKEW_MICROSECONDS_MAX = 60_000_000
BUDGET_EVERY = 4


@dataclass(frozen=True, slots=True)
class Misfortune:
    """At `at`, after `steps` more steps of the process, it is struck, for so many `seconds`."""

    at: float
    slot: int
    fault: Fault
    steps: int
    seconds: float
    skew: int


@dataclass(frozen=True, slots=True)
class Plan:
    """`crash_at_commit` and `freeze_at_commit` are how likely that is right after each commit.

    `budget` is how many tokens all runs together may use, None where there is no such budget.
    """

    seed: int
    in_order: bool
    processes: int
    skews: tuple[int, ...]
    turns: tuple[int, ...]
    failed: float
    lost: float
    twice: float
    loss: float
    crash_at_commit: float
    freeze_at_commit: float
    misfortunes: tuple[Misfortune, ...]
    budget: int | None = None

    @property
    def lucky(self) -> bool:
        """Whether nothing befalls a process."""
        unlucky = (self.failed, self.lost, self.crash_at_commit, self.freeze_at_commit, len(self.misfortunes))
        return not any(unlucky)


def plan_of(seed: int) -> Plan:
    random = Random(f"plan {seed}")
    processes = random.choice((2, 2, 3))
    skewed = random.random() < 0.5
    faults = random.choice((0, 1, 2, 3, 4))
    billed = seed % BUDGET_EVERY == 0
    return Plan(
        seed=seed,
        in_order=random.random() < 0.7,
        processes=processes,
        skews=tuple(_skew(random) if skewed else 0 for _ in range(processes)),
        turns=(2,) * 6 if billed else tuple(random.choice((3, 5, 7)) for _ in range(random.choice((1, 2, 2, 3)))),
        failed=random.choice((0.0, 0.0, 0.02)),
        lost=random.choice((0.0, 0.0, 0.03, 0.1)),
        twice=random.choice((0.0, 0.2)),
        loss=random.choice((0.0, 0.2, 1.0)),
        crash_at_commit=random.choice((0.0, 0.0, 0.02)),
        freeze_at_commit=random.choice((0.0, 0.06, 0.06)),
        misfortunes=(
            *(_misfortune(random, processes) for _ in range(faults)),
            *(_pauses(random, processes) if billed else ()),
        ),
        budget=random.randrange(120, 500) if billed else None,
    )


def _pauses(random: Random, processes: int) -> tuple[Misfortune, ...]:
    """Between looking at a budget and spending from it, long enough for others to do the same."""
    return tuple(
        Misfortune(
            at=0.1 + random.random() * 0.1,
            slot=random.randrange(processes),
            fault="freeze",
            steps=random.randrange(120),
            seconds=0.3,
            skew=0,
        )
        for _ in range(2)
    )


def _misfortune(random: Random, processes: int) -> Misfortune:
    return Misfortune(
        at=random.random() * 2.5,
        slot=random.randrange(processes),
        fault=random.choice(_FAULTS),
        steps=random.randrange(80),
        seconds=random.choice((0.2, 1.0, 1.5, 2.0)) * (0.7 + random.random() * 0.6),
        skew=_skew(random),
    )


def _skew(random: Random) -> int:
    return random.randint(-_SKEW_MICROSECONDS_MAX, _SKEW_MICROSECONDS_MAX)
