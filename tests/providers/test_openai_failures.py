"""Calls to chat completions servers that fail, each in its own way."""

from __future__ import annotations

import asyncio
from email.utils import formatdate
from time import time
from typing import Any

import pytest

from clew.errors import Misconfigured, ProviderFailed
from clew.providers.base import Piece
from clew.providers.openai import OpenAI
from tests.providers.calls import KEY, PLAIN, STREAM, completion, delta, failure, pieces_of
from tests.rigs.raw_server import Reply, cut_stream, json_reply, reply, serving, stream


@pytest.mark.parametrize("then", ["end", "reset"])
def test_a_stream_that_ends_before_the_answer_is_broken(then: str) -> None:
    failed = failure(cut_stream(delta(content="Hel"), then=then))
    assert (failed.code, failed.retryable) == ("broken_stream", True)


def test_a_stream_that_ends_without_a_finish_reason_is_broken() -> None:
    assert failure(stream(delta(content="Hel"), done=False)).code == "broken_stream"


def test_a_stream_cut_in_the_middle_of_a_line_is_broken() -> None:
    failed = failure(stream(delta(content="Hel"), b'data: {"choices":[{"del', done=False))
    assert (failed.code, failed.retryable) == ("broken_stream", True)


@pytest.mark.parametrize(
    ("data", "content_type"),
    [
        (b"<html>Bad gateway</html>", "text/html"),
        (b"", "application/json"),
        (b"[1, 2]", "application/json"),
        (b'{"choices": []}', "application/json"),
        (b'{"choices": [7]}', "application/json"),
        (b'{"choices": [{"message": "hi"}]}', "application/json"),
        (b'{"choices": [{"message": {"tool_calls": [{"id": "a"}]}}]}', "application/json"),
        (b'{"choices": [{"message": {"tool_calls": [{"function": {"name": null}}]}}]}', "application/json"),
        (b"\xff\xfe\x00", "application/json"),
    ],
)
@pytest.mark.parametrize("body", [PLAIN, STREAM])
def test_nonsense_is_called_nonsense(data: bytes, content_type: str, body: bytes) -> None:
    failed = failure(reply(data, content_type=content_type), body)
    assert (failed.code, failed.retryable) == ("nonsense", True)


def test_a_stream_of_nonsense_is_nonsense() -> None:
    assert failure(stream(b"data: {oops}\n\n")).code == "nonsense"
    assert failure(stream(b"data: 3\n\n")).code == "nonsense"


def test_a_body_that_cannot_be_decompressed_is_nonsense() -> None:
    headers = "content-encoding: gzip\r\n"
    assert failure(reply(b"not gzip", headers=headers), PLAIN).code == "nonsense"
    assert failure(reply(b"not gzip", headers=headers, content_type="text/event-stream")).code == "nonsense"


def test_an_answer_without_end_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clew.providers.transport.ANSWER_BYTES_MAX", 5000)
    for replied, body in (
        (stream(*[delta(content="again ")] * 100), STREAM),
        (stream(b": wait\n" * 1000), STREAM),
        (json_reply(completion(content="again " * 1000)), PLAIN),
    ):
        failed = failure(replied, body)
        assert (failed.code, failed.retryable) == ("nonsense", False)


@pytest.mark.parametrize("body", [PLAIN, STREAM])
@pytest.mark.parametrize(
    ("status", "error", "code", "retryable"),
    [
        (400, {"message": "context too long", "code": "context_length_exceeded"}, "invalid_prompt", False),
        (404, {"message": "no such model", "code": "model_not_found"}, "invalid_prompt", False),
        (422, {"message": "what?"}, "invalid_prompt", False),
        (401, {"message": "bad key"}, "server_error", False),
        (403, {"message": "not here"}, "server_error", False),
        (408, {"message": "slow"}, "timeout", True),
        (409, {"message": "busy"}, "server_error", True),
        (429, {"message": "slow down", "code": "rate_limit_exceeded"}, "rate_limit_exceeded", True),
        (429, {"message": "pay", "code": "insufficient_quota"}, "rate_limit_exceeded", False),
        (429, {"message": "pay", "type": "insufficient_quota", "code": None}, "rate_limit_exceeded", False),
        (500, {"message": "oops"}, "server_error", True),
        (503, {"message": "overloaded"}, "server_error", True),
        (302, {"message": "elsewhere"}, "server_error", False),
    ],
)
def test_each_status_has_its_meaning(body: bytes, status: int, error: Any, code: str, retryable: bool) -> None:
    failed = failure(json_reply({"error": error}, status, "location: http://elsewhere/\r\n"), body)
    assert (failed.status, failed.code, failed.retryable) == (status, code, retryable)
    assert error["message"] in str(failed)


@pytest.mark.parametrize(
    "data", [b"", b"<html>", b'"text"', b"[]", b"null", b'{"error": "text"}', b'{"detail": "text"}', b'{"error": {}}']
)
def test_an_error_may_have_any_shape(data: bytes) -> None:
    failed = failure(reply(data, 500))
    assert failed.status == 500
    assert ("text" in str(failed)) == (b"text" in data)


def test_a_long_error_is_shortened() -> None:
    assert len(str(failure(json_reply({"error": {"message": "x" * 5000}}, 400)))) < 550
    assert len(str(failure(reply(b"x" * 500_000, 500)))) < 550


def test_a_refused_key_is_not_shown_and_the_setting_is() -> None:
    echoing = json_reply({"error": {"message": "x" * 490 + f"Incorrect API key {KEY}"}}, 401)
    failed = failure(echoing)
    assert "CLEW_OPENAI_API_KEY" in str(failed)
    assert "sk-s" not in str(failed)
    assert "CLEW_OTHER_API_KEY" in str(failure(echoing, name="other"))
    assert "not set" in str(failure(json_reply({"error": {"message": "no key"}}, 401), api_key=None))
    assert "sk-s" not in str(failure(reply(f"authorization: Bearer {KEY}".encode()), PLAIN))
    assert KEY not in repr(OpenAI(base_url="http://here", api_key=KEY))


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ("retry-after: 7\r\n", 7),
        ("retry-after-ms: 250\r\nretry-after: 7\r\n", 0.25),
        ("retry-after: -3\r\n", 0),
        ("retry-after: nan\r\n", None),
        ("retry-after: soon\r\n", None),
        ("", None),
    ],
)
def test_the_provider_says_when_to_come_back(headers: str, seconds: float | None) -> None:
    assert failure(json_reply({}, 429, headers)).retry_after_seconds == seconds


def test_the_time_to_come_back_may_be_a_date() -> None:
    headers = f"retry-after: {formatdate(time() + 60, usegmt=True)}\r\n"
    seconds = failure(json_reply({}, 503, headers)).retry_after_seconds
    assert seconds is not None
    assert 50 < seconds <= 60


@pytest.mark.parametrize(
    ("error", "code", "retryable"),
    [
        ({"message": "oops", "type": "server_error"}, "server_error", True),
        ({"message": "slow down", "code": "rate_limit_exceeded"}, "rate_limit_exceeded", True),
        ({"message": "slow down", "code": 429}, "rate_limit_exceeded", True),
        ({"message": "pay", "code": "insufficient_quota"}, "rate_limit_exceeded", False),
        ({"message": "too long", "type": "invalid_request_error"}, "invalid_prompt", False),
    ],
)
def test_an_error_may_come_inside_a_good_response(error: Any, code: str, retryable: bool) -> None:
    for failed in (
        failure(stream(delta(content="Hel"), {"error": error})),
        failure(json_reply({"error": error}), PLAIN),
    ):
        assert (failed.code, failed.retryable) == (code, retryable)
        assert error["message"] in str(failed)


@pytest.mark.parametrize("body", [PLAIN, STREAM])
@pytest.mark.parametrize(
    "replied",
    [
        Reply(b"", "silence"),
        Reply(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{", "silence"),
        Reply(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n: wait\n\n", "silence"),
    ],
)
def test_silence_ends_at_the_deadline(replied: Reply, body: bytes) -> None:
    failed = failure(replied, body, timeout_seconds=0.1)
    assert (failed.code, failed.retryable) == ("timeout", True)


@pytest.mark.parametrize(
    "replied",
    [
        Reply(b"", "end"),
        Reply(b"", "reset"),
        Reply(b"SSH-2.0-OpenSSH_9\r\n", "end"),
        Reply(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{", "end"),
    ],
)
def test_a_connection_that_breaks_may_be_tried_again(replied: Reply) -> None:
    failed = failure(replied, PLAIN)
    assert (failed.code, failed.retryable, failed.status) == ("server_error", True, None)


def test_a_server_that_is_not_there_may_come_back() -> None:
    async def run() -> list[Piece]:
        async with serving(Reply(b"")) as server:
            pass
        return await pieces_of(server, PLAIN)

    with pytest.raises(ProviderFailed, match="CLEW_OPENAI_BASE_URL") as caught:
        asyncio.run(run())
    assert (caught.value.code, caught.value.retryable) == ("server_error", True)


@pytest.mark.parametrize("base_url", ["", "api.openai.com/v1", "ftp://here/v1", "http://", "http://[::1"])
def test_a_url_that_cannot_work_is_refused_at_once(base_url: str) -> None:
    with pytest.raises(Misconfigured, match="CLEW_OPENAI_BASE_URL"):
        OpenAI(base_url=base_url, api_key=None)


def test_a_key_that_cannot_be_sent_is_refused_without_showing_it() -> None:
    for key in ("sk-ab\ncd", "sk-ab cd", "sk-äb"):
        with pytest.raises(Misconfigured, match="CLEW_OPENAI_API_KEY") as caught:
            OpenAI(base_url="http://here", api_key=key)
        assert key not in str(caught.value)
