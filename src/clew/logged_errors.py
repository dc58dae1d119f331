"""What can be told of an error to whoever runs this process: its kind and its places in the code.

Its words are told only where they are Clew's own: those of others may quote what somebody said. Nothing here calls a
method of the error, which may be anybody's.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, TracebackType
from typing import Any

from clew.errors import ClewError, ProviderFailed

_ERRORS_MAX = 10
_FRAMES_FIRST, _FRAMES_LAST = 10, 30
_NAME_CHARS_MAX = 200
_HERE = Path(__file__).resolve().parent
# Where the words of errors are ours, or quote statements that are: never those of other people's code.
_OURS = (f"{_HERE}{os.sep}", f"{_HERE.parent / 'clew_projections'}{os.sep}", f"{os.sep}eventsourcing{os.sep}")
_AFTER = "\nafter, or because of:\n"


class Places(str):
    """Lines that say where an error was raised. As the last thing in a log line they come below it."""

    __slots__ = ()


def places(error: BaseException) -> Places:
    """Of an error, those inside it, and those it came from: where each was raised, and its kind."""
    return Places(_AFTER.join("\n".join([*_frames(one), kind(one)]) for one in _all(error)))


def kind(error: BaseException) -> str:
    """Its class, and its words where these are ours or the system's."""
    cls = type(error)
    name = name_of(cls)
    if issubclass(cls, OSError):
        # The rest of its words is the name of a file, which a tool may have from a prompt.
        number = slot(OSError, "errno", error)
        return f"{name}: {os.strerror(number)}" if type(number) is int and number > 0 else name
    if issubclass(cls, (ClewError, sqlite3.Error)) and _raised_by_us(error):
        words = error.code if isinstance(error, ProviderFailed) else str(error)
        return f"{name}: {one_line(words)}"
    return name


def name_of(cls: type) -> str:
    return one_line(slot(type, "__name__", cls))[:_NAME_CHARS_MAX]


def slot(cls: type, name: str, of: Any) -> Any:
    """What Python itself keeps there, whatever a class of somebody's says it is."""
    return vars(cls)[name].__get__(of)


def place(code: CodeType, line: int | None = None) -> str:
    """A place in the code, as it is told everywhere: file, line and function."""
    return one_line(f"{code.co_filename[-_NAME_CHARS_MAX:]}:{line or code.co_firstlineno} in {code.co_qualname}")


def one_line(text: str) -> str:
    return text if text.isascii() and text.isprintable() else text.encode("unicode_escape").decode()


def _frames(error: BaseException) -> list[str]:
    found = []
    step: TracebackType | None = slot(BaseException, "__traceback__", error)
    while step is not None:
        found.append(f"  {place(step.tb_frame.f_code, step.tb_lineno)}")
        step = step.tb_next
    left_out = len(found) - _FRAMES_FIRST - _FRAMES_LAST
    if left_out <= 0:
        return found
    return [*found[:_FRAMES_FIRST], f"  ... {left_out} more ...", *found[-_FRAMES_LAST:]]


def _raised_by_us(error: BaseException) -> bool:
    """Whether the code that raised it is Clew's. An error that was never raised was made by who tells of it."""
    step: TracebackType | None = slot(BaseException, "__traceback__", error)
    if step is None:
        return type(error).__module__.startswith("clew.")
    while step.tb_next is not None:
        step = step.tb_next
    file = step.tb_frame.f_code.co_filename
    return file.startswith(_OURS[:2]) or _OURS[2] in file


def _all(error: BaseException) -> Iterator[BaseException]:
    """The error and what it came from, the newest first, each once."""
    left, seen = [error], set[int]()
    while left and len(seen) < _ERRORS_MAX:
        one = left.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        cause = slot(BaseException, "__cause__", one)
        if cause is None and not slot(BaseException, "__suppress_context__", one):
            cause = slot(BaseException, "__context__", one)
        if cause is not None:
            left.append(cause)
        if issubclass(type(one), BaseExceptionGroup):
            left += reversed(slot(BaseExceptionGroup, "exceptions", one))
