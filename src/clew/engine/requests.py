"""What a model is to be asked: for an answer, or for a summary of what has no room in the context of one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, TypeAlias

from clew.engine.context import Context
from clew.engine.counting import content_tokens
from clew.engine.hand import Hand
from clew.engine.listening import Attempt, Making, Ways, answer_command
from clew.engine.planning import Plan
from clew.events.model import ContextTokens, InsteadOf, Manifest, Summarising
from clew.events.price import Price
from clew.events.run import RunConfig
from clew.events.tool import HandingOver
from clew.ids import new_id
from clew.providers.base import Answer, Prompt, Provider, origin_of
from clew.providers.summaries import summary_of
from clew.rules.contexts import Cut, RecordSummary
from clew.rules.model_commands import FailModelCall, RecordAnswer
from clew.rules.state import ActiveRun

_BROKEN_OFF = ("length", "content_filter")

Answered: TypeAlias = Callable[[Answer, Attempt, Price | None], RecordAnswer | RecordSummary | FailModelCall]


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """`config` says which model of the provider it is for; `answered` is what an answer leads to.

    `ways` tells how a call that the model wants is made.
    """

    provider: Provider
    config: RunConfig
    prompt: Prompt
    manifest: Manifest
    tokens: ContextTokens
    answered: Answered
    ways: Ways
    cut: Cut | None = None
    summarises: Summarising | None = None
    changes: int | None = None


def for_an_answer(hand: Hand, config: RunConfig, context: Context, provider: Provider) -> ModelRequest:
    ways = partial(_making, hand, config)
    prompt = Prompt(config, context.items, context.max_output_tokens, origin_of(provider))

    def answered(answer: Answer, attempt: Attempt, price: Price | None) -> RecordAnswer:
        return answer_command(answer, attempt, prompt, ways, price, provider.renderer)

    return ModelRequest(
        provider=provider,
        config=config,
        prompt=prompt,
        manifest=context.manifest,
        tokens=context.tokens,
        answered=answered,
        ways=ways,
        cut=_why_cut(hand, context),
    )


def _making(hand: Hand, config: RunConfig, name: str) -> Making:
    for handoff in config.handoffs:
        if handoff.tool_name == name:
            handing_over = HandingOver(
                from_id=config.assistant_id,
                from_name=config.assistant_name or "",
                to_id=handoff.assistant_id,
                to_name=handoff.name,
            )
            return Making("server", handing_over=handing_over)
    tool = hand.of.toolbox.get(name)
    return Making("client") if tool is None else Making("server", confirm=tool.requires_confirmation)


def _why_cut(hand: Hand, context: Context) -> Cut | None:
    """Where there was a plan and no summary came of it, that is the reason why something is left out."""
    cut = context.cut
    if cut is None or cut.instead_of is None or context.plan is None:
        return cut
    known = context.plan.prompt.config.provider in hand.of.providers
    reason: Literal["failed", "no_provider"] = "failed" if known else "no_provider"
    return replace(cut, instead_of=InsteadOf(strategy=cut.instead_of.strategy, reason=reason))


def for_a_summary(hand: Hand, run: ActiveRun, config: RunConfig, context: Context) -> ModelRequest | None:
    """None where nothing is to be summarised, or cannot be: the model has just failed to, or is not known here."""
    plan = context.plan
    if plan is None or (run.model_call is not None and run.model_call.without_summary):
        return None
    provider = hand.of.providers.get(plan.prompt.config.provider)
    if provider is None:
        return None
    manifest = Manifest(shown=plan.shown, items=plan.items, as_of=context.manifest.as_of)
    return ModelRequest(
        provider=provider,
        config=plan.prompt.config,
        prompt=plan.prompt,
        manifest=manifest,
        tokens=plan.tokens,
        answered=partial(_summarised, hand, plan),
        ways=partial(_making, hand, plan.prompt.config),
        summarises=plan.summarises,
        changes=hand.of.desk.thread(hand.thread_id).changes,
    )


def _summarised(
    hand: Hand, plan: Plan, answer: Answer, attempt: Attempt, price: Price | None
) -> RecordSummary | FailModelCall:
    """A summary that breaks off would hide what it does not come to, and one as long as what was said is of no use."""
    summary = summary_of(answer.text or "")
    tokens = content_tokens(summary)
    if answer.finish_reason in _BROKEN_OFF or not (answer.text or "").strip():
        return _failed(hand, answer, attempt, price, f"the model wrote no whole summary ({answer.finish_reason})")
    if tokens.count >= plan.tokens_before:
        return _failed(hand, answer, attempt, price, "the summary is as long as what it was to stand for")
    return RecordSummary(
        thread_id=hand.thread_id,
        run_id=hand.run_id,
        fence=attempt.fence,
        model_call_id=attempt.model_call_id,
        step_id=attempt.message_step_id,
        model=answer.model,
        finish_reason=answer.finish_reason,
        usage=answer.usage,
        usage_reported=answer.usage_reported,
        provider_ids=answer.provider_ids,
        duration_ms=attempt.elapsed_ms(),
        item_id=new_id("sum"),
        summary=summary,
        tokens=tokens,
        first=plan.first,
        last=plan.last,
        items=plan.count,
        tokens_before=plan.tokens_before,
        price=price,
        pricing_context=answer.pricing_context,
    )


def _failed(hand: Hand, answer: Answer, attempt: Attempt, price: Price | None, message: str) -> FailModelCall:
    """It was answered, and is paid for; but nothing comes of it."""
    return FailModelCall(
        thread_id=hand.thread_id,
        run_id=hand.run_id,
        fence=attempt.fence,
        code="no_summary",
        message=message,
        retryable=False,
        final=True,
        usage=answer.usage,
        usage_reported=answer.usage_reported,
        price=price,
        pricing_context=answer.pricing_context,
        duration_ms=attempt.elapsed_ms(),
        usage_unknown=answer.usage is None,
    )
