"""Calling code of others: whatever it raises becomes a value, and nobody waits for it longer than its time.

A function runs in a thread of its own, a coroutine in a task of its own. What is raised there, `SystemExit` and
`CancelledError` included, does not reach whoever asked for it. `CancelledError` is raised only where the asking task
itself is cancelled: when its run is cancelled or over, or the process ends.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import threading
from collections.abc import Awaitable, Callable, Coroutine, Generator
from concurrent.futures import Executor, Future
from contextvars import copy_context
from dataclasses import dataclass
from types import coroutine
from typing import Any, Generic, Literal, TypeAlias, TypeVar
from weakref import WeakKeyDictionary

from clew.faults import places

logger = logging.getLogger(__name__)

T = TypeVar("T")
Stage: TypeAlias = Literal["preparing", "calling", "writing"]

# What was cancelled may close what it has open. If it has not ended then, it is abandoned.
GRACE_SECONDS = 1.0
# At once, in one event loop; abandoned ones do not count.
_THREADS_MAX = 256


@dataclass(frozen=True, slots=True)
class Failure:
    """`during` is what it was at: preparing the call, making it, or writing down what it returned.

    `error` is what was raised, None when it did not end in time.
    """

    during: Stage
    error: BaseException | None = None


@dataclass(frozen=True)
class ForeignCall(Generic[T]):
    """`prepare` gives the call that is to be made, and `write` makes a value of what it returns, or raises.

    Both, and the call, are code of others, or run some. `name` is for the log, `seconds` is the limit for all three.
    """

    name: str
    prepare: Callable[[], Callable[[], Any]]
    write: Callable[[Any], T]
    seconds: float

    async def outcome(self, *, in_loop: bool) -> T | Failure:
        """`in_loop`: the call only makes a coroutine, so it needs no thread. What can be awaited is awaited."""
        attempt = _Attempt(self)
        if in_loop:
            return await _ended(attempt, attempt.in_loop())
        async with _room():
            return await _ended(attempt, attempt.in_thread())


@dataclass(frozen=True, slots=True)
class _Awaitable:
    it: Awaitable[Any]


class _Attempt(Generic[T]):
    """A call under way. `abandoned`: nobody waits for it any more."""

    def __init__(self, call: ForeignCall[T]) -> None:
        self.call = call
        self.during: Stage = "preparing"
        self.in_its_thread = False
        self.abandoned = False
        self.ended: list[T | Failure] = []

    async def in_loop(self) -> T | Failure:
        return await self._finish(self._begin())

    async def in_thread(self) -> T | Failure:
        loop = asyncio.get_running_loop()
        return await self._finish(await loop.run_in_executor(_THREADS, copy_context().run, self._begin_in_thread))

    def _begin_in_thread(self) -> T | Failure | _Awaitable:
        self.in_its_thread = True
        try:
            return self._begin()
        finally:
            self.in_its_thread = False

    def _begin(self) -> T | Failure | _Awaitable:
        try:
            make_call = self.call.prepare()
            self.during = "calling"
            returned = make_call()
            return _Awaitable(returned) if inspect.isawaitable(returned) else self._written(returned)
        except BaseException as error:
            return Failure(self.during, error)

    async def _finish(self, begun: T | Failure | _Awaitable) -> T | Failure:
        outcome = await self._await(begun.it) if isinstance(begun, _Awaitable) else begun
        self.ended.append(outcome)
        return outcome

    async def _await(self, awaitable: Awaitable[Any]) -> T | Failure:
        try:
            return self._written(await self._awaited(awaitable))
        except BaseException as error:
            return Failure(self.during, error)

    def _written(self, returned: Any) -> T:
        self.during = "writing"
        return self.call.write(returned)

    @coroutine
    def _awaited(self, awaitable: Awaitable[Any]) -> Generator[Any, None, Any]:
        """As `await` does, but a cancellation after it was abandoned ends this, whatever the awaited code does then.

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
                if self.abandoned:
                    _close(steps)
                    raise
                thrown = error


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
_abandoned: set[asyncio.Task[Any]] = set()


async def _ended(attempt: _Attempt[T], work: Coroutine[Any, Any, T | Failure]) -> T | Failure:
    task = asyncio.create_task(work)
    try:
        await asyncio.wait({task}, timeout=attempt.call.seconds)
    except asyncio.CancelledError:
        await _stop(attempt, task)
        raise
    if task.done():
        return _outcome_of(attempt, task)
    during = attempt.during
    await _stop(attempt, task)
    if attempt.in_its_thread:
        logger.warning("%s goes on in its thread after its time; what comes of it is not heard", attempt.call.name)
    if task.done() and not isinstance(outcome := _outcome_of(attempt, task), Failure):
        return outcome
    return Failure(during)


async def _stop(attempt: _Attempt[T], task: asyncio.Task[T | Failure]) -> None:
    task.cancel()
    try:
        await asyncio.wait({task}, timeout=GRACE_SECONDS)
    finally:
        if not task.done():
            attempt.abandoned = True
            _abandoned.add(task)
            task.add_done_callback(_abandoned.discard)
            logger.warning("%s was cancelled and goes on; what comes of it is not heard", attempt.call.name)


def _outcome_of(attempt: _Attempt[T], task: asyncio.Task[T | Failure]) -> T | Failure:
    if task.cancelled():
        # A coroutine that cancels its own task has ended all the same if it awaits nothing any more.
        return attempt.ended[0] if attempt.ended else Failure(attempt.during, asyncio.CancelledError())
    # Only a thread that could not be started leaves an error.
    error = task.exception()
    return task.result() if error is None else Failure(attempt.during, error)


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
