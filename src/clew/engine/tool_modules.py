"""Tools from the modules that hold them: `module:name`, as it is written on the command line.

A module of tools is other people's code, and may raise anything while it is imported or looked at.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from clew.engine.error_text import is_a, told
from clew.engine.foreign_loop import ThreadLoop
from clew.engine.tools import ServerTool, Toolbox
from clew.errors import Misconfigured


def load_tools(names: Iterable[str]) -> Toolbox:
    """Toolbox from `module:name` texts; a name is a tool, a function, or a list of them. Raises `Misconfigured`.

    Their coroutines run apart from the event loop of this process.
    """
    found: list[ServerTool | Callable[..., Any]] = []
    if str(Path.cwd()) not in sys.path:
        # `--tools mytools:weather` means the file in the folder one stands in.
        sys.path.insert(0, str(Path.cwd()))
    for text in names:
        found += _loaded(text)
    try:
        return Toolbox(found, ThreadLoop())
    except Misconfigured as error:
        raise Misconfigured(f"--tools: {error}") from error


def _loaded(text: str) -> list[ServerTool | Callable[..., Any]]:
    module_name, _, attribute = text.partition(":")
    if not module_name or not attribute:
        raise Misconfigured(f"--tools {text!r}: write module:name, such as mytools:get_weather")
    with _told_of(text, f"{module_name} cannot be imported: "):
        module = importlib.import_module(module_name)
    with _told_of(text):
        try:
            value = getattr(module, attribute)
        except AttributeError:
            raise Misconfigured(f"module {module_name} has no {attribute}") from None
        return _tools_of(value)


def _tools_of(value: Any) -> list[ServerTool | Callable[..., Any]]:
    many = list(value) if is_a(value, list) or is_a(value, tuple) else [value]
    if not many:
        raise Misconfigured("there is no tool in this list")
    for one in many:
        if not callable(one) and not is_a(one, ServerTool):
            raise Misconfigured(f"what is a {type(one).__name__} there is not a function")
    # Here rather than later, so that it is known where a tool that is not one comes from.
    return list(Toolbox(many).all())


@contextmanager
def _told_of(text: str, what: str = "") -> Iterator[None]:
    """Whatever is raised is a fault of what was to be loaded, but that somebody ends the process."""
    try:
        yield
    except KeyboardInterrupt:
        raise
    except Misconfigured as error:
        raise Misconfigured(f"--tools {text!r}: {error}") from error
    except BaseException as error:
        raise Misconfigured(f"--tools {text!r}: {what}{' '.join(told(error).split())}") from error
