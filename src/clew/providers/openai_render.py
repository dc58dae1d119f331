"""Rendering a prompt as an OpenAI chat completions request: `openai-chat/1`.

The log keeps the digest of these bytes, and anyone may ask years later for the same bytes again. So what this
file makes is never changed; another way of rendering is another file with another name.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from clew.errors import ProviderFailed
from clew.events.content import Content, File, Image, Refusal, Text, plain_text
from clew.events.items import Item, MessageItem, ReasoningItem, SummaryItem, ToolCallItem, ToolResultItem
from clew.events.run import RunConfig, Tool, ToolChoice
from clew.providers.base import Prompt

RENDERER = "openai-chat/1"

# The last bytes of every body that asks for a stream. A tool's schema may hold the words `"stream":true` too,
# but nothing that a prompt brings along can stand at the very end.
STREAM_TAIL = b'"stream":true,"stream_options":{"include_usage":true}}'


def render(prompt: Prompt) -> bytes:
    """The request body. The same prompt gives the same bytes, for ever."""
    config = prompt.config
    body: dict[str, Any] = {"model": config.model, "messages": _messages(config.instructions, prompt.items)}
    if config.tools:
        body.update(about_tools(config))
    if config.response_format is not None:
        body["response_format"] = config.response_format
    for name in ("temperature", "top_p", "reasoning_effort"):
        value = getattr(config.sampling, name)
        if value is not None:
            body[name] = value
    if prompt.max_output_tokens is not None:
        body["max_completion_tokens"] = prompt.max_output_tokens
    if config.stream:
        body["stream"] = True
        body["stream_options"] = {"include_usage": True}
    try:
        return orjson.dumps(body, default=as_float)
    except orjson.JSONEncodeError as error:
        # A whole number of more than 64 bits in a schema, or half a surrogate pair in a text.
        raise unwritable(error) from error


def unwritable(error: Exception) -> ProviderFailed:
    return ProviderFailed(f"the prompt cannot be written as JSON: {error}", code="invalid_prompt", retryable=False)


def as_float(value: Any) -> float:
    """Numbers that are kept as they were written are floats here, as they were when this was made."""
    if isinstance(value, float):
        return float(value)
    raise TypeError(f"Type is not JSON serializable: {type(value).__name__}")


def asks_for_stream(body: bytes) -> bool:
    return body.endswith(STREAM_TAIL)


def about_tools(config: RunConfig) -> dict[str, Any]:
    about: dict[str, Any] = {"tools": [_tool(tool) for tool in config.tools]}
    if config.tool_choice is not None:
        about["tool_choice"] = _tool_choice(config.tool_choice)
    if not config.parallel_tool_calls:
        # Calling in parallel is the default of the API, and some models refuse to be told about it at all.
        about["parallel_tool_calls"] = False
    return about


def _tool(tool: Tool) -> dict[str, Any]:
    function: dict[str, Any] = {"name": tool.name}
    if tool.description is not None:
        function["description"] = tool.description
    if tool.parameters is not None:
        function["parameters"] = tool.parameters
    if tool.strict is not None:
        function["strict"] = tool.strict
    return {"type": "function", "function": function}


def _tool_choice(choice: ToolChoice) -> str | dict[str, Any]:
    if choice.mode == "function":
        return {"type": "function", "function": {"name": choice.name}}
    return choice.mode


def _messages(instructions: str, items: Sequence[Item]) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = []
    if instructions:
        messages.append({"role": "system", "content": instructions})
    # What one model call gave was one message on the wire, and goes back as one.
    turn: Turn | None = None
    for item in items:
        if isinstance(item, ReasoningItem):
            # Signed by whoever made it, and chat completions take none back.
            continue
        model_call_id = spoken_in(item)
        if turn is not None and (model_call_id is None or model_call_id != turn.model_call_id):
            messages.append(turn.message())
            turn = None
        if isinstance(item, ToolCallItem) or (isinstance(item, MessageItem) and item.role == "assistant"):
            turn = turn or Turn(model_call_id)
            turn.add(item)
        else:
            messages.append(other_message(item))
    if turn is not None:
        messages.append(turn.message())
    return messages


def spoken_in(item: Item) -> str | None:
    """The model call that this item is a part of the answer of."""
    if isinstance(item, ToolCallItem) or (isinstance(item, MessageItem) and item.role == "assistant"):
        return item.model_call_id
    return None


class Turn:
    """What the assistant said and called at once."""

    def __init__(self, model_call_id: str | None) -> None:
        self.model_call_id = model_call_id
        self._texts: list[str] = []
        self._refusals: list[str] = []
        self._calls: list[dict[str, Any]] = []

    def add(self, item: MessageItem | ToolCallItem) -> None:
        if isinstance(item, ToolCallItem):
            function = {"name": item.name, "arguments": item.arguments}
            self._calls.append({"id": item.tool_call_id, "type": "function", "function": function})
            return
        self._texts.append(plain_text(item.content))
        self._refusals += [part.text for part in item.content if isinstance(part, Refusal)]

    def message(self) -> dict[str, Any]:
        text = "".join(self._texts)
        message: dict[str, Any] = {"role": "assistant", "content": text}
        if not text and (self._calls or self._refusals):
            message["content"] = None
        if self._refusals:
            message["refusal"] = "".join(self._refusals)
        if self._calls:
            message["tool_calls"] = self._calls
        return message


def other_message(item: MessageItem | ToolResultItem | SummaryItem) -> dict[str, Any]:
    if isinstance(item, ToolResultItem):
        return {"role": "tool", "tool_call_id": item.tool_call_id, "content": item.output}
    if isinstance(item, SummaryItem):
        return {"role": "system", "content": plain_text(item.content)}
    return {"role": item.role, "content": _content(item.content)}


def _content(content: Content) -> str | list[dict[str, Any]]:
    """A plain string where there is nothing but text: every compatible server takes that."""
    if not any(isinstance(part, (Image, File)) for part in content):
        return plain_text(content)
    parts: list[dict[str, Any]] = []
    for part in content:
        if isinstance(part, Text):
            parts.append({"type": "text", "text": part.text})
        elif isinstance(part, Image):
            parts.append(_image(part))
        elif isinstance(part, File):
            parts.append(_file(part))
    return parts


def _image(image: Image) -> dict[str, Any]:
    url = image.url
    if url is None and image.data is not None:
        url = f"data:{image.media_type or 'image/png'};base64,{image.data}"
    if url is None:
        return _not_shown("image", image.file_id)
    shown: dict[str, Any] = {"url": url}
    if image.detail is not None:
        shown["detail"] = image.detail
    return {"type": "image_url", "image_url": shown}


def _file(file: File) -> dict[str, Any]:
    if file.data is None:
        return _not_shown("file", file.filename or file.file_id)
    data = f"data:{file.media_type or 'application/octet-stream'};base64,{file.data}"
    return {"type": "file", "file": {"filename": file.filename or "file", "file_data": data}}


def _not_shown(what: str, name: str | None) -> dict[str, Any]:
    """Ids of files are ours and mean nothing to the provider, so the model is told what is missing."""
    return {"type": "text", "text": f"[{what} {name or 'without a name'} is not shown]"}
