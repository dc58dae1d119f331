"""Whatever was said and whatever the strategy: what holds of each context, of what it says of itself, of the thread.

The thread goes on between contexts: summaries are written where they are planned, messages are edited and removed, and
it is forked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, get_args

import orjson
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from clew.audit.history import shown_items
from clew.engine.clearing import NOTE
from clew.engine.context import Context, ContextTooLarge, assemble
from clew.engine.counting import text_tokens
from clew.engine.planning import Plan
from clew.engine.transcript import units_backwards, units_onwards
from clew.events import Recorded
from clew.events.content import text
from clew.events.items import Item, MessageItem, Place, ReasoningItem, SummaryItem, ToolResultItem
from clew.events.message import MessageEdited, MessageRemoved
from clew.events.model import ContextAssembled
from clew.events.run import RunConfig, Strategy, Truncation
from clew.events.thread import ThreadCompacted, ThreadForked
from clew.events.usage import NO_USAGE
from clew.log import Reader
from clew.providers.base import Prompt
from clew.providers.renderers import RENDERERS
from tests.engine.imagining import TALKS, talked
from tests.engine.talking import THREAD, Talk, parted, whole, within
from tests.projections.living import House
from tests.rules.example import config, tokens

pytestmark = pytest.mark.slow

INSTRUCTIONS = "Be kind."
STEP = Callable[[Talk], Talk]


@dataclass
class Living:
    """A thread on a log of its own. `told` is what each summary was made of."""

    house: House
    thread_id: str = THREAD
    told: dict[Place, list[Item]] = field(default_factory=dict)

    @classmethod
    async def open(cls, talk: Talk) -> Living:
        living = cls(await House().open())
        await living.append(*talk.events)
        return living

    async def append(self, *events: Any) -> None:
        with self.house.log.reading() as reader:
            after = reader.version(self.thread_id)
        if events:
            appended = await self.house.log.append(self.thread_id, list(events), after=after)
            self.house.desk.committed(appended.events)
        self.house.desk.thread(self.thread_id)

    async def fork(self) -> None:
        """From here on it is the fork that goes on."""
        parent, state = self.thread_id, self.house.desk.thread(self.thread_id)
        with self.house.log.reading() as reader:
            version = reader.version(parent)
            [last] = reader.stream(parent, after=version - 1, upto=version)
        summary = state.summary
        forked = ThreadForked(
            parent=parent,
            parent_version=version,
            parent_position=last.position,
            tenant="acme",
            user_messages=state.user_messages,
            items=state.items,
            tokens=state.tokens,
            dialect="openai",
            summary=summary.item_id if summary is not None and not summary.changed else None,
        )
        self.thread_id = f"fork_of_{parent}"
        await self.append(forked)

    def context(self, reader: Reader, asked: RunConfig) -> Context:
        thread = self.house.desk.thread(self.thread_id)
        return assemble(reader, self.thread_id, thread, asked, NO_USAGE, None)

    async def compact(self, plan: Plan, count: int) -> None:
        """As the rules would, when a model has written the summary."""
        own = self.thread_id
        with self.house.log.reading() as reader:
            every = said(whole(reader, own))
            place = Place(own, reader.version(own) + 1)
        self.told[place] = beginning(every, plan.last)
        compacted = ThreadCompacted(
            item_id=f"sum_{own}_{len(self.told)}",
            summary=text("In short"),
            tokens=tokens(count),
            first_item=plan.first.number,
            last_item=plan.last.number,
            first_stream=None if plan.first.stream == own else plan.first.stream,
            last_stream=None if plan.last.stream == own else plan.last.stream,
            items=plan.count,
            tokens_before=plan.tokens_before,
        )
        await self.append(compacted)


def beginning(every: Sequence[Item], last: Place) -> list[Item]:
    places = [item.place for item in every]
    return list(every[: places.index(last) + 1])


def said(items: Sequence[Item]) -> list[Item]:
    """Without summaries: those say nothing that was not said."""
    return [item for item in items if not isinstance(item, SummaryItem)]


def holds(context: Context, every: Sequence[Item], asked: RunConfig, limit: int | None) -> None:
    """`every` is what was said in the thread, from its beginning."""
    shown, places = said(context.items), [item.place for item in said(context.items)]
    assert len(set(places)) == len(places), "nothing is shown twice"
    assert places == [item.place for item in every if item.place in set(places)], "and in its order"
    assert not parted(shown, every), "what belongs together is shown together or not at all"
    left = within(every, [one.items for one in context.manifest.left_out])
    assert not set(left) & set(places)
    assert set(left) | set(places) == {item.place for item in every}, "what is not shown is said to be left out"
    assert limit is None or context.tokens.total <= limit
    assert context.tokens.items == sum(item.tokens for item in context.items)
    assert context.tokens.instructions == text_tokens(INSTRUCTIONS, asked.model).count
    assert not every or every[-1].place in places, "the newest is always there"
    for item in shown:
        if isinstance(item, ReasoningItem):
            assert item in every, "what is signed goes back as it came"
    cut_says_it(context, every, left)
    summaries = [item for item in context.items if isinstance(item, SummaryItem)]
    assert summaries == context.items[: len(summaries)]
    assert len(summaries) <= 1
    if asked.truncation.strategy in ("last_messages", "none"):
        assert not summaries


def cut_says_it(context: Context, every: Sequence[Item], left: Sequence[Any]) -> None:
    cut = context.cut
    cleared = [item for item in context.items if isinstance(item, ToolResultItem) and item.output == NOTE]
    assert (cut is None) == (not left and not cleared), "each cut is said, and nothing else is"
    if cut is None:
        return
    assert cut.items == len(left)
    assert cut.left_out == context.manifest.left_out
    assert cut.items_cleared == len(cleared)
    assert cut.cleared == (context.manifest.cleared.items if context.manifest.cleared is not None else ())
    assert cut.tokens_before == sum(item.tokens for item in every) + context.tokens.instructions
    assert cut.tokens_after == context.tokens.total
    assert cut.limit_name


def a_provider_takes(context: Context, asked: RunConfig) -> None:
    """Chat completions refuse calls without results and results without calls, and results that come later."""
    body = RENDERERS["openai-chat/1"](Prompt(asked, context.items))
    messages = orjson.loads(body)["messages"]
    assert messages[0] == {"role": "system", "content": INSTRUCTIONS}
    open_calls: list[str] = []
    for message in messages:
        if message["role"] == "tool":
            open_calls.remove(message["tool_call_id"])
        else:
            assert open_calls == []
            open_calls = [call["id"] for call in message.get("tool_calls", ())]
    assert open_calls == []


def can_be_shown_again(reader: Reader, living: Living, context: Context) -> None:
    """From the manifest alone, as `clew prompt` does."""
    assembled = ContextAssembled(
        run_id="r",
        fence=1,
        model_call_id="mc",
        manifest=context.manifest,
        tokens=context.tokens,
        renderer="",
        digest="",
    )
    recorded = Recorded(10**9, living.thread_id, 10**9, 0, None, assembled)
    assert shown_items(reader, recorded) == context.items


def tells_what_is_so(living: Living, context: Context, every: Sequence[Item]) -> None:
    """No summary is shown of what was said otherwise since, or taken back."""
    for summary in context.items[:1]:
        if isinstance(summary, SummaryItem):
            told = living.told[summary.place]
            assert list(every[: len(told)]) == told


STRATEGIES = st.one_of(
    st.just(Truncation()),
    st.just(Truncation(strategy="none")),
    st.builds(lambda n: Truncation(strategy="last_messages", n=n), st.integers(1, 6)),
    st.builds(lambda n: Truncation(strategy="token_budget", n=n), st.integers(5, 90)),
    st.builds(lambda n: Truncation(strategy="clear_tool_results", n=n), st.integers(0, 4)),
    st.builds(lambda n: Truncation(strategy="summarise", n=n, model="gpt-4o", provider="p"), st.integers(20, 150)),
    st.builds(lambda n: Truncation(strategy="summarise", n=n), st.integers(150, 400)),
)
DEEDS = st.lists(st.sampled_from(("say", "turn", "edit", "remove", "fork", "context", "context")), max_size=12)


def limit_of(asked: RunConfig) -> int | None:
    truncation = asked.truncation
    limits = [asked.limits.prompt_tokens]
    if truncation.strategy in ("token_budget", "summarise"):
        limits.append(truncation.n)
    return min((limit for limit in limits if limit is not None), default=None)


@settings(max_examples=80)
@given(TALKS, STRATEGIES, st.none() | st.integers(30, 120), DEEDS, st.randoms(use_true_random=False))
def test_every_context_holds_together_while_its_thread_goes_on(
    steps: list[STEP], truncation: Truncation, limit: int | None, deeds: list[str], chance: Any
) -> None:
    goes_on(steps, truncation, limit, deeds, chance)


@settings(max_examples=60)
@given(TALKS, st.integers(30, 120), DEEDS, st.randoms(use_true_random=False))
def test_summaries_hold_together_while_their_thread_goes_on(
    steps: list[STEP], n: int, deeds: list[str], chance: Any
) -> None:
    goes_on(steps, Truncation(strategy="summarise", n=n, model="gpt-4o", provider="p"), None, deeds, chance)


def goes_on(steps: list[STEP], truncation: Truncation, limit: int | None, deeds: list[str], chance: Any) -> None:
    asked = config(instructions=INSTRUCTIONS, truncation=truncation)
    asked = asked.model_copy(update={"limits": asked.limits.model_copy(update={"prompt_tokens": limit})})

    async def main() -> None:
        living = await Living.open(talked(steps))
        try:
            await look(living, asked, chance)
            for number, deed in enumerate(deeds, 1):
                await do(living, deed, number, chance)
                if deed == "context":
                    await look(living, asked, chance)
            await look(living, asked, chance)
        finally:
            await living.house.close()

    asyncio.run(main())


async def do(living: Living, deed: str, number: int, chance: Any) -> None:
    talk = Talk(made=number * 1_000)
    if deed == "say":
        await living.append(*talk.says(chance.randint(1, 12)).events[1:])
    elif deed == "turn":
        await living.append(*talk.turn(chance.randint(1, 3), count=3, output="x" * 60).events[1:])
    elif deed == "fork":
        await living.fork()
    elif deed in ("edit", "remove"):
        await change(living, deed, chance)


async def change(living: Living, deed: str, chance: Any) -> None:
    with living.house.log.reading() as reader:
        messages = [item for item in whole(reader, living.thread_id) if isinstance(item, MessageItem)]
    if not messages:
        return
    message = chance.choice(messages)
    id, before = message.message_id, message.tokens
    if deed == "edit":
        edited = MessageEdited(message_id=id, content=text("otherwise"), tokens=tokens(2), tokens_before=before)
        await living.append(edited)
    else:
        await living.append(MessageRemoved(message_id=id, role=message.role, tokens=before))


async def look(living: Living, asked: RunConfig, chance: Any) -> None:
    """Contexts until nothing is to be summarised any more, as a run asks for them."""
    before = None
    while True:
        with living.house.log.reading() as reader:
            every = said(whole(reader, living.thread_id))
            assert before is None or every == before, "the thread loses nothing by a summary"
            try:
                context = living.context(reader, asked)
            except ContextTooLarge as refused:
                blamed(refused, asked)
                return
            holds(context, every, asked, limit_of(asked))
            a_provider_takes(context, asked)
            can_be_shown_again(reader, living, context)
            tells_what_is_so(living, context, every)
            assert living.context(reader, asked) == context, "the same thread gives the same context"
        plan = context.plan
        if plan is None:
            return
        event("summarised")
        goes_further(plan, context, every)
        await living.compact(plan, chance.randint(1, 12))
        before = every


def blamed(refused: ContextTooLarge, asked: RunConfig) -> None:
    assert limit_of(asked) is not None
    assert refused.limit_name in ("max_prompt_tokens", asked.truncation.strategy)


def goes_further(plan: Plan, context: Context, every: Sequence[Item]) -> None:
    """What is planned is a beginning of the thread, in whole units, and never the newest of them."""
    places = [item.place for item in every]
    assert plan.first == places[0]
    told = [item.place for item in beginning(every, plan.last)]
    assert len(told) < len(places)
    assert not parted([item for item in every if item.place in set(told)], every)
    fresh = [place for place in within(every, plan.shown) if place in set(told)]
    assert fresh == told[len(told) - len(fresh) :], "what a summary stands for already is not summarised again"
    assert fresh


def test_a_summary_of_everything_that_is_left_is_not_shown_in_its_place() -> None:
    async def main() -> None:
        living = await Living.open(Talk().says(8).says(8).says(8))
        asked = config(truncation=Truncation(strategy="summarise", n=20, model="gpt-4o", provider="p"))
        with living.house.log.reading() as reader:
            plan = living.context(reader, asked).plan
        assert plan is not None
        await living.compact(plan, 3)
        await living.append(MessageRemoved(message_id="msg_3", role="user", tokens=8))
        with living.house.log.reading() as reader:
            assert living.context(reader, config()).items == said(whole(reader))
        await living.house.close()

    asyncio.run(main())


@given(TALKS)
def test_units_are_the_same_from_both_ends(steps: list[STEP]) -> None:
    async def main() -> None:
        living = await Living.open(talked(steps))
        with living.house.log.reading() as reader:
            every = whole(reader)
        await living.house.close()
        assert list(units_onwards(every)) == list(units_backwards(every[::-1]))[::-1]

    asyncio.run(main())


@pytest.mark.parametrize("strategy", get_args(Strategy))
def test_a_summary_stands_for_its_items_where_the_strategy_does_not_name_them_itself(strategy: Strategy) -> None:
    async def main() -> None:
        talk = Talk().says(5).turn(1, count=4).says(5).says(5)
        living = await Living.open(talk)
        asked = config(truncation=Truncation(strategy="summarise", n=20, model="gpt-4o", provider="p"))
        with living.house.log.reading() as reader:
            plan = living.context(reader, asked).plan
        assert plan is not None
        await living.compact(plan, 3)
        n = {"token_budget": 1_000, "clear_tool_results": 1, "last_messages": 50}.get(strategy)
        with living.house.log.reading() as reader:
            context = living.context(reader, config(truncation=Truncation(strategy=strategy, n=n)))
            thread = living.house.desk.thread(THREAD)
            never = assemble(reader, THREAD, thread, config(), NO_USAGE, None, summaries=False)
        summarised = strategy not in ("last_messages", "none")
        assert isinstance(context.items[0], SummaryItem) == summarised
        assert any(left.reason == "summarised" for left in context.manifest.left_out) == summarised
        assert (context.cut is None) == (not summarised)
        assert said(never.items) == never.items
        assert never.cut is None
        await living.house.close()

    asyncio.run(main())
