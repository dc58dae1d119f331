"""Requests that are wrong in themselves: each is told what is wrong with it, in OpenAI's words."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest

from tests.dialects.faults import GONE, fault


@pytest.mark.parametrize(
    ("path", "name", "value", "prefix"),
    [
        ("/threads/undefined", "thread_id", "undefined", "thread"),
        ("/threads/thread_a-b/messages", "thread_id", "thread_a-b", "thread"),
        (f"/threads/thread_{GONE}/messages/undefined", "message_id", "undefined", "msg"),
        (f"/threads/thread_{GONE}/runs/null", "run_id", "null", "run"),
        (f"/threads/thread_{GONE}/runs/run_{GONE}/steps/1", "step_id", "1", "step"),
        ("/assistants/thread_1", "assistant_id", "thread_1", "asst"),
        ("/assistants?after=x", "after", "x", "asst"),
    ],
)
def test_ids_of_the_wrong_form(http: httpx2.Client, path: str, name: str, value: str, prefix: str) -> None:
    expected = f"Invalid '{name}': '{value}'. Expected an ID that begins with '{prefix}'."
    assert fault(http.get(path)) == (400, expected, name, "invalid_value")


MESSAGE = {"role": "user", "content": "Hi"}


@pytest.mark.parametrize(
    ("body", "message", "param", "code"),
    [
        ({}, "Missing required parameter: 'role'.", "role", "missing_required_parameter"),
        ({"role": "user"}, "Missing required parameter: 'content'.", "content", "missing_required_parameter"),
        ({**MESSAGE, "foo": 1}, "Unknown parameter: 'foo'.", "foo", "unknown_parameter"),
        (
            {**MESSAGE, "role": "system"},
            "Invalid value: 'system'. Supported values are: 'user' and 'assistant'.",
            "role",
            "invalid_value",
        ),
        (
            {**MESSAGE, "content": 7},
            "Invalid type for 'content': expected one of a string or array of objects, but got an integer instead.",
            "content",
            "invalid_type",
        ),
        (
            {**MESSAGE, "content": []},
            "Invalid 'content': empty array. Expected an array with minimum length 1, but got an empty array instead.",
            "content",
            "empty_array",
        ),
        (
            {**MESSAGE, "content": [{"type": "sound"}]},
            "Invalid value: 'sound'. Supported values are: 'text', 'image_url', 'image_file', and 'refusal'.",
            "content[0].type",
            "invalid_value",
        ),
        (
            {**MESSAGE, "content": [{"text": "x"}]},
            "Missing required parameter: 'content[0].type'.",
            "content[0].type",
            "missing_required_parameter",
        ),
        (
            {**MESSAGE, "content": [{"type": "text", "text": None}]},
            "Invalid type for 'content[0].text': expected a string, but got null instead.",
            "content[0].text",
            "invalid_type",
        ),
        (
            {**MESSAGE, "content": "x" * 256_001},
            "Invalid 'content': string too long. Expected a string with maximum length 256000,"
            " but got a string with length 256001 instead.",
            "content",
            "string_above_max_length",
        ),
        (
            {**MESSAGE, "metadata": {"modified": True}},
            "Invalid type for 'metadata.modified': expected a string, but got a boolean instead.",
            "metadata.modified",
            "invalid_type",
        ),
        (
            {**MESSAGE, "metadata": [1]},
            "Invalid type for 'metadata': expected an object, but got an array instead.",
            "metadata",
            "invalid_type",
        ),
        (
            {**MESSAGE, "metadata": {str(n): "x" for n in range(17)}},
            "Invalid 'metadata': too many properties. Expected an object with at most 16 properties,"
            " but got an object with 17 properties instead.",
            "metadata",
            "object_above_max_properties",
        ),
        (
            {**MESSAGE, "metadata": {"k": "x" * 513}},
            "Invalid 'metadata.k': string too long. Expected a string with maximum length 512,"
            " but got a string with length 513 instead.",
            "metadata.k",
            "string_above_max_length",
        ),
        (
            {**MESSAGE, "metadata": {"k" * 65: "x"}},
            "Invalid 'metadata': property name too long. Expected property names with maximum length 64,"
            " but got one with length 65 instead.",
            "metadata",
            "property_name_above_max_length",
        ),
        (
            {**MESSAGE, "attachments": [{"file_id": "file-1", "tools": []}]},
            "This server does not offer attachments yet.",
            "attachments",
            "unsupported_value",
        ),
        (
            [1],
            "Invalid type for the request body: expected an object, but got an array instead.",
            None,
            "invalid_type",
        ),
    ],
)
def test_a_message_that_is_wrong_in_itself(
    http: httpx2.Client, thread_id: str, body: Any, message: str, param: str | None, code: str
) -> None:
    answer = http.post(f"/threads/{thread_id}/messages", json=body)
    assert fault(answer) == (400, message, param, code)


def nested(depth: int) -> Any:
    value: Any = {}
    for _ in range(depth):
        value = {"a": value}
    return value


FUNCTION: Any = {"type": "function", "function": {"name": "f"}}


@pytest.mark.parametrize(
    ("more", "message", "param", "code"),
    [
        (
            {"temperature": 3},
            "Invalid 'temperature': decimal above maximum value. Expected a value <= 2, but got 3 instead.",
            "temperature",
            "decimal_above_max_value",
        ),
        (
            {"temperature": "hot"},
            "Invalid type for 'temperature': expected a decimal, but got a string instead.",
            "temperature",
            "invalid_type",
        ),
        (
            {"max_prompt_tokens": 1},
            "Invalid 'max_prompt_tokens': integer below minimum value. Expected a value >= 256, but got 1 instead.",
            "max_prompt_tokens",
            "integer_below_min_value",
        ),
        (
            {"max_completion_tokens": 300.5},
            "Invalid type for 'max_completion_tokens': expected an integer, but got a decimal number instead.",
            "max_completion_tokens",
            "invalid_type",
        ),
        (
            {"tools": [{"type": "file_search"}]},
            "This server does not offer the tool 'file_search' yet.",
            "tools[0].type",
            "unsupported_value",
        ),
        (
            {"tools": [FUNCTION, {"type": "code_interpreter"}]},
            "This server does not offer the tool 'code_interpreter' yet.",
            "tools[1].type",
            "unsupported_value",
        ),
        (
            {"tools": [{"type": "function", "function": {"name": "no blanks"}}]},
            "Invalid 'tools[0].function.name': string does not match pattern."
            " Expected a string that matches the pattern '^[a-zA-Z0-9_-]{1,64}$'.",
            "tools[0].function.name",
            "invalid_value",
        ),
        (
            {"tools": [FUNCTION] * 129},
            "Invalid 'tools': array too long. Expected an array with maximum length 128,"
            " but got an array with length 129 instead.",
            "tools",
            "array_above_max_length",
        ),
        (
            {"tools": [{"type": "function", "function": {"name": "f", "parameters": nested(100)}}]},
            "Invalid 'tools[0].function.parameters': nested too deeply.",
            "tools[0].function.parameters",
            "invalid_value",
        ),
        (
            {"tool_choice": {"type": "file_search"}},
            "This server does not offer the tool 'file_search' yet.",
            "tool_choice.type",
            "unsupported_value",
        ),
        (
            {"tool_choice": "sometimes"},
            "Invalid value: 'sometimes'. Supported values are: 'none', 'auto', and 'required'.",
            "tool_choice",
            "invalid_value",
        ),
        (
            {"truncation_strategy": {"type": "last_messages"}},
            "Missing required parameter: 'truncation_strategy.last_messages'.",
            "truncation_strategy.last_messages",
            "missing_required_parameter",
        ),
        (
            {"response_format": {"type": "json_schema"}},
            "Missing required parameter: 'response_format.json_schema'.",
            "response_format.json_schema",
            "missing_required_parameter",
        ),
        (
            {"assistant_id": "gpt-4o"},
            "Invalid 'assistant_id': 'gpt-4o'. Expected an ID that begins with 'asst'.",
            "assistant_id",
            "invalid_value",
        ),
        (
            {"thread": {"tool_resources": {"file_search": {"vector_store_ids": ["vs_1"]}}}},
            "This server does not offer files for tools yet.",
            "thread.tool_resources",
            "unsupported_value",
        ),
        (
            {"thread": {"messages": [{"role": "user"}]}},
            "Missing required parameter: 'thread.messages[0].content'.",
            "thread.messages[0].content",
            "missing_required_parameter",
        ),
    ],
)
def test_a_run_that_is_wrong_in_itself(
    http: httpx2.Client, assistant_id: str, more: dict[str, Any], message: str, param: str, code: str
) -> None:
    answer = http.post("/threads/runs", json={"assistant_id": assistant_id, **more})
    assert fault(answer) == (400, message, param, code)


def test_a_run_needs_an_assistant(http: httpx2.Client, thread_id: str) -> None:
    for answer in (http.post(f"/threads/{thread_id}/runs", json={}), http.post(f"/threads/{thread_id}/runs")):
        expected = (400, "Missing required parameter: 'assistant_id'.", "assistant_id", "missing_required_parameter")
        assert fault(answer) == expected


def test_empty_tool_resources_do_no_harm(http: httpx2.Client) -> None:
    empties: list[Any] = [{}, None, {"code_interpreter": {"file_ids": []}}, {"file_search": {"vector_store_ids": []}}]
    for empty in empties:
        assert http.post("/threads", json={"tool_resources": empty}).json()["tool_resources"] == {}


@pytest.mark.parametrize(
    ("query", "message", "param", "code"),
    [
        (
            "limit=1000",
            "Invalid 'limit': integer above maximum value. Expected a value <= 100, but got 1000 instead.",
            "limit",
            "integer_above_max_value",
        ),
        (
            "limit=0",
            "Invalid 'limit': integer below minimum value. Expected a value >= 1, but got 0 instead.",
            "limit",
            "integer_below_min_value",
        ),
        (
            "limit=ten",
            "Invalid type for 'limit': expected an integer, but got a string instead.",
            "limit",
            "invalid_type",
        ),
        (
            "order=up",
            "Invalid value: 'up'. Supported values are: 'asc' and 'desc'.",
            "order",
            "invalid_value",
        ),
    ],
)
def test_lists_that_cannot_be(http: httpx2.Client, query: str, message: str, param: str, code: str) -> None:
    assert fault(http.get(f"/assistants?{query}")) == (400, message, param, code)
