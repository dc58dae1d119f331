"""Tools that do what no tool should: they end the process, raise what nobody catches, return what is no JSON.

`CLEW_DEEDS` names a file in which those that end the process write a line before they do.
"""

from __future__ import annotations

import asyncio
import ctypes
import functools
import os
import sys
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn

import clew
from clew.engine.tools import ServerTool, ToolCallInfo, execute
from clew.events.tool import SettledOutcome
from tests.rigs.deeds import write

HALF = "\ud800"


def exits() -> NoReturn:
    sys.exit("enough")


def interrupts() -> NoReturn:
    raise KeyboardInterrupt


async def exits_as_a_coroutine() -> NoReturn:
    sys.exit("enough")


async def interrupts_as_a_coroutine() -> NoReturn:
    raise KeyboardInterrupt


async def cancels() -> NoReturn:
    raise asyncio.CancelledError("no reason")


def cancels_in_a_thread() -> NoReturn:
    raise asyncio.CancelledError("no reason")


async def cancels_its_task() -> str:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    return "done"


def stops_an_iteration() -> NoReturn:
    raise StopIteration("nothing more")


def closes() -> NoReturn:
    raise GeneratorExit("closed")


def times_out_by_itself() -> NoReturn:
    raise TimeoutError("the other side did not answer")


def returns_a_future_that_fails() -> Awaitable[str]:
    async def fail() -> str:
        raise ValueError("later")

    return fail()


class Unprintable(Exception):
    def __str__(self) -> NoReturn:
        raise RuntimeError("no text")


class ExitsWhenPrinted(Exception):
    def __str__(self) -> NoReturn:
        sys.exit(3)


class _Nameless(type):
    @property
    def __name__(cls) -> NoReturn:  # type: ignore[override]
        raise RuntimeError("no name")


class WithoutName(Exception, metaclass=_Nameless):
    pass


def raises_unprintable() -> NoReturn:
    raise Unprintable


def raises_what_exits_when_printed() -> NoReturn:
    raise ExitsWhenPrinted


def raises_without_name() -> NoReturn:
    raise WithoutName("something")


def raises_half_a_character() -> NoReturn:
    raise ValueError(f"half: {HALF}")


def raises_a_long_text() -> NoReturn:
    raise ValueError("long " * 10_000)


def raises_with_an_odd_class_name() -> NoReturn:
    raise type("Odd\n" * 300, (Exception,), {})("odd")


class OfNoClass(Exception):
    """`isinstance` asks a value for its class."""

    __class__ = property(lambda self: sys.exit("no class"))


class NotToBeLookedAt(BaseException):
    def __getattribute__(self, name: str) -> NoReturn:
        sys.exit("no look")


class OfOddOrigin(Exception):
    __cause__ = __context__ = __traceback__ = property(lambda self: sys.exit("no cause"))


def raises_what_has_no_class() -> NoReturn:
    raise OfNoClass("something")


async def raises_what_has_no_class_in_a_coroutine() -> NoReturn:
    raise OfNoClass("something")


def raises_what_is_not_to_be_looked_at() -> NoReturn:
    raise NotToBeLookedAt("something")


async def raises_what_is_not_to_be_looked_at_in_a_coroutine() -> NoReturn:
    raise NotToBeLookedAt("something")


async def raises_what_has_an_odd_origin() -> NoReturn:
    raise OfOddOrigin("something")


class _OfNoClass:
    __class__ = property(lambda self: sys.exit("no class"))

    def __str__(self) -> str:
        return "a value"


def returns_what_has_no_class() -> object:
    return _OfNoClass()


async def returns_what_has_no_class_in_a_coroutine() -> object:
    return _OfNoClass()


def returns_a_large_int() -> object:
    return {"n": 2**70}


def returns_itself() -> object:
    circle: list[object] = []
    circle.append(circle)
    return circle


def returns_half_a_character() -> str:
    return f"half: {HALF}"


def returns_half_a_character_inside() -> object:
    return {"a": [HALF]}


def returns_half_a_key() -> object:
    return {HALF: 1}


class _Mute:
    def __str__(self) -> NoReturn:
        raise RuntimeError("no text")


class _ExitsAsText:
    def __str__(self) -> NoReturn:
        sys.exit(3)


def returns_what_has_no_text() -> object:
    return [_Mute()]


def returns_what_exits_as_text() -> object:
    return {"a": _ExitsAsText()}


async def returns_what_exits_as_text_in_a_coroutine() -> object:
    return _ExitsAsText()


class _OddText(str):
    def encode(self, *_: object) -> NoReturn:
        raise RuntimeError("no bytes")


def returns_an_odd_text() -> str:
    return _OddText("plain")


def returns_more_than_an_event_takes() -> str:
    return "\x01" * 900_000


def takes_an_unknown_type(city: Nowhere) -> str:  # type: ignore[name-defined]  # noqa: F821
    return "never"


class OddAnnotation:
    """pydantic asks it how values are to be checked."""

    @classmethod
    def __get_pydantic_core_schema__(cls, *_: object) -> NoReturn:
        sys.exit("no schema")


def takes_an_odd_annotation(city: OddAnnotation) -> str:
    return "never"


# In the words that the model must find in what it is told.
FAILURES: dict[Callable[..., Any], tuple[str, ...]] = {
    exits: ("SystemExit", "enough", "end the process"),
    interrupts: ("KeyboardInterrupt", "end the process"),
    exits_as_a_coroutine: ("SystemExit", "enough", "end the process"),
    interrupts_as_a_coroutine: ("KeyboardInterrupt", "end the process"),
    cancels: ("CancelledError", "cancelled"),
    cancels_in_a_thread: ("CancelledError", "cancelled"),
    stops_an_iteration: ("StopIteration", "nothing more"),
    closes: ("GeneratorExit", "closed"),
    times_out_by_itself: ("TimeoutError", "the other side did not answer"),
    returns_a_future_that_fails: ("ValueError", "later"),
    raises_unprintable: ("Unprintable", "text cannot be written"),
    raises_what_exits_when_printed: ("ExitsWhenPrinted", "text cannot be written"),
    raises_without_name: ("without a name", "something"),
    raises_half_a_character: ("ValueError", "half: \ufffd"),
    raises_a_long_text: ("ValueError", "long long"),
    raises_with_an_odd_class_name: ("Odd\nOdd",),
    raises_what_has_no_class: ("OfNoClass", "something"),
    raises_what_has_no_class_in_a_coroutine: ("OfNoClass", "something"),
    raises_what_is_not_to_be_looked_at: ("NotToBeLookedAt", "something"),
    raises_what_is_not_to_be_looked_at_in_a_coroutine: ("NotToBeLookedAt", "something"),
    raises_what_has_an_odd_origin: ("OfOddOrigin", "something"),
    returns_a_large_int: ("ran to its end", "cannot be written as JSON", "64-bit"),
    returns_itself: ("ran to its end", "cannot be written as JSON", "contains itself"),
    returns_half_a_character: ("ran to its end", "surrogate"),
    returns_half_a_character_inside: ("ran to its end", "surrogates"),
    returns_half_a_key: ("ran to its end", "surrogates"),
    returns_what_has_no_text: ("ran to its end", "cannot be written as JSON", "no text"),
    returns_what_exits_as_text: ("ran to its end", "cannot be written as JSON", "SystemExit"),
    returns_what_exits_as_text_in_a_coroutine: ("ran to its end", "cannot be written as JSON", "SystemExit"),
}
NOT_CALLED: dict[Callable[..., Any], tuple[str, ...]] = {
    takes_an_unknown_type: ("was not called", "Nowhere"),
    takes_an_odd_annotation: ("was not called", "no schema"),
}


class _Sunny:
    async def __call__(self, city: str = "Lisbon") -> str:
        return f"sunny in {city}"


async def _sunny(city: str, where: str) -> str:
    return f"sunny in {city}, {where}"


AWAITED = {
    "partial": ServerTool("partial", functools.partial(_sunny, where="Portugal"), "pure"),
    "object": ServerTool("object", _Sunny(), "pure"),
    "lambda": ServerTool("lambda", lambda city: _sunny(city, "Portugal"), "pure"),
}


def _note(name: str) -> None:
    write(name)


@clew.tool(effect="pure")
def dies() -> NoReturn:
    _note("dies")
    os._exit(1)


@clew.tool(effect="pure")
def segfaults() -> NoReturn:
    _note("segfaults")
    ctypes.string_at(0)
    raise AssertionError("nobody is here any more")


@clew.tool(effect="idempotent", in_doubt="tell_model")
def dies_idempotent() -> NoReturn:
    _note("dies_idempotent")
    os._exit(1)


def says_it_did_not_happen(key: str) -> tuple[SettledOutcome, str]:
    return "did_not_happen", ""


@clew.tool(effect="once", probe=says_it_did_not_happen)
def dies_once() -> NoReturn:
    _note("dies_once")
    os._exit(1)


def dies_when_asked(key: str) -> NoReturn:
    _note("asked")
    os._exit(1)


@clew.tool(effect="once", probe=dies_when_asked)
def dies_and_so_does_its_probe() -> NoReturn:
    _note("dies")
    os._exit(1)


@clew.tool(effect="idempotent")
async def slow_and_innocent() -> str:
    _note("slow_and_innocent")
    await asyncio.sleep(0.2)
    return "the innocent one came to its end"


TOOLS: list[ServerTool | Callable[..., Any]] = [
    *FAILURES,
    *NOT_CALLED,
    dies,
    segfaults,
    dies_idempotent,
    dies_once,
    dies_and_so_does_its_probe,
    slow_and_innocent,
]


async def ignores_everything() -> NoReturn:
    while True:
        try:
            await asyncio.sleep(60)
        except BaseException:
            await asyncio.sleep(0)


def main() -> None:
    """Call the tool that ignores everything, and end."""
    called = ServerTool("ignores_everything", ignores_everything, timeout_seconds=0.1)
    info = ToolCallInfo("thread_1", "run_1", "call_1", "run_1_call_1", 1)
    print(asyncio.run(execute(called, "{}", info)).output)


if __name__ == "__main__":
    main()
