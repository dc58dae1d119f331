"""Every model call of a thread again: what the thread was when its context was made, and what came of it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from clew.events import ThreadStreamEvent
from clew.events.base import Recorded
from clew.events.model import ContextAssembled, ContextTruncated, ModelAnswered, ModelCalled, ModelFailed
from clew.events.price import Price, PricingContext
from clew.events.run import RunConfig, RunQueued
from clew.events.usage import NO_USAGE, Usage
from clew.log import Reader
from clew.rules.state import Thread
from clew.rules.thread import thread_rules

_PAGE_EVENTS = 500
# A context is read a moment before it is recorded. What others append to a thread in between is some events.
_STATES_KEPT = 256


@dataclass(frozen=True, slots=True)
class Attempt:
    """One sending of a request, to the model that was `asked`; `model` is the one that answered.

    `usage` None: nobody knows, if it `may_have_used` something.
    """

    provider: str
    asked: str
    model: str
    called_at: int
    usage: Usage | None
    may_have_used: bool
    price: Price | None
    context: PricingContext


@dataclass(slots=True)
class Moment:
    """A context, as it was made. `number` counts the run's; `thread` is the rules' state that it was made of."""

    recorded: Recorded[ContextAssembled]
    number: int
    config: RunConfig
    thread: Thread
    as_of: int
    cut: ContextTruncated | None = None
    attempts: list[Attempt] = field(default_factory=list)

    @property
    def made(self) -> ContextAssembled:
        return self.recorded.event

    @property
    def is_summary(self) -> bool:
        return self.made.summarises is not None

    @property
    def spent(self) -> Usage:
        """What the run had used before this call."""
        return self.thread.run.usage if self.thread.run is not None else NO_USAGE


@dataclass(slots=True)
class _Reading:
    """What is known of the thread at the place that the reading has come to."""

    thread_id: str
    thread: Thread = thread_rules.initial
    configs: dict[str, RunConfig] = field(default_factory=dict)
    numbers: dict[str, int] = field(default_factory=dict)
    positions: list[int] = field(default_factory=list)
    states: list[Thread] = field(default_factory=list)
    called: ModelCalled | None = None
    called_at: int = 0

    def note(self, recorded: Recorded[ThreadStreamEvent]) -> None:
        self.thread = thread_rules.evolve(self.thread, recorded.event)
        self.positions.append(recorded.position)
        self.states.append(self.thread)
        if len(self.states) > 2 * _STATES_KEPT:
            del self.positions[:_STATES_KEPT], self.states[:_STATES_KEPT]

    def state_at(self, reader: Reader, as_of: int) -> Thread:
        place = bisect_right(self.positions, as_of)
        if place:
            return self.states[place - 1]
        events = reader.stream(self.thread_id, upto=reader.version(self.thread_id, as_of))
        return thread_rules.fold(one.event for one in events)  # type: ignore[misc]

    def moment(self, reader: Reader, recorded: Recorded[ContextAssembled]) -> Moment:
        made = recorded.event
        self.numbers[made.run_id] = number = self.numbers.get(made.run_id, 0) + 1
        # Logs of the first version do not say, and mean just before.
        as_of = made.manifest.as_of if made.manifest.as_of is not None else recorded.position - 1
        return Moment(recorded, number, self.configs[made.run_id], self.state_at(reader, as_of), as_of)

    def attempt(self, ended: ModelAnswered | ModelFailed) -> Attempt:
        assert self.called is not None, "what ends was begun"
        return Attempt(
            provider=self.called.provider,
            asked=self.called.model,
            model=(ended.model if isinstance(ended, ModelAnswered) else "") or self.called.model,
            called_at=self.called_at,
            usage=ended.usage,
            may_have_used=isinstance(ended, ModelAnswered) or ended.usage_unknown,
            price=ended.price,
            context=ended.pricing_context,
        )


def moments(readers: Callable[[], Reader], thread_id: str, as_of: int) -> Iterator[Moment]:
    """In order, each when all that came of it was read. `readers` gives who reads at the moment. Raises `Erased`."""
    reading = _Reading(thread_id)
    upto = readers().version(thread_id, as_of)
    moment: Moment | None = None
    after = 0
    while page := readers().stream(thread_id, after=after, upto=upto, limit=_PAGE_EVENTS):
        for recorded in page:
            event = recorded.event
            match event:
                case RunQueued():
                    reading.configs[event.run_id] = event.config
                case ContextAssembled():
                    if moment is not None:
                        yield moment
                    moment = reading.moment(readers(), recorded)  # type: ignore[arg-type]
                case ContextTruncated() if moment is not None:
                    moment.cut = event
                case ModelCalled():
                    reading.called, reading.called_at = event, recorded.at
                case ModelAnswered() | ModelFailed() if moment is not None:
                    moment.attempts.append(reading.attempt(event))
                case _:
                    pass
            reading.note(recorded)  # type: ignore[arg-type]
        after = page[-1].version
    if moment is not None:
        yield moment
