"""The recorded providers are what they pretend to be: official SDKs take them for it, and what is wrong is refused."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import anthropic
import httpx2
import pytest
from mistralai.client import Mistral

from tests.rigs import valid_anthropic, valid_mistral, valid_openai
from tests.rigs.processes import RECORDING, UPSTREAM, upstream
from tests.rigs.talks import Recording, load
from tests.rigs.upstream_anthropic import call_id as anthropic_id
from tests.rigs.upstream_mistral import call_id as mistral_id

needs_recordings = pytest.mark.skipif(
    not (RECORDING.exists() and UPSTREAM.exists() and valid_mistral.SCHEMA.exists()),
    reason=f"no recordings beside the repository ({RECORDING})",
)
TEXT = {"type": "text", "text": "Hi"}
CALL = {"type": "tool_use", "id": "a", "name": "f", "input": {}}
RESULT = {"type": "tool_result", "tool_use_id": "a"}
MARK = {"cache_control": {"type": "ephemeral"}}


@pytest.fixture(scope="module")
def recording() -> Recording:
    return load()


@pytest.fixture(scope="module")
def anthropic_url() -> Iterator[str]:
    with upstream("--think", "--match", "suffix", module="tests.rigs.upstream_anthropic") as url:
        yield url


@pytest.fixture(scope="module")
def mistral_url() -> Iterator[str]:
    with upstream("--think", "--match", "suffix", module="tests.rigs.upstream_mistral") as url:
        yield url


def first_call(recording: Recording) -> tuple[list[dict[str, Any]], dict[str, Any], int]:
    """A history of text after which the model called a tool, what it said then, and the place of that."""
    messages = recording.talks[0].messages
    place = next(place for place, one in enumerate(messages) if one.get("tool_calls"))
    return messages[:place], messages[place]["tool_calls"][0], place


@needs_recordings
def test_anthropics_sdk_understands_its_rig(anthropic_url: str, recording: Recording) -> None:
    history, call, place = first_call(recording)
    said: Any = [{"role": one["role"], "content": one["content"]} for one in history]
    with anthropic.Anthropic(
        base_url=anthropic_url, api_key="x", max_retries=0, _strict_response_validation=True
    ) as client:
        whole = client.messages.create(model="claude-x", max_tokens=9, messages=said)
        with client.messages.stream(model="claude-x", max_tokens=9, messages=said) as stream:
            streamed = stream.get_final_message()
    for message in (whole, streamed):
        thinking, used = message.content
        assert (thinking.type, used.type, message.stop_reason) == ("thinking", "tool_use", "tool_use")
        assert isinstance(used, anthropic.types.ToolUseBlock)
        assert (used.id, used.name) == (anthropic_id(call["id"], place), call["function"]["name"])
        assert message.usage.output_tokens > 1
    assert whole.content[1] == streamed.content[1]


@needs_recordings
def test_mistrals_sdk_understands_its_rig(mistral_url: str, recording: Recording) -> None:
    history, call, place = first_call(recording)
    said: Any = [{"role": one["role"], "content": one["content"]} for one in history]
    with Mistral(api_key="x", server_url=mistral_url) as client:
        whole = client.chat.complete(model="m", messages=said)
        chunks = [event.data for event in client.chat.stream(model="m", messages=said)]
        assert [model.id for model in client.models.list().data or ()] == ["mistral-large-4"]
    message = whole.choices[0].message
    assert message is not None
    for calls in (message.tool_calls, chunks[-1].choices[0].delta.tool_calls):
        assert isinstance(calls, list)
        assert [(one.id, one.function.name, one.function.arguments) for one in calls] == [
            (mistral_id(call["id"], place), call["function"]["name"], call["function"]["arguments"])
        ]
    assert chunks[-1].usage == whole.usage


@needs_recordings
def test_a_request_that_is_not_valid_is_refused_and_counted(anthropic_url: str, mistral_url: str) -> None:
    with httpx2.Client(headers={"authorization": "Bearer x", "anthropic-version": "2026-10-21"}) as client:
        wrong = {"model": "m", "messages": []}
        refused = client.post(f"{anthropic_url}/v1/messages", json=wrong)
        assert (refused.status_code, refused.json()["type"]) == (400, "error")
        refused = client.post(f"{mistral_url}/v1/chat/completions", json={"model": "m"})
        assert refused.status_code == 422
        assert refused.json()["detail"][0]["msg"].startswith("the published schema refuses")
        old = {"anthropic-version": "2023-06-01"}
        assert client.post(f"{anthropic_url}/v1/messages", json=wrong, headers=old).status_code == 400
        thought = {"type": "thinking", "thinking": "of somebody else", "signature": "x"}
        said = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": [thought, TEXT]}]
        forged = {"model": "m", "max_tokens": 1, "messages": [*said, {"role": "user", "content": "So?"}]}
        assert "Invalid `signature`" in client.post(f"{anthropic_url}/v1/messages", json=forged).text
        keyless = client.post(f"{mistral_url}/v1/chat/completions", json=wrong, headers={"authorization": ""})
        assert keyless.status_code == 401
        assert len(client.get(f"{anthropic_url}/calls").json()["invalid"]) == 3


def turns(*contents: Any) -> list[dict[str, Any]]:
    return [
        {"role": "user" if place % 2 == 0 else "assistant", "content": content}
        for place, content in enumerate(contents)
    ]


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"temperature": 1}, "do not know all of it: .temperature"),
        ({"messages": turns([{**TEXT, "seed": 1}])}, "messages[0].content[0].seed"),
        ({"messages": turns([{"type": "voice"}])}, "types refuse it"),
        ({"max_tokens": None}, "types refuse it"),
        ({"messages": []}, "at least one message"),
        ({"messages": turns("Hi", "Hello")}, "prefill"),
        ({"messages": turns("Hi", "Hello", "So?")[1:]}, "first message must use the user role"),
        ({"messages": turns([TEXT], [CALL], [TEXT])}, "results of"),
        ({"messages": turns([TEXT], [CALL], [TEXT, RESULT])}, "results must come first"),
        ({"messages": turns([RESULT])}, "results of"),
        ({"messages": turns([TEXT], [CALL], [RESULT], [CALL], [RESULT])}, "must be unique"),
        ({"messages": turns([TEXT], [{**CALL, "id": "a.b"}], [{**RESULT, "tool_use_id": "a.b"}])}, "match pattern"),
        ({"messages": turns([{**TEXT, "text": " "}])}, "non-whitespace"),
        ({"messages": turns([])}, "must not be empty"),
        ({"messages": turns([{**TEXT, **MARK}] * 5)}, "5 blocks are marked"),
        ({"tools": [{"name": "a b", "input_schema": {"type": "object"}}]}, "tools.name"),
        ({"thinking": {"type": "adaptive", "block_binding": {}}}, "block_binding"),
    ],
)
def test_what_anthropic_would_refuse_is_found(more: dict[str, Any], why: str) -> None:
    good: dict[str, Any] = {"model": "m", "max_tokens": 1, "messages": turns([TEXT], [CALL], [RESULT])}
    assert valid_anthropic.fault_of(copy.deepcopy(good)) is None
    found = valid_anthropic.fault_of({**good, **more})
    assert found is not None
    assert why in found


def tool(id: str = "ABCdef123") -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": id, "content": "x"}


def calls(*ids: str) -> dict[str, Any]:
    made = [{"id": id, "function": {"name": "f", "arguments": "{}"}} for id in ids]
    return {"role": "assistant", "content": "", "tool_calls": made}


USER = {"role": "user", "content": "Hi"}


@needs_recordings
@pytest.mark.parametrize(
    ("more", "status", "why"),
    [
        ({"seed": 1}, 422, "'seed' was unexpected"),
        ({"tool_choice": "must"}, 422, "tool_choice"),
        ({"messages": [{"role": "user", "content": [{"type": "voice"}]}]}, 422, "messages.0"),
        ({"messages": [USER, calls("ABCdef123"), USER]}, 400, "Not the same number"),
        ({"messages": [USER, calls("ABCdef123"), tool(), USER]}, 400, "Unexpected role 'user' after role 'tool'"),
        ({"messages": [USER, {"role": "assistant", "content": "a"}]}, 400, "Expected last role"),
        ({"messages": [USER, calls("call_1"), tool("call_1")]}, 400, "Tool call id was call_1"),
        ({"messages": [USER, calls("ABCdef123"), tool("ABCdef124")]}, 400, "Unexpected tool call id"),
        ({"messages": [USER, calls("ABCdef123"), tool(), tool()]}, 400, "Unexpected tool call id"),
        ({"messages": [USER, calls("ABCdef123", "ABCdef123"), tool()]}, 400, "Duplicate tool call id"),
        ({"messages": [USER, {"role": "assistant", "content": ""}, USER]}, 400, "either content or tool_calls"),
        ({"messages": [USER, calls("ABCdef123"), {"role": "system", "content": "a"}]}, 400, "role 'system'"),
        ({"tools": [{"function": {"name": "a b", "parameters": {}}}]}, 400, "Function name was a b"),
    ],
)
def test_what_mistral_would_refuse_is_found(more: dict[str, Any], status: int, why: str) -> None:
    good: dict[str, Any] = {"model": "m", "messages": [USER, calls("ABCdef123"), tool()]}
    assert valid_mistral.fault_of(good) is None
    found = valid_mistral.fault_of({**good, **more})
    assert found is not None
    assert (found[0], why in found[1]) == (status, True), found


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"temprature": 1}, "do not know all of it: .temprature"),
        ({"tool_choice": "must"}, "types refuse it"),
        ({"messages": []}, "there is none"),
        ({"messages": [{"role": "voice", "content": "Hi"}]}, "types refuse it"),
        ({"messages": [USER, calls("a"), USER]}, "calls without a result: ['a']"),
        ({"messages": [USER, calls("a"), tool("b")]}, "a result of b"),
        ({"messages": [USER, calls("a"), tool("a"), tool("a")]}, "a result of a"),
        ({"messages": [USER, calls("a", "b"), tool("a")]}, "calls without a result: ['b']"),
        ({"messages": [USER, {"role": "assistant", "content": ""}]}, "says nothing"),
    ],
)
def test_what_openai_would_refuse_is_found(more: dict[str, Any], why: str) -> None:
    messages: list[Any] = [USER, calls("a"), tool("a")]
    for message in [*messages, *more.get("messages", ())]:
        for call in message.get("tool_calls", ()):
            call["type"] = "function"
    good: dict[str, Any] = {"model": "m", "messages": messages}
    assert valid_openai.fault_of(good) is None
    assert valid_openai.fault_of({**good, "stream": True}) is None
    found = valid_openai.fault_of({**good, **more})
    assert found is not None
    assert why in found
