"""An event loop on a virtual clock: nothing sleeps, time jumps to the next timer, and the seed says whose turn it is.

What runs belongs to an owner, a simulated process. An owner can be frozen at any step, as by a signal, and goes on
later as if nothing had been; or it is ended at any step: its tasks are cancelled.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable
from concurrent.futures import Executor
from contextvars import Context, ContextVar, copy_context
from random import Random
from typing import Any, TypeVar, TypeVarTuple, cast

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

# A seed that takes more is not getting anywhere.
_STEPS_MAX = 400_000
_EXECUTOR_SECONDS_MAX = 0.004


class Owner:
    """Whose code runs. `countdown` is how many more steps it takes until `strikes` is called."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.frozen = False
        self.countdown: int | None = None
        self.strikes: Callable[[], None] = lambda: None
        self.tasks: list[asyncio.Task[Any]] = []
        self.held: list[asyncio.Handle] = []


OWNER: ContextVar[Owner | None] = ContextVar("owner", default=None)


class Stuck(Exception):
    """Nothing will ever happen any more, or things happen for ever."""


class VirtualLoop(asyncio.AbstractEventLoop):
    """`in_order`: callbacks of one owner run as they were asked for, which is what asyncio's own loop promises."""

    def __init__(self, random: Random, *, in_order: bool) -> None:
        self._random = random
        self._in_order = in_order
        self._now = 0.0
        self._ready: list[asyncio.Handle] = []
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._made = 0
        self._running = False
        self.steps = 0
        # What was raised where nobody could hear of it.
        self.unheard: list[str] = []

    def time(self) -> float:
        return self._now

    def run_until_complete(self, future: Any) -> Any:
        task = asyncio.ensure_future(future, loop=self)
        self._running = True
        asyncio._set_running_loop(self)
        try:
            while not task.done():
                self._step()
        finally:
            asyncio._set_running_loop(None)
            self._running = False
        return task.result()

    def _step(self) -> None:
        self.steps += 1
        if self.steps > _STEPS_MAX:
            raise Stuck(f"no end after {_STEPS_MAX} steps")
        if not self._ready:
            if not self._timers:
                raise Stuck("everything waits for something else")
            self._now = max(self._now, self._timers[0][0])
        while self._timers and self._timers[0][0] <= self._now:
            self._ready.append(heapq.heappop(self._timers)[2])
        handle = self._take()
        if handle.cancelled():
            return
        owner = _owner_of(handle)
        if owner is not None:
            if owner.frozen:
                owner.held.append(handle)
                return
            if owner.countdown is not None:
                owner.countdown -= 1
                if owner.countdown < 0:
                    owner.countdown = None
                    self._ready.append(handle)
                    owner.strikes()
                    return
        handle._run()

    def _take(self) -> asyncio.Handle:
        place = 0 if len(self._ready) == 1 else self._random.randrange(len(self._ready))
        if self._in_order and place:
            owner = _owner_of(self._ready[place])
            place = next(index for index, handle in enumerate(self._ready) if _owner_of(handle) is owner)
        return self._ready.pop(place)

    def freeze(self, owner: Owner) -> None:
        owner.frozen = True

    def thaw(self, owner: Owner) -> None:
        """It goes on with all that has come due meanwhile."""
        owner.frozen = False
        self._ready += owner.held
        owner.held = []

    def end(self, owner: Owner) -> None:
        self.thaw(owner)
        for task in owner.tasks:
            task.cancel()

    # What asyncio asks of a loop.

    def call_soon(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_soon_threadsafe(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        return self.call_soon(callback, *args, context=context)

    def call_later(
        self, delay: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        self._made += 1
        heapq.heappush(self._timers, (when, self._made, handle))
        return handle

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(
        self, coro: Any, *, name: str | None = None, context: Context | None = None, **_: Any
    ) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = asyncio.Task(coro, loop=self, name=name, context=context)
        owner = (context or copy_context()).get(OWNER)
        if owner is not None:
            if len(owner.tasks) > 100:
                owner.tasks = [one for one in owner.tasks if not one.done()]
            owner.tasks.append(task)
        return task

    def run_in_executor(self, executor: Executor | None, func: Callable[[*Ts], T], *args: *Ts) -> asyncio.Future[T]:
        """There are no threads: it is done in one go, a moment later."""
        future: asyncio.Future[T] = self.create_future()

        def work() -> None:
            if future.done():
                return
            try:
                future.set_result(func(*args))
            except Exception as error:
                future.set_exception(error)

        self.call_later(self._random.random() * _EXECUTOR_SECONDS_MAX, work)
        return future

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        # A task that was dropped while it waited belongs to a process that has ended.
        if "was destroyed" not in context["message"]:
            self.unheard.append(f"{context['message']}: {context.get('exception')!r}")

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return self._running

    def is_closed(self) -> bool:
        return False

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """It stays in its place, and is passed over when its time has come."""


def _owner_of(handle: asyncio.Handle) -> Owner | None:
    context: Context = handle._context  # type: ignore[attr-defined]
    return context.get(OWNER)


def new_loop(random: Random, *, in_order: bool) -> VirtualLoop:
    """In types a loop can do a lot more, which nobody here asks for."""
    loop: VirtualLoop = cast("Any", VirtualLoop)(random, in_order=in_order)
    return loop
