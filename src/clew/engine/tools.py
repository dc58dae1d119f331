"""Tools that the server executes: Python callables with a declared effect, a time limit and an output limit.

    @clew.tool(effect="idempotent", timeout_seconds=10)
    def get_weather(city: str) -> str: ...

What is declared decides what a crash leads to. A `pure` or `idempotent` tool is called again, with the same
idempotency key, unless the process ended five times with it. A tool with effect `once`, which is what a tool is that
declares nothing, is never called twice: its call is in doubt until it is settled, by `in_doubt`: "ask" a person,
"tell_model" that nobody knows, or a probe, a function that is given the idempotency key and says what happened.

A tool with `requires_confirmation` is only called once the client of the run, or a person, has allowed that call.

A tool is other people's code. Whatever it does, its call comes to a result or to a failure that the model is told.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import sys
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeAlias

import orjson

from clew.engine.arguments import InvalidArguments, bound
from clew.engine.error_text import storable, told
from clew.engine.foreign_code import Failure, ForeignCall
from clew.errors import Misconfigured
from clew.events.run import RunConfig
from clew.events.tool import Effect, SettledOutcome
from clew.exact_json import Number
from clew.log import Log

OUTPUT_BYTES_MAX = 64_000
# More than this is not kept of any output, since an event takes no more; and of one that is mostly control characters,
# each of which is written as six in JSON, no more than a sixth of it.
_KEPT_BYTES_MAX = (1_000_000, 160_000)
_WRITTEN_BYTES_MAX = 1_050_000
TIMEOUT_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class ToolCallInfo:
    """What a tool learns of its call, if it has a parameter of this type."""

    thread_id: str
    run_id: str
    tool_call_id: str
    idempotency_key: str
    attempt: int


Probe: TypeAlias = Callable[[str], tuple[SettledOutcome, str] | Awaitable[tuple[SettledOutcome, str]]]
InDoubt: TypeAlias = Literal["ask", "tell_model"]


@dataclass(frozen=True)
class ServerTool:
    name: str
    function: Callable[..., Any]
    effect: Effect = "once"
    timeout_seconds: float = TIMEOUT_SECONDS
    output_bytes_max: int = OUTPUT_BYTES_MAX
    in_doubt: InDoubt = "ask"
    probe: Probe | None = None
    requires_confirmation: bool = False


@dataclass(frozen=True, slots=True)
class Result:
    """`failure` is None when it returned; `unknown` when it may have happened or not (a time limit, effect once)."""

    output: str
    duration_ms: float
    failure: Literal["error", "timeout", "arguments"] | None = None
    unknown: bool = False
    bytes_whole: int | None = None


def tool(
    *,
    name: str | None = None,
    effect: Effect = "once",
    timeout_seconds: float = TIMEOUT_SECONDS,
    output_bytes_max: int = OUTPUT_BYTES_MAX,
    in_doubt: InDoubt = "ask",
    probe: Probe | None = None,
    requires_confirmation: bool = False,
) -> Callable[[Callable[..., Any]], ServerTool]:
    """Declare a function as a tool that the server executes."""

    def declare(function: Callable[..., Any]) -> ServerTool:
        return ServerTool(
            name or _name_of(function),
            function,
            effect,
            timeout_seconds,
            output_bytes_max,
            in_doubt,
            probe,
            requires_confirmation,
        )

    return declare


def _name_of(function: Callable[..., Any]) -> str:
    name = getattr(function, "__name__", None)
    if not isinstance(name, str):
        raise Misconfigured(f"a {type(function).__name__} has no name; declare it with @clew.tool(name=...)")
    return name


class Toolbox:
    """The tools of this server, by name."""

    def __init__(self, tools: Iterable[ServerTool | Callable[..., Any]] = ()) -> None:
        self._tools: dict[str, ServerTool] = {}
        for one in tools:
            declared = one if isinstance(one, ServerTool) else ServerTool(_name_of(one), one)
            if declared.name in self._tools:
                raise Misconfigured(f"two tools are called {declared.name!r}; a model could not tell them apart")
            self._tools[declared.name] = declared

    def get(self, name: str) -> ServerTool | None:
        return self._tools.get(name)

    def for_run(self, config: RunConfig, log: Log) -> Toolbox:
        """What a run is to use: these, or stand-ins when it is another run made anew."""
        if config.rerun is None or config.rerun.tools == "again":
            return self
        from clew.engine.standing_in import StandIns

        return StandIns(config.rerun, log)

    def names(self) -> list[str]:
        return sorted(self._tools)

    async def execute(self, tool: ServerTool, arguments: str, info: ToolCallInfo) -> Result:
        return await execute(tool, arguments, info)


def load_tools(names: Iterable[str]) -> Toolbox:
    """Toolbox from `module:name` texts; a name is a tool, a function, or a list of them. Raises `Misconfigured`."""
    found: list[ServerTool | Callable[..., Any]] = []
    if str(Path.cwd()) not in sys.path:
        # `--tools mytools:weather` means the file in the folder one stands in.
        sys.path.insert(0, str(Path.cwd()))
    for text in names:
        value = _loaded(text)
        many = value if isinstance(value, (list, tuple)) else [value]
        for one in many:
            if not isinstance(one, ServerTool) and not callable(one):
                raise Misconfigured(f"--tools {text!r}: what is a {type(one).__name__} there is not a function")
            found.append(one)
    return Toolbox(found)


def _loaded(text: str) -> Any:
    module_name, _, attribute = text.partition(":")
    if not module_name or not attribute:
        raise Misconfigured(f"--tools {text!r}: write module:name, such as mytools:get_weather")
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:
        # A module of tools is other people's code, and may raise anything while it is imported.
        raise Misconfigured(f"--tools {text!r}: {module_name} cannot be imported: {_in_a_line(error)}") from error
    try:
        return getattr(module, attribute)
    except AttributeError:
        raise Misconfigured(f"--tools {text!r}: module {module_name} has no {attribute}") from None
    except (Exception, SystemExit) as error:
        raise Misconfigured(f"--tools {text!r}: {_in_a_line(error)}") from error


def _in_a_line(error: BaseException) -> str:
    return " ".join(told(error).split())


@dataclass(frozen=True, slots=True)
class Written:
    """What a tool returned, as text. `bytes_whole` is set when only the beginning of it is kept."""

    output: str
    bytes_whole: int | None = None


async def execute(tool: ServerTool, arguments: str, info: ToolCallInfo) -> Result:
    """Call `tool`. Whatever it does, this returns: what goes wrong in it is for the model to hear."""
    started = time.perf_counter()
    call = ForeignCall(
        f"the tool {tool.name}",
        partial(bound, tool.function, arguments, info),
        partial(written, tool),
        tool.timeout_seconds,
    )
    outcome = await call.outcome(in_loop=inspect.iscoroutinefunction(tool.function))
    elapsed = round((time.perf_counter() - started) * 1000, 3)
    if isinstance(outcome, Written):
        return Result(outcome.output, elapsed, bytes_whole=outcome.bytes_whole)
    text, failure = _told_failure(tool, outcome)
    unknown = failure == "timeout" and tool.effect == "once"
    return Result(storable(text), elapsed, failure, unknown=unknown)


def _told_failure(tool: ServerTool, failed: Failure) -> tuple[str, Literal["error", "timeout", "arguments"]]:
    """What the model is told. Whether the call was made must be plain, so that it does not make it twice unawares."""
    error = failed.error
    if error is None:
        return f"{tool.name} did not answer within {tool.timeout_seconds:g} seconds", "timeout"
    if isinstance(error, InvalidArguments) and failed.during == "preparing":
        return f"invalid arguments: {error}", "arguments"
    why = told(error)
    if failed.during == "preparing":
        return f"{tool.name} was not called, since this went wrong before: {why}", "error"
    if failed.during == "writing":
        return f"{tool.name} was called and ran to its end, but {_why_not_written(error)}", "error"
    if isinstance(error, (SystemExit, KeyboardInterrupt)):
        return f"{tool.name} tried to end the process that it runs in: {why}", "error"
    if isinstance(error, asyncio.CancelledError):
        return f"{tool.name} was cancelled from within: {why}", "error"
    return why, "error"


def _why_not_written(error: BaseException) -> str:
    if isinstance(error, UnicodeEncodeError):
        return "its result is no text: there is half of a surrogate pair in it"
    # orjson says what it could not write, and the cause is what went wrong when that was turned into a text.
    cause = f" ({told(error.__cause__)})" if error.__cause__ is not None else ""
    return f"its result cannot be written as JSON: {_in_english(error)}{cause}"


def _in_english(error: BaseException) -> str:
    why = told(error)
    if "ecursion limit" in why:
        return "it contains itself, or is nested too deeply"
    return why.removeprefix("TypeError: ")


def written(tool: ServerTool, value: object) -> Written:
    """What `tool` returned, as it is kept. Raises `UnicodeEncodeError`, or `TypeError` for what is no JSON."""
    # As it is: a subclass of `str` might encode itself in another way.
    whole = str.encode(value) if isinstance(value, str) else _as_json(value)
    return _kept(whole.decode(), tool.output_bytes_max)


def _as_json(value: object) -> bytes:
    def as_text(inner: object) -> object:
        return orjson.Fragment(inner.text) if isinstance(inner, Number) else str(inner)

    return orjson.dumps(value, default=as_text, option=orjson.OPT_NON_STR_KEYS)


def _kept(output: str, bytes_max: int) -> Written:
    """As much of a text as may be kept, with a note where that is not all."""
    encoded = output.encode()
    for most in (bytes_max, *_KEPT_BYTES_MAX):
        if len(encoded) <= most:
            shown = Written(output)
        else:
            note = f"\n[cut: {len(encoded)} bytes, the first {most} are shown]"
            shown = Written(encoded[:most].decode("utf-8", "ignore") + note, len(encoded))
        if len(orjson.dumps(shown.output)) <= _WRITTEN_BYTES_MAX:
            break
    return shown
