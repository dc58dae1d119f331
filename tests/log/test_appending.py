"""What every store promises to whoever appends and reads."""

from __future__ import annotations

import asyncio

import pytest

from clew.errors import Conflict, KeyReused, TooLarge
from clew.events import Event
from clew.events.content import text
from clew.events.message import MessageAppended
from clew.log import Log
from clew.log.codec import EVENT_BYTES_MAX
from tests.log.clocks import clock
from tests.log.stores import Opening, everything, said, words_of


def test_events_are_appended_in_order_with_positions_and_versions(log: Log) -> None:
    async def main() -> None:
        first = await log.append("thread-1", [said("a"), said("b")], after=0, actor="key_1")
        second = await log.append("thread-2", [said("c")], after=0)
        third = await log.append("thread-1", [said("d")], after=2)
        places = [(e.position, e.stream, e.version, e.actor) for done in (first, second, third) for e in done.events]
        assert places == [
            (1, "thread-1", 1, "key_1"),
            (2, "thread-1", 2, "key_1"),
            (3, "thread-2", 1, None),
            (4, "thread-1", 3, None),
        ]
        assert everything(log) == [*first.events, *second.events, *third.events]

    asyncio.run(main())


def test_a_conflict_leaves_nothing_behind(log: Log) -> None:
    async def main() -> None:
        await log.append("thread-1", [said("a")], after=0)
        for after in (0, 2, 7):
            with pytest.raises(Conflict) as raised:
                await log.append("thread-1", [said("b"), said("c")], after=after, key="k", fingerprint=b"f")
            assert (raised.value.stream, raised.value.expected, raised.value.found) == ("thread-1", after, 1)
        with pytest.raises(Conflict):
            await log.append("thread-new", [said("b")], after=1)
        assert words_of(everything(log)) == ["a"]
        assert log.first_outcome("k") is None
        await log.append("thread-1", [said("b")], after=1, key="k", fingerprint=b"f")
        assert words_of(everything(log)) == ["a", "b"]

    asyncio.run(main())


def test_an_event_that_is_too_large_leaves_nothing_behind(log: Log) -> None:
    large = MessageAppended(message_id="m", role="user", content=text("x" * EVENT_BYTES_MAX))

    async def main() -> None:
        with pytest.raises(TooLarge):
            await log.append("thread-1", [said("a"), large], after=0)
        assert everything(log) == []
        await log.append("thread-1", [said("a")], after=0)

    asyncio.run(main())


def test_a_key_that_was_seen_gives_its_first_outcome(log: Log) -> None:
    async def main() -> None:
        first = await log.append("thread-1", [said("a"), said("b")], after=0, key="k", fingerprint=b"f")
        assert not first.repeated
        for stream, after in (("thread-1", 0), ("thread-1", 2), ("thread-2", 0)):
            again = await log.append(stream, [said("other")], after=after, key="k", fingerprint=b"f")
            assert again.repeated
            assert again.events == first.events
        assert words_of(everything(log)) == ["a", "b"]
        assert log.first_outcome("k") == (b"f", "thread-1", 1, 2)
        assert log.first_outcome("other") is None

    asyncio.run(main())


def test_a_key_that_stands_for_another_request_is_refused(log: Log) -> None:
    async def main() -> None:
        await log.append("thread-1", [said("a")], after=0, key="k", fingerprint=b"f")
        with pytest.raises(KeyReused) as raised:
            await log.append("thread-1", [said("b")], after=1, key="k", fingerprint=b"g")
        assert raised.value.key == "k"
        assert words_of(everything(log)) == ["a"]

    asyncio.run(main())


def test_a_key_sent_many_times_at_once_counts_once(log: Log) -> None:
    async def main() -> None:
        def send(number: int) -> asyncio.Future[object]:
            stream = f"thread-{number % 3}"
            return asyncio.ensure_future(log.append(stream, [said("a")], after=0, key="k", fingerprint=b"f"))

        outcomes = await asyncio.gather(*(send(number) for number in range(30)))
        assert len({repr(getattr(outcome, "events", None)) for outcome in outcomes}) == 1
        assert sum(not getattr(outcome, "repeated", True) for outcome in outcomes) == 1
        assert len(everything(log)) == 1

    asyncio.run(main())


@pytest.mark.parametrize(
    ("after", "upto", "limit", "expected"),
    [
        (0, None, None, [1, 2, 3, 4, 5]),
        (2, None, None, [3, 4, 5]),
        (2, 4, None, [3, 4]),
        (0, 0, None, []),
        (5, None, None, []),
        (9, 12, None, []),
        (1, None, 2, [2, 3]),
    ],
)
def test_a_stream_is_read_in_ranges(
    log: Log, after: int, upto: int | None, limit: int | None, expected: list[int]
) -> None:
    async def main() -> None:
        await log.append("thread-1", [said(str(number)) for number in range(1, 6)], after=0)
        await log.append("thread-2", [said("other")], after=0)
        with log.reading() as reader:
            found = reader.stream("thread-1", after=after, upto=upto, limit=limit)
            assert [recorded.version for recorded in found] == expected
            backwards = reader.stream("thread-1", after=after, upto=upto, newest_first=True)
            if limit is None:
                assert [recorded.version for recorded in backwards] == expected[::-1]

    asyncio.run(main())


def test_what_is_not_there_reads_as_nothing(log: Log) -> None:
    with log.reading() as reader:
        assert reader.stream("thread-none") == []
        assert (reader.head(), reader.version("thread-none"), reader.position_at(10**18)) == (0, 0, 0)
        assert reader.follow(0, 10) == []
        assert reader.events([7]) == {}


def test_events_are_found_by_position(log: Log) -> None:
    async def main() -> None:
        done = await log.append("thread-1", [said(str(number)) for number in range(1_200)], after=0)
        for cached in (True, False):
            if not cached:
                log.cache.clear()
            with log.reading() as reader:
                found = reader.events(range(1, 1_201))
            assert [found[position] for position in sorted(found)] == done.events
        with log.reading() as reader:
            assert (reader.head(), reader.version("thread-1")) == (1_200, 1_200)
            assert [e.position for e in reader.follow(1_190, 4)] == [1_191, 1_192, 1_193, 1_194]

    asyncio.run(main())


def test_what_is_read_is_what_was_appended_whatever_its_kind(log: Log) -> None:
    events: list[Event] = [said("a"), MessageAppended(message_id="m", role="user", content=text("🧶 \x00 \u2028"))]

    async def main() -> None:
        await log.append("thread-ü", events, after=0, actor="clé")
        assert [(r.stream, r.actor, r.event) for r in everything(log)] == [("thread-ü", "clé", e) for e in events]

    asyncio.run(main())


def test_times_never_go_back(log: Log) -> None:
    times = iter((50, 40, 60, 10))

    async def main() -> None:
        with clock(lambda: next(times)):
            for version in range(4):
                await log.append("thread-1", [said("a")], after=version)
        assert [recorded.at for recorded in everything(log)] == [50, 50, 60, 60]

    asyncio.run(main())


def test_a_time_is_turned_into_the_newest_position_that_is_not_later(log: Log) -> None:
    times = iter((10, 20, 20, 30))

    async def main() -> None:
        with clock(lambda: next(times)):
            for version in range(4):
                await log.append("thread-1", [said("a")], after=version)
        with log.reading() as reader:
            found = {at: reader.position_at(at) for at in (9, 10, 15, 20, 29, 30, 99)}
        assert found == {9: 0, 10: 1, 15: 1, 20: 3, 29: 3, 30: 4, 99: 4}

    asyncio.run(main())


def test_what_was_acknowledged_is_there_after_reopening(opening: Opening) -> None:
    if not opening.kind.lasting:
        pytest.skip(f"{opening.kind.name} is gone when it is closed")
    log = opening()

    async def before() -> None:
        await log.append("thread-1", [said("a"), said("b")], after=0, key="k", fingerprint=b"f", actor="key_1")

    asyncio.run(before())
    written = everything(log)
    opening.close(log)
    again = opening()
    assert everything(again) == written

    async def after() -> None:
        with pytest.raises(Conflict):
            await again.append("thread-1", [said("c")], after=0)
        assert (await again.append("thread-9", [said("c")], after=0, key="k", fingerprint=b"f")).events == written
        assert (await again.append("thread-1", [said("c")], after=2)).events[0].position == 3

    asyncio.run(after())


def test_a_reader_keeps_its_moment_while_others_append(opening: Opening) -> None:
    if not opening.kind.snapshots:
        pytest.skip(f"in {opening.kind.name} readers and the writer take turns")
    log = opening()

    async def main() -> None:
        await log.append("thread-1", [said("a")], after=0)
        with log.reading() as reader:
            assert reader.head() == 1
            await log.append("thread-1", [said("b")], after=1)
            assert reader.head() == 1
            assert words_of(reader.stream("thread-1")) == ["a"]
            with log.reading() as newer:
                assert newer.head() == 2

    asyncio.run(main())
