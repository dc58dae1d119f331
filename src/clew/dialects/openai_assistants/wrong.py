"""What pydantic found wrong with a request, in the words OpenAI has for it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import ValidationError

from clew.dialects.openai_assistants.errors import Rejected, missing, rejected
from clew.dialects.openai_assistants.requests import NESTED_TOO_DEEPLY, TAGS

_EXPECTED = {
    "string_type": "a string",
    "int_type": "an integer",
    "float_type": "a decimal",
    "bool_type": "a boolean",
    "list_type": "an array",
    "dict_type": "an object",
    "model_type": "an object",
    "model_attributes_type": "an object",
}


def rejection(error: ValidationError) -> Rejected:
    """OpenAI tells of one fault at a time: the first."""
    fault = error.errors(include_url=False)[0]
    make = _MADE.get(fault["type"])
    name = _name(fault["loc"])
    if make is not None:
        return make(name, fault["input"], fault.get("ctx", {}))
    if fault["type"] in _EXPECTED:
        return _wrong_type(name, _EXPECTED[fault["type"]], fault["input"])
    return rejected(f"Invalid '{name}': {fault['msg']}.", param=name or None, code="invalid_value")


def _name(loc: tuple[int | str, ...]) -> str:
    """Where it is, written `messages[0].content`. Tags of unions and pydantic's mark for a key are no places."""
    name = ""
    for step in loc:
        if isinstance(step, int):
            name += f"[{step}]"
        elif step not in TAGS:
            name += f".{step}" if name else step
    return name


def _wrong_type(name: str, expected: str, found: Any) -> Rejected:
    what = f"'{name}'" if name else "the request body"
    message = f"Invalid type for {what}: expected {expected}, but got {_kind(found)} instead."
    return rejected(message, param=name or None, code="invalid_type")


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    kinds = {bool: "a boolean", int: "an integer", float: "a decimal number", str: "a string", list: "an array"}
    return kinds.get(type(value), "an object")


def _literal(name: str, found: Any, context: Mapping[str, Any]) -> Rejected:
    if not isinstance(found, str):
        return _wrong_type(name, "a string", found)
    return wrong_choice(name, found, re.findall(r"'([^']*)'", context["expected"]))


def wrong_choice(name: str, found: str, choices: list[str]) -> Rejected:
    quoted = [f"'{choice}'" for choice in choices]
    listed = f"{', '.join(quoted[:-1])}, and {quoted[-1]}" if len(quoted) > 2 else " and ".join(quoted)
    verb = "value is" if len(quoted) == 1 else "values are"
    return rejected(f"Invalid value: '{found}'. Supported {verb}: {listed}.", param=name, code="invalid_value")


def _union(name: str, found: Any, context: Mapping[str, Any]) -> Rejected:
    """The discriminator found nothing to go by: a kind of value that no member takes, or an object without `type`."""
    if isinstance(found, dict):
        inner = f"{name}.type"
        return _wrong_type(inner, "a string", found["type"]) if "type" in found else missing(inner)
    if context.get("discriminator") == "_object_tag()":
        return _wrong_type(name, "an object", found)
    return _wrong_type(
        name, "one of a string or array of objects" if "content" in name else "a string or object", found
    )


def _union_tag(name: str, found: Any, context: Mapping[str, Any]) -> Rejected:
    choices = [tag.strip("<>") for tag in re.findall(r"'([^']*)'", context["expected_tags"])]
    known = [choice for choice in choices if choice not in ("string", "array")]
    return wrong_choice(f"{name}.type", context["tag"].strip("<>"), known)


def _over(name: str, found: Any, context: Mapping[str, Any]) -> Rejected:
    return out_of_range(name, found, above=True, limit=context["le"])


def _under(name: str, found: Any, context: Mapping[str, Any]) -> Rejected:
    return out_of_range(name, found, above=False, limit=context["ge"])


def out_of_range(name: str, found: float, *, above: bool, limit: float) -> Rejected:
    kind = "integer" if isinstance(limit, int) else "decimal"
    side, sign = ("above maximum", "<=") if above else ("below minimum", ">=")
    code = f"{kind}_above_max_value" if above else f"{kind}_below_min_value"
    message = f"Invalid '{name}': {kind} {side} value. Expected a value {sign} {limit:g}, but got {found} instead."
    return rejected(message, param=name, code=code)


def _too_long_text(name: str, found: str, context: Mapping[str, Any]) -> Rejected:
    limit = context["max_length"]
    if name.endswith(".[key]"):
        owner = name.removesuffix(".[key]").removesuffix(f".{found}")
        message = (
            f"Invalid '{owner}': property name too long. Expected property names with maximum length {limit},"
            f" but got one with length {len(found)} instead."
        )
        return rejected(message, param=owner, code="property_name_above_max_length")
    message = (
        f"Invalid '{name}': string too long. Expected a string with maximum length {limit},"
        f" but got a string with length {len(found)} instead."
    )
    return rejected(message, param=name, code="string_above_max_length")


def _too_many(name: str, found: Any, context: Mapping[str, Any]) -> Rejected:
    limit = context["max_length"]
    if isinstance(found, dict):
        message = (
            f"Invalid '{name}': too many properties. Expected an object with at most {limit} properties,"
            f" but got an object with {len(found)} properties instead."
        )
        return rejected(message, param=name, code="object_above_max_properties")
    message = (
        f"Invalid '{name}': array too long. Expected an array with maximum length {limit},"
        f" but got an array with length {len(found)} instead."
    )
    return rejected(message, param=name, code="array_above_max_length")


def _too_few(name: str, found: Any, context: Mapping[str, Any]) -> Rejected:
    message = f"Invalid '{name}': empty array. Expected an array with minimum length 1, but got an empty array instead."
    return rejected(message, param=name, code="empty_array")


def _pattern(name: str, found: str, context: Mapping[str, Any]) -> Rejected:
    pattern = context["pattern"]
    message = (
        f"Invalid '{name}': string does not match pattern. Expected a string that matches the pattern '{pattern}'."
    )
    return rejected(message, param=name, code="invalid_value")


_MADE: dict[str, Callable[[str, Any, Mapping[str, Any]], Rejected]] = {
    "missing": lambda name, found, context: missing(name),
    "extra_forbidden": lambda name, found, context: rejected(
        f"Unknown parameter: '{name}'.", param=name, code="unknown_parameter"
    ),
    "literal_error": _literal,
    "union_tag_not_found": _union,
    "union_tag_invalid": _union_tag,
    "less_than_equal": _over,
    "greater_than_equal": _under,
    "string_too_long": _too_long_text,
    "too_long": _too_many,
    "too_short": _too_few,
    "string_pattern_mismatch": _pattern,
    NESTED_TOO_DEEPLY: lambda name, found, context: rejected(
        f"Invalid '{name}': nested too deeply.", param=name, code="invalid_value"
    ),
}
