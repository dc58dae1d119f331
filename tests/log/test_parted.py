"""A store whose events are parted by stream, as benchmarks/README.md tells how, is a store like any other.

The log's promises are tried on it by the tests of all stores; here is what is particular, and a run through it all.
"""

from __future__ import annotations

import asyncio
from collections import Counter

import psycopg
import pytest

import clew
from clew.engine.counting import new_message
from clew.events.content import text
from clew.events.run import RunConfig
from clew.ids import new_id
from clew.log import Log, open_store
from clew.rules.commands import CreateThread, QueueRun
from tests.log.stores import part_by_stream, said
from tests.log.verifying import holds_together
from tests.rigs.commands import shown

STREAMS = 40


@pytest.fixture
def parted(postgres_dsn: str) -> str:
    part_by_stream(postgres_dsn)
    return postgres_dsn


def test_streams_lie_in_all_tables_and_each_in_one(parted: str) -> None:
    log = Log(open_store(parted))

    async def main() -> None:
        for version in range(3):
            appends = (log.append(f"thread-{n}", [said(str(version))], after=version) for n in range(STREAMS))
            await asyncio.gather(*appends)

    asyncio.run(main())
    with log.reading() as reader:
        holds_together(reader.sealed(0, 1_000))
        rows = reader.rows("select tableoid::regclass::text, originator_id from events")
    log.close()
    assert {table for table, _ in rows} == {f"events_{number}" for number in range(4)}
    tables_of_a_stream = Counter(stream for _, stream in set(map(tuple, rows)))
    assert set(tables_of_a_stream.values()) == {1}
    assert len(tables_of_a_stream) == STREAMS


def plan(dsn: str, sql: str) -> str:
    with psycopg.connect(dsn, options="-c search_path=clew -c enable_seqscan=off") as connection:
        return "\n".join(row[0] for row in connection.execute(f"explain (costs off) {sql}".encode()))


def test_a_stream_is_read_from_one_table_and_the_log_from_all_in_order(parted: str) -> None:
    one = plan(
        parted,
        "select state from events where partition = 0 and originator_id = 'thread-1' and originator_version > 7"
        " order by originator_version",
    )
    assert one.count("Index Scan") == 1, one
    every = plan(
        parted, "select state from events where partition = 0 and notification_id > 7 order by notification_id limit 9"
    )
    assert "Merge Append" in every, every
    assert every.count("Index Scan") == 4, every
    assert "Sort Key: events.notification_id" in every, every
    assert "->  Sort" not in every, every


def test_a_conversation_goes_through_the_engine(parted: str) -> None:
    thread_id, run_id = new_id("thread"), new_id("run")

    async def main() -> list[str]:
        config = RunConfig(provider="scripted", model="echo", asked_model="echo", instructions="Listen.", stream=True)
        run = QueueRun(thread_id=thread_id, run_id=run_id, dialect="test", config=config, expires_at=None, metadata={})
        command = CreateThread(
            thread_id=thread_id,
            tenant="default",
            dialect="test",
            metadata={},
            tool_resources={},
            messages=(new_message("user", text("Hello")),),
            run=run,
        )
        async with clew.open(parted, default_provider="scripted") as engine:
            await engine.desk.on_thread(thread_id, lambda: command, new=True)
            kinds = []
            async for heard in engine.feed.follow(thread_id, 0):
                kinds.append(getattr(getattr(heard, "event", None), "kind", ""))
                if kinds[-1] == "run.completed":
                    return kinds
        raise AssertionError("the run has no end")

    kinds = asyncio.run(asyncio.wait_for(main(), 30))
    assert kinds[0] == "thread.created"
    assert "model.answered" in kinds
    assert "You said: Hello" in shown("show", thread_id, store=parted)
    assert "BAD" not in shown("doctor", store=parted)
