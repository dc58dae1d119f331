"""Calling code of others: whatever it raises becomes a value, and nobody waits for it longer than its time.

A function runs in a thread of its own, a coroutine in a task of its own. What is raised there, `SystemExit` and
`CancelledError` included, does not reach whoever asked for it. `CancelledError` is raised only where the asking task
itself is cancelled: when its run is cancelled or over, or the process ends.

What is returned or raised is looked at in a thread, too: its text is made by code of others, which may take for ever.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Generator
from concurrent.futures import Executor, Future
from contextvars import copy_context
from dataclasses import dataclass
from functools import partial
from types import CoroutineType, FunctionType, GeneratorType, MethodType, coroutine
from typing import Any, Generic, Literal, TypeAlias, TypeVar
from weakref import WeakKeyDictionary

from clew.engine.foreign_loop import GRACE_SECONDS, Begun, CallerLoop, CoroutineHost
from clew.logged_errors import places

logger = logging.getLogger(__name__)

T = TypeVar("T")
Stage: TypeAlias = Literal["preparing", "calling", "writing"]

# At once, in one event loop; abandoned ones do not count.
_THREADS_MAX = 256
CALLER_LOOP = CallerLoop()


@dataclass(frozen=True, slots=True)
class Unanswered:
    """It did not end in time; or it is `lost`, for that reason.

    `during` is what it was at: preparing the call, so that it was not made and will not be; making it; or writing down
    what came of it.
    """

    during: Stage
    lost: str | None = None


@dataclass(frozen=True)
class ForeignCall(Generic[T]):
    """`prepare` gives the call that is to be made, and `write` makes a value of what it returns, or raises.

    Both, and the call, are code of others, or run some. `tell` makes a value of what any of them raised, and does not
    raise. `name` is for the log, `seconds` is the limit for all of it.
    """

    name: str
    prepare: Callable[[], Callable[[], Any]]
    write: Callable[[Any], T]
    tell: Callable[[Stage, BaseException], T]
    seconds: float

    async def outcome(self, *, in_loop: bool, host: CoroutineHost = CALLER_LOOP) -> T | Unanswered:
        """`in_loop`: the call only makes a coroutine, so it needs no thread. What can be awaited is awaited, at
        `host`."""
        if in_loop:
            return await _Attempt(self, host).in_loop()
        async with _room():
            return await _Attempt(self, host).in_thread()


@dataclass(frozen=True, slots=True)
class _Awaitable:
    it: Awaitable[Any]


@dataclass(slots=True)
class _Ended:
    """What came of the call; `raised` says which of the two it is. It is taken once, by the thread that looks at it, so
    that nobody else has to let go of it."""

    raised: bool
    it: Any

    def take(self) -> Any:
        it, self.it = self.it, None
        return it


class _Attempt(Generic[T]):
    """A call under way. `given_up`: nobody waits for it any more."""

    def __init__(self, call: ForeignCall[T], host: CoroutineHost) -> None:
        self.call = call
        self.host = host
        self.during: Stage = "preparing"
        self.ended: _Ended | None = None
        self.given_up = False
        self._turn = threading.Lock()
        self._until = time.monotonic() + call.seconds

    async def in_loop(self) -> T | Unanswered:
        return await self._awaited(self._begin)

    async def in_thread(self) -> T | Unanswered:
        begun = await self._in_thread(self._begin_and_conclude)
        return await self._awaited(lambda: begun.it) if isinstance(begun, _Awaitable) else begun

    def _begin_and_conclude(self) -> T | _Awaitable:
        try:
            returned = self._begin()
            if _can_be_awaited(returned):
                return _Awaitable(returned)
        except BaseException as error:
            return self._concluded(_Ended(True, error))
        return self._concluded(_Ended(False, returned))

    def _begin(self) -> Any:
        make_call = self.call.prepare()
        with self._turn:
            if self.given_up:
                raise TimeoutError("it was given up before it was made")
            self.during = "calling"
        return make_call()

    def _concluded(self, ended: _Ended) -> T:
        it, raised_during = ended.take(), self.during
        if raised_during == "calling":
            self.during = "writing"
        if ended.raised:
            return self.call.tell(raised_during, it)
        try:
            return self.call.write(it)
        except BaseException as error:
            return self.call.tell("writing", error)

    async def _in_thread(self, work: Callable[[], T | _Awaitable]) -> T | _Awaitable | Unanswered:
        try:
            future = asyncio.get_running_loop().run_in_executor(_THREADS, copy_context().run, work)
        except RuntimeError as error:
            return self.call.tell(self.during, error)
        try:
            await asyncio.wait({future}, timeout=self._seconds_left())
        finally:
            if not future.done():
                self._give_up()
                future.cancel()
        if not future.cancelled():
            return future.result()
        logger.warning("%s goes on in its thread after its time; what comes of it is not heard", self.call.name)
        return Unanswered(self.during)

    def _seconds_left(self) -> float:
        return max(0.0, self._until - time.monotonic())

    def _give_up(self) -> None:
        """From here on the call is not made, if it has not been yet."""
        with self._turn:
            self.given_up = True

    async def _awaited(self, make: Callable[[], Any]) -> T | Unanswered:
        """What comes of a coroutine at `host`."""
        try:
            begun = self.host.begin(self.call.name, lambda: self._keep(make), copy_context())
        except (RuntimeError, OSError) as error:
            return self.call.tell(self.during, error)
        try:
            await asyncio.wait({begun.ended}, timeout=self._seconds_left())
        except asyncio.CancelledError:
            await self._stop(begun)
            raise
        late = not begun.ended.done()
        if late:
            await self._stop(begun)
        ended = self.ended
        if ended is None and begun.lost is None and not late:
            # It was cancelled before it began.
            ended = _Ended(True, asyncio.CancelledError())
        if ended is None or (late and ended.raised):
            return Unanswered(self.during, None if late else begun.lost)
        return await self._looked_at(ended)

    async def _looked_at(self, ended: _Ended) -> T | Unanswered:
        if not ended.raised and type(ended.it) is str:
            # This runs no code of others, and is what most tools return.
            return self._concluded(ended)
        if self._seconds_left() == 0.0:
            self._until = time.monotonic() + GRACE_SECONDS
        looked = await self._in_thread(lambda: self._concluded(ended))
        assert not isinstance(looked, _Awaitable), "only what begins a call gives one"
        return looked

    async def _keep(self, make: Callable[[], Any]) -> None:
        """Run it to its end. What comes of it does not leave this task by itself: others would look at it."""
        try:
            returned = make()
            if _can_be_awaited(returned):
                returned = await self._step_by_step(returned)
            self.ended = _Ended(False, returned)
        except BaseException as error:
            self.ended = _Ended(True, error)

    @coroutine
    def _step_by_step(self, awaitable: Awaitable[Any]) -> Generator[Any, None, Any]:
        """As `await` does, but a cancellation after it was given up ends this, whatever the awaited code does then.

        Python cancels all tasks when a process ends, and waits for them; code that goes on would keep it from ending.
        """
        steps = _as_coroutine(awaitable)
        thrown: BaseException | None = None
        while True:
            try:
                waits_for = steps.send(None) if thrown is None else steps.throw(thrown)
            except StopIteration as end:
                return end.value
            thrown = None
            try:
                yield waits_for
            except GeneratorExit:
                steps.close()
                raise
            except BaseException as error:
                if self.given_up:
                    _close(steps)
                    raise
                thrown = error

    async def _stop(self, begun: Begun) -> None:
        begun.cancel()
        try:
            await asyncio.wait({begun.ended}, timeout=GRACE_SECONDS)
        finally:
            if not begun.ended.done():
                self._give_up()
                begun.abandon()
                if self.during != "preparing":
                    logger.warning("%s was cancelled and goes on; what comes of it is not heard", self.call.name)


def makes_coroutines(function: Callable[..., Any]) -> bool:
    """As `inspect.iscoroutinefunction` says it, which asks the function itself for its class."""
    kind: Any = type(function)
    while kind in (partial, MethodType):
        function = function.func if kind is partial else function.__func__  # type: ignore[attr-defined]
        kind = type(function)
    return kind is FunctionType and bool(function.__code__.co_flags & inspect.CO_COROUTINE)


def _can_be_awaited(value: Any) -> bool:
    """As `inspect.isawaitable` says it, which asks the value itself for its class."""
    kind = type(value)
    if kind is GeneratorType:
        return bool(value.gi_code.co_flags & inspect.CO_ITERABLE_COROUTINE)
    return kind is CoroutineType or issubclass(kind, Awaitable)


async def _as_coroutine(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


def _close(steps: Coroutine[Any, Any, Any]) -> None:
    try:
        steps.close()
    except BaseException as error:
        # It goes on even so, or fails as it ends. It is not run again; it is kept, as Python would else close it again.
        _never_resumed.append(steps)
        logger.warning("an abandoned coroutine could not be closed\n%s", places(error))


_never_resumed: list[Coroutine[Any, Any, Any]] = []


class _Threads(Executor):
    """A thread for each call. Python waits for the threads of a pool when it ends, and not for these."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        threading.Thread(target=_work, args=(future, fn, args, kwargs), name="clew-foreign", daemon=True).start()
        return future


def _work(future: Future[Any], fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = fn(*args, **kwargs)
    except BaseException as error:
        future.set_exception(error)
    else:
        future.set_result(result)


_THREADS = _Threads()
_rooms: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = WeakKeyDictionary()


def _room() -> asyncio.Semaphore:
    """Of the running event loop, for so many threads."""
    return _rooms.setdefault(asyncio.get_running_loop(), asyncio.Semaphore(_THREADS_MAX))
