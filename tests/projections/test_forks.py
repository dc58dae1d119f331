"""A fork reads its parent up to where it left it, and copies nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from random import Random

import pytest

from clew.events import Event
from clew.events.content import plain_text, text
from clew.events.items import MessageItem, Place
from clew.events.message import MessageEdited, Spot
from clew.events.thread import ThreadCreated, ThreadForked
from clew.log import Reader
from clew_projections import thread_view
from clew_projections.thread_view import ItemRow, Segment
from tests.projections.living import House
from tests.rules.example import message

CREATED = ThreadCreated(tenant="acme", dialect="openai")


def forked(house: House, parent: str, version: int) -> ThreadForked:
    with house.log.reading() as reader:
        [left_at] = reader.stream(parent, after=version - 1, upto=version)
    return ThreadForked(
        parent=parent,
        parent_version=version,
        parent_position=left_at.position,
        tenant="acme",
        user_messages=1,
        items=1,
        tokens=3,
        dialect="openai",
    )


def says(*words: str) -> list[Event]:
    return [message(word, id=f"msg_{word}") for word in words]


async def write(house: House, stream: str, *events: Event) -> None:
    with house.log.reading() as reader:
        version = reader.version(stream)
    await house.log.append(stream, events, after=version)


async def family(house: House) -> None:
    """root: a b c d; child from root@3 (a b): e f; grandchild from child@2 (a b e): g; great from grandchild@1: h."""
    await write(house, "root", CREATED, *says("a", "b", "c"))
    await write(house, "child", forked(house, "root", 3), *says("e"))
    await write(house, "root", *says("d"))
    await write(house, "grandchild", forked(house, "child", 2), *says("g"))
    await write(house, "child", *says("f"))
    await write(house, "great", forked(house, "grandchild", 1), *says("h"))


WORDS = {"root": "abcd", "child": "abef", "grandchild": "abeg", "great": "abeh"}


def spoken(reader: Reader, rows: Sequence[ItemRow]) -> str:
    items = thread_view.items(reader, rows)
    return "".join(plain_text(item.content) for item in items if isinstance(item, MessageItem))


def test_a_fork_sees_what_came_before_it_and_not_what_its_parent_says_later() -> None:
    async def main() -> None:
        house = await House().open()
        await family(house)
        with house.log.reading() as reader:
            for thread_id, words in WORDS.items():
                history = thread_view.segments(reader, thread_id)
                for page in (1, 2, 200):
                    forwards = list(thread_view.walk(reader, history, newest_first=False, page=page))
                    backwards = list(thread_view.walk(reader, history, page=page))
                    assert spoken(reader, forwards) == words
                    assert backwards == forwards[::-1]
        await house.close()

    asyncio.run(main())


def test_the_history_of_a_fork_of_a_fork_is_a_list_of_stretches() -> None:
    async def main() -> None:
        house = await House().open()
        await family(house)
        with house.log.reading() as reader:
            assert thread_view.segments(reader, "root") == [Segment("root", None)]
            assert thread_view.segments(reader, "great") == [
                Segment("root", 3, 3),
                Segment("child", 2, 6),
                Segment("grandchild", 1, 8),
                Segment("great", None),
            ]
        await house.close()

    asyncio.run(main())


@pytest.mark.parametrize("thread_id", list(WORDS))
@pytest.mark.parametrize("page", [1, 3])
def test_a_walk_goes_on_from_any_item_in_either_direction(thread_id: str, page: int) -> None:
    async def main() -> None:
        house = await House().open()
        await family(house)
        with house.log.reading() as reader:
            history = thread_view.segments(reader, thread_id)
            rows = list(thread_view.walk(reader, history, newest_first=False))
            for place, row in enumerate(rows):
                beyond = Place(row.stream, row.number)
                after = thread_view.walk(reader, history, beyond=beyond, newest_first=False, page=page)
                before = thread_view.walk(reader, history, beyond=beyond, page=page)
                assert list(after) == rows[place + 1 :]
                assert list(before) == rows[:place][::-1]
        await house.close()

    asyncio.run(main())


@dataclass
class Families:
    """Threads, forks of them and forks of those, some with messages put between; and what each says, told naively.

    `said` has, by thread, the words after each of its versions.
    """

    house: House
    random: Random
    said: dict[str, list[list[str]]] = field(default_factory=lambda: {"root": [[]]})

    async def grow(self, deeds: int) -> None:
        await write(self.house, "root", CREATED)
        for number in range(deeds):
            thread_id = self.random.choice(list(self.said))
            if self.random.random() < 0.6:
                await write(self.house, thread_id, *says(f"w{number}"))
                self.said[thread_id].append([*self.said[thread_id][-1], f"w{number}"])
            else:
                await self.fork(thread_id, f"fork{number}")

    async def fork(self, parent: str, child: str) -> None:
        version = self.random.randrange(1, len(self.said[parent]) + 1)
        fork = forked(self.house, parent, version)
        assert fork.parent_position is not None
        with self.house.log.reading() as reader:
            history = thread_view.segments_upto(reader, parent, version, fork.parent_position)
            rows = list(thread_view.walk(reader, history, newest_first=False))
        words = self.said[parent][version - 1]
        assert [row.item_id for row in rows] == [f"msg_{word}" for word in words]
        inserts: list[Event] = []
        versions = [words]
        # In the order in which they will stand, as the rules want it. Several may stand before the same one.
        for place in sorted(self.random.choices(range(len(rows)), k=self.random.randrange(4)) if rows else []):
            word = f"{child}i{len(inserts)}"
            before = Spot(stream=rows[place].stream, number=rows[place].number)
            inserts.append(message(word, id=f"msg_{word}").model_copy(update={"before": before}))
            stands = versions[-1].index(words[place])
            versions.append([*versions[-1][:stands], word, *versions[-1][stands:]])
        await write(self.house, child, fork, *inserts)
        self.said[child] = versions


@pytest.mark.parametrize("seed", range(30))
def test_what_forks_put_between_what_they_inherited_stands_there(seed: int) -> None:
    async def main() -> None:
        house = await House().open()
        families = Families(house, Random(seed))
        await families.grow(60)
        with house.log.reading() as reader:
            for thread_id, versions in families.said.items():
                for version, words in enumerate(versions, 1):
                    [recorded] = reader.stream(thread_id, after=version - 1, upto=version)
                    history = thread_view.segments(reader, thread_id, recorded.position)
                    upto = thread_view.segments_upto(reader, thread_id, version, recorded.position)
                    walk = partial(thread_view.walk, reader, history, as_of=recorded.position, page=2)
                    rows = list(walk(newest_first=False))
                    assert [row.item_id for row in rows] == [f"msg_{word}" for word in words]
                    assert list(walk()) == rows[::-1]
                    assert list(thread_view.walk(reader, upto)) == rows[::-1]
                    for place, row in enumerate(rows):
                        beyond = Place(row.stream, row.number)
                        assert list(walk(beyond=beyond, newest_first=False)) == rows[place + 1 :]
                        assert list(walk(beyond=beyond)) == rows[:place][::-1]
                        assert thread_view.message(reader, history, row.item_id, recorded.position) == row
        await house.close()

    asyncio.run(main())


def test_a_message_belongs_to_every_history_that_reaches_it() -> None:
    async def main() -> None:
        house = await House().open()
        await family(house)
        with house.log.reading() as reader:
            for thread_id, words in WORDS.items():
                history = thread_view.segments(reader, thread_id)
                found = [word for word in "abcdefgh" if thread_view.message(reader, history, f"msg_{word}")]
                assert "".join(found) == words
        await house.close()

    asyncio.run(main())


def test_nothing_is_copied_into_a_fork() -> None:
    async def main() -> None:
        house = await House().open()
        await family(house)
        with house.log.reading() as reader:
            [(items,)] = reader.rows("select count(*) from items")
        assert items == 8, "one row for each message that was ever said"
        await house.close()

    asyncio.run(main())


def test_a_fork_from_the_very_beginning_inherits_nothing() -> None:
    async def main() -> None:
        house = await House().open()
        await write(house, "root", CREATED, *says("a"))
        await write(house, "child", forked(house, "root", 1), *says("b"))
        with house.log.reading() as reader:
            rows = list(thread_view.walk(reader, thread_view.segments(reader, "child")))
            assert spoken(reader, rows) == "b"
        await house.close()

    asyncio.run(main())


def test_a_fork_does_not_see_what_its_parent_edits_later() -> None:
    async def main() -> str:
        house = await House().open()
        await write(house, "root", CREATED, *says("a"))
        await write(house, "child", forked(house, "root", 2))
        await write(house, "root", MessageEdited(message_id="msg_a", content=text("changed"), tokens_before=3))
        with house.log.reading() as reader:
            rows = list(thread_view.walk(reader, thread_view.segments(reader, "child")))
            said = spoken(reader, rows)
        await house.close()
        return said

    assert asyncio.run(main()) == "a"


def test_a_fork_may_edit_what_it_inherited() -> None:
    async def main() -> str:
        house = await House().open()
        await write(house, "root", CREATED, *says("a"))
        await write(house, "child", forked(house, "root", 2))
        await write(house, "child", MessageEdited(message_id="msg_a", content=text("changed"), tokens_before=3))
        with house.log.reading() as reader:
            rows = list(thread_view.walk(reader, thread_view.segments(reader, "child")))
            said = spoken(reader, rows)
        await house.close()
        return said

    assert asyncio.run(main()) == "changed"
