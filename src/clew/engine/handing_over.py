"""Handing a thread over: the next agent's run is worked out as that agent is now, and begins where this one ends."""

from __future__ import annotations

from decimal import Decimal

from clew.engine.calling import called
from clew.engine.counting import text_tokens
from clew.engine.hand import Hand
from clew.errors import Refused
from clew.events.run import Limits, RunQueued
from clew.log import Reader
from clew.prices import shown
from clew.rules.commands import FinishTool, HandOff, QueueRun
from clew.rules.state import ActiveRun, OpenCall
from clew_projections import billing_ledger, run_view

_MICROSECONDS = 1_000_000
# How the message of a run begins that failed because the next agent's run is refused. Replays know it by this.
REFUSED = "the next agent cannot take over: "


async def hand_over(hand: Hand, run: ActiveRun, call: OpenCall, queued: RunQueued) -> None:
    """Make `call`, by which the model hands over. If the other agent is gone, the model is told so, and goes on.

    The run fails when the other agent's run is refused.
    """
    handing_over = called(hand, call).handing_over
    assert handing_over is not None, "a call that hands over says to whom"
    config = queued.config
    try:
        with hand.of.log.reading() as reader:
            left = _left(hand, reader, run, config.limits)
            following = hand.of.successor(reader, hand.of.providers, config, handing_over.to_id, left)
    except Refused as error:
        # Such as a model that this server cannot call. No client waits for an answer here: the run says it.
        await hand.fail("server_error", f"{REFUSED}{error}")
        return
    if following is None:
        gone = f"There is no agent {handing_over.to_name or handing_over.to_id} any more."
        await hand.do(
            FinishTool(
                thread_id=hand.thread_id,
                run_id=hand.run_id,
                fence=hand.fence,
                tool_call_id=call.tool_call_id,
                output=gone,
                failure="error",
                tokens=text_tokens(gone),
            )
        )
        return
    run_id, next_config = following
    next_run = QueueRun(
        thread_id=hand.thread_id,
        run_id=run_id,
        dialect=queued.dialect,
        config=next_config,
        expires_at=queued.expires_at,
        metadata=queued.metadata,
    )
    told = f"The conversation was handed over to {handing_over.to_name or 'the other agent'}."
    await hand.do(
        HandOff(
            thread_id=hand.thread_id,
            run_id=hand.run_id,
            fence=hand.fence,
            tool_call_id=call.tool_call_id,
            assistant_id=handing_over.to_id,
            next_run=next_run if config.handoffs_by == "server" else None,
            output=told,
            tokens=text_tokens(told),
        )
    )


def _left(hand: Hand, reader: Reader, run: ActiveRun, limits: Limits) -> Limits:
    """What the run has not used up: agents that hand over to each other do not go on for ever."""
    return Limits(
        prompt_tokens=_less(limits.prompt_tokens, run.usage.input),
        completion_tokens=_less(limits.completion_tokens, run.usage.output),
        tokens=_less(limits.tokens, run.usage.total),
        steps=_less(limits.steps, run.steps),
        seconds=_less(limits.seconds, _seconds(hand, reader)),
        amount=_less_money(reader, run, limits.amount),
    )


def _seconds(hand: Hand, reader: Reader) -> int:
    """For how long there has been the run."""
    view = run_view.run(reader, hand.run_id)
    assert view is not None, "a run that hands over was queued"
    return (hand.of.now() - view.created_at) // _MICROSECONDS


def _less_money(reader: Reader, run: ActiveRun, limit: str | None) -> str | None:
    if limit is None:
        return None
    spent = billing_ledger.spending(reader, run_id=run.run_id).amount
    return shown(max(Decimal(0), Decimal(limit) - spent))


def _less(limit: int | None, used: int) -> int | None:
    return None if limit is None else max(1, limit - used)
