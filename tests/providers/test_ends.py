"""When an answer has ended: with a mark for the end, or with a reason after which nothing comes."""

from __future__ import annotations

from typing import Any

import pytest

from clew.providers.base import Answer, TextPiece
from tests.providers.kinds import ANTHROPIC, EVERY, MISTRAL, OPENAI, Kind, block, chunk, delta, ended, start, stopped
from tests.rigs.raw_server import reply, slow_stream

CHATS = (OPENAI, MISTRAL)


def anthropic_said(text: str) -> dict[str, Any]:
    return delta(0, "text", text=text)


def reasons_with_each_piece(kind: Kind, reason: str) -> tuple[list[Any], list[Any]]:
    """Chunks that say "Hel", and then "lo" and how the answer ends; each has a reason."""
    if kind is ANTHROPIC:
        early = {"type": "message_delta", "delta": {"stop_reason": reason}, "usage": {}}
        first = [start(), block(0, type="text", text=""), early, anthropic_said("Hel"), early]
        return first, [anthropic_said("lo"), early, stopped(0), *ended("end_turn")]
    return [chunk(reason, content="Hel")], [chunk(reason, content="lo"), chunk("stop", content="")]


REAL = {"anthropic": "end_turn", "openai": "stop", "mistral": "stop"}
NO_REASONS = ("", "null", None)


def both(kind: Kind) -> list[str | None]:
    return [*NO_REASONS, REAL[kind.name]]


CASES = [pytest.param(kind, reason, id=f"{kind} {reason!r}") for kind in EVERY for reason in both(kind)]


@pytest.mark.parametrize(("kind", "reason"), CASES)
def test_an_answer_goes_on_after_reasons_that_came_too_early(kind: Kind, reason: Any) -> None:
    first, last = reasons_with_each_piece(kind, reason)
    for replied in (kind.streamed(*first, *last), kind.unmarked(*first, *last)):
        pieces = kind.received(replied, kind.stream)
        assert "".join(piece.text for piece in pieces if isinstance(piece, TextPiece)) == "Hello"
        answer = pieces[-1]
        assert isinstance(answer, Answer)
        assert (answer.text, answer.finish_reason) == ("Hello", "stop")


@pytest.mark.parametrize("kind", EVERY, ids=str)
def test_a_slow_answer_is_waited_for_after_reasons_that_came_too_early(
    kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clew.providers.transport.AFTER_FINISH_SECONDS", 0.05)
    for reason in ("", REAL[kind.name]):
        first, last = reasons_with_each_piece(kind, reason)
        # A word for the end is believed until the answer goes on after it.
        if reason:
            first = [*first, *reasons_with_each_piece(kind, reason)[1][:1]]
            last = last[1:]
        parts = [kind.events(*first), *(kind.events(one) for one in last), kind.end_mark]
        replied = slow_stream(*(part for part in parts if part), pause_seconds=0.3)
        assert kind.answer(replied, kind.stream).text == "Hello"


@pytest.mark.parametrize("then", ["end", "reset"])
@pytest.mark.parametrize(("kind", "reason"), CASES)
def test_a_stream_that_breaks_after_such_a_reason_is_broken(kind: Kind, reason: Any, then: str) -> None:
    first, last = reasons_with_each_piece(kind, reason)
    more = last[:1] if kind is not ANTHROPIC else last[:2]
    broken = kind.cut(*first, *more, then=then)
    assert kind.failure(broken, kind.stream).code == "broken_stream"


@pytest.mark.parametrize("kind", EVERY, ids=str)
def test_a_stream_that_ends_with_a_reason_that_is_none_is_broken(kind: Kind) -> None:
    first, _ = reasons_with_each_piece(kind, "")
    failed = kind.failure(kind.unmarked(*first), kind.stream)
    assert (failed.code, failed.retryable) == ("broken_stream", True)


@pytest.mark.parametrize("kind", EVERY, ids=str)
def test_a_stream_that_goes_on_after_its_only_reason_and_then_ends_is_broken(kind: Kind) -> None:
    first, last = reasons_with_each_piece(kind, REAL[kind.name])
    text_only = chunk(content="lo") if kind is not ANTHROPIC else last[0]
    assert kind.failure(kind.unmarked(*first, text_only), kind.stream).code == "broken_stream"


def test_a_mark_for_the_end_is_the_end_whatever_reason_there_was() -> None:
    for kind in CHATS:
        for reason in NO_REASONS:
            answer = kind.answer(kind.streamed(chunk(reason, content="Hi")), kind.stream)
            assert (answer.text, answer.finish_reason) == ("Hi", "stop")
    said = (start(), block(0, type="text", text=""), anthropic_said("Hi"), stopped(0), {"type": "message_stop"})
    answer = ANTHROPIC.answer(ANTHROPIC.streamed(*said), ANTHROPIC.stream)
    assert (answer.text, answer.finish_reason) == ("Hi", "stop")


def test_nothing_but_a_mark_for_the_end_is_no_answer() -> None:
    for kind in CHATS:
        for chunks in ((), (chunk(role="assistant", content=""),)):
            assert kind.failure(kind.streamed(*chunks), kind.stream).code == "broken_stream"
    assert ANTHROPIC.failure(ANTHROPIC.streamed(start(), {"type": "message_stop"}), ANTHROPIC.stream).retryable


def test_an_answer_without_words_that_gives_its_reason_is_whole() -> None:
    for kind, silent in ((OPENAI, [chunk("stop", content="")]), (ANTHROPIC, [start(), *ended("end_turn")])):
        answer = kind.answer(kind.streamed(*silent), kind.stream)
        assert (answer.text, answer.tool_calls, answer.finish_reason) == (None, (), "stop")


def called(arguments: str, finish: str | None) -> dict[str, Any]:
    return chunk(finish, tool_calls=[{"index": 0, "id": "a", "function": {"name": "f", "arguments": arguments}}])


def test_a_mark_in_the_middle_of_a_call_is_no_end() -> None:
    for kind in CHATS:
        assert kind.failure(kind.streamed(called('{"city": "Par', "")), kind.stream).code == "broken_stream"
        assert kind.answer(kind.streamed(called("{}", "")), kind.stream).finish_reason == "tool_calls"
    begun = (start(), block(0, type="tool_use", id="a", name="f", input={}))
    cut = (*begun, delta(0, "input_json", partial_json='{"city": "Par'), {"type": "message_stop"})
    assert ANTHROPIC.failure(ANTHROPIC.streamed(*cut), ANTHROPIC.stream).code == "broken_stream"


@pytest.mark.parametrize("kind", EVERY, ids=str)
def test_usage_and_empty_pieces_may_come_after_the_reason(kind: Kind) -> None:
    if kind is ANTHROPIC:
        after = [{"type": "ping"}, {"type": "message_delta", "delta": {}, "usage": {"output_tokens": 7}}]
        chunks = [*kind.begun, kind.ended[0], *after]
    else:
        after = [chunk(content=""), chunk(None, {"prompt_tokens": 3, "completion_tokens": 7})]
        chunks = [*kind.begun, *kind.ended, *after, {"choices": [], "usage": None}]
    answer = kind.answer(kind.unmarked(*chunks), kind.stream)
    assert (answer.text, answer.finish_reason) == ("Hel", "stop")
    assert answer.usage is not None
    assert (answer.usage.input, answer.usage.output) == (3, 7)


@pytest.mark.parametrize("kind", EVERY, ids=str)
def test_the_end_may_cut_what_comes_after_the_answer(kind: Kind) -> None:
    """A body that ends in the middle of its last event: what came before it decides."""
    whole = kind.events(*kind.begun, *kind.ended[:1])
    cut = reply(whole + b'data: {"choi', content_type="text/event-stream")
    assert kind.answer(cut, kind.stream).text == "Hel"
    begun = reply(kind.events(*kind.begun) + b'data: {"choi', content_type="text/event-stream")
    assert kind.failure(begun, kind.stream).code == "broken_stream"


def test_what_is_thought_or_refused_after_a_reason_goes_on_with_the_answer() -> None:
    early = chunk("stop", content="")
    for more in ({"reasoning_content": "Hm."}, {"refusal": "No."}):
        assert OPENAI.failure(OPENAI.unmarked(early, chunk(**more)), OPENAI.stream).code == "broken_stream"
    thinking = chunk(content=[{"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}])
    assert MISTRAL.failure(MISTRAL.unmarked(early, thinking), MISTRAL.stream).code == "broken_stream"


def test_silence_after_an_answer_that_has_not_ended_ends_at_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clew.providers.transport.AFTER_FINISH_SECONDS", 0.05)

    for kind in EVERY:
        silent = kind.cut(*reasons_with_each_piece(kind, "")[0], then="silence")
        assert kind.failure(silent, kind.stream, timeout_seconds=0.3).code == "timeout"


def test_a_call_that_comes_again_after_the_reason_does_not_go_on_with_the_answer() -> None:
    for kind in CHATS:
        whole = {"index": 0, "id": "a", "function": {"name": "f", "arguments": '{"x": 1}'}}
        named = {"index": 0, "id": "a", "function": {"name": "f", "arguments": ""}}
        for again in (whole, named):
            chunks = [called('{"x"', None), called(": 1}", "tool_calls"), chunk(tool_calls=[again])]
            assert len(kind.answer(kind.unmarked(*chunks), kind.stream).tool_calls) == 1
