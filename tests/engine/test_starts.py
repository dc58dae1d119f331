"""What ends the process each time it is started is given up, and what was beside it comes to its end.

A driver that dies is one that is cancelled: what it has begun is in the log, and nothing else of it is heard.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from clew.engine.driving import drive
from clew.engine.hand import Bounds, Hand
from clew.engine.tools import ServerTool, Toolbox
from clew.events.model import ModelCalled, ModelFailed
from clew.events.run import RunCompleted, RunFailed, RunStarted
from clew.events.tool import (
    Effect,
    ToolFailed,
    ToolInDoubt,
    ToolReturned,
    ToolSettled,
    ToolStarted,
)
from tests.engine.deadly import Deadly, die, results, told
from tests.engine.narrating import House, config, words

# As an engine of before drove: for ever, and side by side.
UNBOUNDED: dict[str, Any] = {"bounds": Bounds(10_000, 10_000, 10_000), "in_turn": False}


def test_a_pure_call_with_which_the_process_ended_five_times_fails_and_the_model_is_told() -> None:
    async def work(here: House) -> None:
        deadly = Deadly(here)
        run_id = await deadly.queue()
        await deadly.die(run_id, 5)
        await deadly.survive(run_id)
        assert len(here.of(run_id, ToolStarted)) == 5
        [failed] = here.of(run_id, ToolFailed)
        assert failed.reason == "error"
        assert results(here) == [failed.output]
        assert failed.output == "look was started 5 times and the process ended each time; it is not started again"
        assert here.of(run_id, RunCompleted)

    told(work)


def test_a_call_that_four_deployments_hit_returns() -> None:
    async def work(here: House) -> None:
        deadly = Deadly(here)
        run_id = await deadly.queue()
        await deadly.die(run_id, 4)
        deadly.deadly = ()
        await deadly.survive(run_id)
        assert results(here) == ["seen by 0"]

    told(work)


def test_an_idempotent_call_with_which_the_process_ended_five_times_may_have_happened() -> None:
    async def work(here: House) -> None:
        deadly = Deadly(here, "idempotent", in_doubt="tell_model")
        run_id = await deadly.queue()
        await deadly.die(run_id, 5)
        await deadly.survive(run_id)
        [doubt], [settled] = here.of(run_id, ToolInDoubt), here.of(run_id, ToolSettled)
        assert doubt.reason == "look was started 5 times and the process ended each time"
        assert (settled.outcome, settled.by) == ("unknown", "policy tell_model")
        assert results(here) == [f"It is not known whether the call of look happened: {doubt.reason}."]
        assert here.of(run_id, RunCompleted)

    told(work)


def test_a_person_may_have_a_call_made_again_that_was_given_up() -> None:
    async def work(here: House) -> None:
        deadly = Deadly(here, "idempotent")
        run_id = await deadly.queue()
        await deadly.die(run_id, 5)
        await deadly.survive(run_id)
        deadly.deadly = ()
        await deadly.settle(run_id, "did_not_happen")
        await deadly.survive(run_id)
        assert results(here) == ["seen by 0"]

    told(work)


def test_a_probe_that_says_each_time_that_nothing_happened_is_not_believed_for_ever() -> None:
    async def work(here: House) -> None:
        deadly = Deadly(here, "once", probe=lambda key: ("did_not_happen", ""))
        run_id = await deadly.queue()
        await deadly.die(run_id, 5)
        await deadly.survive(run_id)
        assert len(here.of(run_id, ToolStarted)) == 5
        assert results(here) == ["look was started 5 times and nothing came of it; it is not started again"]
        assert here.of(run_id, RunCompleted)

    told(work)


def test_a_probe_with_which_the_process_ends_each_time_is_not_asked_for_ever(caplog: pytest.LogCaptureFixture) -> None:
    async def work(here: House) -> None:
        asked = asyncio.Event()

        async def probe(key: str) -> Any:
            asked.set()
            await asyncio.sleep(60)

        deadly = Deadly(here, "once", probe=probe)
        run_id = await deadly.queue()
        await deadly.die(run_id, 1)
        driving = here.driving("dies", toolbox=Toolbox([deadly.tool]))
        for _ in range(10):
            await die(Hand(driving, here.thread_id, run_id), asked)
        asked.clear()
        for _ in range(3):
            await deadly.survive(run_id)
        assert not asked.is_set()
        assert len(here.of(run_id, RunStarted)) == 11
        assert "no probe is asked any more" in caplog.text
        await deadly.settle(run_id, "happened")
        await deadly.survive(run_id)
        assert here.of(run_id, RunCompleted)

    told(work)


def test_a_probe_that_only_fails_is_asked_by_the_next_worker(caplog: pytest.LogCaptureFixture) -> None:
    async def work(here: House) -> None:
        says = iter((None, ("happened", "it did")))
        deadly = Deadly(here, "once", probe=lambda key: next(says))
        run_id = await deadly.queue()
        await deadly.die(run_id, 1)
        await deadly.survive(run_id)
        assert here.kinds(run_id)[-1] == "tool.in_doubt"
        await deadly.survive(run_id)
        assert results(here) == ["it did"]

    told(work)


def test_a_call_that_takes_too_long_and_did_not_happen_is_not_made_for_ever() -> None:
    async def work(here: House) -> None:
        deadly = Deadly(here, "once", timeout_seconds=0.02, probe=lambda key: ("did_not_happen", ""))
        run_id = await deadly.queue()
        await deadly.survive(run_id)
        assert len(here.of(run_id, ToolStarted)) == 5
        assert here.of(run_id, RunCompleted)

    told(work)


def test_calls_beside_the_one_that_ends_the_process_come_to_their_end() -> None:
    async def work(here: House) -> None:
        deadly = Deadly(here, "idempotent", deadly=(1,), in_doubt="tell_model")
        run_id = await deadly.queue()
        await deadly.die(run_id, 5)
        await deadly.survive(run_id)
        assert deadly.made.count(1) == 5
        assert {deadly.made.count(place) for place in (0, 2)} <= {1, 2}
        assert len(here.of(run_id, ToolReturned)) == 2
        given_up, *returned = sorted(results(here))
        assert returned == ["seen by 0", "seen by 2"]
        assert "was started 5 times" in given_up

    told(work, calls=3)


def test_calls_of_other_runs_that_were_started_twice_wait_for_each_other() -> None:
    async def work(here: House) -> None:
        threads = []
        deadly = Deadly(here)
        for _ in range(2):
            await here.begin(words(0))
            run_id = await deadly.queue()
            await deadly.die(run_id, 2)
            threads.append((here.thread_id, run_id))
        at_once, most = 0, 0

        async def look() -> str:
            nonlocal at_once, most
            at_once += 1
            most = max(most, at_once)
            await asyncio.sleep(0.1)
            at_once -= 1
            return "seen"

        driving = here.driving("survives", toolbox=Toolbox([ServerTool("look", look, "pure")]))
        await asyncio.gather(*(drive(Hand(driving, *one)) for one in threads))
        assert most == 1
        assert here.of(threads[1][1], RunCompleted)

    told(work)


def test_a_cancelled_run_does_not_wait_for_its_turn() -> None:
    async def work(here: House) -> None:
        deadly = Deadly(here)
        run_id = await deadly.queue()
        await deadly.die(run_id, 2)
        driving = here.driving("waits", toolbox=Toolbox([deadly.tool]))
        async with driving.alone:
            driver = asyncio.create_task(drive(Hand(driving, here.thread_id, run_id)))
            await asyncio.sleep(0.1)
            assert deadly.made == [0, 0]
            driver.cancel()
            await asyncio.wait({driver})
        deadly.deadly = ()
        await deadly.survive(run_id)

    told(work)


def test_calls_end_with_the_driver_that_is_told_to_end() -> None:
    async def work(here: House) -> None:
        begun = asyncio.Event()
        ended: list[str] = []

        async def look() -> str:
            begun.set()
            try:
                await asyncio.sleep(0.0 if ended else 60)
            finally:
                ended.append("look")
            return "seen"

        driving = here.driving(toolbox=Toolbox([ServerTool("look", look, "pure")]))
        run_id = await here.queue(config("auto", None))
        await die(Hand(driving, here.thread_id, run_id), begun)
        assert ended == ["look"]
        await drive(Hand(driving, here.thread_id, run_id))

    told(work)


async def die_asking(here: House, run_id: str, times: int, **more: Any) -> None:
    """So many drivers die while a model answers that never does."""
    for _ in range(times):
        await die(Hand(here.driving("dies", **more), here.thread_id, run_id), here.model.asked)


def test_a_model_call_with_which_the_process_ended_each_time_fails_as_often_as_any_other() -> None:
    async def work(here: House) -> None:
        here.model.silent = True
        run_id = await here.queue(config("auto", None))
        await die_asking(here, run_id, 3, model_attempts_max=3)
        await drive(Hand(here.driving(model_attempts_max=3), here.thread_id, run_id))
        failures = here.of(run_id, ModelFailed)
        assert [(one.code, one.final) for one in failures] == [("lost", False), ("lost", False), ("lost", True)]
        [failed] = here.of(run_id, RunFailed)
        assert (failed.code, failed.message) == ("lost", failures[-1].message)
        assert "attempt 3, the last one" in failed.message

    told(work)


def test_a_run_that_is_taken_and_never_makes_progress_ends() -> None:
    async def work(here: House) -> None:
        here.model.silent = True
        run_id = await here.queue(config("auto", None))
        await die_asking(here, run_id, 1)
        for _ in range(9):
            hand = Hand(here.driving(), here.thread_id, run_id)
            run = hand.run()
            assert run is not None
            await hand.take(run)
        await drive(Hand(here.driving(), here.thread_id, run_id))
        assert len(here.of(run_id, RunStarted)) == 11
        [failed] = here.of(run_id, RunFailed)
        assert failed.code == "server_error"
        assert "made no progress" in failed.message
        assert len(here.of(run_id, ModelCalled)) == 1

    told(work)


def test_a_run_may_be_taken_as_often_as_the_model_may_be_asked() -> None:
    async def work(here: House) -> None:
        here.model.silent = True
        run_id = await here.queue(config("auto", None))
        await die_asking(here, run_id, 14, model_attempts_max=14)
        await drive(Hand(here.driving(model_attempts_max=14), here.thread_id, run_id))
        [failed] = here.of(run_id, RunFailed)
        assert failed.code == "lost"
        assert len(here.of(run_id, ModelCalled)) == 14

    told(work)


@pytest.mark.parametrize("effect", ["pure", "idempotent"])
def test_what_an_engine_without_bounds_did_happens_again_as_it_did(effect: Effect) -> None:
    async def work(here: House) -> None:
        deadly = Deadly(here, effect, deadly=(0, 1))
        here.model.silent = True
        run_id = await deadly.queue()
        await die_asking(here, run_id, 12, **UNBOUNDED)
        here.model.silent = False
        await deadly.die(run_id, 12, **UNBOUNDED)
        deadly.deadly = ()
        await deadly.survive(run_id, **UNBOUNDED)
        assert len(here.of(run_id, ToolStarted)) > 13
        assert here.of(run_id, RunCompleted)

    told(work, calls=2)
