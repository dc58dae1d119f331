"""The arguments of a tool call: what the model wrote, read and checked against the annotations of a function."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

from pydantic import ConfigDict, ValidationError, validate_call

from clew import exact_json
from clew.engine.error_text import told_faults

_FUNCTIONS_MAX = 256
_HALF_ESCAPED = re.compile(r"\\u[dD][89a-fA-F]")
_HALVES = re.compile("[\ud800-\udfff]")


class InvalidArguments(Exception):
    """The model wrote arguments that the function does not take; the text says what is wrong with them."""


def bound(function: Callable[..., Any], arguments: str, info: object) -> Callable[[], Any]:
    """The call of `function` with its arguments; a parameter that is annotated with the class of `info` gets that.

    Raises `InvalidArguments`, and whatever annotations of others raise.
    """
    given = read(arguments)
    signature = inspect.signature(function)
    name_of_info = type(info).__name__
    for name, parameter in signature.parameters.items():
        if parameter.annotation in (type(info), name_of_info, f"clew.{name_of_info}"):
            given[name] = info
    try:
        signature.bind(**given)
    except TypeError as error:
        raise InvalidArguments(str(error)) from error
    try:
        call: Callable[[], Any] = _checker(_Itself(function))(**given)
    except ValidationError as error:
        raise InvalidArguments(told_faults(error)) from error
    return call


def read(arguments: str) -> dict[str, Any]:
    """The JSON object of that text; no text, and null, is an empty one. Raises `InvalidArguments`."""
    try:
        given = {} if arguments.strip() in ("", "null") else _value_of(arguments)
    except json.JSONDecodeError as error:
        raise InvalidArguments(str(error)) from error
    if not isinstance(given, dict):
        raise InvalidArguments("arguments are a JSON object")
    return given


def _value_of(text: str) -> Any:
    try:
        return exact_json.loads(text)
    except json.JSONDecodeError:
        if _HALF_ESCAPED.search(text) is None:
            raise
        return _without_halves(exact_json.parse(text))


def _without_halves(value: Any) -> Any:
    """The same value, with U+FFFD for each half of a surrogate pair: it is no text without the other half."""
    if isinstance(value, str):
        return _HALVES.sub("\ufffd", value)
    if isinstance(value, list):
        return [_without_halves(inner) for inner in value]
    if isinstance(value, dict):
        return {_without_halves(key): _without_halves(inner) for key, inner in value.items()}
    return value


class _Itself:
    """What can be called, as a key: an object that can be called need not be hashable, and two equal ones are two."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def __hash__(self) -> int:
        return id(self.function)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Itself) and other.function is self.function


@lru_cache(_FUNCTIONS_MAX)
def _checker(itself: _Itself) -> Callable[..., Callable[[], Any]]:
    """What checks and converts the arguments of a function, and gives the call that is then to be made.

    So what is wrong with the arguments is told apart from what the function itself raises.
    """
    function = itself.function

    def bind(*args: Any, **kwargs: Any) -> Callable[[], Any]:
        return partial(function, *args, **kwargs)

    # pydantic takes plain functions only, and finds the names in annotations in the module where a function is defined.
    signature, definition = inspect.signature(function), _definition(function)
    annotated = {name: parameter.annotation for name, parameter in signature.parameters.items()}
    bind.__annotations__ = {name: its for name, its in annotated.items() if its is not inspect.Parameter.empty}
    bind.__module__ = getattr(definition, "__module__", None) or __name__
    bind.__signature__ = signature  # type: ignore[attr-defined]
    bind.__type_params__ = getattr(definition, "__type_params__", ())  # type: ignore[attr-defined]
    return validate_call(config=ConfigDict(arbitrary_types_allowed=True))(bind)


def _definition(function: Callable[..., Any]) -> Any:
    """What has the annotations: of a partial the function, of an object that can be called its `__call__`."""
    while isinstance(function, partial):
        function = function.func
    if inspect.isroutine(function) or inspect.isclass(function):
        return function
    return type(function).__call__
