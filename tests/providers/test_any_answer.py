"""Whatever a server sends is an answer, or a failed attempt: never an error of ours."""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clew.errors import ProviderFailed
from clew.providers.base import Answer
from tests.providers.deltas import part
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

USAGE = {
    "prompt_tokens": 3,
    "completion_tokens": 4,
    "total_tokens": 9,
    "prompt_tokens_details": {"cached_tokens": 1},
    "completion_tokens_details": {"reasoning_tokens": 1},
}
DETAIL = {"type": "reasoning.text", "text": "a", "index": 0}
CALLS = [
    chunk(tool_calls=[{**part('{"q"', index=0, id="c1", name="search"), "extra_content": {"google": {"s": "x"}}}]),
    chunk(tool_calls=[part(": 1}", index=0), part("{}", index=1, id="c2", name="other")]),
    chunk("tool_calls"),
]
CHUNKS: dict[str, list[Any]] = {
    OPENAI.name: [
        chunk(role="assistant", content="Hel", reasoning_content="Hm", refusal=None),
        chunk(reasoning_details=[DETAIL], thinking_blocks=[{"type": "thinking", "thinking": "a"}]),
        chunk(reasoning_details=[DETAIL], function_call=None),
        *CALLS,
        {"choices": [], "usage": USAGE, "x_groq": {"usage": USAGE}, "service_tier": "default"},
    ],
    MISTRAL.name: [
        chunk(content=[{"type": "thinking", "thinking": [{"type": "text", "text": "a"}]}]),
        chunk(content=[{"type": "thinking", "thinking": [{"type": "text", "text": "b"}], "signature": "c2ln"}]),
        chunk(content=[{"type": "text", "text": "Hi"}]),
        *CALLS,
        {"choices": [], "usage": {**USAGE, "service_tier": "x"}},
    ],
    ANTHROPIC.name: [
        start(),
        block(0, type="thinking", thinking="", signature=""),
        delta(0, "thinking", thinking="a"),
        delta(0, "signature", signature="c2ln"),
        block(1, type="text", text="", citations=[]),
        delta(1, "text", text="Hi"),
        delta(1, "citations", citation={"a": 1}),
        block(2, type="tool_use", id="t1", name="search", input={}),
        delta(2, "input_json", partial_json='{"q":1}'),
        block(3, type="server_tool_use", id="s", name="web_search", input={}),
        stopped(3),
        *ended("tool_use"),
    ],
}
WHOLE: dict[str, Any] = {
    OPENAI.name: completion("stop", content="x", tool_calls=[part("{}", id="c", name="f")], reasoning_details=[DETAIL]),
    MISTRAL.name: completion("stop", content=[{"type": "thinking", "thinking": [{"type": "text", "text": "a"}]}]),
    ANTHROPIC.name: message(
        {"type": "thinking", "thinking": "a", "signature": "s"},
        {"type": "text", "text": "x", "citations": [{"a": 1}]},
        {"type": "thinking", "thinking": "b", "signature": "s"},
        {"type": "tool_use", "id": "t", "name": "search", "input": {"q": 1}},
        stop_details={"explanation": "x"},
    ),
}
ODD: list[Any] = [
    *(
        None,
        True,
        0,
        1,
        -1,
        1.5,
        10**25,
        10**400,
        "",
        "x",
        "0",
        "null",
        "{",
        "{}",
        "\ud83d",
        "\ude00x",
        "text",
        "error",
    ),
    *(
        "text",
        "error",
        [],
        [None],
        [1],
        ["a"],
        {},
        {"a": 1},
        {"text": "t"},
        [{"text": "t"}],
        [{}],
        [[[]]],
        {"type": "text", "text": 5},
    ),
]


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths of all values inside."""
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield (*path, key)
        yield from places(value[key], (*path, key))


@st.composite
def changed(draw: st.DrawFn, value: Any) -> Any:
    """The value with a few others in it, or without some."""
    value = copy.deepcopy(value)
    for _ in range(draw(st.integers(1, 3))):
        *path, last = draw(st.sampled_from(list(places(value)) or [(0,)]))
        holder = value
        for key in path:
            holder = holder[key]
        match draw(st.sampled_from(("other", "twice", "gone"))):
            case "gone":
                del holder[last]
            case "twice" if isinstance(holder, list):
                holder.insert(last, copy.deepcopy(holder[last]))
            case _:
                holder[last] = copy.deepcopy(draw(st.sampled_from(ODD)))
        if not value:
            break
    return value


def heard(kind: Kind, asked: bytes, data: bytes, content_type: str) -> list[Any]:
    async def run() -> list[Any]:
        def reply(_: httpx2.Request) -> httpx2.Response:
            return httpx2.Response(200, headers={"content-type": content_type}, content=data)

        async with httpx2.AsyncClient(transport=httpx2.MockTransport(reply)) as client:
            provider = kind.make(base_url="http://here/v1", api_key=None, client=client)
            try:
                return [piece async for piece in provider.call(asked)]
            except ProviderFailed:
                return []
            finally:
                await provider.close()

    return asyncio.run(run())


@pytest.mark.parametrize("kind", EVERY, ids=str)
@given(data=st.data())
def test_a_stream_with_anything_in_it_is_an_answer_or_a_failed_attempt(kind: Kind, data: st.DataObject) -> None:
    chunks = data.draw(changed(CHUNKS[kind.name]))
    sent = b"".join(b"data: %s\n\n" % json.dumps(one).encode() for one in chunks) + b"data: [DONE]\n\n"
    said = heard(kind, kind.stream, sent, "text/event-stream")
    assert not said or isinstance(said[-1], Answer)


@pytest.mark.parametrize("kind", EVERY, ids=str)
@given(data=st.data())
def test_an_answer_with_anything_in_it_is_one_or_a_failed_attempt(kind: Kind, data: st.DataObject) -> None:
    sent = json.dumps(data.draw(changed(WHOLE[kind.name]))).encode()
    said = heard(kind, kind.plain, sent, "application/json")
    assert not said or isinstance(said[-1], Answer)
