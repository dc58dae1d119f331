"""What may be declared of a tool. What cannot be meant is refused when it is declared, before any call of it."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any, get_args

from clew.engine.error_text import is_a
from clew.errors import Misconfigured
from clew.events.tool import Effect

if TYPE_CHECKING:
    from clew.engine.tools import ServerTool

# As providers take it.
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")
_SHOWN_CHARS_MAX = 60
_SECONDS_MAX = 1_000_000_000
IN_DOUBT = ("ask", "tell_model")


def checked(tool: ServerTool) -> ServerTool:
    """The same tool. Raises `Misconfigured`."""
    if not is_a(tool.name, str) or not _NAME.fullmatch(str.__str__(tool.name)):
        raise _refused(
            "a tool", "name", tool.name, "1 to 128 of the letters a-z and A-Z, digits, _ and -: @clew.tool(name=...)"
        )
    for argument, value, fits, takes in (
        ("the function", tool.function, callable(tool.function), "what can be called"),
        ("effect", tool.effect, _is_one_of(tool.effect, get_args(Effect)), f"one of {', '.join(get_args(Effect))}"),
        (
            "timeout_seconds",
            tool.timeout_seconds,
            _is_time(tool.timeout_seconds),
            "a number of seconds above 0, at most 10^9",
        ),
        ("output_bytes_max", tool.output_bytes_max, _is_size(tool.output_bytes_max), "a whole number above 0"),
        ("in_doubt", tool.in_doubt, _is_one_of(tool.in_doubt, IN_DOUBT), f"one of {', '.join(IN_DOUBT)}"),
        ("probe", tool.probe, tool.probe is None or callable(tool.probe), "None, or a function"),
        ("requires_confirmation", tool.requires_confirmation, _is_bool(tool.requires_confirmation), "True or False"),
    ):
        if not fits:
            raise _refused(f"the tool {str.__str__(tool.name)}", argument, value, takes)
    # As it is: a subclass of `str` might be equal to anything.
    return tool if type(tool.name) is str else replace(tool, name=str.__str__(tool.name))


def _refused(tool: str, argument: str, given: object, takes: str) -> Misconfigured:
    return Misconfigured(f"{tool}: {argument} is {shown(given)}; it takes {takes}")


def shown(value: Any) -> str:
    """In one line, and without running code of others."""
    if value is None or type(value) in (str, bytes, int, float, bool):
        text = repr(value)
        return text if len(text) <= _SHOWN_CHARS_MAX else f"{text[:_SHOWN_CHARS_MAX]}…"
    return f"a {type(value).__name__}"


def _is_one_of(value: object, choices: tuple[str, ...]) -> bool:
    return is_a(value, str) and str.__str__(value) in choices


def _is_bool(value: object) -> bool:
    return type(value) is bool


def _is_time(value: object) -> bool:
    return type(value) in (int, float) and 0 < value <= _SECONDS_MAX  # type: ignore[operator]


def _is_size(value: object) -> bool:
    return type(value) is int and value > 0
