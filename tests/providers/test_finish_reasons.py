"""How an answer ended: in the words of many servers, and when it is no answer at all."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest

from clew.errors import ProviderFailed
from clew.providers.base import UsageSoFar
from tests.providers.kinds import (
    ANTHROPIC,
    EVERY,
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
    stopped,
)
from tests.rigs.raw_server import Reply, json_reply, reply, serving, slow_stream

BOTH_WAYS = pytest.mark.parametrize("streams", [True, False], ids=["stream", "whole"])
OF_ALL = pytest.mark.parametrize("kind", EVERY, ids=str)


def ending(kind: Kind, reason: Any, streams: bool, **said: Any) -> Reply:
    """An answer that says "Hel" (or `said`) and ends so."""
    if kind is ANTHROPIC:
        if not streams:
            return json_reply(message({"type": "text", "text": "Hel"}, stop_reason=reason))
        return kind.streamed(*kind.begun, stopped(0), *ended(reason))
    said = said or {"content": "Hel"}
    if streams:
        return kind.streamed(chunk(**said), chunk(reason))
    return json_reply(completion(reason, **said))


def body(kind: Kind, streams: bool) -> bytes:
    return kind.stream if streams else kind.plain


FAILED = [
    *("error", "ERROR", "network_error", "insufficient_system_resource", "abort", "aborted", "server_error"),
    *("function_call_filter: MALFORMED_FUNCTION_CALL", "MALFORMED_FUNCTION_CALL", "cancelled", "engine_overloaded"),
]


@BOTH_WAYS
@OF_ALL
@pytest.mark.parametrize("reason", FAILED)
def test_an_end_by_a_fault_of_the_provider_is_a_failed_attempt(kind: Kind, reason: str, streams: bool) -> None:
    failed = kind.failure(ending(kind, reason, streams), body(kind, streams))
    assert (failed.code, failed.retryable) == ("server_error", True)
    assert reason in str(failed)


MEANINGS = [
    *((word, "length") for word in ("length", "max_tokens", "MAX_TOKENS", "model_length", "max_output_tokens")),
    *((word, "length") for word in ("FinishReason.MAX_TOKENS", "finish_reason_max_tokens", "max-tokens", "Length")),
    ("model_context_window_exceeded", "length"),
    *((word, "content_filter") for word in ("content_filter", "SAFETY", "safety", "refusal", "RECITATION")),
    *((word, "content_filter") for word in ("PROHIBITED_CONTENT", "BLOCKLIST", "SPII", "sensitive")),
    ("content_filter: PROHIBITED_CONTENT", "content_filter"),
    *((word, "stop") for word in ("stop", "STOP", "end_turn", "stop_sequence", "eos", "eos_token")),
]


@BOTH_WAYS
@OF_ALL
@pytest.mark.parametrize(("reason", "meaning"), MEANINGS)
def test_each_word_for_the_end_has_its_meaning(kind: Kind, reason: str, meaning: str, streams: bool) -> None:
    answer = kind.answer(ending(kind, reason, streams), body(kind, streams))
    assert (answer.text, answer.finish_reason) == ("Hel", meaning)


@BOTH_WAYS
@OF_ALL
@pytest.mark.parametrize("reason", ["repetition", "Repetition: THIRD", "vendor.custom-stop"])
def test_a_word_that_nobody_knows_is_kept_as_it_is(kind: Kind, reason: str, streams: bool) -> None:
    assert kind.answer(ending(kind, reason, streams), body(kind, streams)).finish_reason == reason


CALL = {"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}


@BOTH_WAYS
@pytest.mark.parametrize("kind", [OPENAI, MISTRAL], ids=str)
@pytest.mark.parametrize("reason", ["stop", "tool_calls", "tool_call", "tool_use", "function_call", "STOP", "eos"])
def test_an_answer_with_calls_ends_with_calls(kind: Kind, reason: str, streams: bool) -> None:
    answer = kind.answer(ending(kind, reason, streams, tool_calls=[CALL]), body(kind, streams))
    assert answer.finish_reason == "tool_calls"
    assert [(called.tool_call_id, called.name) for called in answer.tool_calls] == [("a", "f")]


ERRORS = [
    ({"message": "Upstream is gone", "code": 502}, "server_error", 502),
    ({"message": "Slow down", "code": 429}, "rate_limit_exceeded", 429),
    ({"message": "Slow down", "code": "429"}, "rate_limit_exceeded", 429),
    ({"message": "Overloaded", "type": "overloaded_error"}, "server_error", None),
    ({"code": "server_error", "message": "Provider disconnected"}, "server_error", None),
]


@BOTH_WAYS
@pytest.mark.parametrize("kind", [OPENAI, MISTRAL], ids=str)
@pytest.mark.parametrize(("error", "code", "status"), ERRORS)
def test_an_error_may_stand_in_the_choice(
    kind: Kind, error: dict[str, Any], code: str, status: int | None, streams: bool
) -> None:
    """OpenRouter: https://openrouter.ai/docs/api-reference/errors"""
    choice = {"index": 0, "error": error, "finish_reason": "error"}
    said = {"delta": {"content": ""}} if streams else {"message": {"role": "assistant", "content": "He"}}
    failing = {"id": "1", "choices": [{**choice, **said}]}
    replied = kind.streamed(*kind.begun, failing) if streams else json_reply(failing)
    failed = kind.failure(replied, body(kind, streams))
    assert (failed.code, failed.retryable, failed.status) == (code, True, status)
    assert error["message"] in str(failed)


@OF_ALL
@pytest.mark.parametrize(
    ("error", "said"),
    [
        ({"error": {"message": "Gone away", "code": 502}, "choices": []}, "Gone away"),
        ({"error": "Gone away"}, "Gone away"),
        ({"error": {"code": 500, "message": None, "details": "Gone away"}}, "Gone away"),
        ({"type": "error", "error": {"type": "overloaded_error", "message": "Gone away"}}, "Gone away"),
        ({"base_resp": {"status_code": 1002, "status_msg": "Gone away"}}, "Gone away"),
        ({"code": "InternalError", "message": "Gone away", "request_id": "1"}, "Gone away"),
        ({"type": "error", "message": "Gone away"}, "Gone away"),
        ({"object": "error", "message": "Gone away", "code": 50000}, "Gone away"),
        ({"success": False, "errors": [{"code": 7000, "message": "Gone away"}], "result": None}, "Gone away"),
        # A number that is no status of an error says nothing.
        ({"error": {"code": 200, "message": "Gone away"}}, "Gone away"),
    ],
)
def test_an_error_in_a_good_response_is_a_failed_attempt(kind: Kind, error: dict[str, Any], said: str) -> None:
    """Also behind text, and behind a reason: what has come is no answer."""
    replies = [
        (kind.streamed(error), kind.stream),
        (kind.streamed(*kind.begun, error), kind.stream),
        (kind.unmarked(*kind.begun, error), kind.stream),
        (json_reply(error), kind.stream),
        (json_reply(error), kind.plain),
    ]
    for replied, asked in replies:
        failed = kind.failure(replied, asked)
        assert (failed.code, failed.retryable) == ("server_error", True)
        assert said in str(failed)


@OF_ALL
def test_an_error_may_be_an_event_by_name_only(kind: Kind) -> None:
    for data in (b'{"message": "Gone away"}', b"Gone away", b'"Gone away"'):
        named = b"event: error\ndata: " + data + b"\n\n"
        failed = kind.failure(kind.streamed(*kind.begun, named), kind.stream)
        assert (failed.code, failed.retryable) == ("server_error", True)
        assert "Gone away" in str(failed)


@OF_ALL
@pytest.mark.parametrize("size", [1, 2, 5, 6, 7, 1000])
@pytest.mark.parametrize("ends", ["\n", "\r", "\r\n"])
def test_an_error_may_be_in_a_field_of_its_own(kind: Kind, size: int, ends: str) -> None:
    """llama.cpp: the grammar tells readers to ignore it, and the mark for the end comes all the same."""
    error = b'error: {"code":500,"message":"error: Gone away","type":"server_error"}\n\n'
    data = (kind.events(*kind.begun) + error + kind.end_mark).replace(b"\n", ends.encode())
    packets = [data[at : at + size] for at in range(0, len(data), size)]
    failed = kind.failure(slow_stream(*packets, pause_seconds=0), kind.stream)
    assert (failed.code, failed.retryable, failed.status) == ("server_error", True, 500)
    assert "error: Gone away" in str(failed)


def test_a_text_that_names_an_error_is_a_text() -> None:
    for text in ("error: no", "\nerror: no", "x\n\nerror: {}"):
        assert OPENAI.answer(OPENAI.streamed(chunk("stop", content=text)), OPENAI.stream).text == text


@OF_ALL
def test_an_error_may_stand_in_a_list(kind: Kind) -> None:
    """As Gemini's endpoint in OpenAI's format has it, also in a stream."""
    error = [{"error": {"code": 503, "message": "Gone away", "status": "UNAVAILABLE"}}]
    for replied in (kind.streamed(*kind.begun, error), json_reply(error)):
        failed = kind.failure(replied, kind.stream)
        assert (failed.code, failed.retryable, failed.status) == ("server_error", True, 503)


@OF_ALL
def test_an_error_in_which_nothing_is_said_is_none(kind: Kind) -> None:
    """Some servers send the member with each answer."""
    for nothing in (None, {}, "", {"message": None, "code": None}):
        whole = {**kind.whole("Hi"), "error": nothing}
        assert kind.answer(json_reply(whole), kind.plain).text == "Hi"


def test_a_chunk_that_says_that_all_is_well_is_no_error() -> None:
    fine = [
        {"code": 200, "message": "ok"},
        {"code": "0", "message": "Success"},
        {"message": "hello"},
        {"success": True},
    ]
    for kind in (OPENAI, MISTRAL):
        assert kind.answer(kind.streamed(*fine, *kind.begun, *fine, *kind.ended), kind.stream).text == "Hel"


@OF_ALL
def test_an_answer_that_says_that_all_is_well_is_no_error(kind: Kind) -> None:
    members: list[dict[str, Any]] = [
        {"code": "200", "message": "success"},
        {"base_resp": {"status_code": "0", "status_msg": "success"}},
        {"base_resp": {"status_code": 0, "status_msg": ""}},
        {"error": {"code": 0, "message": "success"}},
        {"code": "x", "message": "whatever it is, there is an answer beside it"},
    ]
    for more in members:
        assert kind.answer(json_reply({**kind.whole("Hi"), **more}), kind.plain).text == "Hi"
        begun, last = [{**one, **more} for one in kind.begun if one.get("type") != "message_start"], kind.begun[:1]
        replied = kind.streamed(*(last if kind is ANTHROPIC else ()), *begun, *kind.ended)
        assert kind.answer(replied, kind.stream).text == "Hel"


def test_what_a_failed_attempt_has_counted_is_told() -> None:
    usage = {"prompt_tokens": 11, "completion_tokens": 3, "total_tokens": 14}
    for kind in (OPENAI, MISTRAL):
        failing = {"id": "1", "error": {"message": "Gone away"}, "usage": usage}
        for replied, asked in ((kind.streamed(*kind.begun, failing), kind.stream), (json_reply(failing), kind.plain)):
            assert spent_before_failing(kind, replied, asked) == [(11, 3)]
    failing = {**ANTHROPIC.error("Gone away", "api_error"), "usage": {"input_tokens": 11, "output_tokens": 3}}
    assert spent_before_failing(ANTHROPIC, ANTHROPIC.streamed(*ANTHROPIC.begun, failing), ANTHROPIC.stream)[-1] == (
        11,
        3,
    )


def spent_before_failing(kind: Kind, replied: Reply, asked: bytes) -> list[tuple[int, int]]:
    """The usages that are told before the failure is raised."""

    async def run() -> list[tuple[int, int]]:
        found = []
        async with serving(replied) as server:
            url = server.base_url if kind.has_version_in_url else server.base_url.removesuffix("/v1")
            provider = kind.make(base_url=url, api_key=None)
            try:
                async for piece in provider.call(asked):
                    if isinstance(piece, UsageSoFar):
                        found.append((piece.usage.input, piece.usage.output))
            except ProviderFailed:
                return found
            finally:
                await provider.close()
        raise AssertionError("it did not fail")

    return asyncio.run(run())


def test_a_thought_that_was_cut_by_a_limit_is_an_answer_cut_at_that_limit() -> None:
    said = (start(), block(0, type="thinking", thinking="", signature=""), delta(0, "thinking", thinking="Hm"))
    answer = ANTHROPIC.answer(ANTHROPIC.streamed(*said, *ended("max_tokens")), ANTHROPIC.stream)
    assert (answer.text, answer.finish_reason) == (None, "length")
    answer = OPENAI.answer(OPENAI.streamed(chunk(reasoning_content="Hm"), chunk("MAX_TOKENS")), OPENAI.stream)
    assert (answer.text, answer.finish_reason) == (None, "length")


@OF_ALL
def test_an_answer_that_is_nested_so_deeply_that_nobody_could_store_it_is_nonsense(kind: Kind) -> None:
    deep = b'{"a":' * 300 + b"1" + b"}" * 300
    whole = orjson.dumps(kind.whole("Hi"))
    for asked in (kind.plain, kind.stream):
        replied = reply(whole[:-1] + b',"x":' + deep + b"}")
        assert kind.failure(replied, asked).code == "nonsense"
    text = '{"a":' * 300
    assert kind.answer(json_reply(kind.whole(text)), kind.plain).text == text
