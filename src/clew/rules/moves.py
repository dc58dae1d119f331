"""What a worker does next with a run: a function of the thread's state, so that a restart continues.

It is asked between two actions, and first after a claim: whatever is half done then was interrupted by a crash.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from clew.rules.state import ActiveRun, ModelCall, OpenCall


@dataclass(frozen=True, slots=True)
class AskModel:
    """Assemble a context and call the model."""


@dataclass(frozen=True, slots=True)
class ReportLost:
    """The process died while the model was answering; what it said, and cost, is not known."""

    model_call: ModelCall


@dataclass(frozen=True, slots=True)
class RunTools:
    """Calls that the server executes: not yet started, or started by a process that died."""

    calls: tuple[OpenCall, ...]

    @property
    def in_turn(self) -> bool:
        """Whether they are to be made one after the other: if a process died, one of them may be what ended it, and
        the others should not be started as often as that one is."""
        return any(call.attempts for call in self.calls)


@dataclass(frozen=True, slots=True)
class HandOver:
    """Everything else is answered: the thread goes to another agent."""

    call: OpenCall


@dataclass(frozen=True, slots=True)
class Await:
    """Nothing to do until the client answers or somebody settles a call in doubt."""


@dataclass(frozen=True, slots=True)
class Cancel:
    """Somebody asked for it."""


@dataclass(frozen=True, slots=True)
class Stop:
    """A limit is used up. `reason` is the one that the run ends with."""

    reason: str


Move: TypeAlias = AskModel | ReportLost | RunTools | HandOver | Await | Cancel | Stop


def next_move(run: ActiveRun) -> Move:
    if run.status == "cancelling":
        return Cancel()
    if run.model_call is not None and run.model_call.waiting:
        return ReportLost(run.model_call)
    if mine := tuple(call for call in run.calls if call.is_to_run):
        return RunTools(mine)
    if not all(call.hands_over for call in run.unanswered):
        return Await()
    if reason := _used_up(run):
        return Stop(reason)
    return HandOver(run.unanswered[0]) if run.unanswered else AskModel()


def _used_up(run: ActiveRun) -> str | None:
    limits = run.limits
    if limits.completion_tokens is not None and run.usage.output >= limits.completion_tokens:
        return "max_completion_tokens"
    if limits.prompt_tokens is not None and run.usage.input >= limits.prompt_tokens:
        return "max_prompt_tokens"
    if limits.steps is not None and run.steps >= limits.steps:
        return "steps"
    return None
