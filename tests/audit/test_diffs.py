"""What differs is found, and nothing else: between two runs, two threads, a thread at two points."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from clew.audit.diffs import Diff, aligned, diff
from clew.cli.diff_text import print_diff
from clew.errors import NoSuchPoint, NotFound, Refused
from clew.events.base import Event
from clew.events.content import text
from clew.events.message import MessageAppended, MessageEdited, MessageRemoved
from clew.events.model import ContextAssembled, ContextTokens, ItemRange, Manifest, ModelAnswered, ModelCalled
from clew.events.price import Price
from clew.events.run import RunCompleted, RunQueued, RunStarted
from clew.events.thread import ThreadCreated, ThreadForked
from clew.events.tool import ToolCalled, ToolReturned
from clew.events.usage import Usage
from tests.audit.histories import hostile
from tests.projections.living import House
from tests.rules.example import config, message, tokens

CREATED = ThreadCreated(tenant="acme", dialect="openai")


def compared(a: str, b: str, *streams: tuple[str, Sequence[Event]], as_of: int | None = None) -> Diff:
    async def main() -> Diff:
        house = await House().open()
        try:
            for stream, events in streams:
                with house.log.reading() as reader:
                    version = reader.version(stream)
                await house.log.append(stream, events, after=version)
            with house.log.reading() as reader:
                return diff(reader, a, b, as_of)
        finally:
            await house.close()

    return asyncio.run(main())


def says(*words: str) -> list[Event]:
    return [message(word, id=f"msg_{word}") for word in words]


def told(found: Diff) -> list[tuple[str, str | None, str | None]]:
    return [(one.change, one.a and one.a.text, one.b and one.b.text) for one in found.items]  # type: ignore[misc]


def run(
    number: int, *, city: str, result: str, answer: str, model: str = "m", amount: str | None = None
) -> list[Event]:
    """A thread with one run: it calls a tool with a city, and answers, which costs `amount`."""
    price = Price(amount=amount, table="t", provider="p", model="m") if amount is not None else None
    made = {"run_id": f"run_{number}", "fence": 1}
    call = {**made, "model_call_id": f"mc_{number}"}
    return [
        CREATED,
        message("How is the weather?", id=f"msg_{number}"),
        RunQueued(run_id=f"run_{number}", dialect="openai", config=config(model=model)),
        RunStarted(**made, worker="w", attempt=1, lease_seconds=30.0),  # type: ignore[arg-type]
        ContextAssembled(
            **call,  # type: ignore[arg-type]
            manifest=Manifest(shown=(ItemRange(stream=f"t{number}", first=2, last=2),), items=1),
            tokens=ContextTokens(instructions=0, tools=0, items=3, exact=True),
            renderer="openai-chat/1",
            digest="0" * 64,
        ),
        ModelCalled(**call, provider="p", model="m", attempt=1),  # type: ignore[arg-type]
        ToolCalled(
            **call,  # type: ignore[arg-type]
            step_id="step_1",
            tool_call_id=f"call_{number}",
            name="weather",
            arguments=json.dumps({"city": city, "day": "Friday"}),
            executor="server",
            tokens=tokens(4),
        ),
        ToolReturned(
            **made,  # type: ignore[arg-type]
            step_id="step_1",
            tool_call_id=f"call_{number}",
            output=result,
            duration_ms=2.0,
            tokens=tokens(2),
        ),
        ModelAnswered(
            **call,  # type: ignore[arg-type]
            attempt=1,
            step_id="step_2",
            model="m",
            finish_reason="stop",
            usage=Usage(input=10 * number, output=5),
            duration_ms=3.0,
            price=price,
        ),
        MessageAppended(
            **call,  # type: ignore[arg-type]
            message_id=f"msg_{number}b",
            role="assistant",
            content=text(answer),
            tokens=tokens(3),
            step_id="step_2",
        ),
        RunCompleted(run_id=f"run_{number}", usage=Usage(input=10 * number, output=5)),
    ]


def test_a_thread_is_compared_with_itself_at_another_point() -> None:
    events = [CREATED, *says("a", "b"), MessageEdited(message_id="msg_a", content=text("A")), *says("c")]
    found = compared("t@v3", "t", ("t", events))
    assert told(found) == [("changed", "a", "A"), ("added", None, "c")]
    assert (found.common, found.a.version, found.b.version, found.same) == (1, 3, 5, False)
    assert told(compared("t", "t@v3", ("t", events))) == [("changed", "A", "a"), ("removed", "c", None)]


def test_what_was_removed_is_there_before() -> None:
    gone = MessageRemoved(message_id="msg_b", role="user", tokens=3)
    assert told(compared("t@v4", "t@v5", ("t", [CREATED, *says("a", "b", "c"), gone]))) == [("removed", "b", None)]


def test_a_fork_is_compared_with_its_parent() -> None:
    fork = ThreadForked(
        parent="t", parent_version=2, tenant="acme", user_messages=1, items=1, tokens=3, dialect="openai"
    )
    found = compared("t", "f", ("t", [CREATED, *says("a", "b")]), ("f", [fork, *says("x", "y")]))
    assert told(found) == [("changed", "b", "x"), ("added", None, "y")]
    assert found.common == 1


def test_two_threads_that_say_the_same_do_not_differ() -> None:
    found = compared("t", "u", ("t", [CREATED, *says("a", "b")]), ("u", [CREATED, *says("a", "b")]))
    assert found.same
    assert (found.common, found.items, found.calls) == (2, [], [])


def test_two_runs_are_compared_call_by_call() -> None:
    one = run(1, city="Lisbon", result="sunny", answer="It is sunny.")
    other = run(2, city="Porto", result="rain", answer="It rains.", model="n")
    found = compared("run_1", "run_2", ("t1", one), ("t2", other))
    [call] = found.calls
    assert (call.change, call.name, call.arguments) == ("changed", "weather", {"city": ("Lisbon", "Porto")})
    assert (call.a_result, call.b_result) == ("sunny", "rain")
    assert [(one.name, one.a, one.b) for one in found.settings] == [("model", "m", "n")]
    assert (found.a.numbers.input, found.b.numbers.input) == (10, 20)
    assert [item.change for item in found.items] == ["changed", "changed", "changed"]
    assert found.a.status == "completed"


def test_a_call_with_the_same_arguments_in_another_order_is_the_same_call() -> None:
    one = run(1, city="Lisbon", result="sunny", answer="It is sunny.")
    other = run(2, city="Lisbon", result="rain", answer="It rains.")
    [call] = compared("run_1", "run_2", ("t1", one), ("t2", other)).calls
    assert (call.change, call.arguments, call.a_result, call.b_result) == ("changed", {}, "sunny", "rain")


def test_what_models_cost_and_how_long_they_and_tools_took_is_compared() -> None:
    one = run(1, city="Lisbon", result="sunny", answer="It is sunny.", amount="0.000000000000000001")
    other = run(2, city="Lisbon", result="sunny", answer="It is sunny.", amount="2.5")
    for found in (
        compared("run_1", "run_2", ("t1", one), ("t2", other)),
        compared("t1", "t2", ("t1", one), ("t2", other)),
    ):
        a, b = found.a.numbers, found.b.numbers
        assert (a.costs.amounts, b.costs.amounts) == ({"USD": "0.000000000000000001"}, {"USD": "2.5"})
        assert (a.model_seconds, a.tool_seconds, a.model_calls) == (0.003, 0.002, 1)
        console = Console(width=240, record=True, file=io.StringIO())
        print_diff(console, found)
        assert "+2.499999999999999999" in console.export_text()


def test_a_call_without_a_price_is_told_and_not_taken_for_free() -> None:
    one = run(1, city="Lisbon", result="sunny", answer="It is sunny.")
    other = run(2, city="Lisbon", result="sunny", answer="It is sunny.", amount="2.5")
    found = compared("run_1", "run_2", ("t1", one), ("t2", other))
    assert (found.a.numbers.costs.amounts, found.a.numbers.costs.unpriced) == ({}, 1)
    console = Console(width=240, record=True, file=io.StringIO())
    print_diff(console, found)
    assert "calls without a price" in console.export_text()


def test_a_point_may_be_a_position_or_a_time_and_a_run_has_points_too() -> None:
    events = run(1, city="Lisbon", result="sunny", answer="It is sunny.")
    same = compared("t1@v7", "t1@7", ("t1", events))
    assert (same.same, same.a.version, same.b.version) == (True, 7, 7)
    with pytest.raises(NotFound):
        compared("t1@2020-01-01T00:00:00Z", "t1", ("t1", events))
    found = compared("run_1@v7", "run_1", ("t1", events))
    assert told(found) == [("added", None, "sunny"), ("added", None, "It is sunny.")]
    assert (found.a.status, found.b.status) == ("in_progress", "completed")


def test_everything_may_be_compared_as_of_a_point() -> None:
    events = run(1, city="Lisbon", result="sunny", answer="It is sunny.")
    found = compared("t1@v2", "t1", ("t1", events), as_of=7)
    assert (found.a.version, found.b.version) == (2, 7)
    for late in ("run_1", "t2"):
        with pytest.raises(NotFound):
            compared(late, late, ("t1", events), as_of=2)
    with pytest.raises(NoSuchPoint, match="and this is later"):
        compared("t1@v9", "t1", ("t1", events), as_of=7)


@pytest.mark.parametrize("point", ["t@v9", "t@v0", "t@v", "t@9", "t@2999-01-01T00:00:00Z", "t@"])
def test_points_that_there_are_not_are_refused(point: str) -> None:
    with pytest.raises(NoSuchPoint):
        compared("t", point, ("t", [CREATED, *says("a")]))


@pytest.mark.parametrize("name", ["nothing", "run_9", "nothing@v1", "run_9@1"])
def test_what_there_is_not_is_not_found(name: str) -> None:
    with pytest.raises(NotFound):
        compared("t", name, ("t", [CREATED, *says("a")]))


def test_a_run_is_not_compared_with_a_thread() -> None:
    with pytest.raises(Refused, match="run_1 is a run and t1 is a thread"):
        compared("run_1", "t1", ("t1", run(1, city="a", result="b", answer="c")))


def test_a_difference_is_printed_and_nothing_in_it_is_taken_for_markup() -> None:
    one = run(1, city=hostile(4), result=hostile(0), answer=hostile(2))
    other = run(2, city="Porto", result="rain", answer="[bold]It rains.[/]")
    console = Console(width=240, record=True, file=io.StringIO())
    print_diff(console, compared("run_1", "run_2", ("t1", one), ("t2", other)))
    printed = console.export_text()
    for words in ("[bold]It rains.[/]", "weather", "became", "tokens in", "+10", "[bold red]markup[/]"):
        assert words in printed
    assert not any(mark in printed for mark in "\x1b\x07\u202e")


def parity(number: int) -> int:
    return number % 2


@given(st.lists(st.integers(0, 5)), st.lists(st.integers(0, 5)))
def test_every_item_is_in_one_pair_and_in_order(a: list[int], b: list[int]) -> None:
    found = aligned(a, b, int, parity)
    pairs = list(found)
    assert [one for one, _ in pairs if one is not None] == a
    assert [other for _, other in pairs if other is not None] == b
    assert all(one is None or other is None or one % 2 == other % 2 for one, other in pairs)
