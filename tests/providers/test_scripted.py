"""The provider without a model."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import orjson
import pytest

from clew.errors import Misconfigured, ProviderFailed
from clew.events.content import text
from clew.events.items import Item, MessageItem, Place, SummaryItem, ToolCallItem, ToolResultItem
from clew.events.run import RunConfig, Tool, ToolChoice
from clew.ids import has_prefix
from clew.providers.base import Answer, CallPiece, Piece, Prompt, TextPiece
from clew.providers.openai_render_3 import render
from clew.providers.scripted import Script, Scripted

HERE = Place("thread_1", 1)
WEATHER = Tool(
    type="function",
    name="get_weather",
    parameters={
        "type": "object",
        "properties": {
            "city": {"type": "string"},
            "unit": {"enum": ["celsius", "fahrenheit"]},
            "days": {"type": ["null", "integer"]},
            "places": {"type": "array", "items": {"anyOf": [{"type": "boolean"}]}},
            "note": {"type": "string"},
        },
        "required": ["city", "unit", "days", "places"],
    },
)


def user(said: str) -> MessageItem:
    return MessageItem(HERE, "msg_1", "user", text(said), None, 0)


def asked(said: str, output: str, tool: str = "get_weather") -> list[Item]:
    """A user's message, the tool call that followed, and its result."""
    return [
        user(said),
        ToolCallItem(HERE, "call_1", tool, "{}", "mc_1", 0),
        ToolResultItem(HERE, "call_1", output, False, 0),
    ]


def prompt(*items: Item, **more: Any) -> Prompt:
    config = RunConfig(provider="scripted", model="scripted", asked_model="scripted/scripted", **more)
    return Prompt(config, items)


def pieces_for(prompted: Prompt, script: Any = None, **options: Any) -> list[Piece]:
    provider = Scripted(None if script is None else Script.model_validate({"rules": script}), **options)

    async def run() -> list[Piece]:
        return [piece async for piece in provider.call(provider.render(prompted))]

    return asyncio.run(run())


def answer_for(*items: Item, script: Any = None, **more: Any) -> Answer:
    (answer,) = pieces_for(prompt(*items, **more), script)
    assert isinstance(answer, Answer)
    return answer


def test_the_body_is_what_a_chat_completions_server_would_be_sent() -> None:
    assert Scripted().render(prompt(user("Hi"), stream=True)) == render(prompt(user("Hi"), stream=True))
    assert (Scripted.name, Scripted.renderer) == ("scripted", "scripted/2")


def test_without_a_script_it_repeats_what_was_said() -> None:
    answer = answer_for(user("Hi there"), tools=(WEATHER,))
    assert (answer.text, answer.tool_calls, answer.finish_reason) == ("You said: Hi there", (), "stop")
    assert answer_for().text


@pytest.mark.parametrize("said", ["the weather in Paris", "get_weather for Paris", "WEATHER? Paris!"])
def test_without_a_script_it_calls_the_tool_that_is_spoken_of(said: str) -> None:
    answer = answer_for(user(said), tools=(Tool(type="function", name="get_stock"), WEATHER))
    (called,) = answer.tool_calls
    assert called.name == "get_weather"
    assert orjson.loads(called.arguments) == {"city": "Paris", "unit": "celsius", "days": 1, "places": [True]}
    assert answer.finish_reason == "tool_calls"


def test_without_a_script_it_minds_the_tool_choice() -> None:
    now = Tool(type="function", name="now")

    def names(**choice: Any) -> list[str]:
        answer = answer_for(user("the weather"), tools=(WEATHER, now), tool_choice=ToolChoice(**choice))
        return [called.name for called in answer.tool_calls]

    assert names(mode="none") == []
    assert names(mode="function", name="now") == ["now"]
    assert names(mode="auto") == ["get_weather"]
    assert len(answer_for(user("x"), tools=(now,), tool_choice=ToolChoice(mode="required")).tool_calls) == 1


def test_without_a_script_it_tells_what_a_tool_said() -> None:
    assert answer_for(*asked("the weather", "22 degrees"), tools=(WEATHER,)).text == "get_weather says: 22 degrees"


def test_the_first_rule_that_matches_answers() -> None:
    script = [
        {"when": {"user": "REFUND"}, "call": [{"name": "refund", "arguments": {"id": 7}}], "say": "One moment."},
        {"when": {"tool": "refund"}, "say": "Done: {result}. You said {user}."},
        {"when": {"tool": "other"}, "say": "Never."},
        {"say": "Anything else?", "finish": "length"},
    ]
    first = answer_for(user("I want a refund"), script=script)
    assert (first.text, first.finish_reason) == ("One moment.", "tool_calls")
    assert [(called.name, called.arguments) for called in first.tool_calls] == [("refund", '{"id":7}')]
    # What was said before the newest message no longer matters, and what stands in braces elsewhere is left alone.
    second = answer_for(*asked("I want a refund of {result}", "{user} ok", "refund"), script=script)
    assert second.text == "Done: {user} ok. You said I want a refund of {result}."
    last = answer_for(*asked("refund", "x", "unknown"), script=script)
    assert (last.text, last.finish_reason) == ("Anything else?", "length")


def test_a_summary_is_not_the_newest_message() -> None:
    summary = SummaryItem(HERE, text("They talked."), 0)
    script = [{"when": {"user": "hi"}, "say": "yes"}]
    assert answer_for(user("hi"), summary, script=script).text == "yes"


def test_a_script_may_fail() -> None:
    script = [{"fail": {"code": "rate_limit_exceeded", "message": "slow down", "retryable": True}}]
    with pytest.raises(ProviderFailed, match="slow down") as caught:
        answer_for(user("hi"), script=script)
    assert (caught.value.code, caught.value.retryable) == ("rate_limit_exceeded", True)


def test_a_script_without_an_answer_says_so() -> None:
    with pytest.raises(ProviderFailed, match="no rule") as caught:
        answer_for(user("hi"), script=[{"when": {"user": "bye"}}])
    assert not caught.value.retryable


def test_a_stream_comes_word_by_word_and_is_the_same_answer() -> None:
    script = [{"say": " Two  words\nhere ", "call": [{"name": "f", "arguments": {"a": "long enough to be cut"}}]}]
    *pieces, answer = pieces_for(prompt(user("hi"), stream=True), script, piece_delay_seconds=0.001)
    assert isinstance(answer, Answer)
    words = [piece.text for piece in pieces if isinstance(piece, TextPiece)]
    assert words == [" Two  ", "words\n", "here "]
    assert answer.text == "".join(words)
    calls = [piece for piece in pieces if isinstance(piece, CallPiece)]
    assert (calls[0].tool_call_id, calls[0].name) == (answer.tool_calls[0].tool_call_id, "f")
    assert len(calls) > 2
    assert "".join(piece.arguments for piece in calls) == answer.tool_calls[0].arguments


def test_the_same_request_gets_the_same_answer_and_another_gets_other_ids() -> None:
    script = [{"call": [{"name": "f"}, {"name": "f"}]}]
    once, again, other = (answer_for(user(said), script=script) for said in ("hi", "hi", "ho"))
    assert once == again
    ids = [called.tool_call_id for called in (*once.tool_calls, *other.tool_calls)]
    assert len(set(ids)) == 4
    assert all(has_prefix(id, "call") and len(id) == 29 for id in ids)
    assert once.provider_ids != other.provider_ids


def test_usage_is_a_token_for_four_characters() -> None:
    answer = answer_for(user("hi"), script=[{"say": "12345"}])
    messages = b'[{"role":"user","content":"hi"}]'
    assert answer.usage is not None
    assert (answer.usage.input, answer.usage.output) == (len(messages) // 4, 2)
    assert answer.usage_reported == {"prompt_tokens": 8, "completion_tokens": 2, "total_tokens": 10}


def test_a_script_is_read_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "script.json"
    path.write_text('{"rules": [{"say": "From a file."}]}')
    assert Script.from_file(path).rules[0].say == "From a file."


@pytest.mark.parametrize(
    ("written", "fault"),
    [
        ("{", "JSON"),
        ("[]", "the file"),
        ('{"rules": []}', "rules"),
        ('{"rules": [{"say": 1}]}', "rules.0.say"),
        ('{"rules": [{"says": "x"}]}', "rules.0.says"),
    ],
)
def test_a_script_that_does_not_fit_is_refused_with_its_fault(tmp_path: Path, written: str, fault: str) -> None:
    path = tmp_path / "script.json"
    path.write_text(written)
    with pytest.raises(Misconfigured) as caught:
        Script.from_file(path)
    assert str(path) in str(caught.value)
    assert fault in str(caught.value)


def test_a_script_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="cannot be read"):
        Script.from_file(tmp_path / "none.json")


def test_it_lists_a_model() -> None:
    assert [model.id for model in asyncio.run(Scripted().models())] == ["scripted"]
