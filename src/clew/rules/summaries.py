"""The rules of summaries: a model's answer that stands for the beginning of its thread from there on."""

from __future__ import annotations

from collections.abc import Sequence

from clew.events import ThreadStreamEvent
from clew.events.model import ModelAnswered
from clew.events.thread import ThreadCompacted
from clew.rules.contexts import RecordSummary
from clew.rules.runs import held
from clew.rules.state import Thread


def record(command: RecordSummary, thread: Thread) -> Sequence[ThreadStreamEvent]:
    run = held(thread, command.run_id, command.fence)
    waiting = run.model_call
    if waiting is None or not waiting.waits_for(command.model_call_id, "summary"):
        return []
    answered = ModelAnswered(
        run_id=run.run_id,
        fence=run.fence,
        model_call_id=command.model_call_id,
        attempt=waiting.attempt,
        step_id=command.step_id,
        model=command.model,
        finish_reason=command.finish_reason,
        usage=command.usage,
        usage_reported=command.usage_reported,
        provider_ids=command.provider_ids,
        duration_ms=command.duration_ms,
        price=command.price,
        pricing_context=command.pricing_context,
    )
    compacted = ThreadCompacted(
        item_id=command.item_id,
        summary=command.summary,
        tokens=command.tokens,
        first_item=command.first.number,
        last_item=command.last.number,
        first_stream=_unless_own(command.first.stream, command),
        last_stream=_unless_own(command.last.stream, command),
        items=command.items,
        tokens_before=command.tokens_before,
        model_call_id=command.model_call_id,
        run_id=run.run_id,
    )
    return [answered, compacted]


def _unless_own(stream: str, command: RecordSummary) -> str | None:
    return None if stream == command.thread_id else stream
