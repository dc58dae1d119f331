"""What is sent to Mistral: the bytes of a request, and what it holds whatever the log does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given

from clew.errors import ProviderFailed
from clew.events.content import Other, Text
from clew.events.items import Item, Place
from clew.events.run import Sampling, Tool, ToolChoice
from clew.providers.base import Prompt
from clew.providers.mistral_render import RENDERER, asks_for_stream, omitted, render
from tests.providers.histories import HISTORIES, THREAD, called, config, everything, message, result, thought
from tests.rigs.valid_mistral import SCHEMA, fault_of, sdk_fault_of

RECORDED = Path(__file__).parent / "recorded/mistral-chat-1.json"
THINKING = '{"type": "thinking", "thinking": [{"type": "text", "text": "Hm \\u2026"}], "closed": true}'
SIGNED = '{"type":"thinking","thinking":[],"signature":"c2ln"}'
MODEL = "mistral-large-4"
EVERYTHING = everything("mistral", MODEL, THINKING, reasoning_effort="high")
F = (Tool(type="function", name="f"),)
with_schema = pytest.mark.skipif(not SCHEMA.exists(), reason=f"the published schema is not in {SCHEMA}")


def prompt_of(*items: Item, **more: Any) -> Prompt:
    return Prompt(config("mistral", MODEL, **more), items)


def body_of(*items: Item, **more: Any) -> Any:
    return orjson.loads(render(prompt_of(*items, **more)))


def messages_of(*items: Item) -> Any:
    return body_of(*items)["messages"]


def test_the_bytes_of_a_request_never_change() -> None:
    assert RENDERER == "mistral-chat/1"
    assert render(EVERYTHING) == RECORDED.read_bytes()


@with_schema
def test_a_request_with_everything_in_it_is_valid() -> None:
    assert fault_of(orjson.loads(RECORDED.read_bytes())) is None


def test_a_small_request_says_no_more_than_it_must() -> None:
    more = {"tool_choice": ToolChoice(mode="auto"), "parallel_tool_calls": False, "response_format": {"type": "text"}}
    assert render(prompt_of(message("user", "Hi"), **more)) == (
        b'{"model":"mistral-large-4","messages":[{"role":"user","content":"Hi"}]}'
    )


@with_schema
@given(HISTORIES)
def test_whatever_the_log_holds_the_request_is_valid(items: list[Item]) -> None:
    prompt = prompt_of(*items, instructions="Be brief.", tools=F)
    assert fault_of(orjson.loads(render(prompt))) is None
    assert render(prompt) == render(prompt)


def test_only_a_request_for_a_stream_is_taken_for_one() -> None:
    tools = (Tool(type="function", name="f", parameters={"stream": True}),)
    assert not asks_for_stream(render(prompt_of(message("user", '","stream":true}'), tools=tools)))
    assert asks_for_stream(render(EVERYTHING))


def test_ids_of_calls_are_nine_letters_and_digits_and_always_the_same() -> None:
    def ids(*items: Item) -> list[str]:
        found = []
        for one in messages_of(*items):
            found += [call["id"] for call in one.get("tool_calls", ())]
            found += [one["tool_call_id"]] if one["role"] == "tool" else []
        return found

    own = ids(called("ABCdef123", "f", "{}", "mc_1"), result("ABCdef123", "x"))
    assert own == ["ABCdef123", "ABCdef123"]
    ours = ids(called("call_06Z8yPsoeQLk23oLdl3CXFI7", "f", "{}", "1"), result("call_06Z8yPsoeQLk23oLdl3CXFI7", "x"))
    assert ours == ["zQdcuaneb", "zQdcuaneb"]
    twice = ids(called("a", "f", "{}", "1"), result("a", "x"), called("a", "f", "{}", "2"), result("a", "y"))
    assert twice[0] == twice[1] != twice[2] == twice[3]


def test_nobody_but_the_assistant_speaks_after_a_tool() -> None:
    roles = [one["role"] for one in messages_of(called("a", "f", "{}", "1"), result("a", "x"), message("user", "So?"))]
    assert roles == ["assistant", "tool", "assistant", "user"]
    assert messages_of(called("a", "f", "{}", "1"), result("a", "x"), message("user", "So?"))[2] == {
        "role": "assistant",
        "content": "(no answer)",
    }


def test_results_stand_behind_their_calls_in_their_order_and_none_is_missing() -> None:
    calls = [called("a", "f", "", "1"), called("b", "g", "{}", "1")]
    said, *answers = messages_of(*calls, message("user", "Hurry!"), result("b", "two"))
    assert [call["function"]["arguments"] for call in said["tool_calls"]] == ["{}", "{}"]
    assert [(one.get("name"), one["content"]) for one in answers] == [
        ("f", "No result was recorded for this call."),
        ("g", "two"),
        (None, "(no answer)"),
        (None, "Hurry!"),
    ]


def test_the_system_speaks_first_or_in_the_users_turn() -> None:
    items = [message("system", "A."), message("user", "B."), message("assistant", "C."), message("system", "D.")]
    assert body_of(*items, instructions="I.")["messages"] == [
        {"role": "system", "content": "I.\n\nA."},
        {"role": "user", "content": "B."},
        {"role": "assistant", "content": "C."},
        {"role": "user", "content": "<system>D.</system>"},
    ]


def test_somebody_always_asks() -> None:
    go_on = {"role": "user", "content": "Continue."}
    assert messages_of() == [go_on]
    assert messages_of(message("assistant", "Hello.")) == [{"role": "assistant", "content": "Hello."}, go_on]


def test_users_who_speak_one_after_the_other_are_one() -> None:
    assert messages_of(message("user", "One."), message("user", "Two.")) == [
        {"role": "user", "content": [{"type": "text", "text": "One."}, {"type": "text", "text": "Two."}]}
    ]


def turn(*blocks: str, provider: str = "mistral", model: str | None = MODEL) -> tuple[Item, ...]:
    reasoning = thought(provider, "mc_1", *blocks, model=model, place=Place(THREAD, 3))
    return (message("user", "Hi"), reasoning, message("assistant", "So.", "mc_1"), message("user", "And?"))


def test_thinking_goes_back_byte_for_byte_before_what_came_of_it() -> None:
    body = render(prompt_of(*turn(THINKING, SIGNED)))
    assert f'"content":[{THINKING},{SIGNED},{{"type":"text","text":"So."}}]'.encode() in body
    assert sdk_fault_of(orjson.loads(body)) is None


@pytest.mark.parametrize(
    ("items", "why"),
    [
        (turn(THINKING, provider="anthropic"), "reasoning of anthropic is not for mistral"),
        (turn(THINKING, model="magistral-medium"), "reasoning of magistral-medium is not for mistral-large-4"),
    ],
)
def test_thinking_goes_to_the_model_that_made_it_and_to_no_other(items: tuple[Item, ...], why: str) -> None:
    assert b"thinking" not in render(prompt_of(*items))
    assert list(map(str, omitted(prompt_of(*items)))) == [f"reasoning (3 of thread_1): {why}"]


def test_chunks_of_its_own_go_back_and_those_of_others_do_not() -> None:
    own = Other(type="other", provider="mistral", block='{"type": "reference", "reference_ids": [1]}')
    other = Other(type="other", provider="anthropic", block="{}")
    items = [message("user", (Text(type="text", text="See "), own, other), place=Place(THREAD, 2))]
    assert own.block.encode() in render(prompt_of(*items))
    assert messages_of(*items)[0]["content"][1:] == [{"type": "reference", "reference_ids": [1]}]
    assert [one.what for one in omitted(prompt_of(*items))] == ["part"]


def test_all_that_is_left_out_is_told() -> None:
    told = [(one.what, one.count) for one in omitted(EVERYTHING)]
    assert told == [("reasoning", 1), ("part", 1), ("image", 1), ("is_error", 1)]


@pytest.mark.parametrize(
    ("choice", "sent"),
    [
        (ToolChoice(mode="auto"), "auto"),
        (ToolChoice(mode="none"), "none"),
        (ToolChoice(mode="required"), "any"),
        (ToolChoice(mode="function", name="f"), {"type": "function", "function": {"name": "f"}}),
    ],
)
def test_the_choice_of_tools_is_in_mistrals_words(choice: ToolChoice, sent: Any) -> None:
    assert body_of(tools=F, tool_choice=choice)["tool_choice"] == sent


def test_a_seed_is_called_random() -> None:
    body = body_of(sampling=Sampling(seed=7, stop=("a",)))
    assert (body["random_seed"], body["stop"]) == (7, ["a"])
    assert "seed" not in body


@pytest.mark.parametrize("kept", ["no JSON"])
def test_a_kept_chunk_that_is_no_json_is_refused(kept: str) -> None:
    items = [message("user", (Other(type="other", provider="mistral", block=kept),))]
    with pytest.raises(ProviderFailed) as caught:
        render(prompt_of(*items))
    assert (caught.value.code, caught.value.retryable) == ("invalid_prompt", False)


def test_a_prompt_that_no_json_can_hold_is_refused() -> None:
    tool = Tool(type="function", name="f", parameters={"maximum": 2**70})
    with pytest.raises(ProviderFailed) as caught:
        render(prompt_of(tools=(tool,)))
    assert (caught.value.code, caught.value.retryable) == ("invalid_prompt", False)
