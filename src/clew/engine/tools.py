"""Tools that the server executes: Python callables with a declared effect, a time limit and an output limit.

    @clew.tool(effect="idempotent", timeout_seconds=10)
    def get_weather(city: str) -> str: ...

What is declared decides what a crash leads to. A `pure` or `idempotent` tool is called again, with the same
idempotency key. A tool with effect `once`, which is what a tool is that declares nothing, is never called twice:
its call is in doubt until it is settled, by `in_doubt`: "ask" a person, "tell_model" that nobody knows, or a probe,
a function that is given the idempotency key and says what happened.

A tool with `requires_confirmation` is only called once the client of the run, or a person, has allowed that call.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import orjson
from pydantic import ConfigDict, ValidationError, validate_call

from clew.errors import Misconfigured
from clew.events.run import RunConfig
from clew.events.tool import Effect, SettledOutcome
from clew.log import Log

OUTPUT_BYTES_MAX = 64_000
TIMEOUT_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class ToolCallInfo:
    """What a tool learns of its call, if it has a parameter of this type."""

    thread_id: str
    run_id: str
    tool_call_id: str
    idempotency_key: str
    attempt: int


Probe: TypeAlias = Callable[[str], tuple[SettledOutcome, str]]
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
            name or function.__name__,
            function,
            effect,
            timeout_seconds,
            output_bytes_max,
            in_doubt,
            probe,
            requires_confirmation,
        )

    return declare


class Toolbox:
    """The tools of this server, by name."""

    def __init__(self, tools: Iterable[ServerTool | Callable[..., Any]] = ()) -> None:
        self._tools: dict[str, ServerTool] = {}
        for one in tools:
            declared = one if isinstance(one, ServerTool) else ServerTool(one.__name__, one)
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
        module_name, _, attribute = text.partition(":")
        if not module_name or not attribute:
            raise Misconfigured(f"--tools {text!r}: write module:name, such as mytools:get_weather")
        try:
            value = getattr(importlib.import_module(module_name), attribute)
        except ImportError as error:
            raise Misconfigured(f"--tools {text!r}: {error}") from error
        except AttributeError:
            raise Misconfigured(f"--tools {text!r}: module {module_name} has no {attribute}") from None
        many = value if isinstance(value, (list, tuple)) else [value]
        for one in many:
            if not isinstance(one, ServerTool) and not callable(one):
                raise Misconfigured(f"--tools {text!r}: {one!r} is not a function")
            found.append(one)
    return Toolbox(found)


async def execute(tool: ServerTool, arguments: str, info: ToolCallInfo) -> Result:
    """Call `tool`. Whatever it does, this returns: what goes wrong in it is for the model to hear."""
    started = time.perf_counter()

    def elapsed() -> float:
        return round((time.perf_counter() - started) * 1000, 3)

    try:
        call = _bind(tool, arguments, info)
    except (ValidationError, ValueError, TypeError) as error:
        return Result(f"invalid arguments: {_short(error)}", elapsed(), "arguments")
    try:
        value = await asyncio.wait_for(_run(tool, call), tool.timeout_seconds)
    except ValidationError as error:
        return Result(f"invalid arguments: {_short(error)}", elapsed(), "arguments")
    except TimeoutError:
        text = f"{tool.name} did not answer within {tool.timeout_seconds:g} seconds"
        return Result(text, elapsed(), "timeout", unknown=tool.effect == "once")
    except Exception as error:
        # A tool is other people's code: its failure is an outcome, and goes to the model and into the log.
        return Result(f"{type(error).__name__}: {_short(error)}", elapsed(), "error")
    output = value if isinstance(value, str) else _as_json(value)
    encoded = output.encode("utf-8", "replace")
    if len(encoded) <= tool.output_bytes_max:
        return Result(encoded.decode(), elapsed())
    kept = encoded[: tool.output_bytes_max].decode("utf-8", "ignore")
    note = f"\n[cut: {len(encoded)} bytes, the first {tool.output_bytes_max} are shown]"
    return Result(kept + note, elapsed(), bytes_whole=len(encoded))


def _bind(tool: ServerTool, arguments: str, info: ToolCallInfo) -> Callable[[], Any]:
    """The call with its arguments checked against the function's annotations."""
    given = orjson.loads(arguments) if arguments.strip() else {}
    if not isinstance(given, dict):
        raise ValueError("arguments are a JSON object")
    signature = inspect.signature(tool.function)
    for name, parameter in signature.parameters.items():
        if parameter.annotation in (ToolCallInfo, "ToolCallInfo", "clew.ToolCallInfo"):
            given[name] = info
    signature.bind(**given)
    checked = validate_call(config=ConfigDict(arbitrary_types_allowed=True))(tool.function)
    return lambda: checked(**given)


async def _run(tool: ServerTool, call: Callable[[], Any]) -> Any:
    if inspect.iscoroutinefunction(tool.function):
        return await call()
    return await asyncio.to_thread(call)


def _as_json(value: object) -> str:
    return orjson.dumps(value, default=str, option=orjson.OPT_NON_STR_KEYS).decode()


def _short(error: BaseException) -> str:
    if isinstance(error, ValidationError):
        return "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())[:500]
    return str(error)[:500]
