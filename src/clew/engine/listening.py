"""Hearing one answer out: previews while it comes, and the whole of it as one command."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TypeAlias

from clew.bus import AnswerDropped, Bus, CallPreview, ReasoningPreview, TextPreview
from clew.engine.counting import reasoning_tokens, text_tokens
from clew.errors import ProviderFailed
from clew.events.content import Content, Refusal, Text
from clew.events.price import Price
from clew.events.run import RunConfig
from clew.events.tool import Executor, HandingOver
from clew.ids import new_id
from clew.providers.base import Answer, CallPiece, Prompt, Provider, ReasoningPiece, TextPiece, UsageSoFar
from clew.providers.renderers import sent_back
from clew.rules.model_commands import RecordAnswer
from clew.rules.parts import AnsweredCall, AnsweredMessage, AnsweredReasoning


@dataclass(slots=True)
class Attempt:
    """One sending of a request. The ids are those its previews are shown under, and its events will have."""

    thread_id: str
    run_id: str
    model_call_id: str
    fence: int
    message_id: str = field(default_factory=lambda: new_id("msg"))
    message_step_id: str = field(default_factory=lambda: new_id("step"))
    calls_step_id: str = field(default_factory=lambda: new_id("step"))
    started: float = field(default_factory=time.perf_counter)
    first_token_ms: float | None = None
    call_ids: dict[int, str] = field(default_factory=dict)
    for_client: dict[int, bool] = field(default_factory=dict)
    so_far: UsageSoFar | None = None

    def elapsed_ms(self) -> float:
        return round((time.perf_counter() - self.started) * 1000, 3)

    def dropped(self) -> AnswerDropped:
        return AnswerDropped(self.run_id, self.model_call_id, self.message_id, self.message_step_id, self.calls_step_id)


@dataclass(frozen=True, slots=True)
class Making:
    """How a call that the model wants is made: by whom, whether somebody must allow it, whether it hands over."""

    executor: Executor
    confirm: bool = False
    handing_over: HandingOver | None = None


Ways: TypeAlias = Callable[[str], Making]


async def listen(provider: Provider, body: bytes, attempt: Attempt, bus: Bus, ways: Ways) -> Answer:
    """Send `body` and hear the answer out, showing previews. Raises `ProviderFailed`."""
    async with aclosing(provider.call(body)) as pieces:
        async for piece in pieces:
            if attempt.first_token_ms is None and not isinstance(piece, UsageSoFar):
                attempt.first_token_ms = attempt.elapsed_ms()
            match piece:
                case TextPiece(text=text):
                    bus.preview(
                        attempt.thread_id,
                        TextPreview(
                            attempt.run_id,
                            attempt.model_call_id,
                            attempt.message_step_id,
                            attempt.message_id,
                            text,
                        ),
                    )
                case ReasoningPiece(text=text, signature=signature, begins=begins):
                    thought = ReasoningPreview(attempt.run_id, attempt.model_call_id, text, signature, begins)
                    bus.preview(attempt.thread_id, thought)
                case UsageSoFar():
                    attempt.so_far = piece
                case CallPiece():
                    _preview_call(piece, attempt, bus, ways)
                case Answer():
                    return piece
    raise ProviderFailed("the answer has no end", code="broken_stream", retryable=True)


def _preview_call(piece: CallPiece, attempt: Attempt, bus: Bus, ways: Ways) -> None:
    tool_call_id = piece.tool_call_id
    if piece.name:
        attempt.for_client[piece.index] = ways(piece.name).executor == "client"
    if tool_call_id is not None:
        # Two calls of one answer must not share an id; the second gets one of ours, here and in the log.
        if tool_call_id in attempt.call_ids.values():
            tool_call_id = new_id("call")
        attempt.call_ids[piece.index] = tool_call_id
    bus.preview(
        attempt.thread_id,
        CallPreview(
            attempt.run_id,
            attempt.model_call_id,
            attempt.calls_step_id,
            piece.index,
            tool_call_id,
            piece.name,
            piece.arguments,
            attempt.for_client.get(piece.index, True),
        ),
    )


def answer_command(
    answer: Answer,
    attempt: Attempt,
    prompt: Prompt,
    ways: Ways,
    price: Price | None,
    renderer: str,
) -> RecordAnswer:
    """Returns the command that records the answer to `prompt`, which `renderer` has made a request of."""
    config = prompt.config
    content = _content(answer)
    message = None
    if content or not answer.tool_calls:
        said = content or (Text(type="text", text=""),)
        message = AnsweredMessage(
            message_id=attempt.message_id,
            step_id=attempt.message_step_id,
            content=said,
            assistant_id=config.assistant_id,
            tokens=text_tokens((answer.text or "") + (answer.refusal or ""), config.model),
        )
    calls = _calls(answer, attempt, config, ways)
    return RecordAnswer(
        thread_id=attempt.thread_id,
        run_id=attempt.run_id,
        fence=attempt.fence,
        model_call_id=attempt.model_call_id,
        step_id=attempt.calls_step_id if calls else attempt.message_step_id,
        model=answer.model,
        finish_reason=answer.finish_reason,
        stop_sequence=answer.stop_sequence,
        usage=answer.usage,
        usage_reported=answer.usage_reported,
        provider_ids=answer.provider_ids,
        first_token_ms=attempt.first_token_ms,
        duration_ms=attempt.elapsed_ms(),
        reasoning=_reasoning(answer, prompt, renderer),
        message=message,
        calls=calls,
        price=price,
        pricing_context=answer.pricing_context,
    )


def _calls(answer: Answer, attempt: Attempt, config: RunConfig, ways: Ways) -> tuple[AnsweredCall, ...]:
    """Each with an id that no other one of the answer has."""
    calls = []
    taken: set[str] = set()
    for position, call in enumerate(answer.tool_calls):
        index = position if call.index is None else call.index
        tool_call_id = attempt.call_ids.get(index) or call.tool_call_id
        if not tool_call_id or tool_call_id in taken:
            tool_call_id = new_id("call")
        taken.add(tool_call_id)
        making = ways(call.name)
        calls.append(
            AnsweredCall(
                tool_call_id=tool_call_id,
                step_id=attempt.calls_step_id,
                name=call.name,
                arguments=call.arguments,
                executor=making.executor,
                confirm=making.confirm,
                handing_over=making.handing_over,
                tokens=text_tokens(call.name + call.arguments, config.model),
            )
        )
    return tuple(calls)


def _reasoning(answer: Answer, prompt: Prompt, renderer: str) -> AnsweredReasoning | None:
    """Its tokens are what it takes in later contexts: what does not go back to the provider takes no room there."""
    if not answer.reasoning:
        return None
    config, blocks = prompt.config, sent_back(renderer, answer.reasoning)
    reported = answer.usage.reasoning if answer.usage is not None else 0
    return AnsweredReasoning(
        item_id=new_id("rs"),
        provider=config.provider,
        blocks=answer.reasoning,
        model=config.model,
        origin=prompt.origin,
        tokens=reasoning_tokens(blocks, reported, config.model) if blocks else None,
    )


def _content(answer: Answer) -> Content:
    parts: list[Text | Refusal] = []
    if answer.text:
        parts.append(Text(type="text", text=answer.text))
    if answer.refusal:
        parts.append(Refusal(type="refusal", text=answer.refusal))
    return tuple(parts)
