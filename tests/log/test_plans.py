"""How the databases go about questions that must not cost what the log has: they are asked, not timed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clew.events.thread import ThreadChanged
from clew.ids import new_id
from clew.log import Log, Reader, open_store
from tests.rigs.explaining import Explaining

QUESTIONS: dict[str, Callable[[Reader], object]] = {
    "events": lambda reader: reader.events([1, 2]),
    "stream": lambda reader: reader.stream("thread_1", after=3, limit=5),
    "follow": lambda reader: reader.follow(7, 10),
    "sealed": lambda reader: reader.sealed(7, 10),
    "evidence": lambda reader: reader.evidence(7, 10),
    "evidence of a stream": lambda reader: reader.evidence(7, 10, "thread_1"),
    "hashes": lambda reader: reader.hashes(7, 10),
    "version": lambda reader: reader.version("thread_1"),
    "version as of": lambda reader: reader.version("thread_1", 7),
    "position at": lambda reader: reader.position_at(1),
    "times": lambda reader: reader.times_of([1, 2]),
}


class Headless(Explaining):
    def head(self) -> int:
        """One step from the end of the table, which SQLite calls a scan."""
        return 7


@pytest.mark.parametrize("name", QUESTIONS)
def test_in_sqlite_a_question_reads_what_it_asks_for_and_not_the_log(name: str, tmp_path: Path) -> None:
    async def main() -> Headless:
        log = Log(open_store(str(tmp_path / "log.db")))
        await log.append("thread_1", [ThreadChanged(metadata={})], after=0)
        with log.store.snapshot() as cursor:
            reader = Headless(cursor, "events")
            QUESTIONS[name](reader)
        log.close()
        return reader

    reader = asyncio.run(main())
    of_events = [plan for plan in reader.plans if " events" in plan]
    assert of_events, reader.plans
    for plan in of_events:
        assert plan.startswith("SEARCH"), plan
        assert any(by in plan for by in ("rowid>?", "rowid=?", "rowid<?", "originator_id=?")), plan


def test_postgresql_finds_the_end_of_a_stream_in_a_log_that_has_grown_since_it_planned(postgres_dsn: str) -> None:
    """It plans for the log that it finds, and keeps the plan of what is prepared."""

    def plan(cursor: Any) -> str:
        cursor.execute("select name from pg_prepared_statements where statement like 'select given.stream%'")
        [(name,)] = cursor.fetchall()
        cursor.execute(f"explain execute {name} (array['thread_1'])")
        return "\n".join(line for (line,) in cursor.fetchall())

    async def main() -> str:
        log = Log(open_store(postgres_dsn))
        event = ThreadChanged(metadata={"said": "about as much as there is in a short message, and certainly no more"})
        for _ in range(20):
            await asyncio.gather(*(log.append(new_id("thread"), [event], after=0) for _ in range(20)))
        found = await log.write(plan)
        log.close()
        return found

    found = asyncio.run(main())
    assert "events_stream" in found, found
    assert "originator_id = given.stream" in found.partition("Index Cond")[2], found
