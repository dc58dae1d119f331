"""The board of runs: who may claim what, and when, by the clock of the database."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest

import clew_projections
from clew.desk import Desk
from clew.log import Cursor, Log, SqliteStore
from clew.projecting import Keeper, discover
from clew.rules.commands import CreateThread, StartRun
from clew.rules.parts import Claim
from clew_projections import run_board
from tests.rules.example import R, T, new_message, queue_run
from tests.simulation.tables import AtOnce

_SECOND = 1_000_000


@dataclass
class Board:
    """One run on a log of its own, and a clock that is set by hand."""

    now: int = 1_800_000_000 * _SECOND
    log: Log = field(init=False)
    desk: Desk = field(init=False)

    async def begin(self) -> None:
        keeper = Keeper(discover(clew_projections))
        store = SqliteStore(None, clock=lambda: self.now)
        self.log = Log(store, keeper.inline, keeper.forget, keeper.swapped, AtOnce)
        await keeper.prepare(self.log)
        self.desk = Desk(self.log)
        created = CreateThread(
            thread_id=T,
            tenant="t",
            dialect="openai",
            metadata={},
            tool_resources={},
            messages=(new_message(),),
            run=queue_run(expires_at=None),
        )
        await self.desk.on_thread(T, lambda: created, new=True)

    async def claim(self, worker: str) -> list[str]:
        def work(cursor: Cursor) -> list[run_board.BoardRow]:
            return run_board.claim(cursor, worker=worker, lease_microseconds=_SECOND, limit=10)

        return [row.run_id for row in await self.log.write(work)]

    async def start(self, worker: str, fence: int = 0) -> None:
        claim = Claim(worker=worker, lease_seconds=1.0)
        await self.desk.on_thread(T, lambda: StartRun(thread_id=T, run_id=R, fence=fence, claim=claim))


@pytest.fixture
def board() -> Board:
    return Board()


def test_a_lease_begins_when_the_run_is_taken_and_not_when_it_is_claimed(board: Board) -> None:
    async def main() -> list[list[str]]:
        await board.begin()
        found = [await board.claim("w1")]
        board.now += _SECOND * 9 // 10
        await board.start("w1")
        board.now += _SECOND * 9 // 10
        found.append(await board.claim("w2"))
        board.now += _SECOND
        found.append(await board.claim("w2"))
        board.log.close()
        return found

    assert asyncio.run(main()) == [[R], [], [R]]


def test_a_lease_that_was_given_back_is_over_at_once(board: Board) -> None:
    async def main() -> list[list[str]]:
        await board.begin()
        found = [await board.claim("w1")]
        await board.start("w1")
        await board.log.write(lambda cursor: cursor.execute("update leases set until = 0"))
        found.append(await board.claim("w2"))
        board.log.close()
        return found

    assert asyncio.run(main()) == [[R], [R]]
