"""What is sent to Anthropic: the bytes of a request, and what it holds whatever the log does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given

from clew.events.content import Other, Text, text
from clew.events.items import Item, Place
from clew.events.run import Sampling, Tool, ToolChoice
from clew.providers.anthropic_render import BLOCK_BINDING, RENDERER, asks_for_stream, omitted, render
from clew.providers.base import Prompt
from tests.providers.histories import HISTORIES, THREAD, called, config, everything, message, result, thought
from tests.rigs.valid_anthropic import fault_of

RECORDED = Path(__file__).parent / "recorded/anthropic-messages-1.json"
BETA = "thinking-binding-controls-2026-08-01"
# With spaces, and an escape that nobody needs: as received is as received.
THINKING = '{"type": "thinking", "thinking": "Hm \\u2026", "signature": "c2ln"}'
REDACTED = '{"type":"redacted_thinking","data":"c2VjcmV0"}'
MODEL = "claude-opus-5-5"
EVERYTHING = everything("anthropic", MODEL, THINKING, reasoning_effort="xhigh")
F = (Tool(type="function", name="f"),)


def body_of(*items: Item, **more: Any) -> Any:
    return orjson.loads(render(Prompt(config(**more), items)))


def messages_of(*items: Item) -> Any:
    """Without the marks for the cache."""
    messages = body_of(*items)["messages"]
    return [{**one, "content": [without_mark(block) for block in one["content"]]} for one in messages]


def without_mark(block: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in block.items() if key != "cache_control"}


def said(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def test_the_bytes_of_a_request_never_change() -> None:
    assert RENDERER == "anthropic-messages/1"
    assert render(EVERYTHING) == RECORDED.read_bytes()
    assert fault_of(orjson.loads(RECORDED.read_bytes()), BETA) is None


def test_a_small_request_says_no_more_than_it_must() -> None:
    prompt = Prompt(config(tool_choice=ToolChoice(mode="auto"), parallel_tool_calls=False), [message("user", "Hi")])
    assert render(prompt) == (
        b'{"model":"claude-opus-5-5","max_tokens":16384,"messages":'
        b'[{"role":"user","content":[{"type":"text","text":"Hi","cache_control":{"type":"ephemeral"}}]}]}'
    )


@given(HISTORIES)
def test_whatever_the_log_holds_the_request_is_valid(items: list[Item]) -> None:
    prompt = Prompt(config(instructions="Be brief.", tools=F), items)
    assert fault_of(orjson.loads(render(prompt))) is None
    assert render(prompt) == render(prompt)


def test_only_a_request_for_a_stream_is_taken_for_one() -> None:
    tools = (Tool(type="function", name="f", parameters={"stream": True}),)
    prompt = Prompt(config(tools=tools), [message("user", '","stream":true}')])
    assert not asks_for_stream(render(prompt))
    assert asks_for_stream(render(EVERYTHING))


@pytest.mark.parametrize(
    ("model", "tokens"),
    [("claude-opus-5-5", 16_384), ("claude-3-5-haiku-latest", 8_192), ("claude-3-opus", 4_096), ("kimi-k3", 16_384)],
)
def test_an_answer_may_get_as_long_as_the_run_says_or_else_as_is_kept_free_for_it(model: str, tokens: int) -> None:
    assert body_of(model=model)["max_tokens"] == tokens
    assert orjson.loads(render(Prompt(config(model=model), [], 5)))["max_tokens"] == 5


def test_users_and_assistant_take_turns_whoever_spoke() -> None:
    assert messages_of(
        message("user", "One."),
        message("user", "Two."),
        message("assistant", "Three."),
        message("assistant", "Four."),
        message("user", "Five."),
    ) == [
        {"role": "user", "content": [said("One."), said("Two.")]},
        {"role": "assistant", "content": [said("Three."), said("Four.")]},
        {"role": "user", "content": [said("Five.")]},
    ]


def test_the_assistant_has_neither_the_first_nor_the_last_word() -> None:
    go_on = {"role": "user", "content": [said("Continue.")]}
    assert messages_of(message("assistant", "Hello.")) == [
        go_on,
        {"role": "assistant", "content": [said("Hello.")]},
        go_on,
    ]
    assert messages_of() == [go_on]


def test_results_come_first_in_the_turn_behind_their_calls_each_once() -> None:
    call = {"type": "tool_use", "id": "a", "name": "f", "input": {}}
    assert messages_of(
        called("a", "f", "{}", "mc_1"),
        called("b", "g", "{}", "mc_1"),
        message("user", "Hurry!"),
        result("b", "two", is_error=True),
        result("a", "one"),
        result("a", "again"),
    )[1:] == [
        {"role": "assistant", "content": [call, {**call, "id": "b", "name": "g"}]},
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "a", "content": "one"},
                {"type": "tool_result", "tool_use_id": "b", "content": "two", "is_error": True},
                said("Hurry!"),
                said("[A result without its call: again]"),
            ],
        },
    ]


def test_a_call_that_nobody_answered_has_a_result_that_says_so() -> None:
    _, _, answered = messages_of(called("a", "f", "{}", "mc_1"))
    assert answered["content"] == [
        {
            "type": "tool_result",
            "tool_use_id": "a",
            "content": "No result was recorded for this call.",
            "is_error": True,
        }
    ]


def test_arguments_go_back_as_the_model_wrote_them() -> None:
    written = '{ "a" : 1.0, "b":"\\u00e9" }'
    assert f'"input":{written}'.encode() in render(Prompt(config(), [called("a", "f", written, "mc_1")]))
    for arguments, sent in (("", {}), ("[1]", {"arguments": "[1]"}), ("no JSON", {"arguments": "no JSON"})):
        assert messages_of(called("a", "f", arguments, "mc_1"))[1]["content"][0]["input"] == sent


def test_ids_that_the_api_does_not_take_are_made_anew_and_always_the_same() -> None:
    def ids(*items: Item) -> list[str]:
        blocks = [block for one in messages_of(*items) for block in one["content"]]
        return [block.get("id") or block["tool_use_id"] for block in blocks if block["type"] != "text"]

    dotted = ids(called("a.b", "f", "{}", "mc_1"), result("a.b", "x"))
    assert dotted[0] == dotted[1] != "a.b"
    assert ids(called("a.b", "f", "{}", "mc_2"), result("a.b", "x")) == dotted
    twice = ids(called("a", "f", "{}", "1"), result("a", "x"), called("a", "f", "{}", "2"), result("a", "y"))
    assert twice[:2] == ["a", "a"]
    assert twice[2] == twice[3] != "a"


def test_what_the_system_says_first_is_with_the_instructions_and_later_in_the_users_turn() -> None:
    body = body_of(message("system", "A."), message("user", "B."), message("system", "C."), instructions="I.")
    assert [block["text"] for block in body["system"]] == ["I.", "A."]
    assert [block["text"] for block in body["messages"][0]["content"]] == ["B.", "<system>C.</system>"]


# Reasoning


def turn(*blocks: str, provider: str = "anthropic", model: str | None = MODEL) -> tuple[Item, ...]:
    return (
        message("user", "Hi"),
        thought(provider, "mc_1", *blocks, model=model, place=Place(THREAD, 3)),
        message("assistant", "So.", "mc_1"),
        called("a", "f", "{}", "mc_1"),
        result("a", "x"),
    )


def test_thinking_goes_back_byte_for_byte_before_what_came_of_it() -> None:
    body = render(Prompt(config(), turn(THINKING, REDACTED)))
    assert f"{THINKING},{REDACTED},".encode() in body
    assert [block["type"] for block in orjson.loads(body)["messages"][1]["content"]] == [
        "thinking",
        "redacted_thinking",
        "text",
        "tool_use",
    ]
    assert omitted(Prompt(config(), turn(THINKING, REDACTED))) == ()


def test_thinking_between_texts_and_calls_stays_between_them() -> None:
    blocks = (
        '{"type":"text","text":"S"}',
        THINKING,
        '{"type":"text","text":"o."}',
        REDACTED,
        '{"type":"tool_use","id":"a","name":"f","input":{ }}',
    )
    body = render(Prompt(config(), turn(*blocks)))
    assert ",".join(blocks).encode() in body
    assert fault_of(orjson.loads(body), BETA) is None


def test_thinking_in_an_answer_that_was_changed_does_not_go_back() -> None:
    blocks = (THINKING, '{"type":"text","text":"So!"}', REDACTED, '{"type":"tool_use","id":"a","name":"f","input":{}}')
    prompt = Prompt(config(), turn(*blocks))
    assert b"thinking" not in render(prompt)
    assert b"So." in render(prompt)
    (missing,) = omitted(prompt)
    assert str(missing) == "reasoning (3 of thread_1): the answer that this reasoning stands in was changed"


@pytest.mark.parametrize(
    ("items", "more", "why"),
    [
        (turn(THINKING, provider="mistral"), {}, "reasoning of mistral is not for anthropic"),
        (turn(THINKING, model="claude-fable-5"), {}, f"reasoning of claude-fable-5 is not for {MODEL}"),
        (
            turn(THINKING, model="claude-opus-5"),
            {"model": "claude-opus-5", "sampling": Sampling(reasoning_effort="none")},
            "the model is asked not to think",
        ),
    ],
)
def test_thinking_goes_to_the_model_that_made_it_and_to_no_other(
    items: tuple[Item, ...], more: dict[str, Any], why: str
) -> None:
    prompt = Prompt(config(**more), items)
    assert b"signature" not in render(prompt)
    assert [(one.what, one.reason, one.count) for one in omitted(prompt)] == [("reasoning", why, 1)]


def test_thinking_of_which_no_model_is_known_goes_back() -> None:
    assert THINKING.encode() in render(Prompt(config(), turn(THINKING, model=None)))


@pytest.mark.parametrize(
    ("model", "effort", "thinking", "sent"),
    [
        ("claude-opus-5-5", None, None, None),
        ("claude-opus-5-5", "minimal", {"type": "adaptive"}, "low"),
        ("claude-sonnet-4-6", "high", {"type": "adaptive"}, "high"),
        ("claude-sonnet-5", "none", {"type": "disabled"}, None),
        ("claude-mythos-preview", "none", None, None),
        ("claude-opus-5-5", "none", None, None),
        ("claude-haiku-4-5-20251001", "high", None, None),
        ("claude-opus-4-20250514", "high", None, None),
        ("claude-3-7-sonnet-latest", "none", None, None),
        ("claude-opus-5-5", "enormous", None, None),
    ],
)
def test_models_are_told_how_much_to_think_if_they_take_it(
    model: str, effort: str | None, thinking: Any, sent: str | None
) -> None:
    prompt = Prompt(config(model=model, sampling=Sampling(reasoning_effort=effort)), [message("user", "Hi")])
    body = orjson.loads(render(prompt))
    assert body.get("thinking") == thinking
    assert body.get("output_config", {}).get("effort") == sent
    assert fault_of(body) is None
    said_nothing = thinking is None and effort is not None and model != "claude-3-7-sonnet-latest"
    assert [one.what for one in omitted(prompt)] == (["reasoning_effort"] if said_nothing else [])


def test_thinking_that_does_not_fit_any_more_may_be_dropped_by_models_that_look() -> None:
    newer = body_of(*turn(THINKING))
    assert newer["thinking"] == {"type": "adaptive", "block_binding": {"prefix_mismatch_behavior": "drop_block"}}
    assert fault_of(newer, BETA) is None
    older = body_of(*turn(THINKING, model="claude-opus-4-8"), model="claude-opus-4-8")
    assert "thinking" not in older
    assert BLOCK_BINDING in render(Prompt(config(), turn(THINKING)))
    assert BLOCK_BINDING not in render(Prompt(config(), [message("user", BLOCK_BINDING.decode())]))


# The cache of prompts


def flat(body: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    blocks = [("tool", tool) for tool in body.get("tools", ())] + [
        ("system", block) for block in body.get("system", ())
    ]
    return blocks + [(one["role"], block) for one in body["messages"] for block in one["content"]]


def marked(body: dict[str, Any]) -> list[int]:
    return [place for place, (_, block) in enumerate(flat(body)) if "cache_control" in block]


def test_a_growing_thread_finds_the_end_of_its_last_request_marked_however_much_came_since() -> None:
    items: list[Item] = []
    before: list[Any] = []
    ended: int | None = None
    for number in range(8):
        items.append(message("user", f"Question {number}."))
        for step in range(3):
            call = f"mc_{number}_{step}"
            body = body_of(*items, instructions="Be brief.", tools=F)
            blocks = [(role, without_mark(block)) for role, block in flat(body)]
            assert blocks[: len(before)] == before
            assert ended is None or ended in marked(body)
            assert marked(body)[-1] == len(blocks) - 1
            assert len(marked(body)) <= 4
            before, ended = blocks, len(blocks) - 1
            if step < 2:
                items += [called(f"{call}_{n}", "f", "{}", call) for n in range(25)]
                items += [result(f"{call}_{n}", "x") for n in range(25)]
            else:
                items.append(message("assistant", "Done.", call))


def test_instructions_and_tools_are_one_entry_for_all_threads() -> None:
    assert "cache_control" in body_of(instructions="Be brief.", tools=F)["system"][-1]
    assert "cache_control" in body_of(tools=F)["tools"][-1]
    assert "cache_control" not in body_of(instructions="Be brief.", tools=F)["tools"][-1]


# Blocks of Anthropic's own, and of others


def test_blocks_of_its_own_go_back_as_they_came_but_for_marks_of_other_requests() -> None:
    search = '{"type":"search_result","source":"x", "title":"y","content":[{"type":"text","text":"z"}]}'
    for role in ("user", "assistant"):
        own = message(role, (Text(type="text", text="So: "), Other(type="other", provider="anthropic", block=search)))
        assert search.encode() in render(Prompt(config(), [own]))
    marked_before = '{"type":"text","text":"a","cache_control":{"type":"ephemeral"}}'
    ends_raw = message("user", (Other(type="other", provider="anthropic", block=marked_before),))
    assert b"cache_control" not in render(Prompt(config(), [ends_raw]))


def test_parts_of_others_are_left_out_and_that_is_told() -> None:
    other = message("user", (*text("Hi"), Other(type="other", provider="mistral", block="{}")), place=Place(THREAD, 9))
    prompt = Prompt(config(), [other, replace(other, place=Place(THREAD, 12))])
    assert messages_of(other)[0]["content"] == [said("Hi")]
    assert list(map(str, omitted(prompt))) == [
        "part (2 in 9 to 12 of thread_1): a part that mistral made is not for anthropic"
    ]


def test_all_that_is_left_out_is_told() -> None:
    assert [(one.what, one.count) for one in omitted(EVERYTHING)] == [
        ("reasoning", 1),
        ("part", 1),
        ("image", 1),
        ("temperature", 1),
        ("top_p", 1),
        ("seed", 1),
        ("presence_penalty", 1),
        ("frequency_penalty", 1),
    ]
