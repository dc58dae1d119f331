"""The worker: what it does when something in it breaks."""

from __future__ import annotations

import asyncio
from unittest.mock import patch

import clew_projections
from clew.bus import Bus
from clew.desk import Desk
from clew.engine import worker as workers
from clew.engine.hand import Driving, Hand
from clew.engine.tools import Toolbox
from clew.log import Log, SqliteStore
from clew.projecting import Keeper, discover
from clew.rules.commands import CreateThread, StartRun
from clew.rules.parts import Claim
from clew.rules.state import ActiveRun
from tests.rules.example import R, T, new_message, queue_run
from tests.simulation.tables import AtOnce


def run_after_breaking_off(*, taken_by_another: bool) -> ActiveRun | None:
    """What becomes of a run whose driver breaks, before or after somebody else has taken it."""

    async def main() -> ActiveRun | None:
        keeper = Keeper(discover(clew_projections))
        log = Log(SqliteStore(None), keeper.inline, keeper.forget, keeper.swapped, AtOnce)
        await keeper.prepare(log)
        desk = Desk(log)
        created = CreateThread(
            thread_id=T,
            tenant="t",
            dialect="openai",
            metadata={},
            tool_resources={},
            messages=(new_message(),),
            run=queue_run(expires_at=None),
        )
        await desk.on_thread(T, lambda: created, new=True)
        broke = asyncio.Event()

        async def drive(hand: Hand) -> None:
            if taken_by_another:
                other = Claim(worker="w2", lease_seconds=30.0)
                await desk.on_thread(T, lambda: StartRun(thread_id=T, run_id=R, fence=0, claim=other))
            broke.set()
            raise ValueError("a fault of ours")

        driving = Driving(log=log, desk=desk, bus=Bus(), providers={}, toolbox=Toolbox(), worker="w1")
        worker = workers.Worker(driving, alone=False)
        with patch.object(workers, "drive", drive):
            worker.start()
            await asyncio.wait_for(broke.wait(), 5)
            await worker.stop(grace_seconds=5)
        run = desk.thread(T).run
        log.close()
        return run

    return asyncio.run(main())


def test_a_run_that_became_somebody_elses_is_not_ended_by_who_broke() -> None:
    run = run_after_breaking_off(taken_by_another=True)
    assert run is not None
    assert (run.status, run.fence) == ("in_progress", 1)


def test_a_run_whose_driver_broke_does_not_lock_its_thread() -> None:
    assert run_after_breaking_off(taken_by_another=False) is None
