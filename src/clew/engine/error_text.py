"""What an error of somebody else's code is told as: a text that can be stored, whatever the error is."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeGuard, TypeVar

from pydantic import ValidationError

from clew.logged_errors import slot

T = TypeVar("T")

TEXT_CHARS_MAX = 500
# Halves of surrogate pairs are no text, and PostgreSQL stores no NUL in one.
_NOT_STORABLE = re.compile("[\x00\ud800-\udfff]")


def told(error: BaseException) -> str:
    """The error's class and text. Never raises, though the error's own methods may."""
    name, text = kind_of(error), _made(lambda: _text_of(error))
    if text is None:
        return storable(f"{name}, whose text cannot be written")
    return storable(f"{name}: {text}" if text else name)


def kind_of(error: BaseException) -> str:
    """The error's class. Never raises, though the class may be of a class of somebody's own."""
    return _made(lambda: type(error).__name__) or "an error without a name"


def storable(text: str, chars_max: int = TEXT_CHARS_MAX) -> str:
    """The beginning of a text, with U+FFFD for what cannot be stored."""
    # As an exact `str`: a subclass might do anything when it is made part of another text.
    return _NOT_STORABLE.sub("\ufffd", str.__getitem__(text, slice(chars_max)))


def told_faults(error: ValidationError) -> str:
    """What pydantic found wrong, without the lines about where to read more."""
    return "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())


def is_a(value: object, kind: type[T]) -> TypeGuard[T]:
    """Whether somebody else's value is of that kind. `isinstance` asks the value for its class, which runs its code."""
    return issubclass(type(value), kind)


def cause_of(error: BaseException) -> BaseException | None:
    """What is raised with `from`; a class of others may have anything in the place of `__cause__`."""
    cause: BaseException | None = slot(BaseException, "__cause__", error)
    return cause


def _text_of(error: BaseException) -> str:
    return told_faults(error) if is_a(error, ValidationError) else str(error)


def _made(make: Callable[[], str]) -> str | None:
    try:
        return storable(make())
    except BaseException:
        # It is somebody else's method that raised, and what it raised may be as bad.
        return None
