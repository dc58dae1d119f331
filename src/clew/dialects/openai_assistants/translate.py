"""From what clients send to what the engine takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from clew.dialects.openai_assistants.errors import missing, no_such_file, not_offered
from clew.dialects.openai_assistants.requests import (
    ContentIn,
    CreateMessage,
    FormatIn,
    FunctionTool,
    ImageFileIn,
    ImageUrlIn,
    NamedTool,
    OtherTool,
    PartIn,
    TextIn,
    ToolChoiceIn,
    ToolIn,
    TruncationIn,
)
from clew.engine.counting import counted_message
from clew.engine.files import file_exists
from clew.engine.strategies import written
from clew.events.content import Content, Image, JsonObject, Part, Refusal, Text, text
from clew.events.run import Tool, ToolChoice, Truncation
from clew.rules.parts import NewMessage


async def messages(given: Sequence[CreateMessage] | None, name: str = "messages") -> tuple[NewMessage, ...]:
    """Messages on their way into a thread. `name` is where the request has them."""
    return tuple([await message(one, f"{name}[{index}].") for index, one in enumerate(given or ())])


async def message(given: CreateMessage, prefix: str = "") -> NewMessage:
    if given.attachments:
        raise not_offered("attachments", f"{prefix}attachments")
    return await counted_message(given.role, _content(given.content, f"{prefix}content"), metadata=given.metadata)


def _content(given: ContentIn, name: str) -> Content:
    if isinstance(given, str):
        return text(given)
    return tuple(_part(one, f"{name}[{index}]") for index, one in enumerate(given))


def _part(given: PartIn, name: str) -> Part:
    if isinstance(given, TextIn):
        return Text(type="text", text=given.text)
    if isinstance(given, ImageUrlIn):
        return Image(type="image", url=given.image_url.url, detail=given.image_url.detail)
    if isinstance(given, ImageFileIn):
        if not file_exists(given.image_file.file_id):
            raise no_such_file(given.image_file.file_id, f"{name}.image_file.file_id")
        return Image(type="image", file_id=given.image_file.file_id, detail=given.image_file.detail)
    return Refusal(type="refusal", text=given.refusal)


def tools(given: Sequence[ToolIn]) -> tuple[Tool, ...]:
    return tuple(_tool(one, f"tools[{index}]") for index, one in enumerate(given))


def _tool(given: ToolIn, name: str) -> Tool:
    if not isinstance(given, FunctionTool):
        raise not_offered(f"the tool '{given.type}'", f"{name}.type")
    function = given.function
    return Tool(
        type="function",
        name=function.name,
        description=function.description,
        parameters=function.parameters,
        strict=function.strict,
    )


def tool_choice(given: ToolChoiceIn | None) -> ToolChoice | None:
    if isinstance(given, OtherTool):
        raise not_offered(f"the tool '{given.type}'", "tool_choice.type")
    if isinstance(given, NamedTool):
        return ToolChoice(mode="function", name=given.function.name)
    return ToolChoice(mode=given) if given is not None else None


def response_format(given: FormatIn | None) -> JsonObject | None:
    """`auto` is what a request without a format means."""
    return None if given is None or isinstance(given, str) else given.model_dump(exclude_unset=True)


def truncation(given: TruncationIn | None, ours: str | None) -> Truncation | None:
    """None where the request says nothing: then the thread, the assistant or the server may."""
    if ours is not None:
        return written(ours, "clew_truncation")
    if given is None:
        return None
    if given.type == "auto":
        return Truncation()
    if given.last_messages is None:
        raise missing("truncation_strategy.last_messages")
    return Truncation(strategy="last_messages", n=given.last_messages)


def no_tool_resources(given: Mapping[str, object] | None, name: str = "tool_resources") -> JsonObject:
    """Clients send empty ones without a thought, which is harmless; with something in them it is not."""
    if given and not _is_empty(given):
        raise not_offered("files for tools", name)
    return {}


def _is_empty(value: object) -> bool:
    if isinstance(value, dict):
        return all(map(_is_empty, value.values()))
    return value is None or value == []
