"""Asking the model: assemble a context, send the request until it is answered, record the answer."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import random
from typing import Any

from clew.engine.context import Context, ContextTooLarge, assemble
from clew.engine.gate import Gate
from clew.engine.hand import Hand
from clew.engine.listening import Attempt, listen
from clew.engine.requests import ModelRequest, for_a_summary, for_an_answer
from clew.errors import ProviderFailed
from clew.events.price import Price
from clew.events.run import RunConfig
from clew.ids import new_id
from clew.providers.base import Answer, Provider, UsageSoFar
from clew.providers.renderers import omitted
from clew.rules.model_commands import BeginModelCall, FailModelCall, RetryModelCall
from clew.rules.state import ActiveRun

logger = logging.getLogger(__name__)

# Its own, so that nobody who counts on the seed of the common one is disturbed.
_dice = random.Random()
_BACKOFF_FIRST_SECONDS = 0.25
_BACKOFF_MAX_SECONDS = 20.0
# A provider that asks to come back later than this is not waited for: the run fails and says so.
RETRY_AFTER_MAX_SECONDS = 60.0


async def ask(hand: Hand, run: ActiveRun, config: RunConfig) -> None:
    """One step of the run: the model is shown a context and answers, or the run ends.

    Where a thread has outgrown its room, what it asks for may be a summary instead; the next move asks again.
    """
    provider = hand.of.providers.get(config.provider)
    context = None
    if provider is not None:
        context = await _context(hand, run, config)
    elif await _held(hand, run):
        await hand.fail("server_error", f"no provider is called {config.provider!r} on this server")
    if provider is None or context is None:
        return
    try:
        request, body = _request(hand, run, config, context, provider)
    except ProviderFailed as error:
        # What cannot be written down for this provider will not be writable at the next attempt either.
        if await _held(hand, run):
            await hand.fail(error.code, str(error))
        return
    with Gate(hand, config, request) as gate:
        model_call_id = new_id("mc")
        if await gate.opens() and await hand.do(_begin(hand, run, request, body, model_call_id)):
            await _attempts(hand, request, body, model_call_id, gate)


async def _held(hand: Hand, run: ActiveRun) -> bool:
    """Take the run if it is still queued: only who holds it may end it."""
    return await hand.holds(run)


async def _context(hand: Hand, run: ActiveRun, config: RunConfig) -> Context | None:
    thread = hand.of.desk.thread(hand.thread_id)
    try:
        with hand.of.log.reading() as reader:
            return assemble(reader, hand.thread_id, thread, config, run.usage, hand.of.context_tokens)
    except ContextTooLarge as error:
        if not await _held(hand, run):
            return None
        if error.limit_name == "max_prompt_tokens":
            await hand.end_incomplete("max_prompt_tokens")
        else:
            await hand.fail("invalid_prompt", str(error))
        return None


def _request(
    hand: Hand, run: ActiveRun, config: RunConfig, context: Context, provider: Provider
) -> tuple[ModelRequest, bytes]:
    """What is to be asked, and the bytes of it. Raises `ProviderFailed`."""
    summary = for_a_summary(hand, run, config, context)
    if summary is not None:
        try:
            return summary, summary.provider.render(summary.prompt)
        except ProviderFailed as error:
            logger.warning("%s goes on without a summary, which cannot be asked for: %s", hand.run_id, error)
    answer = for_an_answer(hand, config, context, provider)
    return answer, provider.render(answer.prompt)


def _begin(hand: Hand, run: ActiveRun, request: ModelRequest, body: bytes, model_call_id: str) -> BeginModelCall:
    return BeginModelCall(
        thread_id=hand.thread_id,
        run_id=hand.run_id,
        fence=run.fence,
        claim=hand.of.claim if run.status == "queued" else None,
        model_call_id=model_call_id,
        provider=request.config.provider,
        model=request.config.model,
        manifest=request.manifest.model_copy(
            update={"not_rendered": omitted(request.provider.renderer, request.prompt)}
        ),
        tokens=request.tokens,
        renderer=request.provider.renderer,
        digest=hashlib.sha256(body).hexdigest(),
        max_output_tokens=request.prompt.max_output_tokens,
        cut=request.cut,
        summarises=request.summarises,
        changes=request.changes,
        origin=request.prompt.origin,
    )


async def _attempts(hand: Hand, request: ModelRequest, body: bytes, model_call_id: str, gate: Gate) -> None:
    """Send the request until it is answered, the failure is final, or the run is interrupted."""
    bus, config = hand.of.bus, request.config
    while await gate.holds():
        attempt = Attempt(hand.thread_id, hand.run_id, model_call_id, hand.fence)
        called_at = hand.of.now()
        work = asyncio.create_task(listen(request.provider, body, attempt, bus, request.ways))
        try:
            answer = await _unless(hand.interrupted, work)
        except ProviderFailed as failure:
            bus.dropped(hand.thread_id, attempt.dropped())
            if await _after_failure(hand, failure, attempt, config, called_at, gate):
                continue
            return
        if answer is None:
            bus.dropped(hand.thread_id, attempt.dropped())
        else:
            await hand.do(request.answered(answer, attempt, _price(hand, config, answer, called_at)))
        return


def _price(hand: Hand, config: RunConfig, said: Answer | UsageSoFar, called_at: int) -> Price | None:
    """By what the provider says has answered, if the table knows that, else by what was asked for."""
    if said.usage is None:
        return None
    for model in dict.fromkeys((said.model, config.model)):
        price = hand.of.prices.price(config.provider, model, said.usage, called_at, said.pricing_context)
        if price is not None:
            return price
    return None


async def _after_failure(
    hand: Hand, failure: ProviderFailed, attempt: Attempt, config: RunConfig, called_at: int, gate: Gate
) -> bool:
    """Record the failure; whether the request is to be sent again, after a pause."""
    run = hand.run()
    if run is None or run.model_call is None:
        return False
    number = run.model_call.attempt
    pause = _pause_seconds(failure, number)
    again = failure.retryable and number < hand.of.model_attempts_max and pause <= RETRY_AFTER_MAX_SECONDS
    await hand.do(
        FailModelCall(
            thread_id=hand.thread_id,
            run_id=hand.run_id,
            fence=hand.fence,
            code=failure.code,
            message=str(failure),
            retryable=failure.retryable,
            final=not again,
            retry_after_seconds=failure.retry_after_seconds,
            status=failure.status,
            duration_ms=attempt.elapsed_ms(),
            **_used(hand, failure, attempt, config, called_at),
        )
    )
    if not again:
        return False
    if not await hand.of.pause(hand, pause) or not await gate.opens():
        return False
    return await hand.do(
        RetryModelCall(
            thread_id=hand.thread_id,
            run_id=hand.run_id,
            fence=hand.fence,
            model_call_id=attempt.model_call_id,
            provider=config.provider,
            model=config.model,
        )
    )


def _used(hand: Hand, failure: ProviderFailed, attempt: Attempt, config: RunConfig, called_at: int) -> dict[str, Any]:
    """What an attempt that failed has used all the same, as far as the provider said."""
    so_far = attempt.so_far
    if so_far is None:
        said_no = not failure.reached or (failure.status is not None and attempt.first_token_ms is None)
        return {"usage_unknown": not said_no}
    return {
        "usage": so_far.usage,
        "usage_reported": so_far.usage_reported,
        "price": _price(hand, config, so_far, called_at),
        "pricing_context": so_far.pricing_context,
    }


async def report_lost(hand: Hand) -> None:
    """A process died while the model was answering. That counts as an attempt, and the last one is final."""
    run = hand.run()
    number = run.model_call.attempt if run is not None and run.model_call is not None else 0
    final = number >= hand.of.lost_answers_max
    last = f"; this was attempt {number}, the last one" if final else ""
    await hand.do(
        FailModelCall(
            thread_id=hand.thread_id,
            run_id=hand.run_id,
            fence=hand.fence,
            code="lost",
            message=f"the process ended while the model was answering; what it said and cost is not known{last}",
            retryable=True,
            final=final,
            usage_unknown=True,
        )
    )


def _pause_seconds(failure: ProviderFailed, attempt: int) -> float:
    """How long to wait before the next attempt: as the provider asks, else longer each time, with jitter."""
    if failure.retry_after_seconds is not None:
        return failure.retry_after_seconds
    ceiling: float = min(_BACKOFF_MAX_SECONDS, _BACKOFF_FIRST_SECONDS * 2 ** (attempt - 1))
    return ceiling * (0.5 + _dice.random() / 2)


async def _unless(interrupted: asyncio.Event, work: asyncio.Task[Answer]) -> Answer | None:
    """The result of `work`, or None when it was interrupted first; it is cancelled then."""
    stop = asyncio.ensure_future(interrupted.wait())
    try:
        await asyncio.wait({work, stop}, return_when=asyncio.FIRST_COMPLETED)
        return work.result() if work.done() else None
    finally:
        stop.cancel()
        if not work.done():
            work.cancel()
            await asyncio.wait({work})
