"""Which items a model call is shown, and that the manifest says exactly that."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clew.engine.context import Context, ContextTooLarge
from clew.events.content import text
from clew.events.items import Item, ToolResultItem
from clew.events.message import MessageEdited, MessageRemoved
from clew.events.run import Limits, RunConfig, Truncation
from clew.events.thread import ThreadForked
from clew.events.usage import Usage
from clew.log.reader import EventCache, Reader
from tests.engine.imagining import TALKS, talked
from tests.engine.talking import THREAD, Talk, context_of, house_of, parted, past_context_of, whole, within
from tests.projections.living import House
from tests.rules.example import config, tokens

pytestmark = pytest.mark.slow


def limited(prompt_tokens: int) -> RunConfig:
    return config(limits=Limits(prompt_tokens=prompt_tokens))


def newest(n: int, **limits: Any) -> RunConfig:
    return config(truncation=Truncation(strategy="last_messages", n=n), limits=Limits(**limits))


def assembled(talk: Talk, asked: RunConfig, **more: Any) -> tuple[Context, list[Item]]:
    """The context, and everything it was made from."""

    async def main() -> tuple[Context, list[Item]]:
        house = await house_of(talk)
        try:
            with house.log.reading() as reader:
                return context_of(house, reader, asked, **more), whole(reader)
        finally:
            await house.close()

    return asyncio.run(main())


def numbers(items: Sequence[Item]) -> list[int]:
    return [item.place.number for item in items]


def test_a_thread_that_fits_is_shown_whole() -> None:
    context, every = assembled(Talk().says(5).turn(2, 1).says(5), config())
    assert context.items == every
    assert context.cut is None
    assert context.manifest.left_out == ()
    assert context.manifest.items == len(every)
    assert context.tokens.items == sum(item.tokens for item in every)


def test_an_empty_thread_has_an_empty_context() -> None:
    context, _ = assembled(Talk(), config())
    assert (context.items, context.manifest.shown, context.manifest.items, context.cut) == ([], (), 0, None)


def test_a_limit_that_just_fits_cuts_nothing() -> None:
    context, every = assembled(Talk().says(5).says(5), limited(10))
    assert context.items == every


def test_too_many_tokens_drop_the_middle_and_keep_the_first_message() -> None:
    talk = Talk().says(5).says(20).says(20).says(5).says(5)
    context, _ = assembled(talk, limited(16))
    assert numbers(context.items) == [2, 5, 6]
    assert context.cut is not None
    assert (context.cut.items, context.cut.tokens_before, context.cut.tokens_after) == (2, 55, 15)
    assert (context.cut.limit, context.cut.limit_name, context.cut.strategy) == (16, "max_prompt_tokens", "auto")
    [left] = context.manifest.left_out
    assert (left.items.first, left.items.last, left.reason) == (3, 4, "max_prompt_tokens")


def test_the_first_message_goes_when_there_is_no_room_for_it() -> None:
    context, _ = assembled(Talk().says(50).says(5).says(5), limited(12))
    assert numbers(context.items) == [3, 4]


def test_a_first_message_that_is_not_a_users_is_not_kept() -> None:
    context, _ = assembled(Talk().says(1, "assistant").says(20).says(5), limited(10))
    assert numbers(context.items) == [4]


def test_what_earlier_calls_of_the_run_used_counts_against_its_limit() -> None:
    context, _ = assembled(Talk().says(5).says(5).says(5), limited(25), spent=Usage(input=15))
    assert numbers(context.items) == [2, 4]


def test_instructions_and_tools_take_their_part_of_the_room() -> None:
    talk = Talk().says(5).says(5).says(5)
    asked = limited(16).model_copy(update={"instructions": "Be very kind to everybody, whoever they may be."})
    context, _ = assembled(talk, asked)
    assert context.tokens.instructions > 5
    assert context.tokens.total <= 16
    assert len(context.items) < 3


def test_the_tighter_of_two_limits_is_named() -> None:
    talk = Talk().says(5).says(5).says(5)
    for limit, server_limit, name in ((11, 100, "max_prompt_tokens"), (100, 11, "context_tokens")):
        context, _ = assembled(talk, limited(limit), server_limit=server_limit)
        assert context.cut is not None
        assert (context.cut.limit, context.cut.limit_name) == (11, name)


def test_the_last_messages_are_counted_and_not_their_tools() -> None:
    talk = Talk().says(1).turn(2).says(1).turn(2).says(1)
    context, every = assembled(talk, newest(2))
    messages = [item for item in context.items if hasattr(item, "role")]
    assert len(messages) == 2
    assert context.items == every[-len(context.items) :]
    assert context.cut is not None
    assert (context.cut.limit, context.cut.limit_name, context.cut.strategy) == (2, "last_messages", "last_messages")


def test_as_many_last_messages_as_there_are_cut_nothing() -> None:
    context, every = assembled(Talk().says(1).turn(2), newest(2))
    assert context.items == every
    assert context.cut is None


def test_a_context_that_not_even_the_newest_fits_is_too_large() -> None:
    with pytest.raises(ContextTooLarge, match=r"at least 50 tokens and max_prompt_tokens allows 20") as raised:
        assembled(Talk().says(1).says(50), limited(20))
    assert raised.value.limit_name == "max_prompt_tokens"


def test_last_messages_that_do_not_fit_the_token_limit_are_blamed_on_that_limit() -> None:
    with pytest.raises(ContextTooLarge) as raised:
        assembled(Talk().says(1).says(50), newest(2, prompt_tokens=20))
    assert raised.value.limit_name == "max_prompt_tokens"


def test_who_wants_nothing_left_out_is_refused_instead() -> None:
    asked = limited(8).model_copy(update={"truncation": Truncation(strategy="none")})
    assert len(assembled(Talk().says(3).says(5), asked)[0].items) == 2
    with pytest.raises(ContextTooLarge):
        assembled(Talk().says(5).says(5), asked)


def test_the_room_for_an_answer_is_what_the_run_has_left() -> None:
    asked = config(limits=Limits(completion_tokens=100))
    for used, left in ((0, 100), (60, 40), (100, 1), (200, 1)):
        context, _ = assembled(Talk().says(1), asked, spent=Usage(output=used))
        assert context.max_output_tokens == left
    assert assembled(Talk().says(1), config())[0].max_output_tokens is None


def test_tools_of_runs_before_the_first_message_are_left_out_and_said_to_be() -> None:
    talk = Talk().turn(2, cancelled=True).turn(1, cancelled=True).says(5).says(50).says(5)
    for limit in (11, 12, 60, 61, 62, 63, 64):
        holds(*assembled(talk, limited(limit)), limit)


@pytest.mark.parametrize("asked", [config(), limited(16), newest(2)], ids=["whole", "tokens", "messages"])
def test_a_context_of_the_past_is_the_one_that_was_made_then(asked: RunConfig) -> None:
    """Also of a thread that went on since, in which a message that was shown then was edited and another removed."""

    async def main() -> None:
        talk = Talk().says(3).turn(2, 1).says(4).turn(1).says(5)
        house = await house_of(Talk(events=talk.events[:1]))
        then = []
        for version, event in enumerate(talk.events[1:], 2):
            await house.log.append(THREAD, [event], after=version - 1)
            house.desk.committed(house.events()[-1:])
            house.desk.thread(THREAD)
            with house.log.reading() as reader:
                then.append(context_of(house, reader, asked))
        later = [
            MessageEdited(message_id="msg_1", content=text("Otherwise"), tokens=tokens(2), tokens_before=3),
            MessageRemoved(message_id="msg_14", role="user", tokens=4),
        ]
        await house.log.append(THREAD, later, after=len(talk.events))
        with house.log.reading() as reader:
            for version, context in enumerate(then, 2):
                assert past_context_of(house, reader, asked, version) == context
        await house.close()

    asyncio.run(main())


class CountingReader(Reader):
    """Counts the rows that were read through it."""

    def __init__(self, cursor: Any) -> None:
        super().__init__(cursor, EventCache())
        self.count = 0

    def rows(self, sql: str, parameters: Sequence[object] = ()) -> list[Any]:
        found = super().rows(sql, parameters)
        self.count += len(found)
        return found


@pytest.mark.parametrize("asked", [limited(60), newest(20)], ids=["tokens", "messages"])
def test_a_long_thread_costs_what_its_window_costs(asked: RunConfig) -> None:
    async def main() -> list[int]:
        counts = []
        for turns in (200, 2_000):
            talk = Talk().says(3)
            for _ in range(turns):
                talk.says(3).turn(count=3)
            house = await house_of(talk)
            with house.log.store.snapshot() as cursor:
                reader = CountingReader(cursor)
                assert context_of(house, reader, asked).cut is not None
                counts.append(reader.count)
            await house.close()
        return counts

    short, long = asyncio.run(main())
    assert short == long
    assert long < 250


def holds(context: Context, every: list[Item], limit: int | None) -> None:
    shown, places = context.items, [item.place for item in context.items]
    assert len(set(places)) == len(places), "nothing is shown twice"
    assert not parted(shown, every), "what belongs together is shown together or not at all"
    assert not shown or not isinstance(shown[0], ToolResultItem)
    assert within(every, context.manifest.shown) == places, "the manifest names what is shown, in order"
    left = within(every, [one.items for one in context.manifest.left_out])
    assert not set(left) & set(places)
    assert len(left) + len(places) == len(every), "what is not shown is said to be left out"
    assert context.manifest.items == len(shown)
    assert context.tokens.items == sum(item.tokens for item in shown)
    assert limit is None or context.tokens.total <= limit
    assert (context.cut is None) == (len(shown) == len(every))
    if context.cut is not None:
        assert context.cut.items == len(left)
        assert context.cut.left_out == context.manifest.left_out
        assert context.cut.tokens_before == sum(item.tokens for item in every)
        assert context.cut.tokens_after == context.tokens.items
    if every:
        assert every[-1] in shown, "the newest is always there"


@settings(max_examples=60)
@given(TALKS, st.integers(1, 80), st.booleans())
def test_whatever_was_said_and_whatever_the_limit_a_context_holds_together(
    steps: list[Callable[[Talk], Talk]], limit: int, fork: bool
) -> None:
    _assembled_whole(talked(steps), limited(limit), limit, fork)


@settings(max_examples=40)
@given(TALKS, st.integers(1, 8), st.booleans())
def test_whatever_was_said_the_last_messages_hold_together(
    steps: list[Callable[[Talk], Talk]], n: int, fork: bool
) -> None:
    _assembled_whole(talked(steps), newest(n), None, fork)


def _assembled_whole(talk: Talk, asked: RunConfig, limit: int | None, fork: bool) -> None:
    async def main() -> None:
        house = await house_of(talk)
        thread_id = await _forked(house, len(talk.events)) if fork else THREAD
        try:
            with house.log.reading() as reader:
                context = context_of(house, reader, asked, thread_id=thread_id)
                holds(context, whole(reader, thread_id), limit)
        except ContextTooLarge as refused:
            blamed_on_the_limit(refused, limit)
        finally:
            await house.close()

    asyncio.run(main())


def blamed_on_the_limit(refused: ContextTooLarge, limit: int | None) -> None:
    assert limit is not None
    assert refused.limit_name == "max_prompt_tokens"


async def _forked(house: House, version: int) -> str:
    """A fork of everything, in which the talk goes on."""
    parent = house.desk.thread(THREAD)
    forked = ThreadForked(
        parent=THREAD,
        parent_version=version,
        tenant="acme",
        user_messages=parent.user_messages,
        items=parent.items,
        tokens=parent.tokens,
        dialect="openai",
    )
    more = Talk(made=1_000).says(2).turn(1).says(2)
    await house.log.append("thread_2", [forked, *more.events[1:]], after=0)
    house.desk.thread("thread_2")
    return "thread_2"
