"""Tool calls in ways that go together badly: what one server means by a piece another means otherwise."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import pytest

from clew.providers.base import Answer, CallPiece
from clew.providers.tool_arguments import ToolArguments
from tests.providers.deltas import CHATS, ONE, TWO, A, B, part, received
from tests.providers.kinds import (
    ANTHROPIC,
    MISTRAL,
    OPENAI,
    Kind,
    block,
    chunk,
    completion,
    delta,
    ended,
    message,
    start,
)
from tests.rigs.raw_server import json_reply

ONE_CALL: dict[str, Sequence[Any]] = {
    "all that came so far, from the first bracket on": [
        part(piece, index=0, id="call_1", name="search") for piece in ("{", '{"q"', '{"q": "cl', '{"q": "clew"}')
    ],
    "all that came so far, from the first quotation mark on": [
        part(piece, index=0, id="call_1", name="search") for piece in ('{"', '{"q": "', '{"q": "cl', '{"q": "clew"}')
    ],
    "a new id with each piece, and the whole call again": [
        part('{"q": ', index=0, id="call_1", name="search"),
        part('"clew"}', index=0, id="call_2"),
        part('{"q": "clew"}', index=0, id="call_3", name="search"),
    ],
    "the name in pieces, a new id with each": [
        part("", index=0, id="call_1", name="sea"),
        part("", index=0, id="call_2", name="rch"),
        part('{"q": "clew"}', index=0, id="call_3"),
    ],
    "null first": [part("null", index=0, id="call_1", name="search"), part('{"q": "clew"}', index=0)],
    "the name once more, and then the arguments once more": [
        part('{"q": "clew"}', index=0, name="search"),
        part("", index=0, name="search"),
        part('{"q":"clew"}', index=0),
    ],
    "a new id with each piece, and the arguments again in pieces": [
        part('{"q": ', index=0, id="call_1", name="search"),
        part('"clew"}', index=0, id="call_2"),
        part('{"q":', index=0, id="call_3"),
        part('"clew"}', index=0, id="call_4"),
    ],
    "the name once more, with a line break": [
        part('{"q": "clew"}', index=0, id="call_1", name="search"),
        part("\n", index=0, name="search"),
    ],
    "a new id and the name with each piece, and a line break at the end": [
        part('{"q": "clew"}', index=0, id="call_1", name="search"),
        part("\n", index=0, id="call_2", name="search"),
    ],
    "parameters": [
        {"index": 0, "id": "call_1", "function": {"name": "search", "parameters": '{"q": "clew"}'}},
    ],
}


@CHATS
@pytest.mark.parametrize("deltas", ONE_CALL.values(), ids=ONE_CALL.keys())
def test_one_call_is_one_call(kind: Kind, deltas: Sequence[Any]) -> None:
    calls, pieces = received(kind, deltas)
    assert calls == pieces == ONE


TWO_CALLS: dict[str, Sequence[Any]] = {
    "one index for all, interleaved": [
        [part("", index=0, id="call_1", name="search"), part("", index=0, id="call_2", name="search")],
        part(A[:4], index=0, id="call_1"),
        part(B[:4], index=0, id="call_2"),
        part(A[4:], index=0, id="call_1"),
        part(B[4:], index=0, id="call_2"),
    ],
    "one index for all, begun one after the other": [
        part("", index=0, id="call_1", name="search"),
        part("", index=0, id="call_2", name="search"),
        part(A, index=0, id="call_1"),
        part(B, index=0, id="call_2"),
    ],
    "new ids with each piece, one index for all, the names with arguments": [
        part(A[:4], index=0, id="x1", name="search"),
        part(A[4:], index=0, id="x2"),
        part(B[:4], index=0, id="x3", name="search"),
        part(B[4:], index=0, id="x4"),
    ],
    "new ids with each piece, one index for all": [
        part("", index=0, id="x1", name="search"),
        part(A, index=0, id="x2"),
        part("", index=0, id="x3", name="search"),
        part(B, index=0, id="x4"),
    ],
}


@CHATS
@pytest.mark.parametrize("deltas", TWO_CALLS.values(), ids=TWO_CALLS.keys())
def test_two_calls_are_two_calls(kind: Kind, deltas: Sequence[Any]) -> None:
    calls, pieces = received(kind, deltas)
    assert calls == pieces == TWO


@CHATS
@pytest.mark.parametrize("id", [{}, {"id": None}, {"id": ""}], ids=["no ids", "null ids", "empty ids"])
@pytest.mark.parametrize("index", [{"index": 0}, {}, {"index": None}], ids=["one index", "no index", "null index"])
@pytest.mark.parametrize("step", [1, 4, 100])
def test_two_calls_of_one_tool_whose_names_come_first_are_two(
    kind: Kind, id: dict[str, Any], index: dict[str, Any], step: int
) -> None:
    def in_pieces(arguments: str) -> list[Any]:
        pieces = [arguments[at : at + step] for at in range(0, len(arguments), step)]
        return [part("", name="search", **id, **index), *(part(piece, **id, **index) for piece in pieces)]

    calls, pieces = received(kind, [*in_pieces(A), *in_pieces(B)])
    assert calls == pieces == TWO


NESTED = [
    ('{"filter": ', '{"filter": {"a": 1}}', "}"),
    ('{"b":', '{"b":{', '"b":1}', "}"),
    ('{"a":[', '{"a":["x"]}', "]}"),
    ("[", "[1], [2]", "]"),
]


@pytest.mark.parametrize("pieces", NESTED)
def test_an_object_in_an_object_of_the_same_keys_is_not_the_beginning_once_more(pieces: Sequence[str]) -> None:
    for kind in (OPENAI, MISTRAL):
        first, *more = pieces
        calls = [part(first, index=0, id="call_1", name="search"), *(part(piece, index=0) for piece in more)]
        assert received(kind, calls) == ([("search", "".join(pieces))],) * 2
    begun = block(0, type="tool_use", id="a", name="search", input={})
    assert previewed(begun, *(delta(0, "input_json", partial_json=piece) for piece in pieces)) == "".join(pieces)


@CHATS
def test_null_is_arguments_that_are_whole(kind: Kind) -> None:
    two = [("search", "null"), ("get_weather", "null")]
    assert received(kind, [[part("null", id="", name=name) for name, _ in two]])[0] == two
    other = part('{"city":"x"}', index=0, name="get_weather")
    assert received(kind, [part("null", index=0, name="search"), other])[0] == [two[0], ("get_weather", '{"city":"x"}')]
    same = [part("null", id="call_1", name="search"), part(A, id="call_2", name="search")]
    assert received(kind, same)[0] == [two[0], TWO[0]]


@CHATS
def test_each_call_has_the_index_that_its_pieces_had(kind: Kind) -> None:
    """Also behind an entry that turned out to be no call: the ids of calls are those of their pieces."""
    nothing = part("", index=0, name="search")
    nameless = part("", index=9, id="call_0")
    for first in ([nameless], [part(A, index=0, id="call_1", name="search"), nothing]):
        calls = [*first, *(part(B, index=number, id=f"id_{number}", name="search") for number in (1, 2, 3))]
        replied = kind.streamed(*(chunk(tool_calls=[one]) for one in calls), chunk("tool_calls"))
        *pieces, answer = kind.received(replied, kind.stream)
        assert isinstance(answer, Answer)
        shown = {piece.index: piece.tool_call_id for piece in pieces if isinstance(piece, CallPiece) and piece.name}
        for position, called in enumerate(answer.tool_calls):
            assert shown[position if called.index is None else called.index] == called.tool_call_id


@CHATS
def test_calls_without_arguments_in_one_chunk_are_as_many_calls(kind: Kind) -> None:
    both = [part("", index=0, id="call_1", name="search"), part("", index=0, id="call_2", name="search")]
    assert received(kind, [both])[0] == [("search", ""), ("search", "")]


def test_a_message_at_the_end_of_a_stream_says_what_was_not_said() -> None:
    called = [part('{"q": "clew"}', id="call_1", name="search")]
    last = {"index": 0, "delta": {}, "message": {"content": "Hel", "tool_calls": called}, "finish_reason": "tool_calls"}
    for before in ([], [chunk(content="Hel")], [chunk(content="Hel"), chunk(tool_calls=called)]):
        answer = OPENAI.answer(OPENAI.streamed(*before, {"choices": [last]}), OPENAI.stream)
        assert answer.text == "Hel"
        assert [(one.name, one.arguments) for one in answer.tool_calls] == ONE


def test_what_is_said_in_one_choice_and_called_in_another_is_one_answer() -> None:
    called = [part('{"q": "clew"}', id="call_1", name="search")]
    whole = completion("tool_calls", content="Hel")
    whole["choices"].append({"message": {"role": "assistant", "tool_calls": called}, "finish_reason": "tool_calls"})
    chunks = [{"choices": [{"delta": {"content": "Hel"}}, {"delta": {"tool_calls": called}}]}, chunk("tool_calls")]
    for answer in (
        OPENAI.answer(json_reply(whole), OPENAI.plain),
        OPENAI.answer(OPENAI.streamed(*chunks), OPENAI.stream),
    ):
        assert answer.text == "Hel"
        assert [(one.name, one.arguments) for one in answer.tool_calls] == ONE


def test_the_only_choice_may_have_any_index() -> None:
    for index in (1, "0", None):
        chunks = [{"choices": [{"index": index, "delta": {"content": "Hel"}, "finish_reason": "stop"}]}]
        assert OPENAI.answer(OPENAI.streamed(*chunks), OPENAI.stream).text == "Hel"


def test_the_input_of_anthropics_calls_is_an_object_however_it_comes() -> None:
    for given in ({"q": "clew"}, '{"q": "clew"}'):
        begun = block(0, type="tool_use", id="a", name="search", input=given)
        for more in ([], [delta(0, "input_json", partial_json="{}")]):
            streamed = ANTHROPIC.streamed(start(), begun, *more, *ended("tool_use"))
            [called] = ANTHROPIC.answer(streamed, ANTHROPIC.stream).tool_calls
            assert called.arguments in ('{"q":"clew"}', '{"q": "clew"}')
        whole = json_reply(message({"type": "tool_use", "id": "a", "name": "search", "input": given}))
        [called] = ANTHROPIC.answer(whole, ANTHROPIC.plain).tool_calls
        assert called.arguments in ('{"q":"clew"}', '{"q": "clew"}')


def previewed(*events: Any) -> str:
    """The arguments of Anthropic's only call, which are those that its pieces make."""
    *pieces, answer = ANTHROPIC.received(ANTHROPIC.streamed(start(), *events, *ended("tool_use")), ANTHROPIC.stream)
    assert isinstance(answer, Answer)
    [called] = answer.tool_calls
    assert "".join(piece.arguments for piece in pieces if isinstance(piece, CallPiece)) == called.arguments
    return called.arguments


def test_what_is_shown_of_anthropics_calls_is_what_they_are() -> None:
    begun = block(0, type="tool_use", id="a", name="search", input={})
    for empty in ("{}", "null"):
        pieces = [delta(0, "input_json", partial_json=piece) for piece in (empty, '{"q":1}')]
        assert previewed(begun, *pieces) == '{"q":1}'
    assert previewed(begun, delta(0, "input_json", partial_json="{}")) == "{}"
    whole = block(0, type="tool_use", id="a", name="search", input={"q": 1})
    assert previewed(whole) == '{"q":1}'
    assert previewed(whole, delta(0, "input_json", partial_json="")) == '{"q":1}'
    assert previewed(whole, delta(0, "input_json", partial_json="{}")) == '{"q":1}'


def test_a_message_beside_deltas_is_not_said_twice() -> None:
    def answered(*choices: dict[str, Any]) -> str | None:
        return OPENAI.answer(OPENAI.streamed(*({"choices": [one]} for one in choices)), OPENAI.stream).text

    so_far = [{"delta": {"content": said}, "message": {"content": "Hel"}} for said in ("", "He", "l")]
    assert answered(*so_far, {"delta": {}, "message": {"content": "Hel"}, "finish_reason": "stop"}) == "Hel"
    thought = {"delta": {"reasoning_content": "Hm"}}
    assert answered(thought, {"message": {"content": "Hel"}, "finish_reason": "stop"}) == "Hel"


def test_finding_the_end_of_arguments_takes_time_that_grows_with_them_and_not_faster() -> None:
    """14,000 pieces that each might be the last took 11 s; each is looked at once."""

    def seconds(count: int, *pieces: str) -> float:
        arguments, began = ToolArguments(), time.process_time()
        arguments.add('{"rows":[0')
        for number in range(count):
            arguments.add(pieces[number % len(pieces)])
            assert not arguments.are_complete
        arguments.add("]}")
        assert arguments.are_complete
        return time.process_time() - began

    for pieces in ((',{"a":1.5', "}"), (',"', "{{ab", "}}", '"')):
        few, many = seconds(2_000, *pieces), seconds(32_000, *pieces)
        assert many < 100 * max(few, 0.001), "it would be 256 times as long"
