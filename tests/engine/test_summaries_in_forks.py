"""Summaries and forks: a fork has those that its parent had by then, unless it says otherwise what they tell of."""

from __future__ import annotations

import pytest

from clew.engine.forking import Drop, Otherwise, Replace, fork
from clew.events.content import text
from clew.events.message import MessageAppended
from clew.events.thread import ThreadCompacted
from clew_projections import thread_view
from tests.engine.narrating import House, config, shown, told, words


@pytest.mark.parametrize("kind", ["as it is", "newest otherwise", "first otherwise", "first dropped"])
def test_a_fork_has_the_summary_unless_it_says_otherwise_what_that_tells_of(kind: str) -> None:
    async def work(here: House) -> None:
        await here.run(config())
        messages = [event for event in here.events() if isinstance(event, MessageAppended)]
        edits: dict[str, list[Otherwise]] = {
            "as it is": [],
            "newest otherwise": [Replace(messages[-1].message_id, text("Another answer."))],
            "first otherwise": [Replace(messages[0].message_id, text("Another beginning."))],
            "first dropped": [Drop(messages[0].message_id)],
        }
        made = await fork(here.engine.log, here.engine.desk, here.thread_id, dialect="test", edits=edits[kind])
        here.thread_id = made.stream
        stands = kind in ("as it is", "newest otherwise")
        run_id = await here.ask("And then?", config(n=300))
        assert ("(1)" in shown(here.model.sent[-1])[1]) == stands
        await here.say(*(words(number) for number in range(8, 24)))
        grown = await here.run(config(n=300))
        fresh = [e for e in here.events() if isinstance(e, ThreadCompacted)]
        assert [e.run_id for e in fresh] == [grown] * len(fresh)
        assert fresh
        assert fresh[-1].first_stream == messages_of(made.stream, here)
        assert ("(1)" in shown(here.model.told[1])[1]) == stands
        assert run_id != grown
        again = await fork(here.engine.log, here.engine.desk, here.thread_id, dialect="test")
        here.thread_id = again.stream
        await here.ask("Once more.", config("auto", None))
        assert f"({len(here.model.told)})" in shown(here.model.sent[-1])[1]

    told(work)


def messages_of(child: str, here: House) -> str:
    """The stream that the oldest message of the thread is of."""
    with here.reading() as reader:
        segment: str = thread_view.segments(reader, child)[0].stream
        return segment


def test_a_fork_from_before_the_summary_has_none() -> None:
    async def work(here: House) -> None:
        await here.run(config())
        made = await fork(here.engine.log, here.engine.desk, here.thread_id, dialect="test", version=9)
        here.thread_id = made.stream
        await here.run(config("auto", None))
        assert shown(here.model.sent[-1]) == ["Be brief.", *(words(number) for number in range(8))]

    told(work)
