"""Tools whose results come from the log or are made up: for runs that are made anew without executing anything.

A call gets what the recorded run got for a call of the same name with the same arguments: the first such call the
first result, the second the second, and whatever comes after the last of them that last one again.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

import orjson

from clew import exact_json
from clew.engine.tools import Result, ServerTool, Toolbox, ToolCallInfo
from clew.events.base import Recorded
from clew.events.run import Rerun, RunConfig
from clew.events.tool import ToolCalled, ToolFailed, ToolReturned, ToolSettled
from clew.log import Log, Reader
from clew_projections import run_view

NOT_RECORDED = "There is no recorded result of this call."
_STEPS_MAX = 10_000

# A call, and the position of its answer.
_Call: TypeAlias = "tuple[Recorded[ToolCalled], int | None]"


class StandIns(Toolbox):
    """Every tool there is, as one that does no harm."""

    def __init__(self, rerun: Rerun, log: Log) -> None:
        super().__init__()
        self._rerun = rerun
        self._log = log

    def for_run(self, config: RunConfig, log: Log) -> Toolbox:
        return self

    def get(self, name: str) -> ServerTool | None:
        return ServerTool(name, _nobody, effect="pure")

    async def execute(self, tool: ServerTool, arguments: str, info: ToolCallInfo) -> Result:
        if self._rerun.tools == "stub":
            return Result(self._rerun.stub, 0.0)
        with self._log.reading() as reader:
            return self._recorded(reader, info)

    def _recorded(self, reader: Reader, info: ToolCallInfo) -> Result:
        """Which one it is follows from the log alone, so that a restart changes nothing."""
        mine = [called.event for called, _ in _calls(reader, info.run_id)]
        place = next(place for place, call in enumerate(mine) if call.tool_call_id == info.tool_call_id)
        wanted = _key(mine[place])
        before = sum(_key(call) == wanted for call in mine[:place])
        results = [
            result
            for called, answered in _calls(reader, self._rerun.run_id)
            if called.version > self._rerun.after_version and answered is not None and _key(called.event) == wanted
            for result in _result(reader, answered)
        ]
        if not results:
            return Result(NOT_RECORDED, 0.0, "error")
        return results[min(before, len(results) - 1)]


def _calls(reader: Reader, run_id: str) -> list[_Call]:
    """Those of a run, in order, each with where its answer is."""
    steps = run_view.steps(reader, run_id, newest_first=False, limit=_STEPS_MAX)
    made = [call for step in steps for call in step.calls]
    events = reader.events([call.called for call in made])
    return [(events[call.called], call.answered) for call in made]  # type: ignore[misc]


def _result(reader: Reader, answered: int) -> Iterator[Result]:
    """None for a call that was closed by the end of its run."""
    match reader.event(answered).event:
        case ToolReturned(output=output, bytes_whole=bytes_whole):
            yield Result(output, 0.0, bytes_whole=bytes_whole)
        case ToolFailed(output=output, reason=("error" | "timeout" | "arguments") as reason):
            yield Result(output, 0.0, reason)
        case ToolSettled(output=output):
            yield Result(output, 0.0)
        case _:
            return


def _key(call: ToolCalled) -> tuple[str, bytes]:
    """Arguments in another order are the same arguments; what is no JSON, or nested too deeply, is what it is."""
    try:
        return call.name, exact_json.dumps(exact_json.loads(call.arguments), option=orjson.OPT_SORT_KEYS)
    except (orjson.JSONDecodeError, orjson.JSONEncodeError, RecursionError):
        return call.name, call.arguments.encode()


def _nobody() -> None:
    raise AssertionError("what stands in for a tool is not called")
