"""Histories to render: what the tests of renderers share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from clew.events.content import Content, File, Image, JsonObject, Other, Part, Refusal, Text, text
from clew.events.items import Item, MessageItem, Place, ReasoningItem, SummaryItem, ToolCallItem, ToolResultItem
from clew.events.message import Role
from clew.events.run import RunConfig, Sampling, Tool, ToolChoice
from clew.providers.base import Prompt

THREAD = "thread_1"
HERE = Place(THREAD, 1)
PARAMETERS: JsonObject = {
    "type": "object",
    "properties": {"z": {"type": "string"}, "stream": True, "a": {"maximum": 1.5}},
}


def config(provider: str = "anthropic", model: str = "claude-opus-5-5", **more: Any) -> RunConfig:
    return RunConfig(provider=provider, model=model, asked_model=f"{provider}/{model}", **more)


def message(role: Role, content: Any, model_call_id: str | None = None, place: Place = HERE) -> MessageItem:
    content = text(content) if isinstance(content, str) else content
    return MessageItem(place, "msg_1", role, content, model_call_id, 0)


def called(id: str, name: str, arguments: str, model_call_id: str, place: Place = HERE) -> ToolCallItem:
    return ToolCallItem(place, id, name, arguments, model_call_id, 0)


def result(id: str, output: str, is_error: bool = False, place: Place = HERE) -> ToolResultItem:
    return ToolResultItem(place, id, output, is_error, 0)


def thought(
    provider: str, model_call_id: str, *blocks: str, model: str | None = None, place: Place = HERE
) -> ReasoningItem:
    return ReasoningItem(place, provider, blocks, model_call_id, 0, model=model)


def placed(items: Sequence[Item]) -> list[Item]:
    """Each in a place of its own."""
    return [replace(item, place=Place(THREAD, number)) for number, item in enumerate(items, start=2)]


def everything(provider: str, model: str, own: str, **sampling: Any) -> Prompt:
    """All that a prompt may hold. `own` is a block of reasoning that the provider itself has made, in JSON."""
    return Prompt(
        config=config(
            provider,
            model,
            instructions='Be "brief" → é.',
            tools=(
                Tool(type="function", name="get_weather", description="Weather", parameters=PARAMETERS, strict=True),
                Tool(type="function", name="now"),
            ),
            tool_choice=ToolChoice(mode="function", name="now"),
            parallel_tool_calls=False,
            response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}},
            sampling=Sampling(
                temperature=0.1,
                top_p=1,
                seed=7,
                stop=("END", "\n"),
                presence_penalty=0.5,
                frequency_penalty=-0.5,
                **sampling,
            ),
            stream=True,
        ),
        items=placed(
            [
                SummaryItem(HERE, text("Before: they said hello."), 0),
                message("system", "Never curse."),
                message("user", (Text(type="text", text="Look: "), Image(type="image", url="https://x/y.png"))),
                thought("elsewhere", "call_1", '{"signature":"s"}'),
                message("assistant", "I will look.", "call_1"),
                called("t1", "get_weather", '{ "z" : "Paris" }', "call_1"),
                called("call.2", "now", "", "call_1"),
                message("user", "Hurry!"),
                result("call.2", ""),
                result("t1", "sunny\n", is_error=True),
                thought(provider, "call_2", own, model=model),
                called("t1", "now", "[1]", "call_2"),
                result("t1", "noon"),
                message("assistant", (Refusal(type="refusal", text="I cannot."),), "call_3"),
                message("system", "Speak French."),
                message("user", ""),
                message("user", (_picture(), Image(type="image", file_id="file_1"), _other(provider))),
                message("user", (File(type="file", data="aGk=", media_type="application/pdf", filename="a.pdf"),)),
                result("t9", "of no call"),
            ]
        ),
        max_output_tokens=77,
    )


def _picture() -> Image:
    return Image(type="image", data="aGk=", media_type="image/jpeg")


def _other(provider: str) -> Other:
    other = "anthropic" if provider != "anthropic" else "mistral"
    return Other(type="other", provider=other, block='{"type":"search_result"}')


_TEXTS = st.sampled_from(["Hello.", "", " \n", "{user}", '",\n"stream":true}'])
_CALL_IDS = st.sampled_from(["call_1", "call_2", "toolu_01", "ABCdef123", "with.dots", "null", "é"])
_MODEL_CALLS = st.sampled_from(["mc_1", "mc_2", "mc_3"])
_PARTS: st.SearchStrategy[Part] = st.one_of(
    st.builds(Text, type=st.just("text"), text=_TEXTS),
    st.builds(Refusal, type=st.just("refusal"), text=_TEXTS),
    st.sampled_from(
        [
            Image(type="image", url="https://x/y.png"),
            Image(type="image", url="data:image/webp;base64,aGk="),
            Image(type="image", data="aGk=", media_type="image/tiff"),
            Image(type="image", file_id="file_1"),
            File(type="file", data="aGk=", media_type="text/plain"),
            File(type="file", data="/w==", media_type="text/plain", filename="latin.txt"),
            File(type="file", data="aGk=", media_type="application/pdf", filename="a.pdf"),
            File(type="file", file_id="file_2"),
            Other(type="other", provider="elsewhere", block="{}"),
        ]
    ),
)
_CONTENT: st.SearchStrategy[Content] = st.lists(_PARTS, max_size=3).map(tuple)
_ARGUMENTS = st.sampled_from(["", "{}", '{"a": 1}', "[1]", "no JSON", '{"a": {"b": "\\u00e9"}}'])
_ITEMS: st.SearchStrategy[Item] = st.one_of(
    st.builds(message, st.sampled_from(["user", "system"]), _CONTENT),
    st.builds(message, st.just("assistant"), _CONTENT, st.none() | _MODEL_CALLS),
    st.builds(called, _CALL_IDS, st.sampled_from(["f", "g"]), _ARGUMENTS, _MODEL_CALLS),
    st.builds(result, _CALL_IDS, _TEXTS, st.booleans()),
    st.builds(lambda call: thought("elsewhere", call, '{"a":1}'), _MODEL_CALLS),
    st.builds(lambda content: SummaryItem(HERE, content, 0), _CONTENT),
)


# Whatever the log may hold, also what no run of ours would leave behind.
HISTORIES: st.SearchStrategy[list[Item]] = st.lists(_ITEMS, max_size=12).map(placed)
