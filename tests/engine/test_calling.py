"""Calls of the server's tools in a run: whatever a tool or its probe does, the run goes on and the model is told."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from clew.engine.tools import Probe, ServerTool, Toolbox
from clew.events.run import RunCompleted
from clew.events.tool import ToolFailed, ToolInDoubt, ToolReturned, ToolSettled
from tests.engine.narrating import House, config, house, words
from tests.rigs import misbehaving


def told(work: Callable[[House], Awaitable[None]]) -> None:
    """With a model that calls the tool `look` once. What happens would happen again."""

    async def main() -> None:
        async with house() as here:
            here.model.calls = 1
            await here.begin(words(0))
            await asyncio.wait_for(work(here), 20)
            await here.happens_again()

    asyncio.run(main())


async def run(here: House, *tools: ServerTool) -> str:
    return await here.run(config("auto", None), toolbox=Toolbox(tools))


@pytest.mark.parametrize("function", misbehaving.FAILURES, ids=lambda function: function.__name__)
def test_the_model_is_told_of_a_call_that_failed_and_the_run_goes_on_to_its_end(function: Callable[..., Any]) -> None:
    async def work(here: House) -> None:
        run_id = await run(here, ServerTool("look", function))
        [failed] = here.of(run_id, ToolFailed)
        assert failed.reason == "error"
        assert here.model.sent[-1]["messages"][-1] == {
            "role": "tool",
            "tool_call_id": failed.tool_call_id,
            "content": failed.output,
        }
        assert here.of(run_id, RunCompleted)

    told(work)


async def never_in_time() -> None:
    await asyncio.sleep(30)


def doubtful(probe: Probe) -> ServerTool:
    return ServerTool("look", never_in_time, "once", timeout_seconds=0.2, probe=probe)


def _raises_half_a_character(key: str) -> Any:
    raise ValueError(misbehaving.HALF)


async def _never_answers(key: str) -> Any:
    await asyncio.sleep(30)


async def _exits(key: str) -> Any:
    sys.exit(1)


class _NeverSaysWhy(Exception):
    def __str__(self) -> str:
        time.sleep(0.5)
        return "at last"


def _never_says_why(key: str) -> Any:
    raise _NeverSaysWhy


async def _never_says_why_as_a_coroutine(key: str) -> Any:
    raise _NeverSaysWhy


FAILED_PROBES: dict[str, Callable[[str], Any]] = {
    "exits": lambda key: sys.exit(1),
    "exits as a coroutine": _exits,
    "raises half a character": _raises_half_a_character,
    "raises without text": lambda key: misbehaving.raises_unprintable(),
    "raises what has no class": lambda key: misbehaving.raises_what_has_no_class(),
    "says what has no class": lambda key: misbehaving.returns_what_has_no_class(),
    "tells what has no class": lambda key: ("happened", misbehaving.returns_what_has_no_class()),
    "says no word": lambda key: (misbehaving.returns_what_has_no_class(), "it did"),
    "never says why": _never_says_why,
    "never says why as a coroutine": _never_says_why_as_a_coroutine,
    "never answers": _never_answers,
    "takes too long in its thread": lambda key: time.sleep(0.5),
    "says another word": lambda key: ("perhaps", "who knows"),
    "says nothing": lambda key: None,
    "says too much": lambda key: ("happened", "it did", "really"),
    "tells no text": lambda key: ("happened", {"it": "did"}),
    "tells half a character": lambda key: ("happened", misbehaving.HALF),
    "tells nothing of what did not happen": lambda key: ("did_not_happen", None),
}


@pytest.mark.parametrize("name", FAILED_PROBES)
def test_after_a_probe_that_fails_a_person_is_asked(name: str, caplog: pytest.LogCaptureFixture) -> None:
    async def work(here: House) -> None:
        run_id = await run(here, doubtful(FAILED_PROBES[name]))
        assert here.of(run_id, ToolInDoubt)
        assert here.kinds(run_id)[-1] == "tool.in_doubt"
        assert "the probe of look failed" in caplog.text

    told(work)


def test_the_log_does_not_tell_what_a_probe_says_as_it_fails(caplog: pytest.LogCaptureFixture) -> None:
    def probe(key: str) -> Any:
        raise ValueError("what the user said")

    async def work(here: House) -> None:
        await run(here, doubtful(probe))
        assert "ValueError" in caplog.text
        assert "what the user said" not in caplog.text

    told(work)


async def _happened(key: str) -> Any:
    return "happened", f"done {key.startswith('run_')}"


@pytest.mark.parametrize("probe", [_happened, lambda key: _happened(key), lambda key: ("happened", "done True")])
def test_a_probe_may_be_a_coroutine_too(probe: Probe) -> None:
    async def work(here: House) -> None:
        run_id = await run(here, doubtful(probe))
        [settled] = here.of(run_id, ToolSettled)
        assert (settled.outcome, settled.output, settled.by) == ("happened", "done True", "probe")
        assert here.of(run_id, RunCompleted)

    told(work)


def test_what_a_probe_tells_is_cut_as_an_output_is() -> None:
    async def work(here: House) -> None:
        await run(here, doubtful(lambda key: ("happened", "x" * 100_000)))
        [settled] = [event for event in here.events() if isinstance(event, ToolSettled)]
        assert settled.output.endswith("[cut: 100000 bytes, the first 64000 are shown]")

    told(work)


def test_a_tool_beside_one_that_fails_returns() -> None:
    async def work(here: House) -> None:
        here.model.calls = 2
        times = iter((True, False))

        def look() -> str:
            if next(times):
                sys.exit(1)
            return "seen"

        run_id = await run(here, ServerTool("look", look))
        assert len(here.of(run_id, ToolFailed)) == len(here.of(run_id, ToolReturned)) == 1

    told(work)
