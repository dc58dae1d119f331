"""Where coroutines of others run: in the event loop of whoever asks, or in one in a thread of its own.

Code of others may end, stop or block the event loop that it runs in, by what it leaves there too: a task, a callback.
A server has better things in its own, so there it gets a loop apart, the same one for as long as nothing happens to
it. A loop that was stopped, or that `SystemExit` came out of, goes on. One that cannot go on, or that does not react
any more when the time of a call is over, is given up: the next call gets another one.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any, Protocol

from clew.engine.error_text import kind_of
from clew.logged_errors import name_of

logger = logging.getLogger(__name__)

# What was cancelled may close what it has open. If it has not ended then, it is abandoned.
GRACE_SECONDS = 1.0
# What ends a loop so often, each time after so short a while, does nothing else any more.
_EXITS_MAX = 100
_EXIT_SECONDS = 1.0
_NAMES_MAX = 10
_LOOK_SECONDS = 0.005


class Begun(Protocol):
    """Work that was begun. `ended` is a future of the event loop of whoever began it, done when the work is.

    `lost` says why the loop that it was in did not bring it to its end.
    """

    @property
    def ended(self) -> asyncio.Future[Any]: ...
    @property
    def lost(self) -> str | None: ...
    def cancel(self) -> None: ...
    def abandon(self) -> None: ...


class CoroutineHost(Protocol):
    """`begin` raises `RuntimeError` or `OSError` where nothing can be begun."""

    def begin(self, name: str, work: Callable[[], Coroutine[Any, Any, None]], context: Context) -> Begun: ...
    async def close(self) -> None: ...


class CallerLoop:
    """The event loop of whoever asks."""

    def begin(self, name: str, work: Callable[[], Coroutine[Any, Any, None]], context: Context) -> Begun:
        return _BegunInCaller(asyncio.create_task(work(), context=context))

    async def close(self) -> None:
        """Whoever has the loop ends what is left in it."""


class _BegunInCaller:
    lost = None

    def __init__(self, task: asyncio.Task[None]) -> None:
        self.ended = task

    def cancel(self) -> None:
        self.ended.cancel()

    def abandon(self) -> None:
        _abandoned.add(self.ended)
        self.ended.add_done_callback(_abandoned.discard)


_abandoned: set[asyncio.Task[None]] = set()


class ThreadLoop:
    """An event loop in a thread of its own, made when it is needed, and made anew when it was given up."""

    def __init__(self) -> None:
        self._loop: _Loop | None = None

    def begin(self, name: str, work: Callable[[], Coroutine[Any, Any, None]], context: Context) -> Begun:
        if self._loop is None or self._loop.given_up:
            self._loop = _Loop()
        return self._loop.begin(name, work, context)

    async def close(self) -> None:
        """Cancel what is left in the loop, and wait a moment for it."""
        if self._loop is not None:
            await self._loop.close()
            self._loop = None


class _Loop:
    """`given_up`: nothing new is begun here; it ends when the last call in it has."""

    def __init__(self) -> None:
        self.given_up = False
        self._over = False
        self._leaving: asyncio.Task[None] | None = None
        self._under_way: set[_BegunInThread] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="clew-foreign-loop", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:
            self._loop.close()
            raise

    def begin(self, name: str, work: Callable[[], Coroutine[Any, Any, None]], context: Context) -> Begun:
        begun = _BegunInThread(self, name, asyncio.get_running_loop())
        # Before it is looked at whether the loop is over: whoever ends it looks at these afterwards.
        self._under_way.add(begun)
        if self._over or not self.tell(self._start, begun, work, context):
            self.end(begun, "the event loop of the tools ended")
        return begun

    def tell(self, callback: Callable[..., object], *args: Any) -> bool:
        """Whether the loop is there to be told. It is called by any thread."""
        try:
            self._loop.call_soon_threadsafe(callback, *args)
        except RuntimeError:
            return False
        return True

    def _start(self, begun: _BegunInThread, work: Callable[[], Coroutine[Any, Any, None]], context: Context) -> None:
        if begun.cancelled:
            return self.end(begun)
        # Not by the loop, which code of others may have given another way to make tasks.
        begun.task = asyncio.Task(work(), loop=self._loop, context=context)
        # Python keeps no task, and nobody else does once it is abandoned.
        self._tasks.add(begun.task)
        begun.task.add_done_callback(self._tasks.discard)
        begun.task.add_done_callback(lambda _: self.end(begun))
        return None

    def end(self, begun: _BegunInThread, lost: str | None = None) -> None:
        """It has ended, or it is lost. It is called by any thread, and the first one counts."""
        try:
            self._under_way.remove(begun)
        except KeyError:
            return
        begun.lost = lost
        # Who began it may be gone with its loop: then nobody waits.
        with contextlib.suppress(RuntimeError):
            begun.caller.call_soon_threadsafe(begun.hear)
        if self.given_up and not self._under_way:
            self.tell(self._leave)

    def abandon(self, begun: _BegunInThread) -> None:
        if not begun.reached and not self.given_up:
            self.given_up = True
            names = ", ".join(sorted({one.name for one in (begun, *tuple(self._under_way))})[:_NAMES_MAX])
            logger.warning("the event loop of the tools is blocked; the next call gets another; in it: %s", names)
        self._under_way.discard(begun)
        if self.given_up and not self._under_way:
            self.tell(self._leave)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        why = "the event loop of the tools ended"
        try:
            why = self._go_on()
        finally:
            self.given_up = self._over = True
            for begun in tuple(self._under_way):
                self.end(begun, why)
            try:
                self._loop.close()
            except Exception as error:
                logger.warning("the event loop of the tools could not be closed: %s", name_of(type(error)))

    def _go_on(self) -> str:
        """Run the loop until we end it, whatever code of others does to it. Returns why it does not go on."""
        exits = 0
        while exits < _EXITS_MAX:
            began = time.monotonic()
            try:
                self._loop.run_forever()
            except (SystemExit, KeyboardInterrupt) as error:
                if exits == 0:
                    name = name_of(type(error))
                    logger.warning("what a tool left in its event loop tried to end the process: %s", name)
            except BaseException as error:
                logger.error("the event loop of the tools broke: %s", name_of(type(error)))
                return f"the event loop that it was in broke: {kind_of(error)}"
            if self._over:
                return "the event loop that it was in was ended"
            exits = exits + 1 if time.monotonic() - began < _EXIT_SECONDS else 0
        logger.error("the event loop of the tools is ended again and again; the next call gets another")
        return "the event loop that it was in was ended again and again"

    def _leave(self) -> None:
        if self._leaving is None:
            self.given_up = True
            self._leaving = asyncio.Task(self._cancel_and_end(), loop=self._loop)

    async def _cancel_and_end(self) -> None:
        """What does not end is left as it is."""
        try:
            left = asyncio.all_tasks() - {asyncio.current_task()}
            for task in left:
                task.cancel()
            if left:
                await asyncio.wait(left, timeout=GRACE_SECONDS)
            closing = asyncio.Task(self._loop.shutdown_asyncgens(), loop=self._loop)
            await asyncio.wait({closing}, timeout=GRACE_SECONDS)
        finally:
            self._over = True
            self._loop.stop()

    async def close(self) -> None:
        self.tell(self._leave)
        began = asyncio.get_running_loop().time()
        while self._thread.is_alive():
            # Until it reacts, and then until what is left in it had the time to end.
            most = GRACE_SECONDS if self._leaving is None else 3 * GRACE_SECONDS
            if asyncio.get_running_loop().time() - began > most:
                break
            await asyncio.sleep(_LOOK_SECONDS)
        if self._thread.is_alive():
            logger.warning("the event loop of the tools does not end; it goes with the process")


class _BegunInThread:
    """`reached`: the loop has heard that it is cancelled."""

    def __init__(self, loop: _Loop, name: str, caller: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.name = name
        self.caller = caller
        self.ended: asyncio.Future[None] = caller.create_future()
        self.lost: str | None = None
        self.task: asyncio.Task[None] | None = None
        self.cancelled = False
        self.reached = False

    def hear(self) -> None:
        if not self.ended.done():
            self.ended.set_result(None)

    def cancel(self) -> None:
        self.cancelled = True
        self.loop.tell(self._cancel)

    def _cancel(self) -> None:
        self.reached = True
        if self.task is not None:
            self.task.cancel()

    def abandon(self) -> None:
        self.loop.abandon(self)
