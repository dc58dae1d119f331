"""Half a surrogate pair in what a server sends: joined with the other half, else U+FFFD."""

from __future__ import annotations

import json
from typing import Any

import pytest

from clew.providers.base import Answer, CallPiece, Piece, ReasoningPiece, TextPiece
from tests.providers.kinds import ANTHROPIC, EVERY, MISTRAL, OPENAI, Kind, block, delta, ended, start, stopped
from tests.rigs.raw_server import reply

# As JSON writes a character beyond U+FFFF, and the halves of it.
FACE, HIGH, LOW = "\N{GRINNING FACE}", "\ud83d", "\ude00"
LOST = "\N{REPLACEMENT CHARACTER}"
CHATS = (OPENAI, MISTRAL)


def as_sent(value: Any) -> bytes:
    """JSON with every character that is not ASCII escaped, halves too."""
    return json.dumps(value).encode()


def events(kind: Kind, *chunks: Any) -> bytes:
    return b"".join(b"data: %s\n\n" % as_sent(one) for one in chunks) + kind.end_mark


def texts(kind: Kind, *pieces: str) -> bytes:
    if kind is ANTHROPIC:
        said = [delta(0, "text", text=piece) for piece in pieces]
        return events(kind, start(), block(0, type="text", text=""), *said, stopped(0), *ended("end_turn"))
    return events(kind, *(choice(content=piece) for piece in pieces), choice("stop"))


def choice(finish: str | None = None, **said: Any) -> dict[str, Any]:
    return {"id": "1", "choices": [{"index": 0, "delta": said, "finish_reason": finish}]}


def streamed(kind: Kind, data: bytes) -> list[Piece]:
    return kind.received(reply(data, content_type="text/event-stream"), kind.stream)


def no_halves(value: Any) -> bool:
    return repr(value).encode("utf-8", "replace").count(b"\\ud") == 0


@pytest.mark.parametrize("kind", EVERY, ids=str)
@pytest.mark.parametrize(
    ("pieces", "whole"),
    [
        (("Hi " + HIGH, LOW + "!"), f"Hi {FACE}!"),
        (("Hi " + HIGH, "", LOW), f"Hi {FACE}"),
        (("Hi " + HIGH, "x"), f"Hi {LOST}x"),
        (("Hi ", LOW + "x"), f"Hi {LOST}x"),
        (("Hi " + HIGH,), f"Hi {LOST}"),
        ((HIGH, HIGH, LOW), f"{LOST}{FACE}"),
        ((HIGH,), LOST),
    ],
)
def test_halves_in_a_text_are_joined_or_replaced(kind: Kind, pieces: tuple[str, ...], whole: str) -> None:
    received = streamed(kind, texts(kind, *pieces))
    assert "".join(piece.text for piece in received if isinstance(piece, TextPiece)) == whole
    answer = received[-1]
    assert isinstance(answer, Answer)
    assert answer.text == whole


def called(kind: Kind, *pieces: str, name: str = "f", id: str = "a") -> bytes:
    if kind is ANTHROPIC:
        begun = block(0, type="tool_use", id=id, name=name, input={})
        said = [delta(0, "input_json", partial_json=piece) for piece in pieces]
        return events(kind, start(), begun, *said, stopped(0), *ended("tool_use"))
    first = {"index": 0, "id": id, "function": {"name": name, "arguments": ""}}
    rest = [{"index": 0, "function": {"arguments": piece}} for piece in pieces]
    return events(kind, *(choice(tool_calls=[one]) for one in [first, *rest]), choice("tool_calls"))


@pytest.mark.parametrize("kind", EVERY, ids=str)
@pytest.mark.parametrize(
    ("pieces", "whole"),
    [
        (('{"q": "' + HIGH, LOW + '"}'), f'{{"q": "{FACE}"}}'),
        (('{"q": "' + HIGH, '"}'), f'{{"q": "{LOST}"}}'),
        (('{"q": "', LOW + '"}'), f'{{"q": "{LOST}"}}'),
        # An escape is a matter of whoever reads the arguments, and stays as the model wrote it.
        (('{"q": "\\ud83d', '"}'), '{"q": "\\ud83d"}'),
        (("Paris " + HIGH,), f"Paris {LOST}"),
    ],
)
def test_halves_in_arguments_are_joined_or_replaced(kind: Kind, pieces: tuple[str, ...], whole: str) -> None:
    received = streamed(kind, called(kind, *pieces))
    answer = received[-1]
    assert isinstance(answer, Answer)
    assert [one.arguments for one in answer.tool_calls] == [whole]
    assert "".join(piece.arguments for piece in received if isinstance(piece, CallPiece)) == whole


@pytest.mark.parametrize("kind", EVERY, ids=str)
def test_halves_in_names_and_ids_are_replaced(kind: Kind) -> None:
    answer = streamed(kind, called(kind, "{}", name="f" + HIGH, id="a" + LOW))[-1]
    assert isinstance(answer, Answer)
    assert [(one.name, one.tool_call_id) for one in answer.tool_calls] == [("f" + LOST, "a" + LOST)]


@pytest.mark.parametrize("kind", EVERY, ids=str)
def test_halves_in_an_answer_that_came_at_once_are_replaced(kind: Kind) -> None:
    said = f"Hi {HIGH}{LOW} {HIGH}"
    whole = kind.whole(said)
    if kind is ANTHROPIC:
        whole["content"].insert(0, {"type": "thinking", "thinking": "Hm " + HIGH, "signature": "s"})
        whole["content"].append({"type": "tool_use", "id": "a", "name": "f", "input": {"q": LOW}})
    else:
        call = {"id": "a", "function": {"name": "f", "arguments": '{"q": "' + LOW + '"}'}}
        whole["choices"][0]["message"] |= {"tool_calls": [call], "reasoning_content": "Hm " + HIGH}
    whole["model"] = "m" + HIGH
    answer = kind.answer(reply(as_sent(whole)), kind.plain)
    assert answer.text == f"Hi {FACE} {LOST}"
    assert answer.model == "m" + LOST
    (arguments,) = (one.arguments for one in answer.tool_calls)
    # Of an object the JSON is kept, in which a half is an escape as the model may have written it.
    assert arguments == ('{"q": "\\ude00"}' if kind is ANTHROPIC else f'{{"q": "{LOST}"}}')
    assert all(no_halves(thought) for thought in answer.reasoning)


def test_halves_in_what_is_thought_are_joined_or_replaced() -> None:
    thoughts = [delta(0, "thinking", thinking=piece) for piece in ("Hm " + HIGH, LOW + "." + HIGH)]
    signed = delta(0, "signature", signature="s")
    begun = block(0, type="thinking", thinking="", signature="")
    received = streamed(ANTHROPIC, events(ANTHROPIC, start(), begun, *thoughts, signed, stopped(0), *ended("end_turn")))
    shown = "".join(piece.text for piece in received if isinstance(piece, ReasoningPiece))
    assert shown == f"Hm {FACE}.{LOST}"
    answer = received[-1]
    assert isinstance(answer, Answer)
    assert answer.reasoning == (f'{{"type":"thinking","thinking":"Hm {FACE}.{LOST}","signature":"s"}}',)
    for kind in CHATS:
        pieces = [choice(reasoning_content=piece) for piece in ("Hm " + HIGH, LOW)]
        answer = streamed(kind, events(kind, *pieces, choice("stop", content="Hi")))[-1]
        assert isinstance(answer, Answer)
        if kind is OPENAI:
            assert answer.reasoning == (f'{{"reasoning_content":"Hm {FACE}"}}',)
    chunks = [
        choice(content=[{"type": "thinking", "thinking": [{"type": "text", "text": piece}]}])
        for piece in ("Hm " + HIGH, LOW)
    ]
    answer = streamed(MISTRAL, events(MISTRAL, *chunks, choice("stop", content="Hi")))[-1]
    assert isinstance(answer, Answer)
    assert answer.reasoning == (f'{{"type":"thinking","thinking":[{{"type":"text","text":"Hm {FACE}"}}]}}',)


@pytest.mark.parametrize("kind", EVERY, ids=str)
def test_halves_in_an_error_are_replaced(kind: Kind) -> None:
    failing = kind.error("Gone " + HIGH, "server_error")
    for replied, asked in (
        (reply(events(kind, *kind.begun, failing), content_type="text/event-stream"), kind.stream),
        (reply(as_sent(failing)), kind.plain),
        (reply(as_sent(failing), status=500), kind.plain),
    ):
        failed = kind.failure(replied, asked)
        assert f"Gone {LOST}" in str(failed)


@pytest.mark.parametrize("kind", EVERY, ids=str)
def test_bytes_that_are_no_utf_8_are_replaced(kind: Kind) -> None:
    data = texts(kind, "Hi", "there").replace(b"there", b"th\xffre")
    answer = streamed(kind, data)[-1]
    assert isinstance(answer, Answer)
    assert answer.text == f"Hith{LOST}re"
