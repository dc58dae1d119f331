"""Calls to servers of Anthropic's and Mistral's formats that fail, each in its own way.

`test_openai_failures.py` has more of what a connection may do: the transport is the same.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from clew.errors import Misconfigured, ProviderFailed
from clew.providers.base import Piece
from tests.providers.kinds import ANTHROPIC, KEY, KINDS, MISTRAL, Kind, block, delta, ended, start
from tests.rigs.raw_server import Reply, json_reply, reply, serving

of_all = pytest.mark.parametrize("kind", KINDS, ids=str)
either_way = pytest.mark.parametrize("streams", [False, True], ids=["whole", "streamed"])


def body_of(kind: Kind, streams: bool) -> bytes:
    return kind.stream if streams else kind.plain


@of_all
@pytest.mark.parametrize("then", ["end", "reset"])
def test_a_stream_that_ends_before_the_answer_is_broken(kind: Kind, then: str) -> None:
    failed = kind.failure(kind.cut(*kind.begun, then=then), kind.stream)
    assert (failed.code, failed.retryable, failed.reached) == ("broken_stream", True, True)


@of_all
def test_a_stream_that_ends_without_a_finish_reason_is_broken(kind: Kind) -> None:
    assert kind.failure(kind.unmarked(*kind.begun), kind.stream).code == "broken_stream"
    assert kind.failure(kind.cut(*kind.begun, b'data: {"choices":[{"del'), kind.stream).code == "broken_stream"


@of_all
@either_way
@pytest.mark.parametrize(
    ("data", "content_type"),
    [
        (b"<html>Bad gateway</html>", "text/html"),
        (b"", "application/json"),
        (b"[1, 2]", "application/json"),
        (b"{}", "application/json"),
        (b'{"content": 7, "choices": 7}', "application/json"),
        (b'{"content": [7], "choices": [7]}', "application/json"),
        (b'{"content": [{"type": "tool_use"}], "choices": [{"message": {"tool_calls": [7]}}]}', "application/json"),
    ],
)
def test_nonsense_is_called_nonsense(kind: Kind, streams: bool, data: bytes, content_type: str) -> None:
    failed = kind.failure(reply(data, content_type=content_type), body_of(kind, streams))
    assert (failed.code, failed.retryable) == ("nonsense", True)


@of_all
def test_an_answer_without_end_is_cut_off(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clew.providers.transport.ANSWER_BYTES_MAX", 5000)
    for replied, body in (
        (kind.streamed(*kind.begun * 100), kind.stream),
        (kind.streamed(b": wait\n" * 1000), kind.stream),
        (json_reply(kind.whole("again " * 1000)), kind.plain),
    ):
        failed = kind.failure(replied, body)
        assert (failed.code, failed.retryable) == ("nonsense", False)


@of_all
@either_way
@pytest.mark.parametrize(
    ("status", "error", "code", "retryable"),
    [
        (400, "invalid_request_error", "invalid_prompt", False),
        (401, "authentication_error", "server_error", False),
        (402, "billing_error", "server_error", False),
        (403, "permission_error", "server_error", False),
        (404, "not_found_error", "invalid_prompt", False),
        (408, "request_timeout", "timeout", True),
        (409, "conflict", "server_error", True),
        (413, "request_too_large", "invalid_prompt", False),
        (429, "rate_limit_error", "rate_limit_exceeded", True),
        (500, "api_error", "server_error", True),
        (504, "timeout_error", "server_error", True),
        (529, "overloaded_error", "server_error", True),
        (302, "elsewhere", "server_error", False),
    ],
)
def test_each_status_has_its_meaning(
    kind: Kind, streams: bool, status: int, error: str, code: str, retryable: bool
) -> None:
    replied = json_reply(kind.error("so it is", error), status, "location: http://elsewhere/\r\nretry-after: 7\r\n")
    failed = kind.failure(replied, body_of(kind, streams))
    assert (failed.status, failed.code, failed.retryable) == (status, code, retryable)
    assert failed.retry_after_seconds == (7 if retryable else None)
    assert "so it is" in str(failed)


def test_mistrals_list_of_faults_is_shown() -> None:
    faults = {"detail": [{"loc": ["body", "messages"], "msg": "Field required", "type": "missing"}]}
    failed = MISTRAL.failure(json_reply(faults, 422), MISTRAL.plain)
    assert (failed.code, failed.retryable) == ("invalid_prompt", False)
    assert "Field required" in str(failed)


@pytest.mark.parametrize(
    ("error", "code", "retryable"),
    [
        ("overloaded_error", "server_error", True),
        ("api_error", "server_error", True),
        ("rate_limit_error", "rate_limit_exceeded", True),
        ("timeout_error", "timeout", True),
        ("invalid_request_error", "invalid_prompt", False),
        ("authentication_error", "server_error", False),
    ],
)
def test_anthropic_may_fail_in_the_middle_of_a_stream(error: str, code: str, retryable: bool) -> None:
    failed = ANTHROPIC.failure(
        ANTHROPIC.streamed(*ANTHROPIC.begun, ANTHROPIC.error("no more", error)), ANTHROPIC.stream
    )
    assert (failed.code, failed.retryable, failed.status) == (code, retryable, None)
    assert "no more" in str(failed)


def test_mistral_may_fail_in_the_middle_of_a_stream_and_say_with_which_status() -> None:
    error = {**MISTRAL.error("slow down", "rate_limited"), "raw_status_code": 429}
    failed = MISTRAL.failure(MISTRAL.streamed(*MISTRAL.begun, error), MISTRAL.stream)
    assert (failed.code, failed.retryable, failed.status) == ("rate_limit_exceeded", True, 429)
    plain = MISTRAL.failure(MISTRAL.streamed(*MISTRAL.begun, MISTRAL.error("oops", "internal")), MISTRAL.stream)
    assert (plain.code, plain.retryable) == ("server_error", True)


def test_mistral_may_say_that_it_failed_as_a_finish_reason() -> None:
    broken = json_reply({"choices": [{"index": 0, "message": {"content": "He"}, "finish_reason": "error"}]})
    failed = MISTRAL.failure(broken, MISTRAL.plain)
    assert (failed.code, failed.retryable) == ("server_error", True)


@either_way
def test_a_pause_for_a_tool_of_anthropics_own_is_no_answer(streams: bool) -> None:
    paused = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {}}
    if streams:
        replied = ANTHROPIC.streamed(start(), block(0, **paused), *ended("pause_turn"))
    else:
        replied = json_reply({"content": [paused], "stop_reason": "pause_turn"})
    failed = ANTHROPIC.failure(replied, body_of(ANTHROPIC, streams))
    assert (failed.code, failed.retryable) == ("server_error", False)


@pytest.mark.parametrize(
    "chunks",
    [
        (start(), delta(0, "text", text="of nothing"), *ended("end_turn")),
        (start(), block(0, type="tool_use", id="a"), *ended("tool_use")),
        (
            start(),
            block(0, type="thinking", thinking="", signature=""),
            block(1, type="server_tool_use", id="a", name="x"),
            delta(1, "input_json", partial_json="{"),
            *ended("end_turn"),
        ),
    ],
    ids=["a delta of no block", "a call without a name", "an input that is no JSON"],
)
def test_a_stream_that_does_not_add_up_is_nonsense(chunks: tuple[Any, ...]) -> None:
    assert ANTHROPIC.failure(ANTHROPIC.streamed(*chunks), ANTHROPIC.stream).code == "nonsense"


@of_all
def test_a_refused_key_is_not_shown_and_the_setting_is(kind: Kind) -> None:
    echoing = json_reply(kind.error("x" * 490 + f"Incorrect key {KEY}", "authentication_error"), 401)
    failed = kind.failure(echoing, kind.plain)
    assert f"CLEW_{kind.name.upper()}_API_KEY" in str(failed)
    assert "sk-s" not in str(failed)
    assert "not set" in str(kind.failure(json_reply(kind.error("no key", "x"), 401), kind.plain, api_key=None))
    assert "sk-s" not in str(kind.failure(reply(f"authorization: Bearer {KEY}".encode()), kind.plain))
    assert KEY not in repr(kind.make(base_url="http://here", api_key=KEY))


@of_all
@either_way
@pytest.mark.parametrize(
    "replied",
    [
        Reply(b"", "silence"),
        Reply(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{", "silence"),
        Reply(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\nevent: ping\n\n", "silence"),
    ],
)
def test_silence_ends_at_the_deadline(kind: Kind, streams: bool, replied: Reply) -> None:
    failed = kind.failure(replied, body_of(kind, streams), timeout_seconds=0.1)
    assert (failed.code, failed.retryable) == ("timeout", True)


@of_all
def test_a_server_that_is_not_there_was_not_reached(kind: Kind) -> None:
    async def run() -> list[Piece]:
        async with serving(Reply(b"")) as server:
            pass
        return await kind.pieces_of(server, kind.plain)

    with pytest.raises(ProviderFailed, match=f"CLEW_{kind.name.upper()}_BASE_URL") as caught:
        asyncio.run(run())
    assert (caught.value.code, caught.value.retryable, caught.value.reached) == ("server_error", True, False)


@of_all
@pytest.mark.parametrize("base_url", ["", "api.example.com", "ftp://here", "http://"])
def test_a_url_that_cannot_work_is_refused_at_once(kind: Kind, base_url: str) -> None:
    with pytest.raises(Misconfigured, match=f"CLEW_{kind.name.upper()}_BASE_URL"):
        kind.make(base_url=base_url, api_key=None)


@of_all
def test_a_key_that_cannot_be_sent_is_refused_without_showing_it(kind: Kind) -> None:
    with pytest.raises(Misconfigured, match=f"CLEW_{kind.name.upper()}_API_KEY") as caught:
        kind.make(base_url="http://here", api_key="sk-ab cd")
    assert "sk-ab" not in str(caught.value)
