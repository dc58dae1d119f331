"""Requests that are wrong in themselves, made by breaking one that is right at each of its places.

Whatever is wrong, it is told in the API's own form, and the message begins with where it is.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, TypeAlias

import httpx2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.dialects.anthropic.conftest import TOOL, assistant, user
from tests.dialects.anthropic.test_errors import fault, is_refused
from tests.dialects.conftest import Server

Place: TypeAlias = tuple[str | int, ...]
CACHED: Any = {"type": "ephemeral", "ttl": "5m"}
RIGHT: dict[str, Any] = {
    "model": "echo",
    "max_tokens": 99,
    "stream": False,
    "system": [{"type": "text", "text": "Be kind.", "cache_control": CACHED}],
    "stop_sequences": ["END"],
    "temperature": 0.5,
    "top_p": 0.5,
    "metadata": {"user_id": "ada"},
    "service_tier": "auto",
    "speed": "standard",
    "thread": {"type": "create"},
    "cache_control": CACHED,
    "thinking": {"type": "disabled"},
    "tool_choice": {"type": "tool", "name": "get_weather", "disable_parallel_tool_use": True},
    "tools": [{**TOOL, "type": "custom", "strict": True, "cache_control": CACHED}],
    "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": {"type": "object"}}},
    "messages": [
        {"role": "system", "content": "Talk like a pirate."},
        user(
            [
                {"type": "text", "text": "Weather?", "citations": None, "cache_control": CACHED},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}},
                {"type": "image", "source": {"type": "url", "url": "https://example.org/a.png"}},
                {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "x"}, "title": "A"},
                {"type": "document", "source": {"type": "content", "content": [{"type": "text", "text": "x"}]}},
                {"type": "search_result", "source": "a", "title": "b", "content": [{"type": "text", "text": "c"}]},
            ]
        ),
        assistant(
            [
                {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"},
                {"type": "redacted_thinking", "data": "c2Vj"},
                {"type": "text", "text": "Let me look."},
                {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {"city": "Paris"}},
                {"type": "mcp_tool_use", "id": "mcptoolu_1", "name": "f", "input": {}, "server_name": "other"},
                {"type": "mcp_tool_result", "tool_use_id": "mcptoolu_1", "is_error": False, "content": []},
            ]
        ),
        user(
            [
                {"type": "tool_result", "tool_use_id": "toolu_1", "is_error": False, "content": "rain"},
                {"type": "text", "text": "Well?"},
            ]
        ),
    ],
}
REQUIRED = {
    *("model", "max_tokens", "messages", "role", "content", "text", "source", "data", "url", "media_type"),
    *("thinking", "signature", "id", "name", "input", "server_name", "tool_use_id", "schema", "input_schema"),
}
# These may be left out where they stand.
OPTIONAL = {("thinking",), ("tool_choice", "name"), ("messages", 3, "content", 0, "content")}
OPTIONAL |= {("messages", 2, "content", 5, "content")}


def places(value: Any, at: Place = ()) -> Iterator[tuple[Place, Any]]:
    """Every place of a request that the API has something to say about."""
    if at:
        yield at, value
    if at and _is_open(value, at):
        return
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in inner:
        yield from places(one, (*at, key))


def _is_open(value: Any, at: Place) -> bool:
    """Whether it is the client's own, or another's, so that whatever is in it is taken."""
    if not isinstance(value, dict):
        return False
    return at[-1] in ("input_schema", "input", "schema") or at == ("thinking",) or value.get("type") == "search_result"


def changed(at: Place, value: Any) -> dict[str, Any]:
    """The right request with something else at a place."""
    made: dict[str, Any] = json.loads(json.dumps(RIGHT))
    holder: Any = made
    for step in at[:-1]:
        holder = holder[step]
    holder[at[-1]] = value
    return made


def without(at: Place) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(json.dumps(RIGHT))
    holder: Any = made
    for step in at[:-1]:
        holder = holder[step]
    del holder[at[-1]]
    return made


def is_told_at(response: httpx2.Response, at: Place) -> None:
    """The message begins with the place; blocks are told apart by their type, which is a step of its own there."""
    status, kind, message = fault(response)
    assert (status, kind) == (400, "invalid_request_error"), (at, message)
    where = message.partition(": ")[0].split(".")
    wanted = [str(step) for step in at]
    while where and wanted:
        step = where.pop(0)
        if step == wanted[0]:
            wanted.pop(0)
        else:
            assert step in TYPES, f"{at} is told as {message}"
    # A wrong type of a block is told of the block.
    assert wanted in ([], ["type"]), f"{at} is told as {message}"


TYPES = {value for at, value in places(RIGHT) if at[-1] == "type"} | {"create", "base64", "url"}
EVERY = [at for at, _ in places(RIGHT)]


def named(at: Place) -> str:
    return ".".join(map(str, at))


def test_the_request_that_is_broken_here_is_right(http: httpx2.Client) -> None:
    answered = http.post("/v1/messages", json=RIGHT)
    assert answered.status_code == 200, answered.text
    assert len(EVERY) > 90


@pytest.mark.parametrize("at", EVERY, ids=named)
def test_a_value_of_another_kind_is_told_where_it_stands(at: Place, fast: httpx2.Client) -> None:
    value = dict(places(RIGHT))[at]
    others: list[Any] = [7, "nonsense"] if isinstance(value, (dict, list, bool)) else [[7], {"a": 1}]
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        others = ["7", [7]]
    if at[-1] in ("system", "content") or (isinstance(value, str) and at[-1] == "content"):
        others = [7, {"a": 1}]
    for other in others:
        is_told_at(fast.post("/v1/messages", json=changed(at, other)), at)


@pytest.mark.parametrize("at", [at for at, value in places(RIGHT) if isinstance(value, dict)], ids=named)
def test_what_the_api_does_not_know_is_told_by_name(at: Place, fast: httpx2.Client) -> None:
    value = dict(places(RIGHT))[at]
    found = fast.post("/v1/messages", json=changed(at, {**value, "colour": "red"}))
    if _is_open(value, at):
        assert found.status_code == 200, found.text
    else:
        is_told_at(found, (*at, "colour"))


@pytest.mark.parametrize("at", [at for at in EVERY if at[-1] in REQUIRED and at not in OPTIONAL], ids=named)
def test_what_is_missing_is_told_by_name(at: Place, fast: httpx2.Client) -> None:
    is_told_at(fast.post("/v1/messages", json=without(at)), at)


def test_an_unknown_field_is_told_by_name(fast: httpx2.Client) -> None:
    is_refused(fast.post("/v1/messages", json={**RIGHT, "colour": "red"}), "colour")
    counting = {"model": "echo", "messages": [user("Hi")], "max_tokens": 7}
    is_refused(fast.post("/v1/messages/count_tokens", json=counting), "max_tokens")


@pytest.mark.parametrize(
    ("at", "value"),
    [
        (("max_tokens",), -1),
        (("temperature",), 1.5),
        (("top_p",), -0.1),
        (("stop_sequences", 0), ""),
        (("metadata", "user_id"), "x" * 513),
        (("model",), ""),
        (("messages", 2, "content", 3, "id"), ""),
        (("messages", 2, "content", 3, "name"), "x" * 201),
        (("messages", 1, "role"), "tool"),
        (("cache_control", "ttl"), "2h"),
        (("output_config", "effort"), "much"),
        (("tool_choice", "type"), "some"),
        (("speed",), "slow"),
    ],
    ids=str,
)
def test_values_that_are_out_of_bounds(at: Place, value: Any, fast: httpx2.Client) -> None:
    is_told_at(fast.post("/v1/messages", json=changed(at, value)), at)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(sorted(TYPES)) | st.text(), inner),
    max_leaves=8,
)


@settings(max_examples=80)
@given(at=st.sampled_from(EVERY), value=JSON, twice=st.booleans())
def test_nothing_that_is_sent_is_a_fault_of_ours(at: Place, value: Any, twice: bool) -> None:
    """Whatever stands at a place: it is answered, or refused as a wrong request in the API's own form."""
    body = changed(at, [value, value] if twice else value)
    for path in ("/v1/messages", "/v1/messages/count_tokens"):
        found = SETTER[0].post(path, json=body)
        if found.status_code != 200:
            assert fault(found)[:2] == (400, "invalid_request_error")


# Hypothesis makes many examples in one call of a test, for which a fixture is made once.
SETTER: list[httpx2.Client] = []


@pytest.fixture(scope="module", autouse=True)
def fast(server: Server) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=f"{server.url}/anthropic", timeout=20) as client:
        SETTER[:] = [client]
        yield client


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One store: what is wrong in itself comes to none."""
    with Server(tmp_path_factory.mktemp("store") / "clew.db", ("anthropic",)) as running:
        yield running
