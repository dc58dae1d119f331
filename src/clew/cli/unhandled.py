"""Errors that nobody handles, in threads, callbacks and at the end of the process: lines in the log like all others.

Python, asyncio and uvicorn would tell of them in the errors' own words, which may quote what somebody said. Here each
is told by its kind and its places in the code.
"""

from __future__ import annotations

import asyncio
import logging
import re
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import CoroutineType
from typing import Any, TextIO

from clew.errors import Misconfigured, Refused, StoreFailed, StoreLost, Unusable
from clew.logged_errors import Places, name_of, one_line, place, places, slot

logger = logging.getLogger(__name__)

_TOLD_BY_THE_COMMAND_LINE = (Misconfigured, Unusable, Refused, StoreFailed, StoreLost, KeyboardInterrupt)
# How the messages of asyncio begin, before they show objects with all that is in them.
_ASYNCIO = re.compile(
    r"\w{1,50} exception was never retrieved"
    r"|Task was destroyed but it is pending"
    r"|Exception in callback"
    r"|Exception in default exception handler"
    r"|Unhandled (?:error|exception) in [a-z_ ]+"
    r"|unhandled exception during asyncio\.run\(\) shutdown"
    r"|an error occurred during closing of asynchronous generator"
    r"|Fatal (?:\w+ )?error on (?:\w+ )?(?:transport|pipe|socket)"
    r"|socket\.\w+\(\) raised exception",
    re.ASCII,
)


@contextmanager
def unhandled_are_logged() -> Iterator[None]:
    """Those of threads, of what is thrown away, and of whatever else Python would print; and its warnings."""
    before = sys.excepthook, sys.unraisablehook, threading.excepthook, warnings.showwarning
    sys.excepthook, sys.unraisablehook, threading.excepthook = _in_process, _unraisable, _in_thread
    warnings.showwarning = _warned
    try:
        yield
    finally:
        sys.excepthook, sys.unraisablehook, threading.excepthook, warnings.showwarning = before


def ends_process(error: BaseException) -> int | None:
    """The exit code of a process that `error` ends, once that is logged. None: the command line tells of it."""
    cls = type(error)
    if issubclass(cls, _TOLD_BY_THE_COMMAND_LINE):
        return None
    logger.critical("an error ends this process\n%s", places(error))
    code = slot(SystemExit, "code", error) if issubclass(cls, SystemExit) else 1
    # Python would print a code that is no number.
    return code if type(code) is int else 0 if code is None else 1


def tell_of_loop(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """What an event loop calls with an error that nobody handles in it."""
    below = _begun(context.get("task") or context.get("future"))
    error = context.get("exception")
    if issubclass(type(error), BaseException):
        below = f"{below}{places(error)}"  # type: ignore[arg-type]
    logger.error(f"{beginning(context.get('message'))}\n%s", Places(below.rstrip()))


def beginning(message: object) -> str:
    """What asyncio says, without the objects that it shows."""
    found = _ASYNCIO.match(message) if type(message) is str else None
    return found[0] if found is not None else "something went wrong in an event loop"


def _begun(task: object) -> str:
    if not issubclass(type(task), asyncio.Task):
        return ""
    coroutine: object = asyncio.Task.get_coro(task)  # type: ignore[arg-type]
    return f"  begun: {place(coroutine.cr_code)}\n" if type(coroutine) is CoroutineType else ""


def _in_process(cls: type[BaseException], error: BaseException, trace: object) -> None:
    logger.critical("an error ends this process\n%s", places(error))


def _in_thread(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is not None and not issubclass(args.exc_type, SystemExit):
        logger.error("an error ended a thread\n%s", places(args.exc_value))


def _unraisable(args: Any) -> None:
    if args.exc_value is not None:
        logger.error("an error came where nothing can be raised\n%s", places(args.exc_value))


def _warned(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    logger.warning("Python warns of something\n%s", Places(f"  {one_line(filename)}:{lineno}\n{name_of(category)}"))
