"""What a server of chat completions wants back with its answers: kept as it came, sent to it alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson
import pytest

from clew import exact_json
from clew.events.items import Item, ReasoningItem
from clew.providers.base import Answer, Prompt
from clew.providers.openai import OpenAI
from clew.providers.openai_render_4 import RENDERER, render
from clew.providers.renderers import omitted, sent_back
from tests.providers.histories import called, config, message, placed, result, thought
from tests.providers.kinds import OPENAI, chunk, completion
from tests.rigs.raw_server import reply

MODEL, HERE = "deepseek-chat", "api.deepseek.com"
CALL = {"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}


def streamed(*deltas: dict[str, Any]) -> tuple[str, ...]:
    """The blocks that are kept of an answer in a stream."""
    answer = OPENAI.answer(OPENAI.streamed(*(chunk(**one) for one in deltas), chunk("stop")), OPENAI.stream)
    return answer.reasoning


def whole(**said: Any) -> tuple[str, ...]:
    return answered(**said).reasoning


def answered(**said: Any) -> Answer:
    return OPENAI.answer(reply(exact_json.dumps(completion("stop", **said))), OPENAI.plain)


def test_reasoning_content_is_kept_as_it_came() -> None:
    text = 'Hm … "\\u2026"\n 0.10'
    kept = (orjson.dumps({"reasoning_content": text}).decode(),)
    assert whole(content="Hi", reasoning_content=text) == kept
    assert streamed(*({"reasoning_content": letter} for letter in text), {"content": "Hi"}) == kept
    # That nothing was thought is said, too: https://github.com/MoonshotAI/kimi-cli/pull/2498
    assert whole(content="Hi", reasoning_content="") == ('{"reasoning_content":""}',)
    assert streamed({"reasoning_content": ""}, {"content": "Hi"}) == ('{"reasoning_content":""}',)
    assert whole(content="Hi", reasoning_content=None) == whole(content="Hi") == ()


def test_reasoning_details_are_kept_as_they_came() -> None:
    """https://openrouter.ai/docs/use-cases/reasoning-tokens: pieces of one index are one block, and signed as one."""
    encrypted = {"type": "reasoning.encrypted", "data": "ZGF0YQ==", "id": "r1", "format": "x", "index": 1}
    text = {"type": "reasoning.text", "text": "Hm.", "signature": None, "id": None, "format": "x", "index": 0}
    assert whole(content="Hi", reasoning_details=[text, encrypted]) == (
        orjson.dumps({"reasoning_details": [text, encrypted]}).decode(),
    )
    pieces: list[dict[str, Any]] = [
        {"reasoning_details": [{**text, "text": "H"}]},
        {"reasoning_details": [{**text, "text": "m."}]},
        {"reasoning_details": [{**text, "text": None, "signature": "c2ln"}]},
        {"reasoning_details": [encrypted]},
        {"content": "Hi"},
    ]
    assert streamed(*pieces) == (
        orjson.dumps({"reasoning_details": [{**text, "signature": "c2ln"}, encrypted]}).decode(),
    )
    summary = {"type": "reasoning.summary", "summary": "So", "index": 0}
    assert streamed(
        {"reasoning_details": [summary]}, {"reasoning_details": [{**summary, "summary": "."}]}, *pieces[4:]
    ) == (orjson.dumps({"reasoning_details": [{**summary, "summary": "So."}]}).decode(),)
    odd = exact_json.loads('[{"type":"reasoning.new","n":18446744073709551616,"d":0.10},null,"x"]')
    assert whole(content="Hi", reasoning_details=odd) == (exact_json.dumps({"reasoning_details": odd}).decode(),)


def test_details_of_an_answer_that_came_at_once_are_each_a_block() -> None:
    details = [{"type": "reasoning.summary", "summary": text, "index": 0, "id": f"rs_{text}"} for text in "AB"]
    kept = (orjson.dumps({"reasoning_details": details}).decode(),)
    assert whole(content="Hi", reasoning_details=details) == kept
    assert streamed(*({"reasoning_details": [one]} for one in details), {"content": "Hi"}) == kept


def test_details_that_grow_are_kept_once() -> None:
    """MiniMax sends in each piece all that came before: https://platform.minimax.io/docs/guides/text-m2-function-call"""
    detail = {"type": "reasoning.text", "id": "reasoning-text-1", "format": "x", "index": 0}
    pieces = [{"reasoning_details": [{**detail, "text": text}]} for text in ("The", "The user", "The user asks")]
    assert streamed(*pieces, {"content": "Hi"}) == (
        orjson.dumps({"reasoning_details": [{**detail, "text": "The user asks"}]}).decode(),
    )


def test_blocks_of_thinking_are_kept_and_go_back() -> None:
    """LiteLLM has Claude's: https://docs.litellm.ai/docs/reasoning_content"""
    signed = {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"}
    redacted = {"type": "redacted_thinking", "data": "ZGF0YQ=="}
    kept = (orjson.dumps({"thinking_blocks": [signed, redacted]}).decode(),)
    assert whole(content="Hi", thinking_blocks=[signed, redacted]) == kept
    pieces = [
        {"type": "thinking", "thinking": "H", "signature": ""},
        {"type": "thinking", "thinking": "m.", "signature": None},
        {"type": "thinking", "thinking": "", "signature": "c2ln"},
    ]
    chunks = [{"thinking_blocks": [piece]} for piece in (*pieces, redacted)]
    assert streamed(*chunks, {"content": "Hi"}) == kept
    assert sent_back(RENDERER, kept) == kept
    assert said(prompt(*turn(*kept)))["thinking_blocks"] == [signed, redacted]
    assert "thinking_blocks" not in said(prompt(*turn(*kept), model="gpt-4o"))


SIGNATURE = {"google": {"thought_signature": "c2lnbmF0dXJl"}}


def test_signatures_of_calls_and_messages_are_kept_as_they_came() -> None:
    """https://ai.google.dev/gemini-api/docs/thought-signatures#openai"""
    second = {**CALL, "index": 1, "id": "b"}
    kept = orjson.dumps({"tool_call": 1, "extra_content": SIGNATURE}).decode()
    assert whole(content=None, tool_calls=[CALL, {**second, "extra_content": SIGNATURE}]) == (kept,)
    assert streamed({"tool_calls": [CALL]}, {"tool_calls": [{**second, "extra_content": SIGNATURE}]}) == (kept,)
    late = {"index": 0, "extra_content": SIGNATURE}
    assert streamed({"tool_calls": [CALL]}, {"tool_calls": [late]}) == (kept.replace("1", "0", 1),)
    of_message = (orjson.dumps({"extra_content": SIGNATURE}).decode(),)
    assert whole(content="Hi", extra_content=SIGNATURE) == of_message
    assert streamed({"content": "Hi"}, {"content": "", "extra_content": SIGNATURE}) == of_message
    other = {"google": {"thought": True}}
    assert streamed({"content": "Hi", "extra_content": SIGNATURE}, {"extra_content": other}) == (
        orjson.dumps({"extra_content": {"google": SIGNATURE["google"] | other["google"]}}).decode(),
    )


def test_what_a_server_calls_reasoning_is_kept_and_not_sent_back() -> None:
    kept = whole(content="Hi", reasoning="Hm.")
    assert kept == ('{"reasoning":"Hm."}',)
    assert sent_back(RENDERER, (*kept, '{"reasoning_content":"Hm."}')) == ('{"reasoning_content":"Hm."}',)


# What goes back


def turn(*blocks: str, **of: Any) -> tuple[Item, ...]:
    """An answer with two calls, and what was thought before them."""
    reasoning = replace(thought("openai", "mc_1", *blocks, model=MODEL), origin=HERE)
    return (
        message("user", "Hi"),
        replace(reasoning, **of),
        message("assistant", "So.", "mc_1"),
        called("a", "f", "{}", "mc_1"),
        called("b", "g", "{}", "mc_1"),
        result("a", "1"),
        result("b", "2"),
        message("user", "And?"),
    )


def prompt(*items: Item, model: str = MODEL, origin: str | None = HERE) -> Prompt:
    return Prompt(config("openai", model), placed(items), origin=origin)


def said(asked: Prompt) -> dict[str, Any]:
    """The assistant's message in the request."""
    [found] = [one for one in exact_json.loads(render(asked))["messages"] if one["role"] == "assistant"]
    return dict(found)


def notes(asked: Prompt) -> list[str]:
    return [one.reason for one in omitted(RENDERER, asked) if one.what == "reasoning"]


CONTENT = '{"reasoning_content":"Hm."}'
DETAILS = '{"reasoning_details":[{"type":"reasoning.text","text":"Hm.","n":0.10}]}'
MESSAGE = '{"extra_content":{"google":{"thought_signature":"c2ln"}}}'
SECOND = '{"tool_call":1,"extra_content":{"google":{"thought_signature":"c2ln"}}}'


def test_everything_goes_back_to_the_model_that_made_it() -> None:
    asked = prompt(*turn(CONTENT, DETAILS, MESSAGE, SECOND))
    message = said(asked)
    assert message["reasoning_content"] == "Hm."
    assert exact_json.dumps({"reasoning_details": message["reasoning_details"]}).decode() == DETAILS
    assert exact_json.dumps({"extra_content": message["extra_content"]}).decode() == MESSAGE
    assert [call.get("extra_content") for call in message["tool_calls"]] == [
        None,
        {"google": {"thought_signature": "c2ln"}},
    ]
    assert notes(asked) == []
    # A gateway may move; what it passes on is the model's.
    assert said(prompt(*turn(DETAILS), origin="elsewhere:8080"))["reasoning_details"]


def test_to_others_nothing_goes_and_the_manifest_says_so() -> None:
    asked = prompt(*turn(CONTENT, DETAILS, MESSAGE, SECOND), model="gpt-4o", origin="api.openai.com")
    plain = prompt(*(item for item in turn() if not isinstance(item, ReasoningItem)), model="gpt-4o")
    assert render(asked) == render(plain)
    assert notes(asked) == [
        f"reasoning of {MODEL} at {HERE} is not for gpt-4o at api.openai.com",
    ]


def test_another_model_of_the_same_server_is_given_what_is_not_signed() -> None:
    asked = prompt(*turn(CONTENT, DETAILS), model="deepseek-reasoner")
    message = said(asked)
    assert message["reasoning_content"] == "Hm."
    assert "reasoning_details" not in message
    assert notes(asked) == [f"reasoning of {MODEL} at {HERE} is not for deepseek-reasoner at {HERE}"]


@pytest.mark.parametrize(
    ("of", "why"),
    [
        ({"provider": "anthropic"}, "reasoning of anthropic is not for openai"),
        ({"origin": None}, "it was recorded by an older version, which did not send it back"),
        ({"blocks": ('{"reasoning":"Hm."}',)}, "servers that call it so do not want it back"),
        ({"blocks": ("no JSON",)}, "servers that call it so do not want it back"),
    ],
)
def test_what_never_goes_back_is_told(of: dict[str, Any], why: str) -> None:
    asked = prompt(*turn(CONTENT, **of))
    assert said(asked)["reasoning_content"] == " "
    assert notes(asked) == [why]


def test_who_wants_to_have_back_what_was_thought_hears_something_of_each_answer() -> None:
    """DeepSeek and Kimi refuse the answers of other models without it, and Kimi an empty text."""
    foreign = (message("assistant", "So."), message("user", "And?"), called("c", "f", "{}", "mc_0"), result("c", "3"))

    def thoughts(*items: Item, model: str) -> list[str | None]:
        messages = orjson.loads(render(prompt(*items, model=model)))["messages"]
        return [one.get("reasoning_content") for one in messages if one["role"] == "assistant"]

    for model in ("deepseek-v4-pro", "moonshotai/Kimi-K2.6", "mimo-v2-flash"):
        assert thoughts(*foreign, model=model) == [" ", " "]
    assert thoughts(*foreign, model="gpt-4o") == [None, None]
    # One that has been heard thinking, whatever it is called.
    known = [replace(item, model="house-model") if isinstance(item, ReasoningItem) else item for item in turn(CONTENT)]
    assert thoughts(*foreign, *known, model="house-model") == [" ", " ", "Hm."]


def test_a_turn_in_which_nothing_was_said_is_none() -> None:
    """Its answer was taken out of the context, or there was none."""
    asked = prompt(message("user", "Hi"), *turn(CONTENT)[1:2], message("user", "And?"))
    assert [one["role"] for one in orjson.loads(render(asked))["messages"]] == ["user", "user"]


LONG = "call_1__thought__" + "c2ln" * 40


def test_an_id_that_is_longer_than_ids_are_goes_back_to_whoever_made_it() -> None:
    """LiteLLM puts a thought signature into it."""
    kept = whole(content=None, tool_calls=[{**CALL, "id": LONG}])
    assert kept == (orjson.dumps({"tool_call": 0, "id": LONG}).decode(),)
    # Kimi's have the name of the function in them, which its template reads.
    kimi = "functions.get_the_weather_of_a_place_by_name:0"
    assert whole(content=None, tool_calls=[{**CALL, "id": kimi}]) == (
        orjson.dumps({"tool_call": 0, "id": kimi}).decode(),
    )
    # An id of vLLM is a little longer than OpenAI takes, and nothing else.
    assert whole(content=None, tool_calls=[{**CALL, "id": "chatcmpl-tool-" + "0" * 32}]) == ()

    def ids(asked: Prompt) -> list[str]:
        messages = orjson.loads(render(asked))["messages"]
        made = [call["id"] for one in messages for call in one.get("tool_calls", ())]
        return [*made, *(one["tool_call_id"] for one in messages if one["role"] == "tool")]

    items: list[Item] = [
        replace(thought("openai", "mc_1", *kept, model=MODEL), origin=HERE),
        called(LONG, "f", "{}", "mc_1"),
        result(LONG, "1"),
    ]
    assert ids(prompt(*items)) == [LONG, LONG]
    made, answered = ids(prompt(*items, model="gpt-4o", origin="api.openai.com"))
    assert made == answered
    assert len(made) <= 40


def test_the_origin_of_a_provider_is_its_host_and_port() -> None:
    for url, origin in (
        ("https://api.deepseek.com/v1", "api.deepseek.com"),
        ("http://127.0.0.1:8080/v1", "127.0.0.1:8080"),
        ("https://user:secret@proxy.example/v1", "proxy.example"),
    ):
        assert OpenAI(base_url=url, api_key=None).origin == origin
