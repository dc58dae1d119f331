"""Rendering a prompt as an OpenAI chat completions request: `openai-chat/3`.

As `openai-chat/2`, and besides: calls are in a form that every server takes, what a server wants to have back of its
own answers is there, and numbers in schemas are as they were written. What this file makes is never changed.
"""

from __future__ import annotations

from typing import Any

from clew import exact_json
from clew.events.items import MessageItem, ReasoningItem, ToolCallItem, ToolResultItem
from clew.events.model import NotRendered
from clew.providers import message_state
from clew.providers.base import Prompt
from clew.providers.omissions import Omissions, calls_changed
from clew.providers.openai_omit import NEVER_SAID, parts_of_messages_left_out, refusal_left_out
from clew.providers.openai_render import Turn, about_tools, other_message, spoken_in, unwritable
from clew.providers.valid_calls import valid_id, with_valid_calls

RENDERER = "openai-chat/3"

# Models whose servers refuse a message of the assistant in which there is nothing of what it thought, also one of
# another model. Some take an empty text for nothing.
_THINKERS = ("deepseek", "kimi", "mimo")
_THOUGHT_OF_OTHERS = " "

_SAMPLING = ("temperature", "top_p", "reasoning_effort", *NEVER_SAID)


def render(prompt: Prompt) -> bytes:
    """The request body. The same prompt gives the same bytes, for ever. Raises `ProviderFailed`."""
    config = prompt.config
    messages = _messages(with_valid_calls(prompt))
    _fill_in_thoughts(messages, config.model)
    body: dict[str, Any] = {"model": config.model, "messages": messages}
    if config.tools:
        body.update(about_tools(config))
    if config.response_format is not None:
        body["response_format"] = config.response_format
    for name in _SAMPLING:
        value = getattr(config.sampling, name)
        if value not in (None, ()):
            body[name] = value
    if prompt.max_output_tokens is not None:
        body["max_completion_tokens"] = prompt.max_output_tokens
    if config.stream:
        body["stream"] = True
        body["stream_options"] = {"include_usage": True}
    try:
        return exact_json.dumps(body)
    except TypeError as error:
        # Half a surrogate pair in a text.
        raise unwritable(error) from error


def omitted(prompt: Prompt) -> tuple[NotRendered, ...]:
    """What the request does not hold of the prompt, and which calls it holds in another form."""
    found = Omissions()
    for item in prompt.items:
        if isinstance(item, ReasoningItem):
            for reason in message_state.kept_back(item, prompt):
                found.item(item, "reasoning", reason)
        elif isinstance(item, MessageItem):
            refusal_left_out(found, item)
    parts_of_messages_left_out(found, prompt)
    calls_changed(found, prompt)
    return found.all()


class _Turn(Turn):
    """What one model call gave, with what its server wants to have back of it."""

    def __init__(self, model_call_id: str | None) -> None:
        super().__init__(model_call_id)
        self._state: dict[str, Any] = {}
        self._states_of_calls: dict[int, dict[str, Any]] = {}
        self.said_anything = False

    def add(self, item: MessageItem | ToolCallItem) -> None:
        super().add(item)
        self.said_anything = True

    def add_state(self, item: ReasoningItem, prompt: Prompt) -> None:
        for member in message_state.going_back(item, prompt):
            number = member.pop(message_state.TOOL_CALL, None)
            if number is None:
                self._state |= member
            else:
                self._states_of_calls[number] = self._states_of_calls.get(number, {}) | member

    def message(self) -> dict[str, Any]:
        message = super().message() | self._state
        if "tool_calls" in message:
            calls = enumerate(message["tool_calls"])
            message["tool_calls"] = [
                {**call, "id": valid_id(call["id"]), **self._states_of_calls.get(number, {})} for number, call in calls
            ]
        return message

    def ids(self) -> dict[str, str]:
        """Returns the ids that the calls are sent with, by their own."""
        message = self.message()
        own, sent = ([call["id"] for call in calls] for calls in (self._calls, message.get("tool_calls", ())))
        return dict(zip(own, sent, strict=True))


def _messages(prompt: Prompt) -> list[dict[str, Any]]:
    instructions = prompt.config.instructions
    messages: list[dict[str, Any]] = [{"role": "system", "content": instructions}] if instructions else []
    ids: dict[str, str] = {}
    turn: _Turn | None = None
    for item in prompt.items:
        model_call_id = item.model_call_id if isinstance(item, ReasoningItem) else spoken_in(item)
        if turn is not None and (model_call_id is None or model_call_id != turn.model_call_id):
            messages += _said(turn, ids)
            turn = None
        if isinstance(item, ReasoningItem):
            turn = turn or _Turn(model_call_id)
            turn.add_state(item, prompt)
        elif isinstance(item, ToolCallItem) or (isinstance(item, MessageItem) and item.role == "assistant"):
            turn = turn or _Turn(model_call_id)
            turn.add(item)
        elif isinstance(item, ToolResultItem):
            id = ids.get(item.tool_call_id) or valid_id(item.tool_call_id)
            messages.append({**other_message(item), "tool_call_id": id})
        else:
            messages.append(other_message(item))
    return messages if turn is None else [*messages, *_said(turn, ids)]


def _said(turn: _Turn, ids: dict[str, str]) -> list[dict[str, Any]]:
    """Returns the message of a turn, none of one in which nothing was said, whatever was thought. Adds the ids of its
    calls."""
    ids |= turn.ids()
    return [turn.message()] if turn.said_anything else []


def _fill_in_thoughts(messages: list[dict[str, Any]], model: str) -> None:
    """Where a server wants to have back what was thought, each message of the assistant says something of it."""
    spoken = [message for message in messages if message["role"] == "assistant"]
    thought = message_state.TEXTS[0]
    if any(name in model.lower() for name in _THINKERS) or any(thought in message for message in spoken):
        for message in spoken:
            message.setdefault(thought, _THOUGHT_OF_OTHERS)
