"""Histories written down event by event, with tokens that can be reckoned by hand."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from decimal import Decimal

from clew.billing.costs import Cost
from clew.billing.supposing import Otherwise
from clew.billing.what_if import CallIf, what_if
from clew.billing.what_if_told import tell
from clew.events import Event
from clew.events.content import text
from clew.events.message import MessageAppended
from clew.events.model import (
    ContextAssembled,
    ContextTokens,
    ItemRange,
    Manifest,
    ModelAnswered,
    ModelCalled,
    ModelFailed,
)
from clew.events.price import Price, PriceLine
from clew.events.run import RunCompleted, RunQueued, RunStarted, Truncation
from clew.events.thread import ThreadCreated
from clew.events.usage import Usage
from clew.prices import Prices
from tests.projections.living import House
from tests.rules.example import config, message, tokens

T = "thread_1"
LAST_ONE = Truncation(strategy="last_messages", n=1)


def contract(*lines: tuple[str, int, str]) -> Price:
    """A price that no table knows today: what it was is in the event."""
    found = tuple(PriceLine(kind=kind, tokens=count, price=price) for kind, count, price in lines)
    amount = sum((line.tokens * Decimal(line.price) / line.per for line in found), Decimal(0))
    return Price(amount=f"{amount.normalize():f}", table="old.toml/1", provider="p", model="m", lines=found)


@dataclass
class Story:
    """Runs of one call each: a user's message of 100 tokens, an answer of 50. Instructions count 20, as assembled."""

    events: list[Event] = field(default_factory=lambda: [ThreadCreated(tenant="acme", dialect="test")])
    runs: int = 0

    def run(self, *outcomes: ModelAnswered | ModelFailed) -> Story:
        self.runs += 1
        run_id = f"run_{self.runs}"
        of = {"run_id": run_id, "fence": 1, "model_call_id": f"mc_{self.runs}"}
        self.events.append(message(f"question {self.runs}", id=f"msg_{self.runs}", count=100))
        shown = self.items
        self.events += [
            RunQueued(run_id=run_id, dialect="test", config=config()),
            RunStarted(run_id=run_id, worker="w", attempt=1, fence=1, lease_seconds=30.0),
            ContextAssembled(
                **of,  # type: ignore[arg-type]
                manifest=Manifest(shown=(ItemRange(stream=T, first=2, last=len(self.events)),), items=len(shown)),
                tokens=ContextTokens(instructions=20, tools=0, items=sum(shown), exact=False),
                renderer="openai-chat/1",
                digest="0" * 64,
            ),
        ]
        for number, outcome in enumerate(outcomes, 1):
            called = ModelCalled(**of, provider="p", model="m", attempt=number)  # type: ignore[arg-type]
            self.events += [
                called,
                outcome.model_copy(update={**of, "attempt": number, "step_id": f"step_{self.runs}"}),
            ]
        said = MessageAppended(
            message_id=f"answer_{self.runs}",
            role="assistant",
            content=text("…"),
            tokens=tokens(50),
            run_id=run_id,
            fence=1,
            model_call_id=of["model_call_id"],  # type: ignore[arg-type]
            step_id=f"step_{self.runs}",
        )
        self.events += [said, RunCompleted(run_id=run_id)]
        return self

    @property
    def items(self) -> list[int]:
        return [event.tokens.count for event in self.events if isinstance(event, MessageAppended) and event.tokens]


def answered(usage: Usage | None, price: Price | None = None) -> ModelAnswered:
    return ModelAnswered(
        run_id="",
        fence=1,
        model_call_id="",
        attempt=1,
        step_id="",
        model="m",
        finish_reason="stop",
        duration_ms=1.0,
        usage=usage,
        price=price,
    )


def failed(usage: Usage | None = None, price: Price | None = None, *, unknown: bool = False) -> ModelFailed:
    return ModelFailed(
        run_id="",
        fence=1,
        model_call_id="",
        attempt=1,
        code="broken_stream",
        message="",
        retryable=True,
        final=False,
        usage=usage,
        price=price,
        usage_unknown=unknown,
    )


def told(store: str, story: Story, otherwise: Otherwise, prices: Prices | None = None) -> list[CallIf]:
    async def main() -> list[CallIf]:
        house = await House(store).open()
        await house.log.append(T, story.events, after=0)
        with house.log.reading() as reader:
            runs = list(what_if(reader, T, otherwise, prices or Prices()))
        await house.close()
        return [call for run in runs for call in run.calls]

    return asyncio.run(main())


def test_a_shorter_window_reckoned_by_hand(store: str) -> None:
    """The second call was shown 100 + 50 + 100 and counted 20 + 250 = 270 by us, 540 by the provider: two for one. Of
    the newest message alone we count 20 + 100 = 120, so it would have counted 240.

    It shared 20 + 100 with the first, of which 240 tokens were cached: 2 for one. Shown the newest message only it
    would have shared nothing but the 20 before the items: 40 cached.

        was         300 fresh at 3 + 240 cached at 1 + 10 at 9    = 0.00090 + 0.00024 + 0.00009  = 0.00123
        otherwise   200 fresh at 3 +  40 cached at 1 + 10 at 9    = 0.00060 + 0.00004 + 0.00009  = 0.00073
    """
    first = Usage(input=240, output=10)
    second = Usage(input=540, output=10, cached=240)
    story = Story()
    story.run(answered(first, contract(("input", 240, "3"), ("output", 10, "9"))))
    story.run(answered(second, contract(("input", 300, "3"), ("cache_read", 240, "1"), ("output", 10, "9"))))
    one, two = told(store, story, Otherwise(truncation=LAST_ONE))
    assert (one.basis, one.otherwise) == ("reported", one.was)
    assert two.basis == "estimated"
    assert two.was == Cost(
        calls=1, counted_tokens=270, input_tokens=540, cached_tokens=240, output_tokens=10, amount=Decimal("0.00123")
    )
    assert two.otherwise == Cost(
        calls=1, counted_tokens=120, input_tokens=240, cached_tokens=40, output_tokens=10, amount=Decimal("0.00073")
    )


def test_each_attempt_would_have_been_sent_the_other_context(store: str) -> None:
    """What broke off had used 540 and put out 4 by then, what was answered 540 and 10. What nobody knows stays so."""
    price = contract(("input", 540, "2"), ("output", 4, "5"))
    whole = contract(("input", 540, "2"), ("output", 10, "5"))
    story = Story().run(answered(Usage(input=240, output=10)))
    story.run(
        failed(Usage(input=540, output=4), price),
        failed(unknown=True),
        failed(),
        answered(Usage(input=540, output=10), whole),
    )
    _, two = told(store, story, Otherwise(truncation=LAST_ONE))
    assert (two.was.calls, two.was.lost_calls) == (4, 1)
    assert (two.otherwise.calls, two.otherwise.lost_calls) == (4, 1)
    assert (two.otherwise.input_tokens, two.otherwise.output_tokens) == (2 * 240, 14)
    # 240 at 2 and 4 at 5, 240 at 2 and 10 at 5
    assert two.otherwise.amount == Decimal("0.0005") + Decimal("0.00053")


def test_what_nobody_knows_the_usage_of_is_in_neither_sum() -> None:
    story = Story().run(answered(Usage(input=240, output=10))).run(answered(None)).run(failed(unknown=True))
    calls = told(":memory:", story, Otherwise(truncation=LAST_ONE))
    assert [call.basis for call in calls] == ["reported", "unknown", "unknown"]
    assert [call.was.lost_calls for call in calls] == [0, 1, 1]
    assert [call.otherwise.input_tokens for call in calls] == [240, 0, 0]


def test_a_call_without_a_price_stays_without_one() -> None:
    story = Story().run(answered(Usage(input=240, output=10))).run(answered(Usage(input=540, output=10)))
    _, two = told(":memory:", story, Otherwise(truncation=LAST_ONE))
    assert (two.was.unpriced_calls, two.otherwise.unpriced_calls, two.otherwise.amount) == (1, 1, Decimal(0))


def test_a_shorter_prompt_may_fall_into_a_cheaper_tier() -> None:
    """gpt-6-sol costs 4 above 272,000 tokens and 2 below. By the table that it was billed by, half of 300,000 is
    billed at 2; by unit prices alone it would be at 4."""
    prices = Prices()
    usage = Usage(input=300_000)
    at = 1_795_478_400_000_000
    story = Story()
    for number, used in enumerate((Usage(input=100), usage)):
        story.run(answered(used, prices.price("openai", "gpt-6-sol", used, at)))
        queued = [event for event in story.events if isinstance(event, RunQueued)][-1]
        story.events[story.events.index(queued)] = queued.model_copy(
            update={"config": config(provider="openai", model="gpt-6-sol")}
        )
        called = [event for event in story.events if isinstance(event, ModelCalled)][number]
        story.events[story.events.index(called)] = called.model_copy(
            update={"provider": "openai", "model": "gpt-6-sol"}
        )
    _, two = told(":memory:", story, Otherwise(truncation=LAST_ONE))
    assert two.was.amount == Decimal("1.2")
    # 120 of our 270: 133,333 tokens.
    assert (two.otherwise.input_tokens, two.otherwise.amount) == (133_333, Decimal("0.266666"))


def test_what_is_told_says_what_it_rests_on(store: str) -> None:
    first, second = Usage(input=240, output=10), Usage(input=540, output=10, cached=240)
    story = Story().run(answered(first)).run(answered(second)).run(answered(None))

    async def main() -> None:
        house = await House(store).open()
        await house.log.append(T, story.events, after=0)
        with house.log.reading() as reader:
            runs = list(what_if(reader, T, Otherwise(truncation=LAST_ONE), Prices()))
        await house.close()
        found = tell(runs, truncation="last_messages:1", model=None, prices=None)
        assert found.bases == {"reported": 1, "estimated": 1, "unknown": 1}
        assert (found.was.input_tokens, found.otherwise.input_tokens) == (780, 480)
        assert found.was.amount == found.difference == "0"
        assert [note.partition(" ")[0] for note in found.notes] == ["1", "1", "of", "2"]
        assert "2 calls have no price and are in no amount" in found.notes
        assert sum(run.otherwise.input_tokens for run in found.runs) == found.otherwise.input_tokens

    asyncio.run(main())
