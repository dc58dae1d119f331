"""JSON in which numbers stay as they were written.

orjson reads an integer beyond 64 bits as a float, and a decimal as the nearest float. That is right for numbers of our
own, and wrong for those of others: arguments of tool calls, schemas, tool results, what a provider counts. Here such
an integer is a Python `int`, and a decimal that a float does not write the same way again is a `Number`, which keeps
its digits. Everything else is as orjson has it, and as fast.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from typing import Any, NoReturn

import orjson
from pydantic import BaseModel, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

# A number that orjson may change: one with a point or an exponent, a long one, or a negative zero. What comes before
# it is a set of characters, which `re` looks for without trying the rest at every place.
_NUMBER_PATTERN = rb"(-?[0-9]+(?:\.[0-9]+(?:[eE][+-]?[0-9]+)?|[eE][+-]?[0-9]+|[0-9]{18}|(?<=-0)))"
_FIRST = re.compile(rb"\s*" + _NUMBER_PATTERN)
_LATER = re.compile(rb"[:,\[\s]" + _NUMBER_PATTERN)
# As Clew writes JSON there is no space in it, so that fewer digits of texts look like numbers.
_LATER_COMPACT = re.compile(rb"[:,\[]" + _NUMBER_PATTERN)
_HALF_ESCAPED = re.compile(rb"\\u[dD][89a-fA-F]")
_INT64_MIN, _UINT64_MAX = -(2**63), 2**64 - 1
# Deeper values orjson reads, and does not write.
DEPTH_MAX = 254


# Whether there has been a `Number` in this process. Few programs ever meet one, and then nobody need look for them.
_any = False


class Number(float):
    """A number that a float alone would write in another way. `text` is how it was written."""

    __slots__ = ("text",)
    text: str

    def __new__(cls, text: str) -> Number:
        global _any
        _any = True
        number = super().__new__(cls, text)
        number.text = text
        return number

    def __getnewargs__(self) -> tuple[str]:  # type: ignore[override]
        return (self.text,)

    def __str__(self) -> str:
        return self.text

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Number):
            return self.text == other.text
        return super().__eq__(other)

    __hash__ = float.__hash__


def loads(data: bytes | str) -> Any:
    """The value of a JSON text. Raises `json.JSONDecodeError`, which orjson's error is a kind of."""
    raw = data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError:
        if not _has_odd_numbers(raw, _LATER):
            raise
    else:
        if _is_written_as(value, raw) or not _has_odd_numbers(raw, _LATER):
            return value
    try:
        value = parse(raw.decode())
        if _HALF_ESCAPED.search(raw) is not None:
            # orjson refuses half a surrogate pair, which no text can hold.
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeError as error:
        raise json.JSONDecodeError(f"not UTF-8: {error}", "", 0) from error
    return value


def holds_odd_numbers(raw: bytes) -> bool:
    """Whether any number in a JSON text without spaces would not be written again as it is. Digits in texts may be
    taken for numbers."""
    try:
        if _is_written_as(orjson.loads(raw), raw):
            return False
    except orjson.JSONDecodeError:
        pass
    return _has_odd_numbers(raw, _LATER_COMPACT)


def _is_written_as(value: Any, raw: bytes) -> bool:
    """Whether orjson would write `raw`. That is found out faster than by looking at its numbers."""
    try:
        return orjson.dumps(value) == raw
    except orjson.JSONEncodeError:
        # It is nested too deeply.
        return False


def _has_odd_numbers(raw: bytes, later: re.Pattern[bytes]) -> bool:
    first = _FIRST.match(raw)
    return (first is not None and _is_odd(first[1])) or any(_is_odd(found[1]) for found in later.finditer(raw))


def _is_odd(written: bytes) -> bool:
    try:
        return orjson.dumps(orjson.loads(written)) != written
    except orjson.JSONDecodeError:
        # Infinite as a float, or no number at all: whoever parses the whole will tell.
        return True


def object_in(text: str) -> dict[str, Any]:
    """The object that a JSON text is; an empty one where it is none."""
    try:
        value = loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def parse(text: str) -> Any:
    """The same by Python's own parser, which also takes halves of surrogate pairs. Raises `json.JSONDecodeError`."""
    try:
        return _DECODER.decode(text)
    except RecursionError as error:
        raise json.JSONDecodeError("nested too deeply", "", 0) from error


def is_json(text: str) -> bool:
    """Whether `text` is one whole JSON value."""
    try:
        parse(text)
    except ValueError:
        return False
    return True


def _decimal(written: str) -> float:
    return Number(written) if _is_odd(written.encode()) else float(written)


def _integer(written: str) -> int | float:
    try:
        return int(written) if written != "-0" else Number(written)
    except ValueError:
        # More digits than Python turns into a number at once.
        return Number(written)


def _no_number(name: str) -> NoReturn:
    raise json.JSONDecodeError(f"{name} is no JSON", name, 0)


_DECODER = json.JSONDecoder(parse_float=_decimal, parse_int=_integer, parse_constant=_no_number)


def dumps(value: Any, *, option: int = 0, default: Callable[[Any], Any] | None = None) -> bytes:
    """As `orjson.dumps`, with every number as it was written. Raises `TypeError` for what is no JSON."""

    def shown(inner: Any) -> Any:
        if isinstance(inner, Number):
            return orjson.Fragment(inner.text)
        if default is None:
            raise TypeError(f"Type is not JSON serializable: {type(inner).__name__}")
        return default(inner)

    try:
        return orjson.dumps(value, default=shown, option=option)
    except orjson.JSONEncodeError:
        if is_deeper(value, DEPTH_MAX) or not _holds_large(value):
            raise
    return orjson.dumps(_large_as_written(value), default=shown, option=option)


def is_deeper(value: Any, most: int) -> bool:
    """Whether a JSON value is nested more than `most` deep."""
    if isinstance(value, dict):
        value = value.values()
    elif not isinstance(value, (list, tuple)):
        return False
    return most == 0 or any(is_deeper(inner, most - 1) for inner in value)


def _is_large(value: Any) -> bool:
    return type(value) is int and not _INT64_MIN <= value <= _UINT64_MAX


def _holds_large(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_holds_large, value.values()))
    if isinstance(value, (list, tuple)):
        return any(map(_holds_large, value))
    return _is_large(value)


def _large_as_written(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _large_as_written(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_large_as_written(inner) for inner in value]
    return orjson.Fragment(str(value)) if _is_large(value) else value


def holds_numbers(value: Any) -> bool:
    """Whether a `Number` is anywhere in a JSON value, or in a pydantic model that holds some."""
    return _any and _holds_numbers(value)


def _holds_numbers(value: Any) -> bool:
    if isinstance(value, BaseModel):
        return any(map(_holds_numbers, value.__dict__.values()))
    if isinstance(value, dict):
        return any(map(_holds_numbers, value.values()))
    if isinstance(value, (list, tuple)):
        return any(map(_holds_numbers, value))
    return isinstance(value, Number)


def as_floats(value: Any) -> Any:
    """The same value as orjson would have read it: for comparing with what was read that way. What is beyond all
    floats is infinity."""
    if isinstance(value, dict):
        return {key: as_floats(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_floats(inner) for inner in value]
    return as_float(value) if isinstance(value, Number) or _is_large(value) else value


def as_float(number: float) -> float:
    """The nearest float; infinity for what is beyond all of them, as for a decimal."""
    try:
        return float(number)
    except OverflowError:
        return math.inf if number > 0 else -math.inf


class ExactObject:
    """Marks a pydantic field that holds a JSON object: `Annotated[dict[str, JsonValue], ExactObject()]`.

    pydantic's own `JsonValue` turns a `Number` into a plain float.
    """

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        anything = core_schema.dict_schema(core_schema.str_schema(strict=True), core_schema.any_schema())
        checked = core_schema.no_info_after_validator_function(_checked, anything)
        return core_schema.json_or_python_schema(json_schema=anything, python_schema=checked)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"type": "object", "additionalProperties": True}


def _checked(value: dict[str, Any]) -> dict[str, Any]:
    """Raises `ValueError` for what is no JSON."""
    if is_deeper(value, DEPTH_MAX):
        raise ValueError(f"it is nested more than {DEPTH_MAX} deep")
    _check(value)
    return value


def _check(value: Any) -> None:
    if isinstance(value, dict):
        for key, inner in value.items():
            if not isinstance(key, str):
                raise ValueError(f"a key of a JSON object is a text, and not {key!r}")
            _check(inner)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            _check(inner)
    elif not (value is None or isinstance(value, (str, bool, int, float))):
        raise ValueError(f"{type(value).__name__} is no JSON")
    elif isinstance(value, float) and not isinstance(value, Number) and value - value != 0:
        raise ValueError("infinity and NaN are no JSON")
