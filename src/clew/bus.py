"""Telling who listens, in this process, what happens: committed events, and previews of answers on their way.

Previews are not events: they are shown under the ids that the final events will have, and are gone when those
come. The bus remembers those of the answer that is on its way, so that somebody who comes late sees all of it.
A listener that does not keep up is cut off; it comes again from where it was, and reads the log.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TypeAlias

from clew.events.base import Event, Recorded
from clew.events.model import ModelAnswered, ModelFailed

_PENDING_MAX = 10_000
_OVER_MAX = 1_000


@dataclass(frozen=True, slots=True)
class TextPreview:
    """The next piece of a message. The first one of a `message_id` begins it; its text may be empty."""

    run_id: str
    model_call_id: str
    step_id: str
    message_id: str
    text: str


@dataclass(frozen=True, slots=True)
class ReasoningPreview:
    """The next piece of what the model thinks, as the provider's `ReasoningPiece` has it."""

    run_id: str
    model_call_id: str
    text: str
    signature: str
    begins: bool


@dataclass(frozen=True, slots=True)
class CallPreview:
    """The next piece of a tool call. The first one of an `index` carries id and name.

    `for_client` says that it is the client who will execute it, and whom nobody asks first.
    """

    run_id: str
    model_call_id: str
    step_id: str
    index: int
    tool_call_id: str | None
    name: str | None
    arguments: str
    for_client: bool = True


@dataclass(frozen=True, slots=True)
class AnswerDropped:
    """The answer broke off; what was shown of it counts for nothing. Another attempt may follow, with new ids."""

    run_id: str
    model_call_id: str
    message_id: str
    message_step_id: str
    calls_step_id: str


Preview: TypeAlias = TextPreview | ReasoningPreview | CallPreview | AnswerDropped
Heard: TypeAlias = Recorded[Event] | Preview


class Subscription:
    """What one listener hears of one stream. `live` are the previews of the answer on its way when it came.

    It is `over` when the listener did not keep up, or when the process is about to end.
    """

    def __init__(self, bus: Bus, stream: str, live: Sequence[Preview]) -> None:
        self.live = tuple(live)
        self.over = False
        self._bus = bus
        self._stream = stream
        self._pending: deque[Heard] = deque()
        self._woken = asyncio.Event()

    def hear(self, heard: Heard) -> None:
        if len(self._pending) >= _PENDING_MAX:
            self.over = True
        else:
            self._pending.append(heard)
        self._woken.set()

    def send_home(self) -> None:
        self.over = True
        self._woken.set()

    async def next(self, timeout_seconds: float) -> list[Heard]:
        """What came since; an empty list when nothing did for that long."""
        if not self._pending:
            self._woken.clear()
            try:
                await asyncio.wait_for(self._woken.wait(), timeout_seconds)
            except TimeoutError:
                return []
        heard = list(self._pending)
        self._pending.clear()
        return heard

    def __enter__(self) -> Subscription:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bus.leave(self._stream, self)


class Bus:
    """Belongs to one event loop."""

    def __init__(self) -> None:
        self._listeners: dict[str, list[Subscription]] = {}
        self._live: dict[str, list[Preview]] = {}
        self._over: OrderedDict[str, None] = OrderedDict()
        self._closed = False
        self.relayed: Callable[[str, Preview], None] = lambda stream, preview: None

    def close(self) -> None:
        """Send everybody home: who follows a stream comes to its end, and comes again to whoever serves next."""
        self._closed = True
        for subscriptions in self._listeners.values():
            for subscription in subscriptions:
                subscription.send_home()

    def subscribe(self, stream: str) -> Subscription:
        subscription = Subscription(self, stream, self._live.get(stream, ()))
        self._listeners.setdefault(stream, []).append(subscription)
        if self._closed:
            subscription.send_home()
        return subscription

    def leave(self, stream: str, subscription: Subscription) -> None:
        left = self._listeners.get(stream, [])
        left.remove(subscription)
        if not left:
            del self._listeners[stream]

    def committed(self, recorded: Sequence[Recorded[Event]]) -> None:
        for one in recorded:
            if isinstance(one.event, (ModelAnswered, ModelFailed)):
                self._live.pop(one.stream, None)
                if isinstance(one.event, ModelAnswered) or one.event.final:
                    self._note_over(one.event.model_call_id)
            for subscription in self._listeners.get(one.stream, ()):
                subscription.hear(one)

    def _note_over(self, model_call_id: str) -> None:
        self._over[model_call_id] = None
        if len(self._over) > _OVER_MAX:
            self._over.popitem(last=False)

    def preview(self, stream: str, preview: Preview) -> None:
        """Show a piece of an answer that comes in here; other processes are told by `relayed`."""
        self.relayed(stream, preview)
        self.show(stream, preview)

    def show(self, stream: str, preview: Preview) -> None:
        """Show a piece of an answer to those who listen here."""
        if preview.model_call_id in self._over:
            # It came by another way than the recorded answer, and later.
            return
        if isinstance(preview, AnswerDropped):
            self._drop(stream, preview)
            return
        self._live.setdefault(stream, []).append(preview)
        for subscription in self._listeners.get(stream, ()):
            subscription.hear(preview)

    def dropped(self, stream: str, dropped: AnswerDropped) -> None:
        """The answer on its way broke off."""
        self.preview(stream, dropped)

    def _drop(self, stream: str, dropped: AnswerDropped) -> None:
        """Whoever has seen nothing of it needs not be told."""
        shown = self._live.pop(stream, None)
        if shown:
            for subscription in self._listeners.get(stream, ()):
                subscription.hear(dropped)
