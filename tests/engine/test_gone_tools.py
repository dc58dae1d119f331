"""Calls that were under way when the process ended, and whose tool is not there any more when it starts again."""

from __future__ import annotations

import pytest

from clew.engine import calling
from clew.engine.driving import drive
from clew.engine.hand import Hand
from clew.engine.tools import Toolbox
from clew.events.run import RunCompleted
from clew.events.tool import Effect, ToolFailed, ToolInDoubt
from tests.engine.deadly import Deadly, results, told
from tests.engine.narrating import House


def test_a_pure_call_of_a_tool_that_is_gone_after_the_process_ended_fails_and_the_model_is_told() -> None:
    async def work(here: House) -> None:
        deadly = Deadly(here)
        run_id = await deadly.queue()
        await deadly.die(run_id, 1)
        await drive(Hand(here.driving("has no tools", toolbox=Toolbox()), here.thread_id, run_id))
        [failed] = here.of(run_id, ToolFailed)
        assert results(here) == [failed.output] == ["the tool look is not available on this server any more"]
        assert here.of(run_id, RunCompleted)

    told(work)


@pytest.mark.parametrize("effect", ["idempotent", "once"])
def test_a_call_that_may_have_done_something_is_in_doubt_where_its_tool_is_gone(effect: Effect) -> None:
    async def work(here: House) -> None:
        deadly = Deadly(here, effect)
        run_id = await deadly.queue()
        await deadly.die(run_id, 1)
        await drive(Hand(here.driving("has no tools", toolbox=Toolbox()), here.thread_id, run_id))
        [doubt] = here.of(run_id, ToolInDoubt)
        assert doubt.reason.endswith("and the tool is not available on this server any more")
        await deadly.settle(run_id, "happened")
        await drive(Hand(here.driving("has no tools", toolbox=Toolbox()), here.thread_id, run_id))
        assert here.of(run_id, RunCompleted)

    told(work)


def test_a_doubt_as_older_versions_told_it_is_played_again_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """They did not say that the tool was gone."""
    monkeypatch.setattr(calling, "_GONE", calling._DIED)

    async def work(here: House) -> None:
        deadly = Deadly(here, "idempotent")
        run_id = await deadly.queue()
        await deadly.die(run_id, 1)
        await drive(Hand(here.driving("has no tools", toolbox=Toolbox()), here.thread_id, run_id))
        assert [one.reason for one in here.of(run_id, ToolInDoubt)] == [calling._DIED]
        await deadly.settle(run_id, "happened")
        await drive(Hand(here.driving("has no tools", toolbox=Toolbox()), here.thread_id, run_id))
        assert here.of(run_id, RunCompleted)

    told(work)
