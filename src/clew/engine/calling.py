"""Calling a tool of the server, and what is done when nobody knows whether a call happened."""

from __future__ import annotations

import asyncio
import logging

from clew.engine.counting import text_tokens
from clew.engine.hand import Hand
from clew.engine.tools import Result, ServerTool, ToolCallInfo
from clew.errors import NotInDoubt
from clew.events.tool import SettledOutcome, ToolCalled
from clew.rules.commands import DoubtTool, FinishTool, SettleTool, StartTool
from clew.rules.state import ActiveRun, OpenCall
from clew_projections import run_view

logger = logging.getLogger(__name__)

_DIED = "the process ended after the call was started and before its outcome was known"


async def call_tool(hand: Hand, call: OpenCall) -> None:
    """Start it, so that the log knows before the world does; execute it; record the outcome."""
    tool = hand.of.toolbox.get(call.name)
    if call.status == "started" and (tool is None or "once" in (call.effect, tool.effect)):
        await _doubt(hand, call, tool, _DIED)
        return
    if tool is None:
        gone = Result(f"the tool {call.name} is not available on this server any more", 0.0, "error")
        await _finish(hand, call, gone)
        return
    key = _key(hand, call)
    started = StartTool(
        thread_id=hand.thread_id,
        run_id=hand.run_id,
        fence=hand.fence,
        tool_call_id=call.tool_call_id,
        effect=tool.effect,
        idempotency_key=key,
    )
    if not await hand.do(started):
        return
    info = ToolCallInfo(hand.thread_id, hand.run_id, call.tool_call_id, key, call.attempts + 1)
    result = await hand.of.toolbox.execute(tool, called(hand, call).arguments, info)
    if result.unknown:
        await _doubt(hand, call, tool, result.output)
    else:
        await _finish(hand, call, result)


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
    if tool.probe is not None:
        try:
            outcome, output = await asyncio.to_thread(tool.probe, _key(hand, call))
        except Exception as error:
            # A probe is other people's code. When it fails nobody knows more than before, and a person is asked.
            logger.warning("the probe of %s failed: %s", tool.name, error)
            return False
        await _settle(hand, call, outcome, output, "probe")
        return True
    if tool.in_doubt == "tell_model":
        told = f"It is not known whether the call of {tool.name} happened: {reason}."
        await _settle(hand, call, "unknown", told, "policy tell_model")
        return True
    return False


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
