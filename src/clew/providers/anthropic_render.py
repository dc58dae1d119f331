"""Rendering a prompt as a request to Anthropic's Messages API: `anthropic-messages/1`.

The log keeps the digest of these bytes, and anyone may ask years later for the same bytes again. So what this
file makes is never changed; another way of rendering is another file with another name.

It is made for the version 2026-10-21 of the API, which takes no temperature and no top_p. What is known here of
single models (how long they may answer, which of them think) is as of that day.
"""

from __future__ import annotations

import re
from typing import Any

import orjson

from clew.events.content import File, Image, Text
from clew.events.items import ReasoningItem
from clew.events.model import NotRendered
from clew.events.run import RunConfig, Tool
from clew.providers.anthropic_content import CACHED, Conversation, text_block
from clew.providers.anthropic_media import file_block, image_block
from clew.providers.base import Prompt
from clew.providers.omissions import (
    Omissions,
    media_left_out,
    parts_left_out,
    settings_left_out,
    words_about_parts_left_out,
)
from clew.providers.openai_render import as_float, unwritable

RENDERER = "anthropic-messages/1"

# The last bytes of every body that asks for a stream. Without them a body ends with its messages.
STREAM_TAIL = b',"stream":true}'
# Stands in every body that wants blocks of thinking dropped, and not refused, when what stood before them has changed.
BLOCK_BINDING = b'"block_binding":{"prefix_mismatch_behavior":"drop_block"}'

# The API wants to be told how long an answer may get. As much is kept free of the context for it.
_ANSWER_TOKENS = 16_384
_SHORT_ANSWERS = (("claude-3-5", 8_192), ("claude-3-", 4_096), ("claude-2", 4_096), ("claude-instant", 4_096))

_VERSION = re.compile(r"claude-(?:[a-z]+-)?(\d)(?:[-.](\d{1,2}))?(?!\d)")
_THINKS_SINCE, _STRICT_SINCE, _BINDS_SINCE = (4, 6), (4, 5), (5, 1)
_ALWAYS_THINKS = re.compile(r"fable|mythos|opus-5[-.]5")
_EFFORTS = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "xhigh", "max": "max"}
_NEVER_SAID = ("temperature", "top_p", "seed", "presence_penalty", "frequency_penalty")


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
    conversation = Conversation(prompt)
    body: dict[str, Any] = {
        "model": config.model,
        "max_tokens": prompt.max_output_tokens or _answer_tokens(config.model),
    }
    body |= _about_thinking(config, conversation)
    if config.sampling.stop:
        body["stop_sequences"] = list(config.sampling.stop)
    system = [text_block(config.instructions)] if config.instructions.strip() else []
    tools = [_tool(tool, config.model) for tool in config.tools]
    # What stands before a mark is read from the cache the next time. This mark serves all threads of an assistant.
    if system or tools:
        (system or tools)[-1]["cache_control"] = CACHED
    if tools:
        body["tools"] = tools
        body |= _tool_choice(config)
    if system or conversation.system:
        body["system"] = system + conversation.system
    body["messages"] = conversation.messages()
    if config.stream:
        body["stream"] = True
    return body


def omitted(prompt: Prompt) -> tuple[NotRendered, ...]:
    """What the request does not hold of the prompt."""
    found, config = Omissions(), prompt.config
    conversation = Conversation(prompt)
    for item in prompt.items:
        if isinstance(item, ReasoningItem) and item.place in conversation.kept_back:
            found.item(item, "reasoning", conversation.kept_back[item.place])
    for result in conversation.without_calls:
        if not all(isinstance(part, Text) for part in result.content):
            found.item(result, "part", "a result without its call is told as a text")
    parts_left_out(found, prompt, of_results=True)
    media_left_out(found, prompt, _takes)
    words_about_parts_left_out(found, prompt, details=False)
    settings_left_out(found, prompt, _NEVER_SAID, "this version of Anthropic's API does not take it")
    effort, model = config.sampling.reasoning_effort, config.model
    if effort == "none" and _ALWAYS_THINKS.search(model):
        found.setting("reasoning_effort", f"{model} always thinks")
    elif effort not in (None, "none") and _effort(config) is None:
        found.setting("reasoning_effort", f"{model} takes none" if effort in _EFFORTS else f"{effort!r} is not known")
    if any(tool.strict for tool in config.tools) and _version(model) < _STRICT_SINCE:
        found.setting("strict", f"{model} takes no tools that are strict")
    if config.response_format is not None and config.response_format.get("type") != "text" and not _format(config):
        found.setting("response_format", "Anthropic's API takes a schema of the answer and no other format")
    return found.all()


def _takes(part: Image | File) -> bool:
    block = image_block(part) if isinstance(part, Image) else file_block(part)
    return bool(block["type"] != "text")


def asks_for_stream(body: bytes) -> bool:
    return body.endswith(STREAM_TAIL)


def _version(model: str) -> tuple[int, int]:
    """Of a Claude. What bears no number is taken for a new one."""
    found = _VERSION.search(model)
    return (int(found[1]), int(found[2] or 0)) if found else (99, 0)


def _answer_tokens(model: str) -> int:
    return next((tokens for name, tokens in _SHORT_ANSWERS if name in model), _ANSWER_TOKENS)


def _about_thinking(config: RunConfig, conversation: Conversation) -> dict[str, Any]:
    """How much to think, and in which form to answer: the API has both in one place."""
    effort, schema = _effort(config), _format(config)
    thinking: dict[str, Any] | None = None if effort is None else {"type": "adaptive"}
    version = _version(config.model)
    if config.sampling.reasoning_effort == "none":
        # Older models do not think unless they are told to.
        if version >= _THINKS_SINCE and not _ALWAYS_THINKS.search(config.model):
            thinking = {"type": "disabled"}
    elif version >= _BINDS_SINCE and conversation.thinks:
        # Thinking goes back, and instructions may have changed since, or the oldest items have left the window.
        thinking = {"type": "adaptive", "block_binding": {"prefix_mismatch_behavior": "drop_block"}}
    if config.thinking is not None:
        # In this API's own words, so it is as it was said.
        thinking = config.thinking
    output = ({} if effort is None else {"effort": effort}) | ({} if schema is None else {"format": schema})
    return ({} if thinking is None else {"thinking": thinking}) | ({"output_config": output} if output else {})


def _effort(config: RunConfig) -> str | None:
    wanted = config.sampling.reasoning_effort
    return _EFFORTS.get(wanted or "") if _version(config.model) >= _THINKS_SINCE else None


def _format(config: RunConfig) -> dict[str, Any] | None:
    chosen = config.response_format or {}
    described = chosen.get("json_schema")
    schema = described.get("schema") if isinstance(described, dict) else None
    if chosen.get("type") != "json_schema" or not isinstance(schema, dict):
        return None
    return {"type": "json_schema", "schema": schema}


def _tool(tool: Tool, model: str) -> dict[str, Any]:
    shown: dict[str, Any] = {"name": tool.name}
    if tool.description is not None:
        shown["description"] = tool.description
    shown["input_schema"] = {"type": "object", **(tool.parameters or {"properties": {}})}
    if tool.strict and _version(model) >= _STRICT_SINCE:
        shown["strict"] = True
    return shown


def _tool_choice(config: RunConfig) -> dict[str, Any]:
    choice = config.tool_choice
    mode = "auto" if choice is None else choice.mode
    if mode == "none":
        return {"tool_choice": {"type": "none"}}
    shown: dict[str, Any] = {"type": {"required": "any", "function": "tool"}.get(mode, mode)}
    if choice is not None and mode == "function":
        shown["name"] = choice.name
    if not config.parallel_tool_calls:
        shown["disable_parallel_tool_use"] = True
    return {} if shown == {"type": "auto"} else {"tool_choice": shown}
