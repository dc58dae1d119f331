"""Tools that the server executes: Python callables with a declared effect, a time limit and an output limit.

    @clew.tool(effect="idempotent", timeout_seconds=10)
    def get_weather(city: str) -> str: ...

What is declared decides what a crash leads to. A `pure` or `idempotent` tool is called again, with the same
idempotency key, unless the process ended five times with it. A tool with effect `once`, which is what a tool is that
declares nothing, is never called twice: its call is in doubt until it is settled, by `in_doubt`: "ask" a person,
"tell_model" that nobody knows, or a probe, a function that is given the idempotency key and says what happened.

A tool with `requires_confirmation` is only called once the client of the run, or a person, has allowed that call.

A tool is other people's code. Whatever it does, its call comes to a result or to a failure that the model is told. A
function runs in a thread, a coroutine in an event loop: of a server in one apart, of a library in its user's.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypeAlias, overload

import orjson

from clew.engine.arguments import InvalidArguments, bound
from clew.engine.error_text import cause_of, is_a, storable, told
from clew.engine.foreign_code import CALLER_LOOP, ForeignCall, Stage, Unanswered, makes_coroutines
from clew.engine.foreign_loop import CoroutineHost
from clew.engine.tool_checks import checked, shown
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
FailureKind: TypeAlias = Literal["error", "timeout", "arguments"]


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
    failure: FailureKind | None = None
    unknown: bool = False
    bytes_whole: int | None = None


@overload
def tool(function: Callable[..., Any], /) -> ServerTool: ...
@overload
def tool(
    *,
    name: str | None = None,
    effect: Effect = "once",
    timeout_seconds: float = TIMEOUT_SECONDS,
    output_bytes_max: int = OUTPUT_BYTES_MAX,
    in_doubt: InDoubt = "ask",
    probe: Probe | None = None,
    requires_confirmation: bool = False,
) -> Callable[[Callable[..., Any]], ServerTool]: ...
def tool(
    function: Callable[..., Any] | None = None, /, *, name: str | None = None, **declared: Any
) -> ServerTool | Callable[[Callable[..., Any]], ServerTool]:
    """Declare a function as a tool that the server executes: `@clew.tool(...)`, or `@clew.tool` with nothing to say.

    Raises `Misconfigured` for what cannot be meant.
    """

    def declare(function: Callable[..., Any]) -> ServerTool:
        return checked(ServerTool(_name_of(function) if name is None else name, function, **declared))

    return declare if function is None else declare(function)


def _as_tool(one: Any) -> ServerTool:
    return one if is_a(one, ServerTool) else ServerTool(_name_of(one), one)


def _name_of(function: Callable[..., Any]) -> str:
    if is_a(function, ServerTool):
        raise Misconfigured(f"{function.name!r} is a tool already; declare it once")
    if not callable(function):
        raise Misconfigured(f"{shown(function)} is not a function; declare a tool with @clew.tool(name=...)")
    name = getattr(function, "__name__", None)
    if not is_a(name, str):
        raise Misconfigured(f"a {type(function).__name__} has no name; declare it with @clew.tool(name=...)")
    return name


class Toolbox:
    """The tools of this server, by name. `host` is where their coroutines run."""

    def __init__(
        self, tools: Iterable[ServerTool | Callable[..., Any]] = (), host: CoroutineHost = CALLER_LOOP
    ) -> None:
        self.host = host
        self._tools: dict[str, ServerTool] = {}
        for one in tools:
            declared = checked(_as_tool(one))
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

    def all(self) -> list[ServerTool]:
        return list(self._tools.values())

    def names(self) -> list[str]:
        return sorted(self._tools)

    async def execute(self, tool: ServerTool, arguments: str, info: ToolCallInfo) -> Result:
        return await execute(tool, arguments, info, self.host)

    async def close(self) -> None:
        """End what they left behind."""
        await self.host.close()


@dataclass(frozen=True, slots=True)
class Written:
    """What a tool returned, as text. `bytes_whole` is set when only the beginning of it is kept."""

    output: str
    bytes_whole: int | None = None


@dataclass(frozen=True, slots=True)
class _Failed:
    """What the model is told. Whether the call was made must be plain, so that it does not make it twice unawares."""

    output: str
    failure: FailureKind
    unknown: bool = False


async def execute(tool: ServerTool, arguments: str, info: ToolCallInfo, host: CoroutineHost = CALLER_LOOP) -> Result:
    """Call `tool`. Whatever it does, this returns: what goes wrong in it is for the model to hear."""
    started = time.perf_counter()
    call: ForeignCall[Written | _Failed] = ForeignCall(
        f"the tool {tool.name}",
        partial(bound, tool.function, arguments, info),
        partial(written, tool),
        partial(_failed, tool),
        tool.timeout_seconds,
    )
    outcome = await call.outcome(in_loop=makes_coroutines(tool.function), host=host)
    elapsed = round((time.perf_counter() - started) * 1000, 3)
    if isinstance(outcome, Written):
        return Result(outcome.output, elapsed, bytes_whole=outcome.bytes_whole)
    failed = _unanswered(tool, outcome) if isinstance(outcome, Unanswered) else outcome
    return Result(storable(failed.output), elapsed, failed.failure, unknown=failed.unknown)


def _unanswered(tool: ServerTool, call: Unanswered) -> _Failed:
    if call.lost is not None:
        if call.during == "preparing":
            return _Failed(f"{tool.name} was not called: {call.lost}", "error")
        return _Failed(f"{tool.name} did not come to its end: {call.lost}", "error", tool.effect == "once")
    seconds = f"within {tool.timeout_seconds:g} seconds"
    if call.during == "preparing":
        return _Failed(f"{tool.name} was not called, since that could not be prepared {seconds}", "timeout")
    if call.during == "writing":
        return _Failed(
            f"{tool.name} was called and ended, but what came of it could not be written {seconds}", "timeout"
        )
    return _Failed(f"{tool.name} did not answer {seconds}", "timeout", tool.effect == "once")


def _failed(tool: ServerTool, during: Stage, error: BaseException) -> _Failed:
    if type(error) is InvalidArguments and during == "preparing":
        return _Failed(f"invalid arguments: {error}", "arguments")
    return _Failed(_why_failed(tool, during, error), "error")


def _why_failed(tool: ServerTool, during: Stage, error: BaseException) -> str:
    if during == "writing":
        return f"{tool.name} was called and ran to its end, but {_why_not_written(error)}"
    why = told(error)
    if during == "preparing":
        return f"{tool.name} was not called, since this went wrong before: {why}"
    if is_a(error, SystemExit) or is_a(error, KeyboardInterrupt):
        return f"{tool.name} tried to end the process that it runs in: {why}"
    if is_a(error, asyncio.CancelledError):
        return f"{tool.name} was cancelled from within: {why}"
    return why


def _why_not_written(error: BaseException) -> str:
    if is_a(error, UnicodeEncodeError):
        return "its result is no text: there is half of a surrogate pair in it"
    # orjson says what it could not write, and the cause is what went wrong when that was turned into a text.
    cause = cause_of(error)
    because = f" ({told(cause)})" if cause is not None else ""
    return f"its result cannot be written as JSON: {_in_english(error)}{because}"


def _in_english(error: BaseException) -> str:
    why = told(error)
    if "ecursion limit" in why:
        return "it contains itself, or is nested too deeply"
    return why.removeprefix("TypeError: ")


def written(tool: ServerTool, value: object) -> Written:
    """What `tool` returned, as it is kept. Raises `UnicodeEncodeError`, or `TypeError` for what is no JSON."""
    # As it is: a subclass of `str` might encode itself in another way.
    whole = str.encode(value) if is_a(value, str) else _as_json(value)
    return _kept(whole.decode(), tool.output_bytes_max)


def _as_json(value: object) -> bytes:
    def as_text(inner: object) -> object:
        return orjson.Fragment(inner.text) if is_a(inner, Number) else str(inner)

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
