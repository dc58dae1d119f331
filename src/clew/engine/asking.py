"""Asking the model: assemble a context, send the request until it is answered, record the answer."""

from __future__ import annotations

import asyncio
import hashlib
import random

from clew.engine.context import Context, ContextTooLarge, assemble
from clew.engine.hand import Hand
from clew.engine.listening import Attempt, answer_command, listen
from clew.errors import ProviderFailed
from clew.events.run import RunConfig
from clew.events.tool import Executor
from clew.ids import new_id
from clew.providers.base import Answer, Prompt, Provider
from clew.rules.commands import BeginModelCall, FailModelCall, RetryModelCall
from clew.rules.state import ActiveRun

_BACKOFF_FIRST_SECONDS = 0.25
_BACKOFF_MAX_SECONDS = 20.0
# A provider that asks to come back later than this is not waited for: the run fails and says so.
RETRY_AFTER_MAX_SECONDS = 60.0


async def ask(hand: Hand, run: ActiveRun, config: RunConfig) -> None:
    """One step of the run: the model is shown a context and answers, or the run ends."""
    provider = hand.of.providers.get(config.provider)
    context = None
    if provider is not None:
        context = await _context(hand, run, config)
    elif await _held(hand, run):
        await hand.fail("server_error", f"no provider is called {config.provider!r} on this server")
    if provider is None or context is None:
        return
    try:
        body = provider.render(Prompt(config, context.items, context.max_output_tokens))
    except ProviderFailed as error:
        # What cannot be written down for this provider will not be writable at the next attempt either.
        if await _held(hand, run):
            await hand.fail(error.code, str(error))
        return
    model_call_id = new_id("mc")
    if await hand.do(_begin(hand, run, config, provider, context, body, model_call_id)):
        hand.note_fence()
        await _attempts(hand, provider, body, model_call_id, config)


async def _held(hand: Hand, run: ActiveRun) -> bool:
    """Take the run if it is still queued: only who holds it may end it."""
    if run.status == "queued":
        await hand.take()
    return hand.fence > 0


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


def _begin(
    hand: Hand,
    run: ActiveRun,
    config: RunConfig,
    provider: Provider,
    context: Context,
    body: bytes,
    model_call_id: str,
) -> BeginModelCall:
    return BeginModelCall(
        thread_id=hand.thread_id,
        run_id=hand.run_id,
        fence=run.fence,
        claim=hand.of.claim if run.status == "queued" else None,
        model_call_id=model_call_id,
        provider=config.provider,
        model=config.model,
        manifest=context.manifest,
        tokens=context.tokens,
        renderer=provider.renderer,
        digest=hashlib.sha256(body).hexdigest(),
        max_output_tokens=context.max_output_tokens,
        cut=context.cut,
    )


async def _attempts(hand: Hand, provider: Provider, body: bytes, model_call_id: str, config: RunConfig) -> None:
    """Send the request until it is answered, the failure is final, or the run is interrupted."""
    bus = hand.of.bus

    def executor(name: str) -> Executor:
        return "server" if hand.of.toolbox.get(name) is not None else "client"

    while True:
        attempt = Attempt(hand.thread_id, hand.run_id, model_call_id, hand.fence)
        work = asyncio.create_task(listen(provider, body, attempt, bus))
        try:
            answer = await _unless(hand.interrupted, work)
        except ProviderFailed as failure:
            bus.dropped(hand.thread_id, attempt.dropped())
            if await _after_failure(hand, failure, attempt, config):
                continue
            return
        if answer is None:
            bus.dropped(hand.thread_id, attempt.dropped())
        else:
            await hand.do(answer_command(answer, attempt, config, executor))
        return


async def _after_failure(hand: Hand, failure: ProviderFailed, attempt: Attempt, config: RunConfig) -> bool:
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
            duration_ms=attempt.elapsed_ms(),
        )
    )
    if not again:
        return False
    try:
        await asyncio.wait_for(hand.interrupted.wait(), pause)
    except TimeoutError:
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
    return False


async def report_lost(hand: Hand) -> None:
    """A process died while the model was answering."""
    await hand.do(
        FailModelCall(
            thread_id=hand.thread_id,
            run_id=hand.run_id,
            fence=hand.fence,
            code="lost",
            message="the process ended while the model was answering; what it said and cost is not known",
            retryable=True,
            final=False,
        )
    )


def _pause_seconds(failure: ProviderFailed, attempt: int) -> float:
    """How long to wait before the next attempt: as the provider asks, else longer each time, with jitter."""
    if failure.retry_after_seconds is not None:
        return failure.retry_after_seconds
    ceiling: float = min(_BACKOFF_MAX_SECONDS, _BACKOFF_FIRST_SECONDS * 2 ** (attempt - 1))
    return ceiling * (0.5 + random.random() / 2)


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
