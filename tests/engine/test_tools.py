"""Tools of others: whatever one does, its call comes to a result, or to a failure that the model can be told."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import pytest
from pydantic import BaseModel

from clew.engine.foreign_loop import CallerLoop, ThreadLoop
from clew.engine.tools import Result, ServerTool, Toolbox, ToolCallInfo
from clew.events.tool import ToolFailed, ToolReturned
from clew.log import codec
from clew.rules.calls import finish_tool
from clew.rules.commands import FinishTool
from clew.rules.thread import thread_rules
from tests.rigs import misbehaving
from tests.rigs.processes import ROOT
from tests.rules.example import SERVER_CALL, R, T, tool_started

INFO = ToolCallInfo("thread_1", "run_1", "call_1", "run_1_call_1", 1)
_LIMIT_SECONDS = 20


_boxes = [Toolbox()]


@pytest.fixture(autouse=True, params=["in the same event loop", "in one apart"])
def box(request: pytest.FixtureRequest) -> Iterator[None]:
    """What is true of a library, whose tools run in the event loop of its user, is true of a server."""
    _boxes.append(Toolbox((), CallerLoop() if request.param == "in the same event loop" else ThreadLoop()))
    yield
    asyncio.run(_boxes.pop().close())


async def made(called: ServerTool, arguments: str = "{}") -> Result:
    return await asyncio.wait_for(_boxes[-1].execute(called, arguments, INFO), _LIMIT_SECONDS)


def call(function: Callable[..., Any] | ServerTool, arguments: str = "{}", **declared: Any) -> Result:
    if not isinstance(function, ServerTool):
        function = ServerTool(getattr(function, "__name__", "nameless"), function, **declared)
    try:
        return asyncio.run(made(function, arguments))
    except (SystemExit, KeyboardInterrupt, asyncio.CancelledError) as error:
        raise AssertionError("what the tool raised came through") from error


def stored(result: Result) -> ToolReturned | ToolFailed:
    """The event that such a result makes, as the log gives it back."""
    command = FinishTool(
        thread_id=T, run_id=R, fence=1, tool_call_id="call_s", output=result.output, failure=result.failure
    )
    event = finish_tool(command, thread_rules.fold([*SERVER_CALL, tool_started("call_s")]))[0]
    read = codec.decode(event.kind, codec.encode(event))
    assert isinstance(read, (ToolReturned, ToolFailed))
    return read


@pytest.mark.parametrize("function", misbehaving.FAILURES, ids=lambda function: function.__name__)
@pytest.mark.parametrize("effect", ["pure", "once"])
def test_whatever_a_tool_raises_or_returns_is_a_failed_call_that_the_model_can_be_told_of(
    function: Callable[..., Any], effect: Any
) -> None:
    result = call(function, effect=effect, timeout_seconds=5)
    assert (result.failure, result.unknown) == ("error", False)
    assert [words for words in misbehaving.FAILURES[function] if words not in result.output] == []
    assert len(result.output) <= 500
    assert stored(result).output == result.output


@pytest.mark.parametrize("function", misbehaving.NOT_CALLED, ids=lambda function: function.__name__)
def test_a_tool_whose_annotations_cannot_be_used_is_not_called_and_the_model_knows(
    function: Callable[..., Any],
) -> None:
    result = call(function, '{"city": "Lisbon"}')
    assert (result.failure, result.unknown) == ("error", False)
    assert [words for words in misbehaving.NOT_CALLED[function] if words not in result.output] == []


def test_a_tool_whose_own_data_does_not_validate_has_been_called_and_its_arguments_were_right() -> None:
    class Answer(BaseModel):
        degrees: int

    def look(city: str) -> str:
        return str(Answer(degrees=city))  # type: ignore[arg-type]

    result = call(look, '{"city": "Lisbon"}')
    assert result.failure == "error"
    assert "degrees" in result.output
    assert "invalid arguments" not in result.output


@pytest.mark.parametrize("name", misbehaving.AWAITED)
def test_what_a_tool_gives_to_be_awaited_is_awaited(name: str) -> None:
    result = call(misbehaving.AWAITED[name], '{"city": "Faro"}')
    assert (result.failure, result.output.startswith("sunny in Faro")) == (None, True), result


def test_an_odd_text_is_the_text_that_it_is() -> None:
    assert call(misbehaving.returns_an_odd_text).output == "plain"


def test_an_output_that_no_event_takes_is_cut_to_what_one_takes() -> None:
    result = call(misbehaving.returns_more_than_an_event_takes, output_bytes_max=5_000_000)
    assert (result.failure, result.bytes_whole) == (None, 900_000)
    assert stored(result).output == result.output


def test_what_is_not_text_is_told_as_json() -> None:
    def look() -> object:
        return {"at": Decimal("1.50"), 1: [None, True, 2**63, 0.1]}

    assert call(look).output == '{"at":"1.50","1":[null,true,9223372036854775808,0.1]}'


# Arguments


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("", "missing a required argument: 'city'"),
        ("[1]", "arguments are a JSON object"),
        ("{", "invalid arguments: "),
        ('{"city": 1}', "city: Input should be a valid string"),
        ('{"town": "x"}', "missing a required argument: 'city'"),
        ("[" * 5_000, "invalid arguments: "),
    ],
)
def test_the_model_is_told_what_is_wrong_with_its_arguments(arguments: str, told: str) -> None:
    def look(city: str) -> str:
        return city

    result = call(look, arguments)
    assert result.failure == "arguments"
    assert told in result.output


def test_numbers_reach_a_tool_with_all_their_digits() -> None:
    def tell(exact: Decimal, near: float, whole: int, anything: Any, unsaid) -> str:  # type: ignore[no-untyped-def]
        return f"{exact} {near!r} {whole} {anything} {unsaid}"

    digits = "3.141592653589793238462643383279"
    arguments = f'{{"exact": {digits}, "near": {digits}, "whole": {2**70}, "anything": {2**80}, "unsaid": 1.10}}'
    assert call(tell, arguments).output == f"{digits} 3.141592653589793 {2**70} {2**80} 1.10"


def test_a_number_that_is_given_back_is_written_as_it_came() -> None:
    def echo(n) -> object:  # type: ignore[no-untyped-def]
        return {"n": n}

    assert call(echo, '{"n": 1.10}').output == '{"n":1.10}'


def test_half_a_surrogate_pair_in_arguments_reaches_a_tool_as_the_replacement_character() -> None:
    def look(city: str) -> str:
        return city

    assert call(look, r'{"city": "a\ud800b\udc00\ud83d\ude00"}').output == "a\ufffdb\ufffd\U0001f600"
    assert call(lambda **given: sorted(given), r'{"\ud800": "\ud800", "n": 1.10}').output == '["n","\ufffd"]'


def test_a_tool_learns_of_its_call_whatever_kind_of_callable_it_is() -> None:
    class Look:
        def __call__(self, city: str, call: ToolCallInfo) -> str:
            return f"{city} {call.idempotency_key}"

    assert call(Look(), '{"city": "Faro"}').output == "Faro run_1_call_1"
    assert call(Look().__call__, '{"city": "Faro"}').output == "Faro run_1_call_1"


def test_objects_that_are_equal_and_cannot_be_hashed_are_called_each_for_itself() -> None:
    @dataclass
    class Counter:
        made: list[int] = field(default_factory=list, compare=False)

        def __call__(self) -> int:
            self.made.append(1)
            return len(self.made)

    one, other = Counter(), Counter()
    assert [call(one).output, call(one).output, call(other).output] == ["1", "2", "1"]


# Time


def late(function: Callable[..., Any], seconds: float = 0.1, effect: Any = "pure") -> Result:
    return call(function, timeout_seconds=seconds, effect=effect)


async def never_ends() -> str:
    while True:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            continue


def test_a_tool_that_takes_too_long_is_told_by_its_time() -> None:
    def slow() -> str:
        time.sleep(0.5)
        return "too late"

    async def slow_coroutine() -> str:
        await asyncio.sleep(30)
        return "too late"

    for function in (slow, slow_coroutine):
        result = late(function)
        assert (result.failure, result.unknown) == ("timeout", False)
        assert result.output.endswith("did not answer within 0.1 seconds")
        assert late(function, effect="once").unknown


def test_a_tool_that_ignores_being_cancelled_holds_neither_the_run_nor_the_end_of_the_process(
    caplog: pytest.LogCaptureFixture,
) -> None:
    began = time.monotonic()
    result = late(never_ends)
    assert time.monotonic() - began < 5, "asyncio.run waits for all tasks"
    assert result.failure == "timeout"
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "never_ends was cancelled and goes on" in caplog.text


def test_a_tool_that_ignores_whatever_is_raised_in_it_does_not_keep_the_process_from_ending() -> None:
    """In a process of its own: Python closes what is left when it ends, and says so when that fails."""
    ended = subprocess.run(
        [sys.executable, "-m", "tests.rigs.misbehaving"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=_LIMIT_SECONDS,
    )
    assert (ended.returncode, ended.stdout) == (0, "ignores_everything did not answer within 0.1 seconds\n")
    assert "an abandoned coroutine could not be closed" in ended.stderr
    assert "RuntimeError" in ended.stderr


def test_a_tool_that_answers_as_soon_as_its_time_is_over_has_answered() -> None:
    async def hurries() -> str:
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            return "half of it"
        return "all of it"

    result = late(hurries, effect="once")
    assert (result.output, result.failure, result.unknown) == ("half of it", None, False)


def test_a_tool_that_cancels_its_task_and_returns_has_returned() -> None:
    assert call(misbehaving.cancels_its_task).output == "done"


def test_an_abandoned_tool_may_still_finish_what_it_does() -> None:
    done = []

    async def closes_slowly() -> str:
        try:
            await asyncio.sleep(30)
        finally:
            await asyncio.sleep(1.2)
            done.append("closed")
        return "never"

    async def main() -> None:
        result = await made(ServerTool("closes_slowly", closes_slowly, "pure", timeout_seconds=0.01))
        assert (result.failure, done) == ("timeout", [])
        await asyncio.sleep(0.6)
        assert done == ["closed"]

    asyncio.run(main())


def cancelled(function: Callable[..., Any]) -> float:
    """How long it takes until a call ends that we cancel."""

    async def main() -> float:
        work = asyncio.create_task(made(ServerTool("slow", function)))
        await asyncio.sleep(0.1)
        began = time.monotonic()
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work
        return time.monotonic() - began

    return asyncio.run(main())


def test_a_call_that_we_cancel_is_cancelled_whatever_the_tool_makes_of_it() -> None:
    heard = []
    go_on = threading.Event()

    async def hears() -> None:
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            heard.append("cancelled")
            raise

    assert cancelled(hears) < 1
    assert heard == ["cancelled"]
    assert cancelled(never_ends) < 4
    assert cancelled(lambda: go_on.wait(30)) < 1
    go_on.set()


def test_threads_that_never_end_do_not_keep_other_tools_from_theirs() -> None:
    stop = threading.Event()

    async def main() -> Result:
        stuck = ServerTool("stuck", lambda: stop.wait(30), timeout_seconds=0.05)
        for _ in range(10):
            await asyncio.gather(*(made(stuck) for _ in range(30)))
        return await made(ServerTool("quick", lambda: "done", timeout_seconds=5))

    began = time.monotonic()
    try:
        result = asyncio.run(main())
        assert result.output == "done"
        assert time.monotonic() - began < 15, "the process ends, though its threads have not"
    finally:
        stop.set()


def test_a_call_for_which_there_is_no_thread_was_not_made(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    result = call(lambda: "done", effect="once")
    assert (result.failure, result.unknown) == ("error", False)
    assert "was not called" in result.output
    assert "can't start new thread" in result.output
