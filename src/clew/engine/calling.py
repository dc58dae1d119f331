"""Calling a tool of the server, and what is done when nobody knows whether a call happened."""

from __future__ import annotations

import logging
from functools import partial
from typing import Any, get_args

from clew.engine.counting import text_tokens
from clew.engine.error_text import is_a
from clew.engine.foreign_code import ForeignCall, Unanswered, makes_coroutines
from clew.engine.hand import Hand
from clew.engine.tools import Probe, Result, ServerTool, ToolCallInfo, written
from clew.errors import NotInDoubt
from clew.events.tool import SettledOutcome, ToolCalled
from clew.logged_errors import name_of
from clew.rules.commands import DoubtTool, FinishTool, SettleTool, StartTool
from clew.rules.state import BY_POLICY, BY_PROBE, ActiveRun, OpenCall
from clew.rules.told import started_in_vain
from clew_projections import run_view

logger = logging.getLogger(__name__)

# One start that came to nothing is what replacing a process leads to. After two, the tool may be what ends it: such
# calls are made one at a time, so that of several only one at a time is in danger of being hit by another one.
_ALONE_AFTER_STARTS = 2
_DIED = "the process ended after the call was started and before its outcome was known"
_GONE = f"{_DIED}, and the tool is not available on this server any more"


async def call_tool(hand: Hand, call: OpenCall) -> None:
    """Start it, so that the log knows before the world does; execute it; record the outcome."""
    tool = hand.of.toolbox.get(call.name)
    died = call.status == "started"
    if tool is None and died and call.effect != "pure":
        await _doubt(hand, call, None, _GONE)
    elif tool is not None and died and "once" in (call.effect, tool.effect):
        await _doubt(hand, call, tool, _DIED)
    elif tool is None:
        gone = Result(f"the tool {call.name} is not available on this server any more", 0.0, "error")
        await _finish(hand, call, gone)
    elif call.starts >= hand.of.bounds.tool_starts:
        await _give_up(hand, call, tool)
    elif hand.of.in_turn and call.starts >= _ALONE_AFTER_STARTS:
        async with hand.of.alone:
            await _execute(hand, call, tool)
    else:
        await _execute(hand, call, tool)


async def _execute(hand: Hand, call: OpenCall, tool: ServerTool) -> None:
    key = _key(hand, call)
    started = StartTool(
        thread_id=hand.thread_id,
        run_id=hand.run_id,
        fence=hand.fence,
        tool_call_id=call.tool_call_id,
        effect=tool.effect,
        idempotency_key=key,
        starts_max=hand.of.bounds.tool_starts,
    )
    if not await hand.do(started):
        return
    info = ToolCallInfo(hand.thread_id, hand.run_id, call.tool_call_id, key, call.attempts + 1)
    result = await hand.of.toolbox.execute(tool, called(hand, call).arguments, info)
    if result.unknown:
        await _doubt(hand, call, tool, result.output)
    else:
        await _finish(hand, call, result)


async def _give_up(hand: Hand, call: OpenCall, tool: ServerTool) -> None:
    """It was started too often. Unless starting it does no harm, nobody knows what the tool has done."""
    died = call.status == "started"
    why = started_in_vain(tool.name, call.starts, "the process ended each time" if died else "nothing came of it")
    if died and "idempotent" in (call.effect, tool.effect):
        await _doubt(hand, call, tool, why)
    else:
        await _finish(hand, call, Result(f"{why}; it is not started again", 0.0, "error"))


def _key(hand: Hand, call: OpenCall) -> str:
    """The same for every attempt at this call, and for no other call."""
    return f"{hand.run_id}_{call.tool_call_id}"


def called(hand: Hand, call: OpenCall) -> ToolCalled:
    """What the model wrote when it made the call."""
    with hand.of.log.reading() as reader:
        step = run_view.step(reader, call.step_id)
        assert step is not None, "a call belongs to a step"
        place = next(one for one in step.calls if one.tool_call_id == call.tool_call_id)
        event = reader.event(place.called).event
    assert isinstance(event, ToolCalled)
    return event


async def _finish(hand: Hand, call: OpenCall, result: Result) -> None:
    await hand.do(
        FinishTool(
            thread_id=hand.thread_id,
            run_id=hand.run_id,
            fence=hand.fence,
            tool_call_id=call.tool_call_id,
            output=result.output,
            failure=result.failure,
            duration_ms=result.duration_ms,
            bytes_whole=result.bytes_whole,
            tokens=text_tokens(result.output),
        )
    )


async def _doubt(hand: Hand, call: OpenCall, tool: ServerTool | None, reason: str) -> None:
    """Say that nobody knows, and settle it if the tool's declaration says how. Else the run waits for a person."""
    doubted = DoubtTool(
        thread_id=hand.thread_id,
        run_id=hand.run_id,
        fence=hand.fence,
        tool_call_id=call.tool_call_id,
        reason=reason,
    )
    if await hand.do(doubted) and tool is not None:
        await _ask_policy(hand, call, tool, reason)


async def settle_by_policy(hand: Hand, run: ActiveRun) -> bool:
    """Settle what is in doubt where its tool says how; whether anything was settled."""
    settled = False
    for call in run.calls:
        tool = hand.of.toolbox.get(call.name)
        if call.status == "in_doubt" and tool is not None:
            settled |= await _ask_policy(hand, call, tool, _DIED)
    return settled


async def _ask_policy(hand: Hand, call: OpenCall, tool: ServerTool, reason: str) -> bool:
    """Whether the call was settled as its tool was declared. If not, a person is asked."""
    if tool.probe is not None:
        found = await _ask_probe(hand, tool, tool.probe, _key(hand, call))
        if found is None:
            return False
        await _settle(hand, call, *found, BY_PROBE)
        return True
    if tool.in_doubt == "tell_model":
        unknown = f"It is not known whether the call of {tool.name} happened: {reason}."
        await _settle(hand, call, "unknown", unknown, BY_POLICY)
        return True
    return False


async def _ask_probe(hand: Hand, tool: ServerTool, probe: Probe, key: str) -> tuple[SettledOutcome, str] | None:
    """What the probe says. It is code of others, too: when it fails, nobody knows more than before."""
    asked: ForeignCall[tuple[SettledOutcome, str] | str] = ForeignCall(
        f"the probe of {tool.name}",
        lambda: partial(probe, key),
        partial(_said, tool),
        lambda _, error: str(error) if type(error) is _NoAnswer else name_of(type(error)),
        tool.timeout_seconds,
    )
    found = await asked.outcome(in_loop=makes_coroutines(probe), host=hand.of.toolbox.host)
    if isinstance(found, tuple):
        return found
    why = found.lost or "it did not answer in time" if isinstance(found, Unanswered) else found
    logger.warning("%s failed, so a person is to settle the call: %s", asked.name, why)
    return None


class _NoAnswer(Exception):
    """What a probe returned is no answer; the text says why."""


def _said(tool: ServerTool, returned: Any) -> tuple[SettledOutcome, str]:
    """Raises `_NoAnswer` for what is none, and whatever the answer raises."""
    said, output = returned
    outcomes: tuple[SettledOutcome, ...] = get_args(SettledOutcome)
    outcome = next((one for one in outcomes if one == said), None)
    if outcome is None:
        raise _NoAnswer(f"a probe says one of {', '.join(outcomes)}")
    if not is_a(output, str):
        raise _NoAnswer(f"the output that a probe tells is a text, and not a {type(output).__name__}")
    return outcome, written(tool, output).output


async def _settle(hand: Hand, call: OpenCall, outcome: SettledOutcome, output: str, by: str) -> None:
    command = SettleTool(
        thread_id=hand.thread_id,
        run_id=hand.run_id,
        tool_call_id=call.tool_call_id,
        outcome=outcome,
        output=output,
        by=by,
        tokens=text_tokens(output),
    )
    try:
        await hand.do(command)
    except NotInDoubt:
        logger.info("tool call %s was settled by somebody else meanwhile", call.tool_call_id)
