"""Runs with everything in them that an audit has to tell: retries, crashes, doubts, cancelling, hostile texts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from clew.audit.records import Audit
from clew.audit.telling import audit
from clew.events.base import Event
from clew.events.content import text
from clew.events.message import MessageAppended
from clew.events.model import (
    ContextAssembled,
    ContextTokens,
    ContextTruncated,
    ItemRange,
    LeftOut,
    Manifest,
    ModelAnswered,
    ModelCalled,
    ModelFailed,
    NotRendered,
    ReasoningRecorded,
)
from clew.events.price import Price, PriceLine
from clew.events.run import (
    RunActionRequired,
    RunCancelled,
    RunCancelRequested,
    RunCompleted,
    RunConfig,
    RunQueued,
    RunStarted,
    Tool,
)
from clew.events.thread import ThreadCreated
from clew.events.tool import ToolCalled, ToolFailed, ToolInDoubt, ToolReturned, ToolSettled, ToolStarted
from clew.events.usage import Usage
from clew.log import Reader
from tests.projections.living import House
from tests.rules.example import tokens

T = TypeVar("T")
THREAD, RUN = "thread_1", "run_1"
PRICE = Price(
    amount="0.00045",
    table="genai-prices/1",
    provider="openai",
    model="gpt-4o",
    lines=(PriceLine(kind="input", tokens=100, price="2.5"), PriceLine(kind="output", tokens=20, price="10")),
)
# What people and models might say to get out of the text they are in.
HOSTILE = (
    "</pre></details></section><script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "<style>body{display:none}</style><link rel=stylesheet href=//evil.example/x>",
    "]]><!-- --> &lt;b&gt; &#60;script&#62; {{7*7}} ${7*7}",
    "\u202egnp.exe \x00\x1b[2J\x7f bell\x07 [bold red]markup[/]",
    "javascript:alert(1)//\r\n\ttabs\n\nand lines — “quotes” 🙂",
)


def everything(says: Callable[[int], str] = lambda number: f"words {number}") -> list[Event]:
    """A run with three model calls, four attempts lost or failed, four tool calls, one in doubt, two crashes.

    `says` gives the texts.
    """
    return [*_first_step(says), *_second_step(says), *_third_step(says)]


def _of(fence: int, call: str | None = None) -> dict[str, Any]:
    return {"run_id": RUN, "fence": fence} | ({"model_call_id": call} if call else {})


def started(worker: str, fence: int) -> RunStarted:
    return RunStarted(run_id=RUN, worker=worker, attempt=fence, fence=fence, lease_seconds=30.0)


def assembled(
    call: str,
    fence: int,
    last: int,
    left_out: tuple[LeftOut, ...] = (),
    not_rendered: tuple[NotRendered, ...] = (),
) -> ContextAssembled:
    shown = (ItemRange(stream=THREAD, first=2, last=last),)
    return ContextAssembled(
        **_of(fence, call),
        manifest=Manifest(shown=shown, left_out=left_out, items=1, not_rendered=not_rendered),
        tokens=ContextTokens(instructions=3, tools=20, items=12, exact=False),
        renderer="openai-chat/1",
        digest="0" * 64,
    )


def called(call: str, fence: int, attempt: int) -> ModelCalled:
    return ModelCalled(**_of(fence, call), provider="openai", model="gpt-4o", attempt=attempt)


def failed(call: str, fence: int, attempt: int, code: str, message: str) -> ModelFailed:
    more: dict[str, Any] = {"duration_ms": 12.0, "retry_after_seconds": 1.5}
    if code == "lost":
        more = {"usage_unknown": True}
    return ModelFailed(
        **_of(fence, call), attempt=attempt, code=code, message=message, retryable=True, final=False, **more
    )


def answered(call: str, fence: int, attempt: int, step: str, finish: str) -> ModelAnswered:
    return ModelAnswered(
        **_of(fence, call),
        attempt=attempt,
        step_id=step,
        model="gpt-4o-2024",
        finish_reason=finish,
        usage=Usage(input=100, output=20, cached=40, reasoning=5),
        provider_ids={"response": f"chatcmpl-{call}"},
        first_token_ms=5.0,
        duration_ms=25.0,
        price=PRICE if attempt > 3 else None,
    )


def tool_called(call: str, fence: int, step: str, id: str, arguments: str, executor: Any = "server") -> ToolCalled:
    return ToolCalled(
        **_of(fence, call), step_id=step, tool_call_id=id, name=f"do_{id}", arguments=arguments, executor=executor
    )


def tool_started(fence: int, step: str, id: str, attempt: int, effect: Any) -> ToolStarted:
    made: dict[str, Any] = {"step_id": step, "tool_call_id": id, "attempt": attempt, "idempotency_key": f"key {id}"}
    return ToolStarted(**_of(fence), **made, effect=effect)


def said(call: str, fence: int, step: str, id: str, words: str) -> MessageAppended:
    return MessageAppended(
        **_of(fence, call), message_id=id, role="assistant", content=text(words), tokens=tokens(5), step_id=step
    )


def _first_step(says: Callable[[int], str]) -> list[Event]:
    """A failure, an answer that was lost in a crash, and then, in another worker, an answer with two calls."""
    tool = Tool(type="function", name="do_a", description=says(0), parameters={"type": "object"})
    config = RunConfig(
        assistant_id="asst_1",
        provider="openai",
        model="gpt-4o",
        asked_model="gpt-4o",
        instructions=says(1),
        tools=(tool,),
        stream=True,
    )
    return [
        ThreadCreated(tenant="acme", dialect="openai"),
        MessageAppended(message_id="msg_1", role="user", content=text(says(2)), tokens=tokens(7)),
        RunQueued(run_id=RUN, dialect="openai", config=config),
        started("one", 1),
        assembled("mc_1", 1, 2),
        called("mc_1", 1, 1),
        failed("mc_1", 1, 1, "rate_limit", says(3)),
        called("mc_1", 1, 2),
        started("two", 2),
        failed("mc_1", 2, 2, "lost", "the process ended"),
        assembled("mc_2", 2, 2),
        called("mc_2", 2, 3),
        answered("mc_2", 2, 3, "step_2", "tool_calls"),
        ReasoningRecorded(**_of(2, "mc_2"), item_id="rs_1", provider="openai", blocks=('{"a":1}',)),
        said("mc_2", 2, "step_1", "msg_2", says(4)),
        tool_called("mc_2", 2, "step_2", "a", says(5)),
        tool_called("mc_2", 2, "step_2", "b", '{"x": 1}', "client"),
        tool_started(2, "step_2", "a", 1, "idempotent"),
        started("three", 3),
        tool_started(3, "step_2", "a", 2, "idempotent"),
        ToolReturned(**_of(3), step_id="step_2", tool_call_id="a", output=says(6), duration_ms=8.0, bytes_whole=99),
        RunActionRequired(**_of(3), tool_call_ids=("b",)),
        ToolReturned(**_of(3), step_id="step_2", tool_call_id="b", output=says(7)),
    ]


def _second_step(says: Callable[[int], str]) -> list[Event]:
    """Something is left out; one tool fails, one is in doubt and a person settles it."""
    left = LeftOut(items=ItemRange(stream=THREAD, first=3, last=4), reason="max_prompt_tokens")
    return [
        started("three", 4),
        assembled("mc_3", 4, 30, (left,), _not_rendered(says)),
        ContextTruncated(
            **_of(4, "mc_3"),
            strategy="auto",
            left_out=(left,),
            items_left_out=2,
            tokens_before=90,
            tokens_after=35,
            limit=50,
            limit_name="max_prompt_tokens",
        ),
        called("mc_3", 4, 4),
        answered("mc_3", 4, 4, "step_3", "tool_calls"),
        tool_called("mc_3", 4, "step_3", "c", "not JSON at all"),
        tool_called("mc_3", 4, "step_3", "d", "{}"),
        tool_started(4, "step_3", "c", 1, "pure"),
        tool_started(4, "step_3", "d", 1, "once"),
        ToolFailed(**_of(4), step_id="step_3", tool_call_id="c", reason="error", output=says(8), duration_ms=2.0),
        ToolInDoubt(**_of(4), step_id="step_3", tool_call_id="d", reason=says(9)),
        ToolSettled(**_of(4), step_id="step_3", tool_call_id="d", outcome="happened", output=says(10), by=says(11)),
    ]


def _not_rendered(says: Callable[[int], str]) -> tuple[NotRendered, ...]:
    here = ItemRange(stream=THREAD, first=14, last=30)
    return (
        NotRendered(what="reasoning", reason=says(13), items=here, count=2),
        NotRendered(what="image", reason=says(14), items=ItemRange(stream=THREAD, first=2, last=2)),
        NotRendered(what="seed", reason=says(15)),
    )


def _third_step(says: Callable[[int], str]) -> list[Event]:
    return [
        started("three", 5),
        assembled("mc_4", 5, 40),
        called("mc_4", 5, 5),
        answered("mc_4", 5, 5, "step_4", "stop"),
        said("mc_4", 5, "step_4", "msg_3", says(12)),
        RunCompleted(run_id=RUN, usage=Usage(input=300, output=60, cached=120, reasoning=15)),
    ]


def cancelled(by: str | None = "somebody") -> list[Event]:
    begun = _first_step(lambda number: f"words {number}")[:6]
    gone = failed("mc_1", 1, 1, "run_cancelled", "the run ended")
    return [*begun, RunCancelRequested(run_id=RUN, by=by), gone, RunCancelled(run_id=RUN)]


def kept(events: Sequence[Event], ask: Callable[[Reader], T]) -> T:
    """What can be asked of a log with these events, each appended by the worker that holds the run by then."""

    async def main() -> T:
        house = await House().open()
        try:
            actor = "key_1"
            for number, event in enumerate(events):
                actor = event.worker if isinstance(event, RunStarted) else actor
                await house.log.append(THREAD, [event], after=number, actor=actor)
            with house.log.reading() as reader:
                return ask(reader)
        finally:
            await house.close()

    return asyncio.run(main())


def audit_of(events: Sequence[Event]) -> Audit:
    return kept(events, lambda reader: audit(reader, RUN))


def hostile(number: int) -> str:
    return f"{number}: {HOSTILE[number % len(HOSTILE)]}"
