"""Server-sent events by the grammar of the WHATWG, whatever the content type and whatever was asked for."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import orjson
import pytest

from clew.providers.base import Answer, TextPiece
from tests.providers.kinds import ANTHROPIC, EVERY, MISTRAL, OPENAI, Kind, chunk
from tests.rigs.raw_server import Reply, json_reply, reply, slow_stream

BOM = b"\xef\xbb\xbf"


def streamed(kind: Kind) -> bytes:
    return kind.events(*kind.begun, *kind.ended) + kind.end_mark


def over_lines(data: bytes) -> bytes:
    """Each object over several lines of data: JSON has room for a line break behind each comma."""
    return re.sub(rb",(?=\")", b",\ndata: ", data)


FORMS: dict[str, Callable[[bytes], bytes]] = {
    "LF": lambda data: data,
    "CR": lambda data: data.replace(b"\n", b"\r"),
    "CRLF": lambda data: data.replace(b"\n", b"\r\n"),
    "mixed": lambda data: data.replace(b"\n\n", b"\r\n\r").replace(b"\n", b"\r\n", 1),
    "BOM": lambda data: BOM + data,
    "BOM and CRLF": lambda data: BOM + data.replace(b"\n", b"\r\n"),
    "without a space": lambda data: data.replace(b"data: ", b"data:"),
    "comments": lambda data: b": hello\n\n" + data.replace(b"\n\n", b"\n: wait\n\n:\n\n"),
    "a comment before anything": lambda data: b":\n" + data,
    "data over several lines": over_lines,
    "data over several lines with CR": lambda data: over_lines(data).replace(b"\n", b"\r"),
    "ids, retries, and other fields": lambda data: data.replace(b"data:", b"id: 7\nretry: 10\nx-y: z\nnothing\ndata:"),
    "empty events": lambda data: b"\n\n\n" + data.replace(b"\n\n", b"\n\n\n\ndata\n\nevent: x\n\ndata: \n\n"),
    "no blank line at the end": lambda data: data.rstrip(b"\n"),
    "one line end at the end": lambda data: data.rstrip(b"\n") + b"\n",
}
OF_ALL = pytest.mark.parametrize("kind", EVERY, ids=str)
IN_ALL_FORMS = pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())


def said(kind: Kind, replied: Reply, asked: bytes) -> tuple[str, str | None]:
    """The text in the pieces, and that of the answer."""
    pieces = kind.received(replied, asked)
    assert isinstance(pieces[-1], Answer)
    return "".join(piece.text for piece in pieces if isinstance(piece, TextPiece)), pieces[-1].text


@IN_ALL_FORMS
@OF_ALL
def test_a_stream_is_read_in_every_form(kind: Kind, form: Callable[[bytes], bytes]) -> None:
    replied = reply(form(streamed(kind)), content_type="text/event-stream")
    assert said(kind, replied, kind.stream) == ("Hel", "Hel")


@IN_ALL_FORMS
@OF_ALL
def test_it_may_come_in_packets_of_any_size(kind: Kind, form: Callable[[bytes], bytes]) -> None:
    data = form(streamed(kind))
    for size in (1, 2, 3, 7):
        packets = [data[at : at + size] for at in range(0, len(data), size)]
        replied = slow_stream(*packets, pause_seconds=0)
        assert said(kind, replied, kind.stream) == ("Hel", "Hel")


@IN_ALL_FORMS
@OF_ALL
def test_a_stream_answers_a_plain_request(kind: Kind, form: Callable[[bytes], bytes]) -> None:
    """No pieces are given then: nobody waits for them."""
    for content_type in ("text/event-stream", "application/json", "text/plain; charset=utf-8"):
        replied = reply(form(streamed(kind)), content_type=content_type)
        assert said(kind, replied, kind.plain) == ("", "Hel")


@OF_ALL
def test_an_answer_at_once_answers_a_request_for_a_stream(kind: Kind) -> None:
    for content_type in ("application/json", "text/event-stream", "text/plain"):
        for head in (b"", BOM, b"\n \r\n", b" " * 70):
            replied = reply(head + orjson.dumps(kind.whole("Hi")), content_type=content_type)
            assert kind.answer(replied, kind.stream).text == "Hi"
            assert kind.answer(replied, kind.plain).text == "Hi"


@OF_ALL
def test_empty_lines_may_come_until_the_answer_does(kind: Kind) -> None:
    """DeepSeek keeps the connection open so, for requests of both kinds."""
    answer = orjson.dumps(kind.whole("Hi"))
    assert kind.answer(slow_stream(b"\n", b"\n\n", answer, pause_seconds=0.01), kind.plain).text == "Hi"
    parts = [b": keep-alive\n\n", b"\n", b": keep-alive\n\n", streamed(kind)]
    assert kind.answer(slow_stream(*parts, pause_seconds=0.01), kind.stream).text == "Hel"


@OF_ALL
def test_nothing_at_all_is_no_answer(kind: Kind) -> None:
    for data in (b"", b"\n\n", BOM, b": nobody\n\n", b"data: \n\n"):
        for asked in (kind.plain, kind.stream):
            for content_type in ("text/event-stream", "application/json"):
                assert kind.failure(reply(data, content_type=content_type), asked).retryable


@OF_ALL
def test_an_error_page_is_nonsense_and_shown(kind: Kind) -> None:
    page = reply(b"<html><body>Bad gateway</body></html>", content_type="text/html")
    for asked in (kind.plain, kind.stream):
        assert kind.failure(page, asked).code == "nonsense"


def test_the_mark_for_the_end_may_stand_in_other_forms() -> None:
    for kind in (OPENAI, MISTRAL):
        for mark in (b"data:[DONE]\n\n", b"data: [DONE]", b"event: done\ndata: [DONE] \n\n", b"data: [DONE]\r\r"):
            replied = reply(kind.events(chunk(content="Hi")) + mark, content_type="text/event-stream")
            assert kind.answer(replied, kind.stream).text == "Hi"


def test_line_breaks_of_unicode_end_no_line() -> None:
    for kind in EVERY:
        for mark in ("\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c"):
            text = f"a{mark}b"
            whole = {"content": text}
            if kind is ANTHROPIC:
                begun: list[Any] = [*kind.begun[:-1], {**kind.begun[-1], "delta": {"type": "text_delta", "text": text}}]
            else:
                begun = [chunk(**whole)]
            assert kind.answer(kind.streamed(*begun, *kind.ended), kind.stream).text == text


@pytest.mark.parametrize(
    "idle", [b"ping", b'"ping"', b"keep_alive", b"OK", b"[PING]", b": keep-alive", b"null", b"[]", b"", b"keepalive"]
)
def test_what_keeps_a_connection_open_is_no_piece_of_an_answer(idle: bytes) -> None:
    for kind in EVERY:
        data = streamed(kind).replace(b"\n\n", b"\n\ndata: " + idle + b"\n\n")
        assert said(kind, reply(data, content_type="text/event-stream"), kind.stream) == ("Hel", "Hel")


def test_blank_lines_between_events_may_be_missing() -> None:
    for kind in EVERY:
        data = re.sub(rb"\n\n", b"\n", streamed(kind))
        assert said(kind, reply(data, content_type="text/event-stream"), kind.stream) == ("Hel", "Hel")


def test_the_mark_for_the_end_may_be_json() -> None:
    data = OPENAI.events(chunk(content="Hel")) + b'data: "[DONE]"\n\n'
    assert said(OPENAI, reply(data, content_type="text/event-stream"), OPENAI.stream) == ("Hel", "Hel")


def test_a_whole_message_of_anthropics_may_come_as_one_event() -> None:
    whole = ANTHROPIC.whole("Hel")
    assert said(ANTHROPIC, ANTHROPIC.streamed(whole), ANTHROPIC.stream) == ("Hel", "Hel")
    assert said(ANTHROPIC, json_reply({**whole, "content": "Hel"}), ANTHROPIC.plain)[1] == "Hel"
    assert said(ANTHROPIC, ANTHROPIC.streamed({**whole, "content": "Hel"}), ANTHROPIC.stream) == ("Hel", "Hel")


def test_a_text_may_be_in_parts() -> None:
    for content in (["Hel"], {"text": "Hel"}, [{"type": "text", "text": "He"}, "l"]):
        for kind in (OPENAI, MISTRAL):
            replied = kind.streamed(chunk("stop", content=content))
            assert said(kind, replied, kind.stream) == ("Hel", "Hel")


@OF_ALL
@pytest.mark.parametrize("name", ["ping", "heartbeat", "keepalive"])
def test_events_by_these_names_are_no_pieces_of_an_answer(kind: Kind, name: str) -> None:
    idle = b"\n\nevent: %s\ndata: 1700000000\n\n" % name.encode()
    data = streamed(kind).replace(b"\n\n", idle)
    assert said(kind, reply(data, content_type="text/event-stream"), kind.stream) == ("Hel", "Hel")
