"""Nothing is left out silently: what a request does not hold of its context, the manifest of the call names."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clew.events.content import Content, File, Image, Other, Part, Refusal, Text
from clew.events.items import Item, MessageItem, ReasoningItem, ToolResultItem
from clew.events.model import NotRendered
from clew.events.run import RunConfig, Tool
from clew.providers.base import Prompt
from clew.providers.renderers import RENDERERS, omitted
from tests.providers.histories import called, config, message, placed, result, thought

MODELS = {
    "openai-chat/1": ("openai", "gpt-4o"),
    "openai-chat/2": ("openai", "gpt-4o"),
    "openai-chat/3": ("openai", "gpt-4o"),
    "openai-chat/4": ("openai", "gpt-4o"),
    "anthropic-messages/1": ("anthropic", "claude-opus-5-5"),
    "anthropic-messages/2": ("anthropic", "claude-opus-5-5"),
    "anthropic-messages/3": ("anthropic", "claude-opus-5-5"),
    "mistral-chat/1": ("mistral", "mistral-large-4"),
    "mistral-chat/2": ("mistral", "mistral-large-4"),
}


def asked(renderer: str) -> RunConfig:
    return config(*MODELS[renderer])


def coded(mark: str) -> str:
    return base64.b64encode(mark.encode()).decode()


def block(mark: str) -> str:
    return f'{{"type":"text","text":"{mark}"}}'


# Each makes a part that has a mark in it, which a request either holds or does not.
PARTS: dict[str, Callable[[str], Part]] = {
    "text": lambda mark: Text(type="text", text=mark),
    "cited": lambda mark: Text(type="text", text="so", annotations=({"type": "char_location", "cited_text": mark},)),
    "refusal": lambda mark: Refusal(type="refusal", text=mark),
    "url": lambda mark: Image(type="image", url=f"https://x/{mark}.png"),
    "detail": lambda mark: Image(type="image", url="https://x/y.png", detail=mark),
    "png": lambda mark: Image(type="image", data=coded(mark), media_type="image/png"),
    "tiff": lambda mark: Image(type="image", data=coded(mark), media_type="image/tiff"),
    "pdf": lambda mark: File(type="file", data=coded(mark), media_type="application/pdf", filename="a.pdf"),
    "sheet": lambda mark: File(type="file", data=coded(mark), media_type="text/csv"),
    "of anthropic": lambda mark: Other(type="other", provider="anthropic", block=block(mark)),
    "of mistral": lambda mark: Other(type="other", provider="mistral", block=block(mark)),
    "of openai": lambda mark: Other(type="other", provider="openai", block=block(mark)),
}
_PARTS = st.lists(st.sampled_from(sorted(PARTS)), min_size=1, max_size=2)


def _content(kinds: list[str]) -> Content:
    return tuple(PARTS[kind]("mark") for kind in kinds)


_ITEMS: st.SearchStrategy[Item] = st.one_of(
    st.builds(lambda kinds: message("user", _content(kinds)), _PARTS),
    st.builds(lambda kinds, call: message("assistant", _content(kinds), call), _PARTS, st.sampled_from(["1", "2"])),
    st.builds(lambda call: called(f"call{call}", "f", "{}", call), st.sampled_from(["1", "2"])),
    st.builds(
        lambda call, kinds: replace(result(f"call{call}", "out"), content=_content(kinds)),
        st.sampled_from(["1", "2"]),
        st.just([]) | _PARTS,
    ),
    st.builds(
        lambda provider, call: thought(provider, call, block("mark")),
        st.sampled_from(["anthropic", "mistral", "openai"]),
        st.sampled_from(["1", "2"]),
    ),
)


def marked(items: list[Item]) -> list[Item]:
    """Each mark is another one: it says which item it stands in, and where."""
    found: list[Item] = []
    for item in placed(items):
        mark = f"mark{item.place.number}x"
        match item:
            case ReasoningItem():
                found.append(replace(item, blocks=(block(f"{mark}0"),)))
            case MessageItem(content=content) | ToolResultItem(content=content):
                new = tuple(_remarked(part, f"{mark}{number}") for number, part in enumerate(content))
                item = replace(item, content=new)
                if isinstance(item, ToolResultItem):
                    # As a text it says what its parts say, as far as they are texts.
                    texts = [part.text for part in new if isinstance(part, (Text, Refusal))]
                    item = replace(item, output="\n".join(["out", *texts]))
                found.append(item)
            case _:
                found.append(item)
    return found


def _remarked(part: Part, mark: str) -> Part:
    as_json = part.model_dump_json().replace(coded("mark"), coded(mark)).replace("mark", mark)
    return type(part).model_validate_json(as_json)


def marks(item: Item) -> Iterator[str]:
    if isinstance(item, ReasoningItem):
        yield f"mark{item.place.number}x0"
    elif isinstance(item, (MessageItem, ToolResultItem)):
        yield from (f"mark{item.place.number}x{number}" for number, _ in enumerate(item.content))


def is_told(item: Item, missing: tuple[NotRendered, ...]) -> bool:
    return any(one.items is not None and one.items.first <= item.place.number <= one.items.last for one in missing)


@pytest.mark.parametrize("renderer", MODELS)
@given(items=st.lists(_ITEMS, max_size=6).map(marked))
def test_whatever_a_request_does_not_hold_is_told(renderer: str, items: list[Item]) -> None:
    prompt = Prompt(asked(renderer), items)
    body, missing = RENDERERS[renderer](prompt).decode(), omitted(renderer, prompt)
    for item in items:
        for mark in marks(item):
            assert mark in body or coded(mark) in body or is_told(item, missing), (mark, item, body)


def test_marks_of_errors_are_told_where_results_have_none() -> None:
    items = placed([called("a", "f", "{}", "1"), result("a", "no such city", is_error=True)])
    told = {
        renderer: [str(one) for one in omitted(renderer, Prompt(asked(renderer), items))]
        for renderer in ("anthropic-messages/1", "openai-chat/2", "mistral-chat/1")
    }
    assert told == {
        "anthropic-messages/1": [],
        "openai-chat/2": ["is_error (3 of thread_1): results of calls have no mark for errors with openai"],
        "mistral-chat/1": ["is_error (3 of thread_1): results of calls have no mark for errors with mistral"],
    }


def test_a_model_that_takes_no_strict_tools_is_told_of() -> None:
    tools = (Tool(type="function", name="f", strict=True),)
    for model, told in (("claude-opus-4-1", ["strict"]), ("claude-opus-4-5", [])):
        prompt = Prompt(config("anthropic", model, tools=tools), [message("user", "Hi")])
        assert [one.what for one in omitted("anthropic-messages/1", prompt)] == told
        assert (b'"strict":true' in RENDERERS["anthropic-messages/1"](prompt)) == (not told)
