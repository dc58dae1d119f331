"""Made-up items that clients bring along, calls that models make, and what becomes of them."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from clew.events.content import text
from clew.events.items import Place
from clew.events.run import RunConfig
from clew.events.tool import Executor, HandingOver
from clew.events.usage import Usage
from clew.rules import commands as c
from clew.rules import parts as p
from clew.rules.contexts import RecordSummary
from clew.rules.state import ActiveRun
from tests.rules.example import tokens

NewId = Callable[[str], str]
_HANDING_OVER = HandingOver(from_id="asst_1", from_name="One", to_id="asst_2", to_name="Two")


def new_items(random: Random, new_id: NewId) -> tuple[p.NewItem, ...]:
    """Messages, and now and then a call that was made elsewhere, with its result."""
    items: list[p.NewItem] = []
    for _ in range(random.randrange(3)):
        if random.random() < 0.1:
            call, model_call = new_id("call"), new_id("mc")
            thought = p.NewReasoning(
                item_id=new_id("rs"), model_call_id=model_call, provider="scripted", blocks=('{"a":1}',)
            )
            items += [thought] if random.random() < 0.5 else []
            items.append(
                p.NewCall(
                    tool_call_id=call,
                    model_call_id=model_call,
                    name="look",
                    arguments="{}",
                    executor=random.choice(("client", "server")),
                    tokens=tokens(2),
                )
            )
            items.append(p.NewResult(tool_call_id=call, output="42", tokens=tokens(random.randrange(30))))
            continue
        items.append(
            p.NewMessage(
                message_id=new_id("msg"),
                role=random.choice(("user", "user", "assistant", "system")),
                content=text("word " * random.randrange(4)),
                metadata={label: random.choice("xyz") for label in "ab" if random.random() < 0.5},
                tokens=tokens(random.randrange(30)),
            )
        )
    return tuple(items)


def answered_calls(random: Random, new_id: NewId, step_id: str) -> tuple[p.AnsweredCall, ...]:
    return tuple(_call(random, new_id, step_id) for _ in range(random.randrange(4)))


def _call(random: Random, new_id: NewId, step_id: str) -> p.AnsweredCall:
    hands_over = random.random() < 0.2
    executor: Executor = "server" if hands_over else random.choice(("client", "server"))
    return p.AnsweredCall(
        tool_call_id=new_id("call"),
        step_id=step_id,
        name="look",
        arguments="{}",
        executor=executor,
        tokens=tokens(2),
        confirm=executor == "server" and not hands_over and random.random() < 0.3,
        handing_over=_HANDING_OVER if hands_over else None,
    )


def hand_off(random: Random, new_id: NewId, thread_id: str, run_id: str, fence: int, call_id: str) -> c.HandOff:
    next_run = c.QueueRun(
        thread_id=thread_id,
        run_id=new_id("run"),
        dialect="mistral",
        config=RunConfig(provider="scripted", model="m", asked_model="m", assistant_id="asst_2"),
        expires_at=None,
        metadata={},
    )
    return c.HandOff(
        thread_id=thread_id,
        run_id=run_id,
        fence=fence,
        tool_call_id=call_id,
        assistant_id="asst_2",
        next_run=random.choice((None, next_run)),
        output="handed over",
        tokens=tokens(3),
    )


def submission(
    random: Random, thread_id: str, run_id: str, run: ActiveRun | None, past: str | None
) -> c.SubmitToolOutputs:
    """Mostly all that the run waits for; what may be confirmed is sometimes answered in the server's stead."""
    awaited = list(run.awaited) if run is not None else []
    if random.random() < 0.1:
        del awaited[:1]
    confirmed = [call for call in awaited if call.status == "unconfirmed" and random.random() < 0.8]
    answered = [call for call in awaited if call not in confirmed]
    if answered and random.random() < 0.05:
        confirmed.append(answered.pop())
    return c.SubmitToolOutputs(
        thread_id=thread_id,
        run_id=run_id,
        outputs=tuple(p.ToolOutput(tool_call_id=one.tool_call_id, output="42", tokens=tokens(1)) for one in answered),
        past_status=past,
        confirmations=tuple(
            p.Confirmation(tool_call_id=one.tool_call_id, allowed=random.random() < 0.5, by="key_1")
            for one in confirmed
        ),
    )


def summary(
    random: Random, new_id: NewId, thread_id: str, run_id: str, fence: int, model_call_id: str
) -> RecordSummary:
    """What a model wrote of the second item of the thread."""
    place = Place(thread_id, 2)
    return RecordSummary(
        thread_id=thread_id,
        run_id=run_id,
        fence=fence,
        model_call_id=model_call_id,
        step_id=new_id("step"),
        model="m",
        finish_reason="stop",
        usage=random.choice((None, Usage(input=3, output=2))),
        usage_reported=None,
        provider_ids={},
        duration_ms=1.0,
        item_id=new_id("sum"),
        summary=text("In short"),
        tokens=tokens(2),
        first=place,
        last=place,
        items=1,
        tokens_before=9,
    )
