"""What a request to Anthropic says beside what was said: tools, and the form of the answer."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from clew.errors import ProviderFailed
from clew.events.content import Other
from clew.events.run import Tool, ToolChoice
from clew.providers.anthropic_render import omitted, render
from clew.providers.base import Prompt
from tests.providers.histories import config, message
from tests.providers.test_anthropic_render import F, body_of
from tests.rigs.valid_anthropic import fault_of


@pytest.mark.parametrize(
    ("choice", "parallel", "sent"),
    [
        (None, True, None),
        (None, False, {"type": "auto", "disable_parallel_tool_use": True}),
        (ToolChoice(mode="auto"), True, None),
        (ToolChoice(mode="none"), False, {"type": "none"}),
        (ToolChoice(mode="required"), True, {"type": "any"}),
        (ToolChoice(mode="function", name="f"), True, {"type": "tool", "name": "f"}),
    ],
)
def test_the_choice_of_tools_is_in_anthropics_words(choice: ToolChoice | None, parallel: bool, sent: Any) -> None:
    body = body_of(tools=F, tool_choice=choice, parallel_tool_calls=parallel)
    assert body.get("tool_choice") == sent
    assert fault_of(body) is None


def test_strict_is_said_to_models_that_know_it() -> None:
    strict = (Tool(type="function", name="f", strict=True),)
    assert body_of(tools=strict)["tools"][0]["strict"] is True
    assert "strict" not in body_of(tools=strict, model="claude-opus-4-1")["tools"][0]


def test_a_format_is_a_schema_or_is_left_out_and_told() -> None:
    schema = {"type": "json_schema", "json_schema": {"name": "x", "strict": True, "schema": {"type": "object"}}}
    body = body_of(response_format=schema)
    assert body["output_config"] == {"format": {"type": "json_schema", "schema": {"type": "object"}}}
    for free in ({"type": "json_object"}, {"type": "text"}):
        prompt = Prompt(config(response_format=free), [])
        assert "output_config" not in orjson.loads(render(prompt))
        assert [one.what for one in omitted(prompt)] == (["response_format"] if free["type"] != "text" else [])


@pytest.mark.parametrize("block", ["no JSON", "[1]"])
def test_a_kept_block_that_is_no_object_is_refused(block: str) -> None:
    kept = message("user", (Other(type="other", provider="anthropic", block=block),))
    with pytest.raises(ProviderFailed) as caught:
        render(Prompt(config(), [kept]))
    assert (caught.value.code, caught.value.retryable) == ("invalid_prompt", False)


def test_a_prompt_that_no_json_can_hold_is_refused() -> None:
    tool = Tool(type="function", name="f", parameters={"maximum": 2**70})
    with pytest.raises(ProviderFailed) as caught:
        render(Prompt(config(tools=(tool,)), []))
    assert (caught.value.code, caught.value.retryable) == ("invalid_prompt", False)
