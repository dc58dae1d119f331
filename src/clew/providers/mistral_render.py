"""Rendering a prompt as a request for one of Mistral's chat completions: `mistral-chat/1`.

The log keeps the digest of these bytes, and anyone may ask years later for the same bytes again. So what this
file makes is never changed; another way of rendering is another file with another name.

The format is OpenAI's, the rules are stricter: the system speaks first or not at all, nobody but the assistant speaks
after a tool, every call has its result, and the ids of calls are nine letters and digits.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import Any

import orjson

from clew import exact_json
from clew.errors import ProviderFailed
from clew.events.content import Content, File, Image, JsonObject, Other, plain_text
from clew.events.items import MessageItem, ReasoningItem, SummaryItem, ToolResultItem
from clew.events.model import NotRendered
from clew.events.run import RunConfig, Tool, ToolChoice
from clew.providers.base import Prompt
from clew.providers.omissions import (
    Omissions,
    errors_of_results_left_out,
    is_for,
    media_left_out,
    only_texts_of_results,
    parts_left_out,
    takes_any,
    thinking_left_out,
    words_about_parts_left_out,
)
from clew.providers.openai_render import as_float, unwritable
from clew.providers.turns import GO_ON, NO_RESULT, Call, Heard, Spoken, beginning, turns_of

RENDERER = "mistral-chat/1"

# The last bytes of every body that asks for a stream: nothing else stands so far out.
STREAM_TAIL = b',"stream":true}'

# What the assistant says where a run ended after a tool's result and before its answer.
_NO_ANSWER = "(no answer)"

_ID = re.compile(r"[a-zA-Z0-9]{9}")
_LETTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_SAMPLING = {
    "temperature": "temperature",
    "top_p": "top_p",
    "seed": "random_seed",
    "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
    "reasoning_effort": "reasoning_effort",
}
_SCHEMA_SAYS = ("name", "description", "schema", "strict")


def render(prompt: Prompt) -> bytes:
    """The request body. The same prompt gives the same bytes, for ever."""
    try:
        return orjson.dumps(body_of(prompt), default=as_float)
    except orjson.JSONEncodeError as error:
        # A whole number of more than 64 bits in a schema, or half a surrogate pair in a text.
        raise unwritable(error) from error


def body_of(prompt: Prompt) -> dict[str, Any]:
    """The request, before it is written."""
    config = prompt.config
    body: dict[str, Any] = {"model": config.model, "messages": _messages(prompt)}
    if config.tools:
        body["tools"] = [_tool(tool) for tool in config.tools]
        if config.tool_choice is not None:
            body["tool_choice"] = _tool_choice(config.tool_choice)
        if not config.parallel_tool_calls:
            body["parallel_tool_calls"] = False
    if (response_format := _response_format(config)) is not None:
        body["response_format"] = response_format
    for ours, theirs in _SAMPLING.items():
        value = getattr(config.sampling, ours)
        if value is not None:
            body[theirs] = value
    if config.sampling.stop:
        body["stop"] = list(config.sampling.stop)
    if prompt.max_output_tokens is not None:
        body["max_tokens"] = prompt.max_output_tokens
    if config.stream:
        body["stream"] = True
    return body


def omitted(prompt: Prompt) -> tuple[NotRendered, ...]:
    """What the request does not hold of the prompt."""
    found = Omissions()
    for item in prompt.items:
        if isinstance(item, ReasoningItem) and (why_not := is_for(item, prompt)) is not None:
            found.item(item, "reasoning", why_not)
    parts_left_out(found, prompt)
    media_left_out(found, prompt, takes_any)
    words_about_parts_left_out(found, prompt, details=False)
    only_texts_of_results(found, prompt)
    errors_of_results_left_out(found, prompt)
    thinking_left_out(found, prompt)
    return found.all()


def asks_for_stream(body: bytes) -> bool:
    return body.endswith(STREAM_TAIL)


def wire_id(call: Call) -> str:
    """The call's own id, where it is of Mistral's form and no earlier call had it; else one that is made of it."""
    own = call.item.tool_call_id
    if call.again == 0 and _ID.fullmatch(own):
        return own
    number = int.from_bytes(hashlib.sha256(f"{own} {call.again}".encode()).digest(), "big")
    letters = []
    for _ in range(9):
        number, letter = divmod(number, len(_LETTERS))
        letters.append(_LETTERS[letter])
    return "".join(letters)


def _tool(tool: Tool) -> dict[str, Any]:
    function: dict[str, Any] = {"name": tool.name}
    if tool.description is not None:
        function["description"] = tool.description
    function["parameters"] = tool.parameters or {"type": "object", "properties": {}}
    if tool.strict is not None:
        function["strict"] = tool.strict
    return {"type": "function", "function": function}


def _tool_choice(choice: ToolChoice) -> str | dict[str, Any]:
    if choice.mode == "function":
        return {"type": "function", "function": {"name": choice.name}}
    return "any" if choice.mode == "required" else choice.mode


def _response_format(config: RunConfig) -> dict[str, Any] | None:
    chosen = config.response_format
    if chosen is None or chosen.get("type") == "text":
        return None
    shown: dict[str, Any] = {"type": chosen.get("type")}
    schema: Any = chosen.get("json_schema")
    if isinstance(schema, dict):
        shown["json_schema"] = {name: schema[name] for name in _SCHEMA_SAYS if name in schema}
    return shown


def _messages(prompt: Prompt) -> list[dict[str, Any]]:
    turns = turns_of(prompt.items)
    system = [prompt.config.instructions, *(_plain(part) for part in beginning(turns))]
    said = "\n\n".join(one for one in system if one.strip())
    messages: list[dict[str, Any]] = [{"role": "system", "content": said}] if said else []
    for turn in turns:
        if isinstance(turn, Spoken):
            messages += _spoken(turn, prompt)
        else:
            content = [chunk for part in turn.parts for chunk in _heard(part, prompt)]
            if content:
                _bridge(messages)
                messages.append({"role": "user", "content": _slim(content)})
    if not messages or messages[-1]["role"] in ("assistant", "system"):
        messages.append({"role": "user", "content": GO_ON})
    return messages


def _bridge(messages: list[dict[str, Any]]) -> None:
    if messages and messages[-1]["role"] == "tool":
        messages.append({"role": "assistant", "content": _NO_ANSWER})


def _spoken(turn: Spoken, prompt: Prompt) -> list[dict[str, Any]]:
    content: list[Any] = []
    for part in turn.parts:
        if isinstance(part, ReasoningItem):
            if is_for(part, prompt) is None:
                content += map(_raw, part.blocks)
        elif isinstance(part, MessageItem):
            content += _chunks(part.content, prompt, of_user=False)
    calls = turn.calls
    if not content and not calls:
        return []
    message: dict[str, Any] = {"role": "assistant", "content": _slim(content)}
    if calls:
        message["tool_calls"] = [_tool_call(call) for call in calls]
    return [message, *(_result(call) for call in calls)]


def _tool_call(call: Call) -> dict[str, Any]:
    function = {"name": call.item.name, "arguments": call.item.arguments or "{}"}
    return {"id": wire_id(call), "type": "function", "function": function}


def _result(call: Call) -> dict[str, Any]:
    output = NO_RESULT if call.result is None else call.result.output
    return {"role": "tool", "tool_call_id": wire_id(call), "name": call.item.name, "content": output}


def _heard(part: Heard, prompt: Prompt) -> list[Any]:
    if isinstance(part, ToolResultItem):
        return [_text(f"[A result without its call: {part.output}]")]
    if isinstance(part, SummaryItem) or part.role == "system":
        said = _plain(part)
        return [_text(f"<system>{said}</system>")] if said.strip() else []
    return _chunks(part.content, prompt, of_user=True)


def _plain(part: Heard) -> str:
    return part.output if isinstance(part, ToolResultItem) else plain_text(part.content)


def _chunks(content: Content, prompt: Prompt, *, of_user: bool) -> list[Any]:
    """Texts, and of a user pictures and files, too. A text without anything in it says nothing."""
    chunks: list[Any] = []
    for part in content:
        if isinstance(part, Other):
            if part.provider == prompt.config.provider:
                chunks.append(_raw(part.block))
        elif isinstance(part, Image):
            chunks.append(_image(part) if of_user else _not_shown("image", part.file_id))
        elif isinstance(part, File):
            chunks.append(_file(part) if of_user else _not_shown("file", part.filename or part.file_id))
        elif part.text.strip():
            chunks.append(_text(part.text))
    return chunks


def _slim(chunks: Sequence[Any]) -> str | list[Any]:
    """A plain string where there is one text, or nothing."""
    if not chunks:
        return ""
    only = chunks[0] if len(chunks) == 1 else None
    return only["text"] if isinstance(only, dict) and only["type"] == "text" else list(chunks)


def _text(text: str) -> JsonObject:
    return {"type": "text", "text": text}


def _raw(block: str) -> orjson.Fragment:
    try:
        exact_json.loads(block)
    except ValueError as error:
        message = "a chunk that is kept for mistral is no JSON, so it cannot be sent"
        raise ProviderFailed(message, code="invalid_prompt", retryable=False) from error
    return orjson.Fragment(block)


def _image(image: Image) -> dict[str, Any]:
    url = image.url
    if url is None and image.data is not None:
        url = f"data:{image.media_type or 'image/png'};base64,{image.data}"
    if url is None:
        return _not_shown("image", image.file_id)
    return {"type": "image_url", "image_url": url}


def _file(file: File) -> dict[str, Any]:
    if file.data is None:
        return _not_shown("file", file.filename or file.file_id)
    url = f"data:{file.media_type or 'application/octet-stream'};base64,{file.data}"
    chunk: dict[str, Any] = {"type": "document_url", "document_url": url}
    if file.filename is not None:
        chunk["document_name"] = file.filename
    return chunk


def _not_shown(what: str, name: str | None) -> dict[str, Any]:
    """Ids of files are ours and mean nothing to the provider, so the model is told what is missing."""
    return {"type": "text", "text": f"[{what} {name or 'without a name'} is not shown]"}
