"""Streams of tool calls as servers send them: one call each, its arguments once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from clew.providers.base import Answer
from tests.providers.deltas import ABSENT, BEGIN, CHATS, END, GO, ONE, TWO, A, B, part, received, shown
from tests.providers.kinds import ANTHROPIC, MISTRAL, OPENAI, Kind, block, chunk, completion, delta, ended, start
from tests.rigs.raw_server import json_reply

ONE_CALL = {
    "a new id with each piece": [
        part("", index=0, id="call_1", name="search"),
        part(BEGIN, index=0, id="call_2"),
        part(GO, index=0, id="call_3"),
        part(END, index=0, id="call_4"),
    ],
    "a new id and the name with each piece": [
        part(BEGIN, index=0, id="call_1", name="search"),
        part(GO, index=0, id="call_2", name="search"),
        part(END, index=0, id="call_3", name="search"),
    ],
    "a new id with each piece, and no name later": [
        part(BEGIN, index=0, id="call_1", name="search"),
        part(GO, index=0, id="call_2", name=None),
        part(END, index=0, id="call_3", name=""),
    ],
    "null ids later": [
        part(BEGIN, index=0, id="call_1", name="search"),
        part(GO, index=0, id=None, name=None),
        part(END, index=0, id=None, name=None),
    ],
    "no ids at all": [part(BEGIN, index=0, name="search"), part(GO, index=0), part(END, index=0)],
    "the id comes later": [
        part(BEGIN, index=0, id=None, name="search"),
        part(GO, index=0, id="call_1"),
        part(END, index=0, id="call_1"),
    ],
    "empty ids": [part(BEGIN, index=0, id="", name="search"), part(GO, index=0, id=""), part(END, index=0, id="")],
    "no indexes": [part(BEGIN, id="call_1", name="search"), part(GO, id="call_1"), part(END, id="call_1")],
    "null indexes": [
        part(BEGIN, index=None, id="call_1", name="search"),
        part(GO, index=None, id=None),
        part(END, index=None, id=None),
    ],
    "neither ids nor indexes": [part(BEGIN, name="search"), part(GO), part(END)],
    "an index with the first piece only": [part(BEGIN, index=0, id="call_1", name="search"), part(GO), part(END)],
    "an index that grows with each piece": [
        part(BEGIN, index=0, id="call_1", name="search"),
        part(GO, index=1, id="call_1"),
        part(END, index=2, id="call_1"),
    ],
    "indexes as text": [part(BEGIN, index="0", id="call_1", name="search"), part(GO, index=0), part(END, index="0")],
    "the first index is one": [part(BEGIN, index=1, id="call_1", name="search"), part(GO, index=1), part(END, index=1)],
    "the name with each piece": [
        part(BEGIN, index=0, id="call_1", name="search"),
        part(GO, index=0, name="search"),
        part(END, index=0, name="search"),
    ],
    "the name once more at the end": [
        part(BEGIN + GO + END, index=0, id="call_1", name="search"),
        part("", index=0, id="call_1", name="search"),
    ],
    "the name once more at the end, without an id": [
        part(BEGIN, index=0, id="call_1", name="search"),
        part(GO + END, index=0),
        part("", index=0, name="search"),
        part(None, index=0, name="search"),
    ],
    "the name at the end only": [
        part(BEGIN, index=0, id="call_1"),
        part(GO + END, index=0),
        part("", index=0, name="search"),
    ],
    "the name in pieces": [
        part("", index=0, id="call_1", name="sea"),
        part("", index=0, name="rch"),
        part(BEGIN + GO + END, index=0),
    ],
    "the name growing": [
        part("", index=0, id="call_1", name="sea"),
        part("", index=0, id="call_1", name="search"),
        part(BEGIN + GO + END, index=0),
    ],
    "the name after an empty beginning": [
        part("", index=0, id="call_1", name=""),
        part("", index=0, name="search"),
        part(BEGIN + GO + END, index=0),
    ],
    "the whole call again": [
        part(BEGIN, index=0, id="call_1", name="search"),
        part(GO, index=0),
        part(END, index=0),
        part(BEGIN + GO + END, index=0, id="call_1", name="search"),
    ],
    "the whole call again, without an id": [
        part(BEGIN, index=0, id="call_1", name="search"),
        part(GO + END, index=0),
        part(BEGIN + GO + END, index=0, name="search"),
    ],
    "the whole call again, without index": [
        part(BEGIN, index=0, id="call_1", name="search"),
        part(GO + END, index=0),
        part(BEGIN + GO + END, id="call_1", name="search"),
    ],
    "the whole call again, written otherwise": [
        part(BEGIN, index=0, id="call_1", name="search"),
        part(GO + END, index=0),
        part('{"q":"clew"}', index=0, id="call_1", name="search"),
    ],
    "the whole arguments again": [
        part(BEGIN, index=0, id="call_1", name="search"),
        part(GO + END, index=0),
        part(BEGIN + GO + END, index=0),
    ],
    "the whole call again, in pieces": [
        part(BEGIN, index=0, id="call_1", name="search"),
        part(GO + END, index=0),
        part(BEGIN, index=0, id="call_1", name="search"),
        part(GO, index=0),
        part(END, index=0),
    ],
    "an empty object first": [
        part("{}", index=0, id="call_1", name="search"),
        part(BEGIN, index=0),
        part(GO, index=0),
        part(END, index=0),
    ],
    "an empty object first, then all": [
        part("{}", index=0, id="call_1", name="search"),
        part(BEGIN + GO + END, index=0, id="call_1", name="search"),
    ],
    "the whole call twice": [
        part(BEGIN + GO + END, index=0, id="call_1", name="search"),
        part(BEGIN + GO + END, index=0, id="call_1", name="search"),
    ],
    "all that came so far with each piece": [
        part(BEGIN, index=0, id="call_1", name="search"),
        part(BEGIN + GO, index=0, id="call_1", name="search"),
        part(BEGIN + GO + END, index=0, id="call_1", name="search"),
    ],
    "no function": [
        part(BEGIN, index=0, id="call_1", name="search"),
        {"index": 0, "function": None},
        {"index": 0},
        part(GO + END, index=0),
    ],
    "entries that are none": [
        [None],
        part(BEGIN, index=0, id="call_1", name="search"),
        [None, "x", 7, {}],
        [],
        part(GO + END, index=0),
        [None],
    ],
    "an empty entry at the end": [
        part(BEGIN + GO + END, index=0, id="call_1", name="search"),
        part("", index=1, id="", name=""),
        part(None, index=None, id=None, name=None),
    ],
    "name and arguments beside the entry": [
        {"index": 0, "id": "call_1", "name": "search", "arguments": BEGIN},
        {"index": 0, "arguments": GO + END},
    ],
}


@CHATS
@pytest.mark.parametrize("deltas", ONE_CALL.values(), ids=ONE_CALL.keys())
def test_a_call_is_one_call(kind: Kind, deltas: Sequence[Any]) -> None:
    calls, previewed = received(kind, deltas)
    (only,) = calls
    assert (only[0], only[1].replace('"q":"', '"q": "')) == ONE[0]
    assert previewed == calls


TWO_CALLS = {
    "as OpenAI does": [
        part("", index=0, id="call_1", name="search"),
        part(A, index=0),
        part("", index=1, id="call_2", name="search"),
        part(B, index=1),
    ],
    "mixed": [
        part("", index=0, id="call_1", name="search"),
        part("", index=1, id="call_2", name="search"),
        part(A[:4], index=0),
        part(B[:4], index=1),
        part(A[4:], index=0),
        part(B[4:], index=1),
    ],
    "one index for all": [part(A, index=0, id="call_1", name="search"), part(B, index=0, id="call_2", name="search")],
    "one index for all, in pieces": [
        part("", index=0, id="call_1", name="search"),
        part(A, index=0, id="call_1"),
        part("", index=0, id="call_2", name="search"),
        part(B, index=0, id="call_2"),
    ],
    "no indexes": [part(A, id="call_1", name="search"), part(B, id="call_2", name="search")],
    "neither ids nor indexes": [part(A, name="search"), part(B, name="search")],
    "neither, in pieces": [part(A[:4], name="search"), part(A[4:]), part(B[:4], name="search"), part(B[4:])],
    "both in one chunk": [[part(A, index=0, id="call_1", name="search"), part(B, index=1, id="call_2", name="search")]],
    "both in one chunk, with one id": [
        [part(A, index=0, id="call_1", name="search"), part(B, index=1, id="call_1", name="search")]
    ],
    "both again": [
        part(A, index=0, id="call_1", name="search"),
        part(B, index=1, id="call_2", name="search"),
        [part(A, index=0, id="call_1", name="search"), part(B, index=1, id="call_2", name="search")],
    ],
    "both named again at the end": [
        part(A, index=0, id="call_1", name="search"),
        part(B, index=1, id="call_2", name="search"),
        part("", index=0, name="search"),
        part("", index=1, name="search"),
    ],
    "new ids with each piece": [
        part(A[:4], index=0, id="x1", name="search"),
        part(A[4:], index=0, id="x2"),
        part(B[:4], index=1, id="x3", name="search"),
        part(B[4:], index=1, id="x4"),
    ],
}


@CHATS
@pytest.mark.parametrize("deltas", TWO_CALLS.values(), ids=TWO_CALLS.keys())
def test_two_calls_are_two_calls(kind: Kind, deltas: Sequence[Any]) -> None:
    calls, previewed = received(kind, deltas)
    assert calls == TWO
    assert previewed == TWO


@CHATS
def test_calls_of_two_tools_with_one_index_are_two(kind: Kind) -> None:
    both = [part("", index=0, id="a", name="search"), part("{}", index=0, id="b", name="get_weather")]
    assert received(kind, both)[0] == [("search", ""), ("get_weather", "{}")]
    both = [part(A, index=0, name="search"), part("{}", index=0, name="get_weather")]
    assert received(kind, both)[0] == [("search", A), ("get_weather", "{}")]


@CHATS
def test_a_name_that_begins_as_another_is_that_name(kind: Kind) -> None:
    deltas = [part("", index=0, id="a", name="search"), part("", index=0, name="_all"), part("{}", index=0)]
    assert received(kind, deltas, "search", "search_all")[0] == [("search_all", "{}")]
    assert received(kind, [deltas[0], deltas[2]], "search", "search_all")[0] == [("search", "{}")]


@CHATS
def test_arguments_may_be_an_object(kind: Kind) -> None:
    deltas = [part({"n": 1}, index=0, id="a", name="search"), part(None, index=0, id="a", name="search")]
    assert received(kind, deltas)[0] == [("search", '{"n":1}')]


@CHATS
def test_arguments_that_are_no_json_are_kept_as_they_came(kind: Kind) -> None:
    for written in ("Paris", '{"q": "a" "b"}', "[1, 2", "null", " ", '{"q": NaN}', '{"q": 1}}'):
        pieces = [part(written[:1], index=0, id="a", name="search"), part(written[1:], index=0)]
        assert received(kind, pieces)[0] == [("search", written)]


@CHATS
def test_nothing_but_entries_that_are_none_is_no_call(kind: Kind) -> None:
    nothing: list[list[Any]] = [[None], [{}], [{"index": 0, "function": None}], [part("", index=0, id="", name="")]]
    for calls in nothing:
        said = kind.streamed(chunk(content="Hi", tool_calls=calls), chunk("tool_calls"))
        answer = kind.answer(said, kind.stream)
        assert (answer.text, answer.tool_calls) == ("Hi", ())
        whole = json_reply(completion("stop", content="Hi", tool_calls=calls))
        assert kind.answer(whole, kind.plain).tool_calls == ()
        assert kind.failure(kind.streamed(chunk(tool_calls=calls), chunk("tool_calls")), kind.stream).retryable


@CHATS
def test_a_call_without_a_name_is_nonsense(kind: Kind) -> None:
    for name in (None, "", ABSENT):
        nameless = [part('{"q": 1}', index=0, id="a", name=name)]
        streamed = kind.streamed(chunk(tool_calls=nameless), chunk("tool_calls"))
        assert kind.failure(streamed, kind.stream).code == "nonsense"
        assert kind.failure(json_reply(completion("stop", tool_calls=nameless)), kind.plain).code == "nonsense"


@CHATS
def test_whole_calls_of_an_answer_that_came_at_once_are_each_a_call(kind: Kind) -> None:
    calls = [part(A, name="search"), part(A, id="", name="search"), part(A, id=None, name="search"), None]
    answer = kind.answer(json_reply(completion("stop", content=None, tool_calls=calls)), kind.plain)
    assert [(called.name, called.arguments) for called in answer.tool_calls] == [("search", A)] * 3
    assert len({called.tool_call_id for called in answer.tool_calls}) == 3


@CHATS
def test_the_member_before_tool_calls_is_one_call(kind: Kind) -> None:
    old = [chunk(function_call={"name": "search", "arguments": ""}), chunk(function_call={"arguments": A})]
    answer = kind.answer(kind.streamed(*old, chunk("function_call")), kind.stream)
    assert [(called.name, called.arguments) for called in answer.tool_calls] == [("search", A)]
    assert answer.finish_reason == "tool_calls"


def test_anthropics_calls_may_come_in_odd_ways_too() -> None:
    def answered(*chunks: Any) -> list[tuple[str, str]]:
        pieces = ANTHROPIC.received(ANTHROPIC.streamed(start(), *chunks, *ended("tool_use")), ANTHROPIC.stream)
        answer = pieces[-1]
        assert isinstance(answer, Answer)
        calls = [(called.name, called.arguments) for called in answer.tool_calls]
        assert [(name, arguments or "{}") for name, arguments in shown(pieces)] == calls
        return calls

    begun = block(0, type="tool_use", id="a", name="search", input={})
    pieces = [delta(0, "input_json", partial_json=piece) for piece in ("", '{"q": ', '"clew"}')]
    assert answered(begun, *pieces) == ONE
    # The block begins twice; the whole input once more; blocks without numbers; without an id.
    assert answered(begun, begun, *pieces) == ONE
    assert answered(begun, *pieces, delta(0, "input_json", partial_json='{"q": "clew"}')) == ONE
    assert answered(begun) == [("search", "{}")]
    unnumbered = [{key: value for key, value in one.items() if key != "index"} for one in (begun, *pieces)]
    assert answered(*unnumbered) == ONE
    nameless = block(0, type="tool_use", id=None, name="search", input={})
    assert answered(nameless, *pieces) == ONE


def test_the_request_is_read_only_where_names_matter() -> None:
    """A body that offers nothing, or is not for tools at all, is no obstacle."""
    for kind in (OPENAI, MISTRAL):
        deltas = [part("", index=0, id="a", name="sea"), part("", index=0, name="rch"), part(A, index=0)]
        replied = kind.streamed(*(chunk(tool_calls=[one]) for one in deltas), chunk("tool_calls"))
        answer = kind.answer(replied, kind.stream)
        assert [(called.name, called.arguments) for called in answer.tool_calls] == [("search", A)]
